"""db/journal.py: the queries of JournalReader, over one connection."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import pytest

from db.journal import SESSION_SETTINGS_SQL, JournalReader
from push.journal.events import Cursor, Event, Position, Snapshot
from push.journal.queries import EventOwner
from push.journal.totals import Totals
from push.protocol.access import Grant, Role
from tests.database.journal_rows import add_orders

START = Position(Snapshot(1, 1))
NO_LIMIT = 1_000_000


@pytest.fixture
async def reader(db: Any) -> JournalReader:
    await db.execute(SESSION_SETTINGS_SQL)
    reader = JournalReader(db.fetch)
    await reader.identity(None, [])  # the test's database is a copy of a template: this draws its epoch
    return reader


async def test_page_returns_the_events_with_the_journals_identity(reader: JournalReader, db: Any) -> None:
    await db.execute("insert into public.orders (customer_name, customer_id, total) values ('Anna', 'a', 2.50)")
    page = await reader.page(START, None, 0, NO_LIMIT, NO_LIMIT)
    (event,) = page.events
    assert (event.stream, event.key, event.order_key, event.customer_id) == (None, "1", "1", "a")
    assert (event.orders_delta, event.pending_delta) == (1, 1)
    assert [event.previous_revenue, event.revenue] == [Decimal(0), Decimal("2.50")]
    assert b'"customer_name":"Anna"' in event.payload
    assert not event.writer_snapshot.sees(event.txid)
    assert page.upto.sees(event.txid)
    assert not page.more
    identity = await reader.identity(None, [])
    assert page.identity == identity


@pytest.mark.parametrize(
    ("subject", "keys"),
    [
        ("a", set()),
        (None, {"1", "4"}),
        ("a", {"1", "2"}),
        ("nobody", set()),
        (None, set()),
        ("b", {"1", "2", "3", "4", "5", "6"}),
    ],
)
async def test_customer_page_has_the_events_that_the_customer_may_see(
    reader: JournalReader, db: Any, subject: str | None, keys: set[str]
) -> None:
    await db.execute("insert into public.orders (customer_name, customer_id, total) values ('n', 'a', 1), ('n', 'b', 1)")
    for _ in range(2):
        await db.execute("insert into public.orders (customer_name, customer_id, total) values ('n', 'a', 1), ('n', null, 1)")
    await db.execute("update public.orders set status = 'ready', customer_id = 'b' where id in (1, 2, 3)")
    everything = await reader.page(START, None, 0, NO_LIMIT, NO_LIMIT)
    owner, grant = EventOwner(subject, frozenset(keys)), Grant(Role.CUSTOMER, subject, frozenset(keys))
    third = everything.events[2]
    for after in (START, Position(third.writer_snapshot, third.txid, third.id)):
        expected = [event for event in everything.events if after.misses(event) and grant.view(event) is not None]
        page = await reader.customer_page(owner, after, None, 0, NO_LIMIT, NO_LIMIT)
        assert (list(page.events), page.more) == (expected, False)
        past_id, paged = 0, list[Event]()
        for number in range(len(expected)):
            page = await reader.customer_page(owner, after, page.upto, past_id, 1, NO_LIMIT)
            assert page.more == (number < len(expected) - 1), "others' events are not counted"
            paged += page.events
            past_id = page.events[-1].id
        assert paged == expected


async def test_customer_page_reads_none_of_the_events_of_others(reader: JournalReader, db: Any) -> None:
    await db.execute(
        "insert into public.orders (customer_name, customer_id, total) select 'n', 'c' || n, 1 from generate_series(1, 3000) n"
    )
    await db.execute("analyze orderwire.journal")
    plan = "\n".join(
        row[0]
        for row in await db.fetch(
            "explain analyze select * from orderwire.journal_page("
            "'1:1:', null, null, pg_current_snapshot(), 0, 100, 1000000, true, true, 'c7', array['9'])"
        )
    )
    rows = [int(count) for count in re.findall(r"actual .*?rows=(\d+)", plan)]
    removed = [int(count) for count in re.findall(r"Rows Removed by [A-Za-z ]*: (\d+)", plan)]
    assert max(rows + removed) <= 10, plan


async def test_transactions_that_can_run_at_one_time_are_at_least_those_of_all_connections(
    reader: JournalReader, db: Any
) -> None:
    connections = await db.fetchval("select current_setting('max_connections')::integer")
    assert connections <= await reader.max_transactions() < connections + 1000


async def test_page_without_events_still_has_a_snapshot_and_the_identity(reader: JournalReader) -> None:
    page = await reader.page(START, None, 0, NO_LIMIT, NO_LIMIT)
    assert (list(page.events), page.more) == ([], False)
    assert page.upto.xmax > 1
    assert page.identity == await reader.identity(None, [])


@pytest.mark.parametrize(("max_events", "max_bytes"), [(2, NO_LIMIT), (NO_LIMIT, 1)])
async def test_pages_up_to_one_snapshot_contain_every_event_once(
    reader: JournalReader, db: Any, max_events: int, max_bytes: int
) -> None:
    await db.execute("insert into public.orders (customer_name, total) select 'c', 1 from generate_series(1, 5)")
    ids: list[int] = []
    page = await reader.page(START, None, 0, max_events, max_bytes)
    while True:
        assert 1 <= len(page.events) <= max_events
        ids += [event.id for event in page.events]
        if not page.more:
            break
        page = await reader.page(START, page.upto, ids[-1], max_events, max_bytes)
    assert ids == [row[0] for row in await db.fetch("select id from orderwire.journal order by id")]
    assert len(ids) == 5


async def test_page_after_an_event_does_not_contain_it(reader: JournalReader, db: Any) -> None:
    await db.execute("insert into public.orders (customer_name, total) values ('a', 1), ('b', 2)")
    first, second = (await reader.page(START, None, 0, NO_LIMIT, NO_LIMIT)).events
    after_first = Position(first.writer_snapshot, first.txid, first.id)
    page = await reader.page(after_first, None, 0, NO_LIMIT, NO_LIMIT)
    assert [event.id for event in page.events] == [second.id]
    assert (await reader.count(after_first, page.upto, 0, 100)).events == 1


async def test_count_stops_at_the_limit(reader: JournalReader, db: Any) -> None:
    await db.execute("insert into public.orders (customer_name, total) select 'c', 1 from generate_series(1, 5)")
    upto = (await reader.page(START, None, 0, 1, NO_LIMIT)).upto
    counts = [await reader.count(START, upto, 0, limit) for limit in (100, 3)]
    assert [(count.events, count.order_events) for count in counts] == [(5, 5), (3, 3)]


async def test_writer_snapshot_of_an_event_and_of_an_unknown_one(reader: JournalReader, db: Any) -> None:
    await db.execute("insert into public.orders (customer_name, total) values ('a', 1)")
    (event,) = (await reader.page(START, None, 0, NO_LIMIT, NO_LIMIT)).events
    assert await reader.writer_snapshot(event.event_id) == event.writer_snapshot
    assert await reader.writer_snapshot(event.event_id._replace(id=event.id + 1)) is None
    assert await reader.writer_snapshot(event.event_id._replace(tag=event.event_id.tag ^ 1)) is None


async def test_cursor_of_an_event_is_its_id(reader: JournalReader, db: Any) -> None:
    """Whatever the time is: it is rounded to a double in the same way."""
    await db.execute("insert into public.orders (customer_name, total) select 'a', 1 from generate_series(1, 500)")
    await db.execute("update orderwire.journal set at = timestamptz '1999-12-31' + random() * interval '300 years'")
    page = await reader.page(START, None, 0, NO_LIMIT, NO_LIMIT)
    assert len({event.event_id.tag for event in page.events}) > 400
    for event in page.events:
        assert json.loads(event.payload)["id"] == str(Cursor(page.identity.epoch, event.event_id))


async def test_newest_event_is_limited_by_the_snapshot(reader: JournalReader, db: Any) -> None:
    before = (await reader.page(START, None, 0, 1, 1)).upto
    assert await reader.newest_event(before) is None
    await db.execute("insert into public.orders (customer_name, total) values ('a', 1)")
    page = await reader.page(START, None, 0, NO_LIMIT, NO_LIMIT)
    assert await reader.newest_event(page.upto) == page.events[0].event_id
    assert await reader.newest_event(before) is None


async def test_baseline_is_scanned_once_and_then_taken_from_the_checkpoint(reader: JournalReader, db: Any) -> None:
    await db.execute("insert into public.orders (customer_name, total) values ('a', 1.50)")
    scanned = await reader.baseline()
    assert scanned.from_scan
    assert scanned.totals == Totals(1, Decimal("1.50"), 1)
    await db.execute("insert into public.orders (customer_name, total, status) values ('b', 2, 'ready')")
    summed = await reader.baseline()
    assert not summed.from_scan
    assert summed.totals == Totals(2, Decimal("3.50"), 1)
    assert summed.newest_txid > scanned.newest_txid
    assert (await reader.scan_totals()).totals == summed.totals


async def test_identity_draws_a_new_epoch_when_a_delivered_event_is_missing(reader: JournalReader, db: Any) -> None:
    await db.execute("set search_path = public, pg_catalog")
    await add_orders(db, "pending")
    await db.execute(SESSION_SETTINGS_SQL)
    (event,) = (await reader.page(START, None, 0, NO_LIMIT, NO_LIMIT)).events
    epoch = (await reader.identity(None, [])).epoch
    assert (await reader.identity(epoch, [event.event_id])).epoch == epoch
    elsewhere = event.event_id._replace(tag=event.event_id.tag ^ 1)
    assert (await reader.identity(epoch, [event.event_id, elsewhere])).epoch != epoch
