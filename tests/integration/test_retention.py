"""The journal is kept for its time: partitions ahead, old ones dropped, nobody harmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import aiohttp
import asyncpg
import pytest

from tests.support import Client, Connect, Server, StartServer, within

RETENTION = timedelta(days=3)


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Any]:
    """A second connection."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def tend(db: Any) -> None:
    await db.execute("select orderwire.maintain_partitions($1)", RETENTION)


async def tend_settled(db: Any) -> None:
    """Twice, each time as if enough time had gone by: what has ended before counts as settled then."""
    for _ in range(2):
        await db.execute("update orderwire.journal_identity set settling_since = now() - interval '1 day'")
        await tend(db)


async def order(db: Any, name: str) -> None:
    await db.execute("insert into orders (customer_name, total) values ($1, 1)", name)


async def make_old(db: Any, name: str) -> None:
    await db.execute("update orderwire.journal set at = at - interval '5 days' where customer_name = $1", name)


async def add_old_partition(db: Any) -> None:
    await db.execute(
        """
        create table orderwire.journal_old (like orderwire.journal including defaults);
        do $$ begin execute format(
            'alter table orderwire.journal attach partition orderwire.journal_old for values from (%L) to (%L)',
            now() - interval '6 days', now() - interval '4 days'
        ); end $$;
        insert into orderwire.journal_partitions values ('journal_old', now() - interval '6 days', now() - interval '4 days');
        """
    )


async def has_old_partition(db: Any) -> bool:
    return await db.fetchval("select to_regclass('orderwire.journal_old')") is not None


async def names_in_journal(db: Any) -> list[str]:
    return [row[0] for row in await db.fetch("select customer_name from orderwire.journal order by id")]


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    async def poll() -> None:
        while not await condition():
            await asyncio.sleep(0.01)

    await within(60, poll(), what)


async def test_partitions_are_made_ahead_without_holes(db: Any) -> None:
    await tend(db)
    rows = await db.fetch("select * from orderwire.journal_partitions order by from_at")
    assert all(before["to_at"] == after["from_at"] for before, after in pairwise(rows))
    assert await db.fetchval("select max(to_at) > now() + $1::interval / 4 * 2 from orderwire.journal_partitions", RETENTION)
    attached = await db.fetchval("select count(*) from pg_inherits where inhparent = 'orderwire.journal'::regclass")
    assert attached == len(rows) + 1, "each of them and the default one"
    await tend(db)
    assert await db.fetch("select * from orderwire.journal_partitions order by from_at") == rows


async def test_old_partition_is_dropped_and_the_floor_is_remembered(db: Any) -> None:
    await add_old_partition(db)
    await order(db, "old")
    await order(db, "new")
    await make_old(db, "old")
    old = await db.fetchval("select txid from orderwire.journal where customer_name = 'old'")
    await tend_settled(db)
    assert not await has_old_partition(db)
    assert await names_in_journal(db) == ["new"]
    assert await db.fetchval("select trimmed_txid from orderwire.journal_identity") == old


async def test_partition_with_unsettled_transactions_stays(db: Any, other: Any) -> None:
    await add_old_partition(db)
    async with other.transaction():
        await other.execute("select pg_current_xact_id()")  # it runs, and locks nothing that the drop needs
        await order(db, "old")
        await make_old(db, "old")
        await tend_settled(db)
        # Somebody may have a snapshot to which 'old' is new, as long as an older transaction runs.
        assert await has_old_partition(db)
    await tend_settled(db)
    assert not await has_old_partition(db)
    assert await names_in_journal(db) == []


async def test_event_that_is_committed_while_its_partition_is_being_dropped_is_kept(
    db: Any, other: Any, database_url: str
) -> None:
    watching = await asyncpg.connect(database_url)
    await tend(db)  # the partitions ahead are there: the only lock to wait for is the drop's
    await add_old_partition(db)
    await order(db, "old")
    await make_old(db, "old")
    await tend_settled_except_drop(db)
    late = other.transaction()
    await late.start()
    await order(other, "late")
    await make_old(other, "late")

    async def waits_for_the_lock() -> bool:
        return bool(await watching.fetchval("select exists (select from pg_locks where not granted)"))

    seen_waiting = False
    while not seen_waiting:
        tending = asyncio.create_task(tend(db))
        while not seen_waiting and not tending.done():
            seen_waiting = await waits_for_the_lock()
        if seen_waiting:
            await late.commit()
        await tending
    await watching.close()
    assert "late" in await names_in_journal(db)


async def tend_settled_except_drop(db: Any) -> None:
    """All that has ended counts as settled, and the next call will drop."""
    await db.execute(
        "update orderwire.journal_identity set settled_txid = pg_snapshot_xmin(pg_current_snapshot()), settling_since = now()"
    )


