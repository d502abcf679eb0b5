"""The partitions of the journal: created ahead, dropped when they are old, and never in the way of writers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import asyncpg
import pytest

from tests.helpers.retention import RETENTION, insert_order, maintain, maintain_settled, make_old, names_in_journal
from tests.support import within


@pytest.fixture
async def other(database_url: str) -> AsyncIterator[Any]:
    """A second connection to the database."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


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


async def test_partitions_are_created_ahead_without_gaps(db: Any) -> None:
    await maintain(db)
    rows = await db.fetch("select * from orderwire.journal_partitions order by from_at")
    assert all(before["to_at"] == after["from_at"] for before, after in pairwise(rows))
    assert await db.fetchval("select max(to_at) > now() + $1::interval / 4 * 2 from orderwire.journal_partitions", RETENTION)
    attached = await db.fetchval("select count(*) from pg_inherits where inhparent = 'orderwire.journal'::regclass")
    assert attached == len(rows) + 1, "each of them and the default one"
    await maintain(db)
    assert await db.fetch("select * from orderwire.journal_partitions order by from_at") == rows


async def test_an_old_partition_is_dropped_and_its_last_transaction_is_stored(db: Any) -> None:
    await add_old_partition(db)
    await insert_order(db, "old")
    await insert_order(db, "new")
    await make_old(db, "old")
    old = await db.fetchval("select txid from orderwire.journal where customer_name = 'old'")
    await maintain_settled(db)
    assert not await has_old_partition(db)
    assert await names_in_journal(db) == ["new"]
    assert await db.fetchval("select trimmed_txid from orderwire.journal_identity") == old


async def test_a_partition_with_unsettled_transactions_is_kept(db: Any, other: Any) -> None:
    await add_old_partition(db)
    async with other.transaction():
        await other.execute("select pg_current_xact_id()")  # it runs, and locks nothing that the drop needs
        await insert_order(db, "old")
        await make_old(db, "old")
        await maintain_settled(db)
        # While an older transaction runs, a snapshot may exist in which 'old' is not visible yet.
        assert await has_old_partition(db)
    await maintain_settled(db)
    assert not await has_old_partition(db)
    assert await names_in_journal(db) == []


async def test_an_event_committed_while_its_partition_is_being_dropped_is_kept(db: Any, other: Any, database_url: str) -> None:
    watching = await asyncpg.connect(database_url)
    await maintain(db)  # the partitions ahead exist: the only lock to wait for is that of the drop
    await add_old_partition(db)
    await insert_order(db, "old")
    await make_old(db, "old")
    await settle_before_the_next_drop(db)
    late = other.transaction()
    await late.start()
    await insert_order(other, "late")
    await make_old(other, "late")

    async def waits_for_the_lock() -> bool:
        return bool(await watching.fetchval("select exists (select from pg_locks where not granted)"))

    seen_waiting = False
    while not seen_waiting:
        maintaining = asyncio.create_task(maintain(db))
        while not seen_waiting and not maintaining.done():
            seen_waiting = await waits_for_the_lock()
        if seen_waiting:
            await late.commit()
        await maintaining
    await watching.close()
    assert "late" in await names_in_journal(db)


async def settle_before_the_next_drop(db: Any) -> None:
    """All transactions that have ended count as settled: the next maintenance drops."""
    await db.execute(
        "update orderwire.journal_identity set settled_txid = pg_snapshot_xmin(pg_current_snapshot()), settling_since = now()"
    )


async def test_an_open_transaction_keeps_its_partition_and_delays_no_writer(db: Any, other: Any, database_url: str) -> None:
    await add_old_partition(db)
    await insert_order(db, "old")
    await make_old(db, "old")
    third = await asyncpg.connect(database_url)
    async with other.transaction():
        # It holds locks on the old partition, on the default partition and on the journal.
        await insert_order(other, "open, old")
        await make_old(other, "open, old")
        await insert_order(other, "open, new")
        await settle_before_the_next_drop(db)
        for _ in range(3):
            maintaining = asyncio.create_task(maintain(db))
            await within(30, insert_order(third, "meanwhile"), "a writer does not wait for the open transaction")
            await within(30, asyncio.wait([maintaining]), "the maintenance does not wait either")
            await maintaining
        assert await has_old_partition(db)
        assert await db.fetchval("select count(*) from orderwire.journal_partitions") == 1, "none could be attached"
    await third.close()
    await maintain_settled(db)
    assert not await has_old_partition(db)
    assert await db.fetchval("select count(*) from orderwire.journal_partitions") > 1
    assert await names_in_journal(db) == ["open, new", *["meanwhile"] * 3]


async def test_the_default_partition_takes_events_of_no_other_and_is_trimmed(db: Any) -> None:
    for name in ("old", "older", "new"):
        await insert_order(db, name)
    assert await db.fetchval("select count(*) from orderwire.journal_default") == 3
    await make_old(db, "old")
    await make_old(db, "older")
    trimmed = await db.fetchval("select txid from orderwire.journal where customer_name = 'older'")
    await maintain(db)
    assert len(await names_in_journal(db)) == 3, "they are not settled yet"
    await maintain_settled(db)
    assert await names_in_journal(db) == ["new"]
    assert await db.fetchval("select trimmed_txid from orderwire.journal_identity") == trimmed


async def test_concurrent_maintenance_is_safe(db: Any, other: Any, database_url: str) -> None:
    async with other.transaction():
        await maintain(other)
        await within(30, maintain(db), "the second one has nothing to do")
        assert await db.fetchval("select count(*) from orderwire.journal_partitions") == 0
    pool = await asyncpg.create_pool(database_url, min_size=6, max_size=6)
    await asyncio.gather(*(maintain(pool) for _ in range(30)), *(insert_order(pool, "at work") for _ in range(30)))
    await pool.close()
    rows = await db.fetch("select * from orderwire.journal_partitions order by from_at")
    assert rows
    assert all(before["to_at"] == after["from_at"] for before, after in pairwise(rows))
    assert len(await names_in_journal(db)) == 30
