"""The gate opens and closes while many write and things break, with the fallback read switched off: a commit that neither
rang nor was read by the clock would never be published at all.

The servers here are the real listener and relay on a real PostgreSQL, without clients, and their pace is told, not measured.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import asyncpg
import pytest

import push.relay
from db.embedded import EmbeddedPostgres
from db.migrate import migrate
from push.events import EventPlace
from push.totals import Totals
from tests.faults.load import a_seed
from tests.faults.posts import Post, posts, terminate_listeners, truth
from tests.support import PATIENCE_SECONDS, connections, within

NEVER = 1e9
CYCLES = 45
WRITERS = 8
ADD = "insert into orders (customer_name, total) values ('c', 1)"


@pytest.fixture
def no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push.relay, "FALLBACK_SECONDS", NEVER)


async def some_transaction(db: Any, rng: random.Random) -> None:
    """Every way to end one, and every way to have part of it undone."""
    how = rng.random()
    if how < 0.5:
        await db.execute(ADD)
        return
    transaction = db.transaction(isolation=rng.choice(("read_committed", "repeatable_read")))
    await transaction.start()
    if rng.random() < 0.7:
        await db.execute(ADD)
    savepoint = db.transaction()
    await savepoint.start()
    await db.execute(ADD)
    await asyncio.sleep(rng.choice((0, 0, 0.01, 0.03)))
    await (savepoint.rollback() if rng.random() < 0.5 else savepoint.commit())
    if rng.random() < 0.3:
        await db.execute(ADD)
    await (transaction.rollback() if rng.random() < 0.2 else transaction.commit())


class Disturbance:
    """What happens to the servers meanwhile."""

    def __init__(self, url: str, db: Any, running: list[Post], rng: random.Random) -> None:
        self._url = url
        self._db = db
        self._running = running
        self._rng = rng

    async def happen(self) -> None:
        rng = self._rng
        for _ in range(rng.randint(1, 5)):
            await asyncio.sleep(rng.choice((0, 0.005, 0.02)))
            what = rng.random()
            if what < 0.75:
                by_clock = rng.random() < 0.5
                for post in rng.choice((self._running, self._running, [rng.choice(self._running)])):
                    await post.by_clock(by_clock)
            elif what < 0.9:
                await terminate_listeners(self._db, rng.randint(1, 2))
            else:
                # The first one lives on, so that it can be asked for everything at the end.
                await self._running[1].kill()
                self._running[1] = Post(self._url)


async def test_many_cycles_without_the_fallback_read(no_fallback: None, database_url: str, db: Any) -> None:
    rng = random.Random(a_seed())
    rung = asyncio.Event()
    rings = silent_cycles = opened = 0

    def hear(_connection: object, _pid: int, _channel: str, payload: str) -> None:
        nonlocal rings
        rings += '"events":[]' not in payload  # else a server rings in everybody's stead
        rung.set()

    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(posts(database_url, 2))
        writers = await stack.enter_async_context(connections(database_url, WRITERS + 2))
        late, ear = writers.pop(), writers.pop()
        await ear.add_listener("orders", hear)
        disturbance = Disturbance(database_url, db, running, rng)
        kept: Any = None
        for _ in range(CYCLES):
            before = rings

            async def write(connection: Any, seed: float) -> None:
                own = random.Random(seed)
                for _ in range(own.randint(1, 4)):
                    await some_transaction(connection, own)

            if kept is None and rng.random() < 0.5:
                for post in running:
                    await post.by_clock(True)
                    await post.until_open(True)
                kept = late.transaction()
                await kept.start()
                await late.execute(ADD)
            async with asyncio.TaskGroup() as group:
                group.create_task(disturbance.happen())
                for connection in writers:
                    group.create_task(write(connection, rng.random()))
            if kept is not None and rng.random() < 0.5:
                # Silent since long ago, and nothing comes after it.
                for post in running:
                    await post.by_clock(False)
                await asyncio.sleep(rng.choice((0, 0.05)))
                await kept.commit()
                kept = None
            wanted = await truth(db)
            for post in running:
                await post.until_totals(wanted)
            opened += running[0].open
            silent_cycles += rings == before
        if kept is not None:
            await kept.commit()
            for post in running:
                await post.until_totals(await truth(db))
        journal = {EventPlace(*row) for row in await db.fetch("select txid, id from orderwire.journal")}
        assert running[0].published == journal
        print(f"{len(journal)} events, {rings} rings, {silent_cycles} cycles without any, {opened} ended open")
        assert 0 < rings < len(journal)
        assert 0 < opened < CYCLES


async def test_closing_waits_for_whoever_may_commit_in_silence(no_fallback: None, database_url: str, db: Any) -> None:
    async with posts(database_url, 2) as running, connections(database_url, 1) as (writer,):
        for post in running:
            await post.by_clock(True)
            await post.until_open(True)
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute(ADD)
        for post in running:
            await post.by_clock(False)
        # Each round trip is a chance to close too early.
        for _ in range(20):
            await db.execute("select pg_sleep(0.01)")
            assert all(post.open for post in running)
        await terminate_listeners(db, 2)  # a new connection finds the same
        await db.execute(ADD)
        for post in running:
            await post.until_totals(Totals(1, 1, 1))  # type: ignore[arg-type]
        assert all(post.open for post in running)
        await transaction.commit()
        for post in running:
            await post.until_totals(await truth(db))
            await post.until_open(False)
        await db.execute(ADD)
        for post in running:
            await post.until_totals(await truth(db))


async def test_a_savepoint_that_is_rolled_back_holds_up_nobody(no_fallback: None, database_url: str, db: Any) -> None:
    async with posts(database_url, 1) as (post,), connections(database_url, 1) as (writer,):
        await post.by_clock(True)
        await post.until_open(True)
        await writer.execute(f"begin; savepoint s; {ADD}")
        await post.by_clock(False)
        await db.execute("select pg_sleep(0.1)")
        assert post.open
        await writer.execute("rollback to s")
        await post.until_open(False)
        await writer.execute(f"{ADD}; commit")
        await post.until_totals(await truth(db))


async def test_one_server_that_wants_rings_is_enough_for_all_to_ring(no_fallback: None, database_url: str, db: Any) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with posts(database_url, 2) as running, connections(database_url, 1) as (ear,):
        await running[0].by_clock(True)
        await running[0].until_open(True)
        await running[1].until_open(False)
        await ear.add_listener("orders", lambda *call: heard.put_nowait(call[3]))
        await db.execute(ADD)
        assert "new_order" in await within(PATIENCE_SECONDS, heard.get(), "the writer's ring")
        for post in running:
            await post.until_totals(await truth(db))
        # The last one that wanted them dies: from now on the other rings for everybody.
        await running[1].kill()
        told = ""
        while told != '{"type":"batch","events":[],"more":2}':
            if heard.empty():  # the writer may have had the turn itself until now
                await db.execute(f"begin; {ADD}; {ADD}; commit")
            told = await within(PATIENCE_SECONDS, heard.get(), "the server's ring")
        await running[0].until_totals(await truth(db))


@pytest.fixture
def two_phase(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that knows PREPARE TRANSACTION."""
    postgres = EmbeddedPostgres(tmp_path / "data", say=lambda line: None)

    async def allow() -> None:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("alter system set max_prepared_transactions = 5")
        await connection.close()
        await migrate(postgres.url)

    postgres.start()
    asyncio.run(allow())
    postgres.release()
    postgres.start()
    yield postgres
    postgres.release()


