"""Notify suppression begins and ends under concurrent writes and faults, without the fallback read: a commit that neither sent
a notification nor was read by polling would never be published.

The servers are the real listener and relay on a real PostgreSQL, without clients, with a notify policy that the tests set.
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
from db.migrate import create_starter, migrate
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
    """A random transaction: committed or rolled back, with or without a savepoint that is released or rolled back."""
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
    """Changes the notify policies, terminates listeners and kills servers at random."""

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
                for server in rng.choice((self._servers, self._servers, [rng.choice(self._servers)])):
                    await server.set_polling(by_clock)
            elif what < 0.9:
                await terminate_listeners(self._db, rng.randint(1, 2))
            else:
                # Never the first server: at the end it must have published every event.
                await self._servers[1].kill()
                self._servers[1] = HeadlessServer(self._url)


async def test_many_cycles_without_the_fallback_read(no_fallback: None, database_url: str, db: Any) -> None:
    rng = random.Random(random_seed())
    notified = asyncio.Event()
    notifications = silent_cycles = suppressed_cycles = 0

    def on_notify(_connection: object, _pid: int, _channel: str, payload: str) -> None:
        nonlocal notifications
        notifications += '"events":[]' not in payload  # without events a server notified on behalf of writers
        notified.set()

    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(start_headless_servers(database_url, 2))
        writers = await stack.enter_async_context(open_connections(database_url, WRITERS + 2))
        late, listening = writers.pop(), writers.pop()
        await listening.add_listener("orders", on_notify)
        faults = FaultInjector(database_url, db, running, rng)
        open_transaction: Any = None
        for _ in range(CYCLES):
            before = notifications

            async def write(connection: Any, seed: float) -> None:
                own = random.Random(seed)
                for _ in range(own.randint(1, 4)):
                    await random_transaction(connection, own)

            if open_transaction is None and rng.random() < 0.5:
                for server in running:
                    await server.set_polling(True)
                    await server.wait_notify_suppressed(True)
                open_transaction = late.transaction()
                await open_transaction.start()
                await late.execute(INSERT_SQL)
            async with asyncio.TaskGroup() as group:
                group.create_task(faults.inject())
                for connection in writers:
                    group.create_task(write(connection, rng.random()))
            if open_transaction is not None and rng.random() < 0.5:
                # Its notification was suppressed long ago, and no other commit follows.
                for server in running:
                    await server.set_polling(False)
                await asyncio.sleep(rng.choice((0, 0.05)))
                await open_transaction.commit()
                open_transaction = None
            wanted = await totals_by_view(db)
            for server in running:
                await server.wait_totals(wanted)
            suppressed_cycles += running[0].is_notify_suppressed
            silent_cycles += notifications == before
        if open_transaction is not None:
            await open_transaction.commit()
            for server in running:
                await server.wait_totals(await totals_by_view(db))
        tagged = "select txid, id, orderwire.event_tag(at) from orderwire.journal"
        journal = {EventId(*row) for row in await db.fetch(tagged)}
        assert running[0].published == journal
        print(f"{len(journal)} events, {notifications} notified; {silent_cycles} silent cycles, {suppressed_cycles} suppressed")
        assert 0 < notifications < len(journal)
        assert 0 < suppressed_cycles < CYCLES


async def test_suppression_ends_only_after_every_silent_transaction(no_fallback: None, database_url: str, db: Any) -> None:
    async with start_headless_servers(database_url, 2) as running, open_connections(database_url, 1) as (writer,):
        for server in running:
            await server.set_polling(True)
            await server.wait_notify_suppressed(True)
        transaction = writer.transaction()
        await transaction.start()
        await writer.execute(INSERT_SQL)
        for server in running:
            await server.set_polling(False)
        # Each round trip could end the suppression too early.
        for _ in range(20):
            await db.execute("select pg_sleep(0.01)")
            assert all(server.is_notify_suppressed for server in running)
        await terminate_listeners(db, 2)  # a new connection must find the same state
        await db.execute(INSERT_SQL)
        for server in running:
            await server.wait_totals(Totals(1, 1, 1))  # type: ignore[arg-type]
        assert all(server.is_notify_suppressed for server in running)
        await transaction.commit()
        for server in running:
            await server.wait_totals(await totals_by_view(db))
            await server.wait_notify_suppressed(False)
        await db.execute(INSERT_SQL)
        for server in running:
            await server.wait_totals(await totals_by_view(db))


async def test_rolled_back_savepoint_does_not_prolong_suppression(no_fallback: None, database_url: str, db: Any) -> None:
    async with start_headless_servers(database_url, 1) as (server,), open_connections(database_url, 1) as (writer,):
        await server.set_polling(True)
        await server.wait_notify_suppressed(True)
        await writer.execute(f"begin; savepoint s; {INSERT_SQL}")
        await server.set_polling(False)
        await db.execute("select pg_sleep(0.1)")
        assert server.is_notify_suppressed
        await writer.execute("rollback to s")
        await server.wait_notify_suppressed(False)
        await writer.execute(f"{INSERT_SQL}; commit")
        await server.wait_totals(await totals_by_view(db))


async def test_one_server_that_requires_notify_makes_every_writer_notify(no_fallback: None, database_url: str, db: Any) -> None:
    payloads: asyncio.Queue[str] = asyncio.Queue()
    async with start_headless_servers(database_url, 2) as running, open_connections(database_url, 1) as (listening,):
        await running[0].set_polling(True)
        await running[0].wait_notify_suppressed(True)
        await running[1].wait_notify_suppressed(False)
        await listening.add_listener("orders", lambda *call: payloads.put_nowait(call[3]))
        await db.execute(INSERT_SQL)
        assert "new_order" in await within(TIMEOUT_SECONDS, payloads.get(), "the writer's notification")
        for server in running:
            await server.wait_totals(await totals_by_view(db))
        # The only server that required NOTIFY dies: the other one now notifies on behalf of the writers.
        await running[1].kill()
        payload = ""
        while payload != '{"type":"batch","events":[],"more":2}':
            if payloads.empty():  # the writer may have been the notifier until now
                await db.execute(f"begin; {INSERT_SQL}; {INSERT_SQL}; commit")
            payload = await within(TIMEOUT_SECONDS, payloads.get(), "the server's notification")
        await running[0].wait_totals(await totals_by_view(db))


@pytest.fixture
def two_phase(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL with prepared transactions enabled."""
    postgres = EmbeddedPostgres(tmp_path / "data", report=lambda line: None)

    async def allow() -> None:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute("alter system set max_prepared_transactions = 5")
        await connection.close()
        await migrate(postgres.url)
        await create_starter(postgres.url)

    postgres.start()
    asyncio.run(allow())
    postgres.release()
    postgres.start()
    yield postgres
    postgres.release()


