"""The audit compares the totals of a relay with the database while others write, and never finds a difference wrongly."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from typing import Any, Never

import asyncpg

from db.database import Database
from db.errors import DatabaseUnavailable
from db.listener import Listener
from db.migrate import migrate
from push.delivery.hub import Hub
from push.journal.audit import Audit
from push.journal.events import Page, Snapshot
from push.journal.queries import Baseline, JournalConnection
from push.journal.relay import Relay
from tests.support import TIMEOUT_SECONDS, open_connections, within

WRITERS = 6


class WatchedHub(Hub):
    """A hub for which the relay reads as often as with clients."""

    @property
    def has_clients(self) -> bool:
        return True


async def order(db: Any, name: str) -> None:
    await db.execute("insert into orders (customer_name, total) values ($1, 10)", name)


@contextlib.asynccontextmanager
async def relay_in_process(
    url: str, connections: list[JournalConnection] | None = None
) -> AsyncIterator[tuple[Relay, Database]]:
    """A relay that follows the database. ``connections``: collects the connections that it uses."""
    relay = Relay(WatchedHub())

    async def follow(connection: JournalConnection) -> Never:
        if connections is not None:
            connections.append(connection)
        await relay.follow(connection)

    following = asyncio.create_task(Listener(url, lambda: migrate(url), follow).run())
    try:
        async with Database(url).open() as database:
            await within(30, relay.started.wait(), "events flow")
            yield relay, database
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def write(connection: Any, choose: random.Random, stop: asyncio.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(asyncpg.SerializationError, asyncpg.DeadlockDetectedError, ZeroDivisionError):
            async with connection.transaction(isolation=choose.choice(["read_committed", "repeatable_read"])):
                await connection.execute(
                    "insert into orders (customer_name, total) select 'c', n from generate_series(1, $1::int) n",
                    choose.choice([1, 3, 400]),
                )
                await connection.execute(
                    "update orders set status = 'ready', total = total + 1 where id % 50 = $1", choose.randrange(50)
                )
                await connection.execute("delete from orders where id % 70 = $1", choose.randrange(70))
                await connection.execute("select pg_sleep($1)", choose.random() / 50)
                if choose.random() < 0.2:
                    raise ZeroDivisionError


async def test_the_audit_finds_no_difference_while_others_write(database_url: str) -> None:
    seed = int(os.environ.get("AUDIT_SEED", random.randrange(10**9)))
    print(f"AUDIT_SEED={seed}")
    stop = asyncio.Event()
    async with open_connections(database_url, WRITERS) as writers, relay_in_process(database_url) as (relay, database):
        audit = Audit(relay, database.journal)
        compared = 0
        async with asyncio.timeout(3 * TIMEOUT_SECONDS), asyncio.TaskGroup() as tasks:
            for number, connection in enumerate(writers):
                tasks.create_task(write(connection, random.Random(seed + number), stop))
            while compared < 100:
                before = relay.totals
                assert await audit.run_once() is None
                compared += relay.totals != before
            stop.set()


async def test_the_audit_finds_no_difference_before_the_relay_has_noticed_a_crash(database_url: str, db: Any) -> None:
    """After a crash, new transactions have ids that the relay has seen end before; it has not read their changes yet."""
    connections: list[JournalConnection] = []
    async with relay_in_process(database_url, connections) as (relay, database):
        (connection,) = connections
        scanned, resume = asyncio.Event(), asyncio.Event()
        page, scan_totals = connection.page, database.journal.scan_totals

        async def blocked_page(*args: Any) -> Page:
            await resume.wait()
            return await page(*args)

        async def observed_scan() -> Baseline:
            try:
                return await scan_totals()
            finally:
                scanned.set()

        connection.page = blocked_page  # type: ignore[method-assign, assignment]
        database.journal.scan_totals = observed_scan  # type: ignore[method-assign]
        relay._read_snapshot = Snapshot(2**40, 2**40)
        await order(db, "not read yet")
        auditing = asyncio.create_task(Audit(relay, database.journal).run_once())
        await within(30, scanned.wait(), "the scan")
        for _ in range(10):
            await asyncio.sleep(0)
        resume.set()
        async with asyncio.timeout(30):
            assert await auditing is None
        assert relay.totals.orders == 1


async def until_verified(relay: Relay) -> None:
    while not relay.totals_verified:
        await asyncio.sleep(0.05)


async def test_a_failed_first_audit_is_soon_repeated(database_url: str, db: Any) -> None:
    async with relay_in_process(database_url) as (relay, _):
        assert relay.totals_verified, "by a scan, which is also the next checkpoint"
    async with relay_in_process(database_url) as (relay, database):
        assert not relay.totals_verified
        asked = asyncio.Event()
        scan_totals = database.journal.scan_totals

        async def fails_at_first() -> Baseline:
            if not asked.is_set():
                asked.set()
                raise DatabaseUnavailable("the first time")
            return await scan_totals()

        database.journal.scan_totals = fails_at_first  # type: ignore[method-assign]
        auditing = asyncio.create_task(Audit(relay, database.journal).run(3600))
        await within(30, asked.wait(), "the first audit")
        await within(30, until_verified(relay), "the second one")
        auditing.cancel()