@pytest.mark.postgres
async def test_a_prepared_transaction_holds_up_nobody_and_comes_with_the_fallback(two_phase: EmbeddedPostgres) -> None:
    async with AsyncExitStack() as stack:
        (post,) = await stack.enter_async_context(posts(two_phase.url, 1))
        writer, db = await stack.enter_async_context(connections(two_phase.url, 2))
        await post.by_clock(True)
        await post.until_open(True)
        # Silent, hence it can be prepared; and prepared it keeps its lock, across a crash too.
        while True:
            await writer.execute(f"begin; {ADD}")
            with suppress(asyncpg.FeatureNotSupportedError):  # it had the turn, before the server took it
                await writer.execute("prepare transaction 'forgotten'")
                break
        assert await db.fetchval("select count(*) from pg_locks where locktype = 'advisory' and pid is null") > 0
        await post.by_clock(False)
        await post.until_open(False)
        await db.execute(ADD)
        await post.until_totals(await truth(db))
        await db.execute("commit prepared 'forgotten'")
        await post.until_totals(await truth(db))
        # With the ringing switched off, as two-phase commit needs while the gate is closed: the same.
        await writer.execute(f"set orders.notify = off; begin; {ADD}; prepare transaction 'quiet'")
        await writer.execute("commit prepared 'quiet'")
        await post.until_totals(await truth(db))


async def test_lock_functions_never_wait(database_url: str, db: Any) -> None:
    """Whatever a session, even one that is frozen, holds of the gate: writers and servers only try."""
    async with connections(database_url, 1) as (other,):
        await db.execute("set lock_timeout = 1; set statement_timeout = '30s'")
        for mode in ("", "_shared"):
            for key in (1, 2, 3):
                await other.execute(f"select pg_advisory_lock{mode}(1869767799, {key})")
                await db.execute(ADD)
                await db.execute("select orderwire.want_rings(), orderwire.silent_writers(), orderwire.take_turn()")
                await db.execute(ADD)
                await other.execute("select pg_advisory_unlock_all()")
                await db.execute("select pg_advisory_unlock_all()")


async def test_the_gate_needs_no_rights_but_those_on_orders(database_url: str, db: Any) -> None:
    await db.execute("drop role if exists gate_writer; create role gate_writer; grant insert on orders to gate_writer")
    await db.execute("revoke all on schema orderwire from gate_writer")
    async with posts(database_url, 1) as (post,):
        for by_clock in (True, False):
            await post.by_clock(by_clock)
            await post.until_open(by_clock)
            await db.execute(f"set role gate_writer; {ADD}; reset role")
            await post.until_totals(await truth(db))
    await db.execute("drop owned by gate_writer; drop role gate_writer")