@pytest.mark.postgres
async def test_prepared_transaction_does_not_prolong_suppression_and_is_polled(two_phase: EmbeddedPostgres) -> None:
    async with AsyncExitStack() as stack:
        (server,) = await stack.enter_async_context(start_headless_servers(two_phase.url, 1))
        writer, db = await stack.enter_async_context(open_connections(two_phase.url, 2))
        await server.set_polling(True)
        await server.wait_notify_suppressed(True)
        # Without NOTIFY it can be prepared, and then keeps its lock, even across a crash.
        while True:
            await writer.execute(f"begin; {INSERT_SQL}")
            with suppress(asyncpg.FeatureNotSupportedError):  # the writer was still the notifier
                await writer.execute("prepare transaction 'forgotten'")
                break
        assert await db.fetchval("select count(*) from pg_locks where locktype = 'advisory' and pid is null") > 0
        await server.set_polling(False)
        await server.wait_notify_suppressed(False)
        await db.execute(INSERT_SQL)
        await server.wait_totals(await totals_by_view(db))
        await db.execute("commit prepared 'forgotten'")
        await server.wait_totals(await totals_by_view(db))
        # The same with orders.notify = off, which two-phase commit needs while NOTIFY is not suppressed.
        await writer.execute(f"set orders.notify = off; begin; {INSERT_SQL}; prepare transaction 'quiet'")
        await writer.execute("commit prepared 'quiet'")
        await server.wait_totals(await totals_by_view(db))


async def test_lock_functions_never_wait(database_url: str, db: Any) -> None:
    """Writers and servers only try the advisory locks of notify suppression: a session that holds one blocks nothing."""
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


async def test_notify_suppression_needs_only_privileges_on_orders(database_url: str, db: Any) -> None:
    await db.execute("drop role if exists plain_writer; create role plain_writer; grant insert on orders to plain_writer")
    await db.execute("revoke all on schema orderwire from plain_writer")
    async with start_headless_servers(database_url, 1) as (server,):
        for by_clock in (True, False):
            await server.set_polling(by_clock)
            await server.wait_notify_suppressed(by_clock)
            await db.execute(f"set role plain_writer; {INSERT_SQL}; reset role")
            await server.wait_totals(await totals_by_view(db))
    await db.execute("drop owned by plain_writer; drop role plain_writer")
