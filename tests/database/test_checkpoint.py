"""Totals from a checkpoint and the events since equal those of a scan, or the checkpoint is not used."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.support import open_connections, within

SCAN_SQL = "select * from orderwire.scan_totals()"
FOLD_SQL = "select total_orders, total_revenue, pending_orders from orderwire.totals_from_checkpoint()"
VIEW_SQL = "select total_orders, total_revenue, pending_orders from orderwire.order_analytics"
WRITERS = 6
COMPARISONS = 100


async def totals_from_checkpoint(db: Any) -> tuple[Any, ...] | None:
    row = await db.fetchrow(FOLD_SQL)
    return None if row is None else tuple(row)


async def totals_from_view(db: Any) -> tuple[Any, ...]:
    return tuple(await db.fetchrow(VIEW_SQL))


async def insert_orders(db: Any, count: int) -> None:
    await db.execute("insert into orders (customer_name, total) select 'c', n + 0.5 from generate_series(1, $1::int) n", count)


# ---------------------------------------------------------------- concurrent writers


class RollBack(Exception):
    """Rolls back a savepoint or a transaction."""


async def copy_orders(db: Any, choose: random.Random) -> None:
    rows = [("copied", choose.randrange(1000), choose.choice(["pending", "ready", "cancelled"])) for _ in range(20)]
    await db.copy_records_to_table("orders", records=rows, columns=["customer_name", "total", "status"])


async def random_change(db: Any, choose: random.Random) -> None:
    match choose.randrange(5):
        case 0:
            await insert_orders(db, choose.choice([1, 3, 200]))
        case 1:
            await copy_orders(db, choose)
        case 2:
            await db.execute(
                "update orders set total = total + 1, status = $2 where id % 30 = $1",
                choose.randrange(30),
                choose.choice(["pending", "cancelled", "ready"]),
            )
        case 3:
            await db.execute("delete from orders where id % 40 = $1", choose.randrange(40))
        case 4:
            await db.execute("update orders set id = id + 10000000 where id = (select min(id) from orders)")


async def write_until(db: Any, choose: random.Random, stop: asyncio.Event) -> None:
    while not stop.is_set():
        isolation: Any = choose.choice(["read_committed", "repeatable_read"])
        with contextlib.suppress(
            RollBack, asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError
        ):
            async with db.transaction(isolation=isolation):
                for _ in range(choose.choice([1, 1, 2, 4])):
                    with contextlib.suppress(RollBack):
                        async with db.transaction():
                            await random_change(db, choose)
                            if choose.random() < 0.2:
                                raise RollBack
                if choose.random() < 0.1:  # a long transaction
                    await db.execute("select pg_sleep(0.3)")
                if choose.random() < 0.15:
                    raise RollBack


async def truncate_until(db: Any, choose: random.Random, stop: asyncio.Event, done: list[int]) -> None:
    """Truncate at random intervals. It locks the table before it writes, so that writers do not wait for it needlessly."""
    while not stop.is_set():
        await asyncio.sleep(choose.random() / 2)
        with contextlib.suppress(asyncpg.DeadlockDetectedError, RollBack):
            async with db.transaction(isolation="read_committed"):
                await db.execute("lock table orders in access exclusive mode")
                await insert_orders(db, 2)
                await db.execute("truncate orders")
                await insert_orders(db, 1)
                if choose.random() < 0.3:
                    raise RollBack
            done.append(1)


async def compare_totals(db: Any) -> bool:
    """Compare both totals in one snapshot, taken under the table's lock. True if there were events since the checkpoint."""
    async with db.transaction(isolation="repeatable_read"):
        await db.execute("lock table orders in access share mode")
        counted = tuple(
            await db.fetchrow("select total_orders, total_revenue, pending_orders, snapshot from orderwire.checkpoint")
        )
        folded = await totals_from_checkpoint(db)
        assert folded is not None, "the checkpoint was not used"
        assert folded == await totals_from_view(db)
        return folded != counted[:3] and bool(counted[3][2])


async def test_totals_from_checkpoint_equal_a_scan_under_concurrent_writes(database_url: str, db: Any) -> None:
    seed = int(os.environ.get("CHECKPOINT_SEED", random.randrange(10**9)))
    print(f"CHECKPOINT_SEED={seed}")
    choose = random.Random(seed)
    enough = asyncio.Event()
    compared = significant = 0
    truncated: list[int] = []
    async with open_connections(database_url, WRITERS + 2) as pool:
        await pool[0].fetch(SCAN_SQL)
        async with asyncio.timeout(120), asyncio.TaskGroup() as tasks:
            for number in range(WRITERS):
                tasks.create_task(write_until(pool[number], random.Random(seed + number), enough))
            tasks.create_task(truncate_until(pool[WRITERS], random.Random(seed + WRITERS), enough, truncated))
            # Until enough comparisons had events since the checkpoint, taken beside open transactions.
            while compared < COMPARISONS or significant < COMPARISONS / 5 or len(truncated) < 3:
                compared += 1
                significant += await compare_totals(db)
                if choose.random() < 0.3:
                    await pool[-1].fetch(SCAN_SQL)
            enough.set()
    print(f"{compared} comparisons, {significant} with events since the checkpoint, {len(truncated)} times truncated")


