"""What `LISTEN orders` hears: readable JSON, always small enough, only of what was committed."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.database.journal_rows import add_orders, recorded_events
from tests.support import TIMEOUT_SECONDS, Message, within


class ListeningConnection:
    """A connection of its own that listens, as psql does."""

    def __init__(self, connection: Any, writer: Any) -> None:
        self._connection = connection
        self._writer = writer
        self._payloads: asyncio.Queue[str] = asyncio.Queue()

    async def open(self) -> None:
        await self._connection.add_listener("orders", lambda *call: self._payloads.put_nowait(call[3]))

    async def all_payloads(self) -> list[str]:
        """Every payload so far: notifications arrive in the order of commit, so a last one of our own ends them."""
        await self._writer.execute("select pg_notify('orders', 'end')")
        payloads: list[str] = []
        while (payload := await within(TIMEOUT_SECONDS, self._payloads.get(), "a notification")) != "end":
            payloads.append(payload)
        return payloads

    async def one_message(self) -> Message:
        (payload,) = await self.all_payloads()
        assert len(payload.encode()) < 8000
        told: Message = json.loads(payload)
        return told


@pytest.fixture
async def ear(database_url: str, db: Any) -> AsyncIterator[ListeningConnection]:
    connection = await asyncpg.connect(database_url)
    ear = ListeningConnection(connection, db)
    await ear.open()
    yield ear
    await connection.close()


async def test_one_change_is_the_frame_that_clients_get(db: Any, ear: ListeningConnection) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Иван \"Вань\" Иванов\n', 150.50)")
    await db.execute("update orders set status = 'preparing'")
    await db.execute("update orders set customer_name = 'Пётр'")
    await db.execute("delete from orders")
    told = [json.loads(payload) for payload in await ear.all_payloads()]
    assert told == await recorded_events(db)

    head = {"type", "id", "at", "order_id", "order_number"}
    assert [set(event) for event in told] == [
        head | {"customer_name", "total", "status"},
        head | {"status", "previous_status"},
        head | {"customer_name"},
        head,
    ]
    assert told[0]["customer_name"] == 'Иван "Вань" Иванов\n'
    assert told[0]["total"] == "150.50"
    assert re.fullmatch(r"[0-9a-f]{8}-\d+-\d+", told[0]["id"])


async def test_several_changes_are_a_batch_of_the_same_frames(db: Any, ear: ListeningConnection) -> None:
    await db.execute("insert into orders (customer_name, total) values ('a', 1), ('b', 2), ('c', 3)")
    assert await ear.one_message() == {"type": "batch", "events": await recorded_events(db), "more": 0}


@pytest.mark.parametrize("name", ["x", "Иван Иванов", "Щ" * 700, "🍕" * 1900, '"' * 3000])
async def test_a_batch_shows_the_first_that_fit_and_counts_the_others(db: Any, ear: ListeningConnection, name: str) -> None:
    await db.execute("insert into orders (customer_name, total) select $1, 1 from generate_series(1, 60)", name)
    told = await ear.one_message()
    events = await recorded_events(db)
    assert told["events"] == events[: len(told["events"])] or told["events"] == [e for e in events if e in told["events"]]
    assert len(told["events"]) + told["more"] == 60


@pytest.mark.parametrize("letters", [7000, 7400, 7500, 7600, 7700, 7800, 1024 * 1024])
async def test_a_name_of_any_size_never_fails_the_writer(db: Any, ear: ListeningConnection, letters: int) -> None:
    await db.execute("insert into orders (customer_name, total) values (repeat('x', $1), 1)", letters)
    told = await ear.one_message()
    if letters >= 7800:
        assert told == {"type": "batch", "events": [], "more": 1}
    elif letters <= 7500:
        assert [told] == await recorded_events(db)


async def test_a_hundred_thousand_changes_are_one_small_notification(db: Any, ear: ListeningConnection) -> None:
    await db.execute("insert into orders (customer_name, total) select 'c', 1 from generate_series(1, 100000)")
    await db.execute("update orders set status = 'ready'")
    payloads = await ear.all_payloads()
    assert [len(payload.encode()) < 8000 for payload in payloads] == [True, True]
    for payload in payloads:
        told = json.loads(payload)
        assert len(told["events"]) + told["more"] == 100_000


async def test_rolled_back_changes_are_not_heard(db: Any, ear: ListeningConnection) -> None:
    await db.execute("begin; insert into orders (customer_name, total) values ('c', 1); rollback")
    await db.execute("insert into orders (customer_name, total) select 'c', 1 where false")
    assert await ear.all_payloads() == []


async def test_a_session_may_write_without_ringing(db: Any, ear: ListeningConnection) -> None:
    await db.execute("set orders.notify = off")
    await add_orders(db, "pending")
    await db.execute("truncate orders")
    assert await ear.all_payloads() == []
    assert len(await recorded_events(db)) == 2
    await db.execute("reset orders.notify")
    await add_orders(db, "pending")
    assert (await ear.one_message())["type"] == "new_order"


async def test_without_a_server_one_rings_at_a_time_and_nobody_waits(
    database_url: str, db: Any, ear: ListeningConnection
) -> None:
    other = await asyncpg.connect(database_url)
    async with other.transaction():
        await other.execute("insert into orders (customer_name, total) values ('first', 1)")
        await db.execute("insert into orders (customer_name, total) values ('meanwhile', 1)")
        assert await ear.all_payloads() == []
    assert (await ear.one_message())["customer_name"] == "first"
    await db.execute("insert into orders (customer_name, total) values ('afterwards', 1)")
    assert (await ear.one_message())["customer_name"] == "afterwards"
    await other.close()


async def test_whoever_wants_rings_gets_them_all(database_url: str, db: Any, ear: ListeningConnection) -> None:
    other = await asyncpg.connect(database_url)
    server = await asyncpg.connect(database_url)
    assert await server.fetchval("select orderwire.require_notify()")
    async with other.transaction():
        await other.execute("insert into orders (customer_name, total) values ('first', 1)")
        await db.execute("insert into orders (customer_name, total) values ('meanwhile', 1)")
        assert (await ear.one_message())["customer_name"] == "meanwhile"
    assert (await ear.one_message())["customer_name"] == "first"
    assert not await server.fetchval("select orderwire.silent_writers()")
    await server.close()
    await other.close()
