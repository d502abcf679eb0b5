"""Searches that no index answers: few at a time, each client in turn, so that they keep nothing else waiting."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from db import order_lists
from tests.gateway.conftest import App, StartApp
from tests.gateway.test_order_changes import blocked

# The name of a customer, once the lock is free.
GATE_SQL = """
create function public.gate(name text) returns text language plpgsql immutable as
$$ begin perform pg_advisory_xact_lock_shared(7); return name; end $$;
create table shop (id text primary key, name text, state text);
create index on shop (state, id);
select orderwire.detach();
"""


@pytest.fixture
async def app(start_app: StartApp, db: Any) -> AsyncIterator[App]:
    """Of a table in which every search waits, until the test unlocks it."""
    app = await start_app(HANDSHAKES_PER_SECOND="10000")
    await db.execute(GATE_SQL)
    await db.execute("insert into shop values ('1', 'Anna')")
    await db.execute(
        "select orderwire.attach('public.shop', $1)",
        json.dumps({"key": "id", "customer_name": "public.gate(o.name)", "status": "state"}),
    )
    await db.execute("select pg_advisory_lock(7)")
    yield app
    await db.execute("select pg_advisory_unlock_all()")


async def search(app: App, text: str) -> tuple[int, Any, str | None]:
    """The status, the body, and Retry-After."""
    async with app.http.get("/api/orders", params={"q": text}) as response:
        return response.status, await response.json(), response.headers.get("Retry-After")


async def test_twelve_searches_at_once_leave_connections_to_other_reads(app: App, db: Any) -> None:
    searches = [asyncio.create_task(search(app, ("a", "an", "ann", "anna", "b")[min(n, 4)])) for n in range(12)]
    await blocked(db, order_lists.MAX_UNINDEXED_SEARCHES)
    for path in ("/api/meta", "/api/orders?status=unheard-of"):  # the other one has an index
        async with app.http.get(path) as response:
            assert response.status == 200, path
    waiting = await db.fetchval(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event = 'advisory'"
    )
    assert waiting == order_lists.MAX_UNINDEXED_SEARCHES
    await db.execute("select pg_advisory_unlock(7)")
    answers = await asyncio.gather(*searches)
    assert [status for status, _, _ in answers] == [200] * 12
    assert [len(body["orders"]) for _, body, _ in answers] == [1] * 4 + [0] * 8


async def test_a_search_that_waits_too_long_for_others_is_told_to_come_back(
    app: App, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = [asyncio.create_task(search(app, "anna")) for _ in range(2)]
    await blocked(db, 2)
    monkeypatch.setattr("db.order_lists.MAX_WAIT_SECONDS", 0.05)
    status, body, retry_after = await search(app, "anna")
    assert (status, body["error"]["code"], retry_after) == (503, "unavailable", "2")
    assert "too many searches" in body["error"]["message"]
    await db.execute("select pg_advisory_unlock(7)")
    assert [len(body["orders"]) for _, body, _ in await asyncio.gather(*searches)] == [1, 1]