async def test_scan_that_waits_for_a_truncate_sees_its_result(database_url: str, db: Any) -> None:
    """With an older snapshot the rows would be subtracted twice: they are gone from the table, and their events follow."""
    await insert_orders(db, 5)
    await db.fetch(SCAN_SQL)  # caches the plan: with a cached plan the locks are taken at another point
    async with open_connections(database_url, 1) as (other,):
        transaction = other.transaction()
        await transaction.start()
        await other.execute("truncate orders")
        counting = asyncio.create_task(db.fetchrow(SCAN_SQL))
        waits = "select exists (select from pg_locks where not granted and pid = $1)"
        while not await other.fetchval(waits, db.get_server_pid()):
            assert not counting.done(), "the scan must wait"
        await transaction.commit()
        await within(30, asyncio.wait([counting]), "the count")
    assert counting.result()["total_orders"] == 0
    assert (await totals_from_checkpoint(db)) == (0, 0, 0) == await totals_from_view(db)


# ---------------------------------------------------------------- checkpoints that cannot be used


@pytest.mark.parametrize(
    ("what", "damage"),
    [
        ("no checkpoint", "delete from orderwire.checkpoint"),
        ("another epoch", "update orderwire.checkpoint set epoch = 'ffffffff'"),
        ("a new epoch", "select orderwire.renew_epoch((select epoch from orderwire.journal_identity))"),
        ("trimmed", "update orderwire.journal_identity set trimmed_txid = (select pg_snapshot_xmin(snapshot)::text::xid8 "
         "from orderwire.checkpoint)"),
        ("from the future", "update orderwire.checkpoint set snapshot = '9000000:9000000:'"),
        ("partly from the future", "update orderwire.checkpoint set snapshot = '1:9000000:'"),
    ],
)  # fmt: skip
async def test_unusable_checkpoint_is_not_used(db: Any, what: str, damage: str) -> None:
    await insert_orders(db, 3)
    await db.fetch(SCAN_SQL)
    await insert_orders(db, 4)
    assert await totals_from_checkpoint(db) == await totals_from_view(db)
    await db.execute(damage)
    assert await totals_from_checkpoint(db) is None, what
    await db.fetch(SCAN_SQL)
    assert await totals_from_checkpoint(db) == await totals_from_view(db), "after a new scan"


async def test_journal_trimmed_up_to_the_checkpoint_can_be_used(db: Any) -> None:
    await insert_orders(db, 3)
    await db.fetch(SCAN_SQL)
    await insert_orders(db, 4)
    await db.execute(
        "update orderwire.journal_identity set trimmed_txid = "
        "(select (pg_snapshot_xmin(snapshot)::text::bigint - 1)::text::xid8 from orderwire.checkpoint)"
    )
    assert await totals_from_checkpoint(db) == await totals_from_view(db)


async def test_checkpoint_with_too_many_events_since_is_not_used(db: Any) -> None:
    await db.fetch(SCAN_SQL)
    await insert_orders(db, 10_000)
    assert await totals_from_checkpoint(db) == await totals_from_view(db)
    await insert_orders(db, 1)
    assert await totals_from_checkpoint(db) is None


async def test_only_scans_with_a_complete_snapshot_are_stored(database_url: str, db: Any) -> None:
    await insert_orders(db, 3)
    async with db.transaction(isolation="repeatable_read"):
        assert (await db.fetchrow(SCAN_SQL))["total_orders"] == 3
    async with db.transaction():
        await insert_orders(db, 1)
        assert (await db.fetchrow(SCAN_SQL))["total_orders"] == 4
    assert not await db.fetchval("select count(*) from orderwire.checkpoint")
    # A scan does not wait for a concurrent one.
    async with open_connections(database_url, 1) as (other,), other.transaction():
        await other.fetch(SCAN_SQL)
        await insert_orders(db, 1)
        assert (await within(30, db.fetchrow(SCAN_SQL), "a count"))["total_orders"] == 5
    assert await db.fetchval("select total_orders from orderwire.checkpoint") == 4
    assert await totals_from_checkpoint(db) == await totals_from_view(db)


# ---------------------------------------------------------------- crashes


async def write_and_scan(url: str, choose: random.Random, seconds: float) -> None:
    """Write and scan until the crash, which loses the last asynchronous commits, possibly a checkpoint too."""
    enough = asyncio.Event()
    async with open_connections(url, 4) as pool, asyncio.TaskGroup() as tasks:
        for number, connection in enumerate(pool[1:]):
            await connection.execute(f"set synchronous_commit = {'off' if number else 'on'}")
            tasks.create_task(write_until(connection, random.Random(choose.randrange(10**9)), enough))
        if choose.random() < 0.7:
            await pool[0].execute("set synchronous_commit = off")
        until = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < until:
            # A rolled-back transaction id: after a crash another transaction may get it again.
            with contextlib.suppress(RollBack):
                async with pool[0].transaction():
                    await pool[0].execute("select pg_current_xact_id()")
                    raise RollBack
            await pool[0].fetch(SCAN_SQL)
        enough.set()


@pytest.mark.postgres
async def test_checkpoint_after_a_crash_equals_a_scan(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHECKPOINT_SEED", random.randrange(10**9)))
    print(f"CHECKPOINT_SEED={seed}")
    choose = random.Random(seed)
    postgres = EmbeddedPostgres(tmp_path / "data", report=lambda line: None)
    url = await asyncio.to_thread(postgres.start)
    try:
        await migrate(url)
        await create_starter(url)
        for _ in range(4):
            writing = asyncio.create_task(write_and_scan(url, choose, 60))
            await asyncio.sleep(choose.uniform(0.5, 1.2))
            pid = postgres.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            await asyncio.wait([writing])
            assert writing.exception() is not None, "the crash came too late"
            while postgres.pid is not None:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(postgres.start)
            async with open_connections(url, 1) as (db,):
                assert await db.fetchval("select count(*) from orderwire.checkpoint")
                await compare_totals(db)
                for _ in range(20):  # with transaction ids that were rolled back before
                    await insert_orders(db, 1)
                await compare_totals(db)
    finally:
        await asyncio.to_thread(postgres.release)
