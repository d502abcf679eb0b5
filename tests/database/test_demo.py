"""db.demo: the changes of the simulated shop, and that it outlasts an outage of the database."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

import asyncpg
import pytest

from db import demo
from db.demo import MIN_OPEN_ORDERS, NEXT_STATUS, make_one_change
from tests.support import TIMEOUT_SECONDS, within


async def test_orders_move_from_status_to_status(db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "random", random.Random(7))
    open_orders: dict[int, str] = {}
    statuses: dict[int, str] = {}
    for change in range(300):
        before = dict(open_orders)
        line = await make_one_change(db, open_orders)
        order_id = int(line.split()[1].rstrip(":"))
        status = line.split(": ")[1]
        if order_id in before:
            assert status in (NEXT_STATUS[before[order_id]], "cancelled")
            statuses[order_id] = status
        else:
            assert status == "new"
            statuses[order_id] = "pending"
        assert change >= MIN_OPEN_ORDERS or status == "new"
    assert {row["id"]: row["status"] for row in await db.fetch("select id, status from orders")} == statuses
    assert open_orders == {order: status for order, status in statuses.items() if status in NEXT_STATUS}
    assert set(statuses.values()) >= {"delivered", "cancelled"}


async def test_a_lost_connection_is_opened_again(db: Any, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "INITIAL_BACKOFF_SECONDS", 0.01)
    connect, failures = asyncpg.connect, [OSError("refused"), OSError("refused")]  # with and without TLS

    async def connect_after_the_failures(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await connect(*arguments, **options)

    monkeypatch.setattr(asyncpg, "connect", connect_after_the_failures)
    lines: list[str] = []
    running = asyncio.create_task(demo.run(database_url, 1000, lines.append))

    async def changes(count: int) -> None:
        while sum(line.startswith("order ") for line in lines) < count:
            assert not running.done(), running
            await asyncio.sleep(0.01)

    # Without the workers of autovacuum.
    end_others = """
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and backend_type = 'client backend' and pid <> $1
    """
    try:
        await within(TIMEOUT_SECONDS, changes(5), "five changes")
        assert len(await db.fetch(end_others, db.get_server_pid())) == 1
        await within(TIMEOUT_SECONDS, changes(len(lines) + 5), "five more changes")
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert re.fullmatch(r"no change was made \(PostgreSQL at 127\.0\.0\.1:\d+ cannot be reached: refused\); retrying", lines[0])
    assert sum(line.startswith("no change was made (") for line in lines) == 2
