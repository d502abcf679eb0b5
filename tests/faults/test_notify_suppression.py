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

import push.journal.relay
from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate
from push.journal.events import EventId
from push.journal.totals import Totals
from tests.faults.load import random_seed
from tests.faults.relay_processes import HeadlessServer, start_headless_servers, terminate_listeners, totals_by_view
from tests.support import TIMEOUT_SECONDS, open_connections, within

NEVER_SECONDS = 1e9
CYCLES = 45
WRITERS = 8
INSERT_SQL = "insert into orders (customer_name, total) values ('c', 1)"


@pytest.fixture
def no_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(push.journal.relay, "FALLBACK_POLL_INTERVAL", NEVER_SECONDS)


async def random_transaction(db: Any, rng: random.Random) -> None:
    """Every way to end one, and every way to have part of it undone."""
    how = rng.random()
    if how < 0.5:
        await db.execute(INSERT_SQL)
        return
    transaction = db.transaction(isolation=rng.choice(("read_committed", "repeatable_read")))
    await transaction.start()
    if rng.random() < 0.7:
        await db.execute(INSERT_SQL)
    savepoint = db.transaction()
    await savepoint.start()
    await db.execute(INSERT_SQL)
    await asyncio.sleep(rng.choice((0, 0, 0.01, 0.03)))
    await (savepoint.rollback() if rng.random() < 0.5 else savepoint.commit())
    if rng.random() < 0.3:
        await db.execute(INSERT_SQL)
    await (transaction.rollback() if rng.random() < 0.2 else transaction.commit())


class FaultInjector:
    """What happens to the servers meanwhile."""

    def __init__(self, url: str, db: Any, servers: list[HeadlessServer], rng: random.Random) -> None:
        self._url = url
        self._db = db
        self._servers = servers
        self._rng = rng

    async def inject(self) -> None:
        rng = self._rng
        for _ in range(rng.randint(1, 5)):
            await asyncio.sleep(rng.choice((0, 0.005, 0.02)))
            what = rng.random()
            if what < 0.75:
                by_clock = rng.random() < 0.5
                for post in rng.choice((self._servers, self._servers, [rng.choice(self._servers)])):
                    await post.set_polling(by_clock)
            elif what < 0.9:
                await terminate_listeners(self._db, rng.randint(1, 2))
            else:
                # The first one lives on, so that it can be asked for everything at the end.
                await self._servers[1].kill()
                self._servers[1] = HeadlessServer(self._url)


async def test_many_cycles_without_the_fallback_read(no_fallback: None, database_url: str, db: Any) -> None:
    rng = random.Random(random_seed())
    rung = asyncio.Event()
    rings = silent_cycles = opened = 0

    def hear(_connection: object, _pid: int, _channel: str, payload: str) -> None:
        nonlocal rings
        rings += '"events":[]' not in payload  # else a server rings in everybody's stead
        rung.set()

    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(start_headless_servers(database_url, 2))
        writers = await stack.enter_async_context(open_connections(database_url, WRITERS + 2))
        late, ear = writers.pop(), writers.pop()
        await ear.add_listener("orders", hear)
        disturbance = FaultInjector(database_url, db, running, rng)
        kept: Any = None
        for _ in range(CYCLES):
            before = rings

            async def write(connection: Any, seed: float) -> None:
                own = random.Random(seed)
                for _ in range(own.randint(1, 4)):
                    await random_transaction(connection, own)

            if kept is None and rng.random() < 0.5:
                for post in running:
                    await post.set_polling(True)
                    await post.wait_notify_suppressed(True)
                kept = late.transaction()
                await kept.start()
                await late.execute(INSERT_SQL)
            async with asyncio.TaskGroup() as group:
                group.create_task(disturbance.inject())
                for connection in writers:
                    group.create_task(write(connection, rng.random()))
            if kept is not None and rng.random() < 0.5:
                # Silent since long ago, and nothing comes after it.
                for post in running:
                    await post.set_polling(False)
                await asyncio.sleep(rng.choice((0, 0.05)))
                await kept.commit()
                kept = None
            wanted = await totals_by_view(db)
            for post in running:
                await post.wait_totals(wanted)
            opened += running[0].is_notify_suppressed
            silent_cycles += rings == before
        if kept is not None:
            await kept.commit()
            for post in running:
                await post.wait_totals(await totals_by_view(db))
        journal = {EventId(*row) for row in await db.fetch("select txid, id from orderwire.journal")}
        assert running[0].published == journal
        print(f"{len(journal)} events, {rings} rings, {silent_cycles} cycles without any, {opened} ended open")
        assert 0 < rings < len(journal)
        assert 0 < opened < CYCLES


async def test_closing_waits_for_whoever_may_commit_in_silence(no_fallback: None, database_url: str, db: Any) -> None:
    async with start_headless_servers(database_url, 2) as running, open_connections(database_url, 1) as (writer,):
        for post in running:
            await post.set_polling(True)
            await post.wait_notify_suppressed(True)
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute(INSERT_SQL)
        for post in running:
            await post.set_polling(False)
        # Each round trip is a chance to close too early.
        for _ in range(20):
            await db.execute("select pg_sleep(0.01)")
            assert all(post.is_notify_suppressed for post in running)
        await terminate_listeners(db, 2)  # a new connection finds the same
        await db.execute(INSERT_SQL)
        for post in running:
            await post.wait_totals(Totals(1, 1, 1))  # type: ignore[arg-type]
        assert all(post.is_notify_suppressed for post in running)
        await transaction.commit()
        for post in running:
            await post.wait_totals(await totals_by_view(db))
            await post.wait_notify_suppressed(False)
        await db.execute(INSERT_SQL)
        for post in running:
            await post.wait_totals(await totals_by_view(db))