async def test_open_writer_keeps_its_partition_and_delays_nobody(db: Any, other: Any, database_url: str) -> None:
    await add_old_partition(db)
    await order(db, "old")
    await make_old(db, "old")
    third = await asyncpg.connect(database_url)
    async with other.transaction():
        # Holds locks on the old partition, on the default one, and on the journal, for as long as it likes.
        await order(other, "open, old")
        await make_old(other, "open, old")
        await order(other, "open, new")
        await tend_settled_except_drop(db)
        for _ in range(3):
            tending = asyncio.create_task(tend(db))
            await within(30, order(third, "meanwhile"), "a writer does not wait for the open transaction")
            await within(30, asyncio.wait([tending]), "nor does the tending")
            await tending
        assert await has_old_partition(db)
        assert await db.fetchval("select count(*) from orderwire.journal_partitions") == 1, "none could be attached"
    await third.close()
    await tend_settled(db)
    assert not await has_old_partition(db)
    assert await db.fetchval("select count(*) from orderwire.journal_partitions") > 1
    assert await names_in_journal(db) == ["open, new", *["meanwhile"] * 3]


async def test_default_partition_catches_what_no_other_covers_and_is_trimmed(db: Any) -> None:
    for name in ("old", "older", "new"):
        await order(db, name)
    assert await db.fetchval("select count(*) from orderwire.journal_default") == 3
    await make_old(db, "old")
    await make_old(db, "older")
    trimmed = await db.fetchval("select txid from orderwire.journal where customer_name = 'older'")
    await tend(db)
    assert len(await names_in_journal(db)) == 3, "they are not settled yet"
    await tend_settled(db)
    assert await names_in_journal(db) == ["new"]
    assert await db.fetchval("select trimmed_txid from orderwire.journal_identity") == trimmed


async def test_any_number_may_tend_at_once(db: Any, other: Any, database_url: str) -> None:
    async with other.transaction():
        await tend(other)
        await within(30, tend(db), "the second one has nothing to do")
        assert await db.fetchval("select count(*) from orderwire.journal_partitions") == 0
    pool = await asyncpg.create_pool(database_url, min_size=6, max_size=6)
    await asyncio.gather(*(tend(pool) for _ in range(30)), *(order(pool, "at work") for _ in range(30)))
    await pool.close()
    rows = await db.fetch("select * from orderwire.journal_partitions order by from_at")
    assert rows
    assert all(before["to_at"] == after["from_at"] for before, after in pairwise(rows))
    assert len(await names_in_journal(db)) == 30


async def first_page(server: Server) -> Any:
    async with aiohttp.ClientSession() as http, http.get(f"{server.http_url}/api/events") as response:
        return await response.json()


async def test_cursor_older_than_the_journal_is_refused(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    before = await start_server(database_url)
    client: Client = await connect(before.ws_url)

    async def nothing_else_runs() -> bool:
        # An event whose writer saw an older transaction still at work counts as old as that one.
        return bool(await db.fetchval("select pg_snapshot_xmin(s) = pg_snapshot_xmax(s) from pg_current_snapshot() as s"))

    start = await first_page(before)
    for name in ("old", "old too", "kept", "newest"):
        await until(nothing_else_runs, "the server's first look after the partitions")
        await order(db, name)
    await client.wait_until(lambda c: len(c.events) == 4, "four events")
    await before.stop()
    await make_old(db, "old")
    await make_old(db, "old too")
    await tend_settled(db)

    server: Server = await start_server(database_url)
    cursors = [start["next"], *(event["id"] for event in client.events)]
    for cursor, recovered in zip(cursors, (False, False, False, True, True), strict=True):
        back: Client = await connect(f"{server.ws_url}?last_event_id={cursor}")
        await back.wait_until(lambda c: bool(c.of_type("resumed")), "an answer")
        assert back.of_type("resumed")[0]["recovered"] is recovered, cursor
    async with aiohttp.ClientSession() as http:
        for cursor, status in zip(cursors, (410, 410, 410, 200, 200), strict=True):
            async with http.get(f"{server.http_url}/api/events", params={"after": cursor}) as response:
                assert response.status == status, cursor
    assert [event["customer_name"] for event in (await first_page(server))["events"]] == ["kept", "newest"]


async def test_server_keeps_the_journal_for_its_time(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, JOURNAL_RETENTION="10s")
    client: Client = await connect(server.ws_url)
    await order(db, "old")

    async def trimmed() -> bool:
        return "old" not in await names_in_journal(db)

    await until(trimmed, "the event is trimmed")
    await order(db, "new")
    await client.wait_until(lambda c: len(c.events) == 2, "both events")
    assert client.of_type("resumed") == [], "trimming is no gap to those who follow live"
