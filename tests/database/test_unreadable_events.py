"""No row of the journal stops the stream: for one that cannot be read clients get a placeholder."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from db.database import Database
from db.listener import Listener
from push.journal.audit import Audit
from push.journal.events import Cursor, Event
from push.journal.relay import Relay
from push.journal.replay import ReplayPlanner
from push.metrics import Metrics
from tests.helpers.following import RecordingSink
from tests.support import TIMEOUT_SECONDS, Message, within

INSERT_SQL = "insert into public.orders (customer_name, total) values ('Anna', 2.50)"
MAX_BYTES = 16384
# What a superuser may put into the journal: columns and values of a row.
UNREADABLE = {
    "key of control characters": "(is_order, key, total) values (true, repeat(e'\\x01', 100000), 1)",
    "name": "(is_order, key, customer_name, total) values (true, '7', repeat(e'\\x01', 1000000), 1)",
    "customer": "(is_order, key, customer_id, total) values (true, '7', repeat('x', 200000), 1)",
    "status": "(is_order, key, status, total) values (true, '7', repeat('x', 1000000), 1)",
    "currency": "(is_order, key, currency, total) values (true, '7', repeat(e'\\x01', 1000000), 1)",
    "actor": "(is_order, key, actor_role, total) values (true, '7', repeat(e'\\x01', 1000000), 1)",
    "data": "(is_order, key, data, total) values (true, '7', to_jsonb(repeat(e'\\x01', 1000000)), 1)",
    "small data of a long text": "(is_order, key, data, total) values (true, '7', to_jsonb(repeat('x', 100000)), 1)",
    "NaN": "(is_order, key, total) values (true, '7', 'NaN')",
    "total of a thousand digits": "(is_order, key, total) values (true, '7', 1e1000)",
    "infinite time": "(is_order, key, total, at) values (true, '7', 1, 'infinity')",
    "time BC": "(is_order, key, total, at) values (true, '7', 1, '0044-03-15 00:00:00+00 BC')",
    "stream": "(is_order, key, stream, data) values (true, '7', repeat('s\"', 1000000), '{}')",
    "order of a row of a stream": "(is_order, key, stream, order_key) values (true, '7', 'stock', repeat('x', 100000))",
}


class Site:
    """Listener and relay of a server, with what they publish."""

    def __init__(self, database: Database, relay: Relay, sink: RecordingSink, metrics: Metrics) -> None:
        self.database = database
        self.relay = relay
        self.sink = sink
        self.metrics = metrics

    async def until_published(self, count: int) -> list[Event]:
        async def poll() -> None:
            while len(self.sink.events) < count or self.relay.not_ready_reason is not None:
                await asyncio.sleep(0.01)

        await within(
            TIMEOUT_SECONDS, poll(), f"{count} events; there are {len(self.sink.events)}: {self.relay.not_ready_reason}"
        )
        return self.sink.events

    async def whole_history(self) -> list[Event]:
        """As clients page through it: a page may end early, where rows take long to read."""
        planner = ReplayPlanner(self.relay, self.database.journal)
        events: list[Event] = []
        cursor = None
        while True:
            page = await planner.history_page(cursor, 100, "client")
            events += page.events
            cursor = str(page.next_cursor)
            if not page.more:
                return events


@asynccontextmanager
async def site(url: str, timeout_seconds: float = 10.0) -> AsyncIterator[Site]:
    sink, metrics = RecordingSink(), Metrics()
    relay = Relay(sink, metrics)
    listener = asyncio.create_task(Listener(url, lambda: asyncio.sleep(0), relay.follow, timeout_seconds).run())
    try:
        async with Database(url, timeout_seconds).open() as database:
            await within(TIMEOUT_SECONDS, relay.started.wait(), "events flow")
            yield Site(database, relay, sink, metrics)
    finally:
        listener.cancel()
        await asyncio.wait([listener])


def readable(event: Event) -> Message:
    """What a client gets, within the contract."""
    assert len(event.payload) <= MAX_BYTES
    message: Message = json.loads(event.payload)
    assert Cursor.parse(message["id"]).after == event.event_id
    assert message["type"] in ("new_order", "order_update", "order_status_update", "order_delete", "row_insert")
    assert isinstance(message["key"], str)
    assert isinstance(message["at"], str)
    return message


@pytest.mark.parametrize("row", UNREADABLE.values(), ids=UNREADABLE)
async def test_unreadable_row_is_a_placeholder_and_the_stream_goes_on(database_url: str, db: Any, row: str) -> None:
    async with site(database_url) as server:
        async with db.transaction():
            await db.execute(INSERT_SQL)
            await db.execute(f"insert into orderwire.journal {row}")
            await db.execute(INSERT_SQL)
        events = await server.until_published(3)
        first, placeholder, last = (readable(event) for event in events)
        assert (first["key"], last["key"]) == ("1", "2")
        assert placeholder["type"] == ("row_insert" if "stream" in row else "new_order")
        assert placeholder["truncated"]
        assert server.relay.totals.revenue.is_finite()
        assert server.metrics.registry.get_sample_value("orderwire_placeholder_events_total") == 1
        # Clients that resume, page through the history or ask for one order get the same.
        history = await server.whole_history()
        assert [event.payload for event in history] == [event.payload for event in events]
        if placeholder["key"] == "7" and "stream" not in row:
            assert await server.database.order_history("7", 10) == [events[1].payload.decode()]
        assert await db.fetchval("select count(event->>'id') from orderwire.events") == 3


async def test_many_unreadable_rows_between_others(database_url: str, db: Any) -> None:
    async with site(database_url) as server:
        await db.execute(
            "insert into orderwire.journal (is_order, key, customer_name, total) select true, n::text,"
            " case when n % 3 = 0 then repeat(e'\\x01', 100000) else 'Anna' end, 1 from generate_series(1, 2500) as n"
        )
        events = await server.until_published(2500)
        assert [event.key for event in events] == [str(n) for n in range(1, 2501)]
        assert sum("truncated" in readable(event) for event in events) == 833
        assert server.relay.totals.orders == 2500


async def test_totals_are_exact_although_the_event_is_a_placeholder(database_url: str, db: Any) -> None:
    async with site(database_url) as server:
        await db.execute(
            "insert into orderwire.journal (is_order, key, customer_name, status, total)"
            " values (true, '7', repeat(e'\\x01', 100000), 'pending', 12.25)"
        )
        await server.until_published(1)
        assert (server.relay.totals.orders, server.relay.totals.revenue, server.relay.totals.pending) == (
            1,
            Decimal("12.25"),
            1,
        )


async def test_totals_are_counted_anew_where_the_row_does_not_tell_its_own(database_url: str, db: Any) -> None:
    """The functions that say what counts raise for this status, as they would for a damaged row."""
    await db.execute(
        "create or replace function orderwire.is_pending(status text) returns boolean language sql immutable parallel safe "
        "return case when status = 'broken' then 1 / (length(status) - 6) = 0 else coalesce(status = 'pending', false) end"
    )
    async with site(database_url) as server:
        audit = asyncio.create_task(Audit(server.relay, server.database.journal).run(1e9))
        try:
            await within(TIMEOUT_SECONDS, _until(lambda: server.relay.totals_verified), "the first audit")
            await db.execute("alter table public.orders disable trigger zz_orderwire_insert")
            await db.execute(INSERT_SQL)  # so that the totals are wrong until they are counted again
            await db.execute("insert into orderwire.journal (is_order, key, status, total) values (true, '7', 'broken', 1)")
            await server.until_published(1)
            await within(TIMEOUT_SECONDS, _until(lambda: server.relay.totals.orders == 1), "the totals of the table")
            assert server.relay.totals.revenue == Decimal("2.50")
        finally:
            audit.cancel()
            await asyncio.wait([audit])


async def _until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.01)


async def test_checkpoint_is_not_used_with_events_that_cannot_be_summed(database_url: str, db: Any) -> None:
    await db.execute("select orderwire.scan_totals()")
    await db.execute("insert into orderwire.journal (is_order, key, total) values (true, '7', 'NaN')")
    async with site(database_url) as server:
        assert server.relay.totals.revenue.is_finite()


async def test_page_that_takes_too_long_is_read_row_by_row(database_url: str, db: Any) -> None:
    """A function of the event takes longer for some rows than a query may."""
    async with site(database_url, timeout_seconds=2.0) as server:
        await db.execute("alter function orderwire.rfc3339(timestamptz) rename to fast_rfc3339")
        await db.execute(
            "create function orderwire.rfc3339(moment timestamptz) returns text language plpgsql stable as "
            "$$ begin perform pg_sleep(0.3); return orderwire.fast_rfc3339(moment); end $$"
        )
        await db.execute("insert into public.orders (customer_name, total) select 'c', n from generate_series(1, 12) as n")
        events = await server.until_published(12)
        assert [readable(event)["key"] for event in events] == [str(n) for n in range(1, 13)]
        assert not any("truncated" in readable(event) for event in events)


async def test_statement_of_200_mb_without_notification(database_url: str, db: Any) -> None:
    """The attack: nothing but control characters, and no notification."""
    async with site(database_url) as server:
        await db.execute("set orders.notify = off")
        await db.execute(
            "insert into orders (customer_name, total) values (repeat(e'\\x01', 200000000), 1)", timeout=TIMEOUT_SECONDS
        )
        await db.execute(INSERT_SQL)
        events = await server.until_published(2)
        assert readable(events[0])["truncated"] == ["customer_name"]
        assert readable(events[1])["customer_name"] == "Anna"