async def test_a_savepoint_that_is_rolled_back_holds_up_nobody(no_fallback: None, database_url: str, db: Any) -> None:
    async with start_headless_servers(database_url, 1) as (post,), open_connections(database_url, 1) as (writer,):
        await post.set_polling(True)
        await post.wait_notify_suppressed(True)
        await writer.execute(f"begin; savepoint s; {INSERT_SQL}")
        await post.set_polling(False)
        await db.execute("select pg_sleep(0.1)")
        assert post.is_notify_suppressed
        await writer.execute("rollback to s")
        await post.wait_notify_suppressed(False)
        await writer.execute(f"{INSERT_SQL}; commit")
        await post.wait_totals(await totals_by_view(db))


async def test_one_server_that_wants_rings_is_enough_for_all_to_ring(no_fallback: None, database_url: str, db: Any) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with start_headless_servers(database_url, 2) as running, open_connections(database_url, 1) as (ear,):
        await running[0].set_polling(True)
        await running[0].wait_notify_suppressed(True)
        await running[1].wait_notify_suppressed(False)
        await ear.add_listener("orders", lambda *call: heard.put_nowait(call[3]))
        await db.execute(INSERT_SQL)
        assert "new_order" in await within(TIMEOUT_SECONDS, heard.get(), "the writer's ring")
        for post in running:
            await post.wait_totals(await totals_by_view(db))
        # The last one that wanted them dies: from now on the other rings for everybody.
        await running[1].kill()
        told = ""
        while told != '{"type":"batch","events":[],"more":2}':
            if heard.empty():  # the writer may have had the turn itself until now
                await db.execute(f"begin; {INSERT_SQL}; {INSERT_SQL}; commit")
            told = await within(TIMEOUT_SECONDS, heard.get(), "the server's ring")
        await running[0].wait_totals(await totals_by_view(db))


@pytest.fixture
def two_phase(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that knows PREPARE TRANSACTION."""
    postgres = EmbeddedPostgres(tmp_path / "data", report=lambda line: None)

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
        (post,) = await stack.enter_async_context(start_headless_servers(two_phase.url, 1))
        writer, db = await stack.enter_async_context(open_connections(two_phase.url, 2))
        await post.set_polling(True)
        await post.wait_notify_suppressed(True)
        # Silent, hence it can be prepared; and prepared it keeps its lock, across a crash too.
        while True:
            await writer.execute(f"begin; {INSERT_SQL}")
            with suppress(asyncpg.FeatureNotSupportedError):  # it had the turn, before the server took it
                await writer.execute("prepare transaction 'forgotten'")
                break
        assert await db.fetchval("select count(*) from pg_locks where locktype = 'advisory' and pid is null") > 0
        await post.set_polling(False)
        await post.wait_notify_suppressed(False)
        await db.execute(INSERT_SQL)
        await post.wait_totals(await totals_by_view(db))
        await db.execute("commit prepared 'forgotten'")
        await post.wait_totals(await totals_by_view(db))
        # With the ringing switched off, as two-phase commit needs while the gate is closed: the same.
        await writer.execute(f"set orders.notify = off; begin; {INSERT_SQL}; prepare transaction 'quiet'")
        await writer.execute("commit prepared 'quiet'")
        await post.wait_totals(await totals_by_view(db))


async def test_lock_functions_never_wait(database_url: str, db: Any) -> None:
    """Whatever a session, even one that is frozen, holds of the gate: writers and servers only try."""
    async with open_connections(database_url, 1) as (other,):
        await db.execute("set lock_timeout = 1; set statement_timeout = '30s'")
        for mode in ("", "_shared"):
            for key in (1, 2, 3):
                await other.execute(f"select pg_advisory_lock{mode}(1869767799, {key})")
                await db.execute(INSERT_SQL)
                await db.execute("select orderwire.require_notify(), orderwire.silent_writers(), orderwire.become_notifier()")
                await db.execute(INSERT_SQL)
                await other.execute("select pg_advisory_unlock_all()")
                await db.execute("select pg_advisory_unlock_all()")


async def test_the_gate_needs_no_rights_but_those_on_orders(database_url: str, db: Any) -> None:
    await db.execute("drop role if exists gate_writer; create role gate_writer; grant insert on orders to gate_writer")
    await db.execute("revoke all on schema orderwire from gate_writer")
    async with start_headless_servers(database_url, 1) as (post,):
        for by_clock in (True, False):
            await post.set_polling(by_clock)
            await post.wait_notify_suppressed(by_clock)
            await db.execute(f"set role gate_writer; {INSERT_SQL}; reset role")
            await post.wait_totals(await totals_by_view(db))
    await db.execute("drop owned by gate_writer; drop role gate_writer")
