"""The audit corrects totals after changes without an event; a copied, reinstalled or truncated journal gets a new epoch."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Never

import asyncpg
import pytest

from db.database import Database
from db.embedded.postgres import EmbeddedPostgres
from db.errors import DatabaseUnavailable
from db.listener import Listener
from db.migrate import migrate
from push.delivery.hub import Hub
from push.journal.audit import Audit
from push.journal.events import Page, Snapshot
from push.journal.queries import Baseline, JournalConnection
from push.journal.relay import Relay
from tests.support import TIMEOUT_SECONDS, Client, Connect, Process, Server, StartServer, open_connections, within

FREQUENT_AUDITS = {"AUDIT_SECONDS": "0.1"}
WRITER_COUNT = 6


async def insert_order(db: Any, customer: str) -> None:
    await db.execute("insert into orders (customer_name, total) values ($1, 10)", customer)


async def connected_after_one_event(server: Server, connect: Connect, db: Any) -> Client:
    client: Client = await connect(server.ws_url)
    await insert_order(db, "first")
    await client.wait_until(lambda c: len(c.events) == 1, "the first event")
    return client


def has_received_a_gap(client: Client) -> bool:
    results = [(message["recovered"], message["replayed"]) for message in client.of_type("resumed")]
    return (False, 0) in results and len(set(results)) == 1


async def expect_no_resume(server: Server, connect: Connect, cursor: str) -> None:
    client: Client = await connect(f"{server.ws_url}?last_event_id={cursor}")
    await client.wait_until(lambda c: bool(c.of_type("resumed")), "the result of the resume")
    assert has_received_a_gap(client)


@pytest.mark.parametrize(
    ("disable_triggers", "enable_triggers"),
    [
        ("set session_replication_role = replica", "reset session_replication_role"),
        ("alter table orders disable trigger all", "alter table orders enable trigger all"),
    ],
)
async def test_totals_are_corrected_after_changes_without_events(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, disable_triggers: str, enable_triggers: str
) -> None:
    server: Server = await start_server(database_url, **FREQUENT_AUDITS)
    client = await connected_after_one_event(server, connect, db)
    await db.execute(disable_triggers)
    await db.execute("insert into orders (customer_name, total) select 'silent', 5 from generate_series(1, 7)")
    await db.execute("update orders set status = 'ready' where customer_name = 'first'")
    await db.execute(enable_triggers)
    # The audit may run between the two changes, and then corrects the totals twice.
    expected = {"type": "analytics_update", "total_orders": 8, "total_revenue": "45.00", "pending_orders": 7}
    await client.wait_until(lambda c: c.totals == expected, "corrected totals")
    assert "WARNING the totals had drifted by +7 orders, +35.00" in await server.wait_for_line("drifted")
    await insert_order(db, "with an event")
    await client.wait_until(lambda c: c.totals["total_orders"] == 9, "later changes are added")
    assert [event["customer_name"] for event in client.events] == ["first", "with an event"]


@contextlib.asynccontextmanager
async def relay_in_process(
    url: str, connections: list[JournalConnection] | None = None
) -> AsyncIterator[tuple[Relay, Database]]:
    """A relay and a database without a server. ``connections`` collects the journal connections that the relay follows."""
    relay = Relay(Hub())

    async def follow(connection: JournalConnection) -> Never:
        if connections is not None:
            connections.append(connection)
        await relay.follow(connection)

    following = asyncio.create_task(Listener(url, lambda: migrate(url), follow).run())
    try:
        async with Database(url).open() as database:
            await within(30, relay.started.wait(), "the start of the relay")
            yield relay, database
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


async def write_orders(connection: Any, rng: random.Random, stop: asyncio.Event) -> None:
    while not stop.is_set():
        with contextlib.suppress(asyncpg.SerializationError, asyncpg.DeadlockDetectedError, ZeroDivisionError):
            async with connection.transaction(isolation=rng.choice(["read_committed", "repeatable_read"])):
                await connection.execute(
                    "insert into orders (customer_name, total) select 'c', n from generate_series(1, $1::int) n",
                    rng.choice([1, 3, 400]),
                )
                await connection.execute(
                    "update orders set status = 'ready', total = total + 1 where id % 50 = $1", rng.randrange(50)
                )
                await connection.execute("delete from orders where id % 70 = $1", rng.randrange(70))
                await connection.execute("select pg_sleep($1)", rng.random() / 50)
                if rng.random() < 0.2:
                    raise ZeroDivisionError


async def test_audit_reports_no_drift_during_concurrent_writes(database_url: str) -> None:
    seed = int(os.environ.get("AUDIT_SEED", random.randrange(10**9)))
    print(f"AUDIT_SEED={seed}")
    stop = asyncio.Event()
    async with open_connections(database_url, WRITER_COUNT) as writers, relay_in_process(database_url) as (relay, database):
        audit = Audit(relay, database.journal)
        compared = 0
        async with asyncio.timeout(3 * TIMEOUT_SECONDS), asyncio.TaskGroup() as tasks:
            for number, connection in enumerate(writers):
                tasks.create_task(write_orders(connection, random.Random(seed + number), stop))
            while compared < 100:
                before = relay.totals
                assert await audit.run_once() is None
                compared += relay.totals != before
            stop.set()


async def test_audit_reports_no_drift_before_the_relay_has_noticed_a_crash(database_url: str, db: Any) -> None:
    """A crash can reuse transaction ids that the relay has counted as finished; it has yet to read their changes."""
    connections: list[JournalConnection] = []
    async with relay_in_process(database_url, connections) as (relay, database):
        (connection,) = connections
        scanned, release = asyncio.Event(), asyncio.Event()
        page, scan_totals = connection.page, database.journal.scan_totals

        async def delayed_page(*args: Any) -> Page:
            await release.wait()
            return await page(*args)

        async def observed_scan() -> Baseline:
            try:
                return await scan_totals()
            finally:
                scanned.set()

        connection.page = delayed_page  # type: ignore[method-assign, assignment]
        database.journal.scan_totals = observed_scan  # type: ignore[method-assign]
        relay._read_snapshot = Snapshot(2**40, 2**40)
        await insert_order(db, "not read yet")
        auditing = asyncio.create_task(Audit(relay, database.journal).run_once())
        await within(30, scanned.wait(), "the scan")
        for _ in range(10):
            await asyncio.sleep(0)
        release.set()
        async with asyncio.timeout(30):
            assert await auditing is None
        assert relay.totals.orders == 1


FROM_CHECKPOINT = "from the checkpoint and the journal since"


async def test_start_from_a_checkpoint_has_the_totals_and_runs_an_audit_soon(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    rare_audits = {"AUDIT_SECONDS": "3600", "LOG_LEVEL": "DEBUG"}
    await insert_order(db, "before")
    first: Server = await start_server(database_url, **rare_audits)
    await first.wait_for_line("totals and position by a scan")
    async with db.transaction():
        await db.execute("set local session_replication_role = replica")
        await db.execute("insert into orders (customer_name, total) values ('silent', 5)")
    await insert_order(db, "after")
    await first.kill()

    second: Server = await start_server(database_url, **rare_audits)
    await second.wait_for_line(FROM_CHECKPOINT)
    client: Client = await connect(second.ws_url)
    await client.wait_until(lambda c: bool(c.messages), "the first frame")
    await client.wait_until(lambda c: c.totals["total_orders"] == 3, "the change without an event is found at the first audit")
    assert "drifted by +1 orders, +5.00" in await second.wait_for_line("drifted")
    assert client.totals["total_revenue"] == "25.00"
    await insert_order(db, "live")
    await client.wait_until(lambda c: c.totals["total_orders"] == 4, "later changes are added")
    await second.kill()

    # The audit has saved its count as a checkpoint, so the third server starts with the right totals.
    third: Server = await start_server(database_url, **rare_audits)
    await third.wait_for_line(FROM_CHECKPOINT)
    client_of_third: Client = await connect(third.ws_url)
    await client_of_third.wait_until(lambda c: bool(c.messages), "the first frame")
    assert client_of_third.messages[0] == {
        "type": "analytics_update",
        "total_orders": 4,
        "total_revenue": "35.00",
        "pending_orders": 4,
    }


async def wait_until_verified(relay: Relay) -> None:
    while not relay.totals_verified:
        await asyncio.sleep(0.05)


async def test_first_audit_is_repeated_soon_until_it_succeeds(database_url: str, db: Any) -> None:
    async with relay_in_process(database_url) as (relay, _):
        assert relay.totals_verified, "the first start counts all orders"
    async with relay_in_process(database_url) as (relay, database):
        assert not relay.totals_verified
        failed = asyncio.Event()
        scan_totals = database.journal.scan_totals

        async def fail_once() -> Baseline:
            if not failed.is_set():
                failed.set()
                raise DatabaseUnavailable("only once")
            return await scan_totals()

        database.journal.scan_totals = fail_once  # type: ignore[method-assign]
        auditing = asyncio.create_task(Audit(relay, database.journal).run(3600))
        await within(30, failed.wait(), "the first audit")
        await within(30, wait_until_verified(relay), "the second audit")
        auditing.cancel()


async def run_program(postgres: EmbeddedPostgres, program: str, *arguments: str) -> None:
    process = await Process.start(str(postgres.bin_dir / program), *arguments)
    assert await process.wait_for_exit() == 0, process.output


async def test_restored_dump_has_a_new_epoch(
    postgres: EmbeddedPostgres,
    start_server: StartServer,
    connect: Connect,
    database_url: str,
    empty_database_url: str,
    db: Any,
    tmp_path: Path,
) -> None:
    client = await connected_after_one_event(await start_server(database_url), connect, db)
    cursor = client.events[0]["id"]
    # A wrong checkpoint, which a server must not use on the restored copy, since it belongs to another journal.
    await db.execute("update orderwire.checkpoint set total_orders = 1000")
    await run_program(postgres, "pg_dump", "--format=custom", f"--file={tmp_path / 'dump'}", database_url)
    await run_program(postgres, "pg_restore", "--exit-on-error", f"--dbname={empty_database_url}", str(tmp_path / "dump"))

    server: Server = await start_server(empty_database_url)
    await expect_no_resume(server, connect, cursor)
    client_of_copy: Client = await connect(server.ws_url)
    copy = await asyncpg.connect(empty_database_url)
    await insert_order(copy, "in the copy")
    await copy.close()
    await client_of_copy.wait_until(
        lambda c: len(c.events) == 1 and c.totals["total_orders"] == 2, "events and totals of the copy"
    )
    assert client_of_copy.events[0]["id"].split("-")[0] != cursor.split("-")[0]


async def test_servers_that_identify_a_copy_concurrently_get_the_same_epoch(database_url: str, db: Any) -> None:
    identify = "select epoch from orderwire.identify(null, '{}', '{}')"
    await insert_order(db, "from before the copy")
    await db.execute("update orderwire.journal_identity set database_oid = 1")
    async with open_connections(database_url, 2) as (first, second):
        transaction = first.transaction()
        await transaction.start()
        epoch = await first.fetchval(identify)
        second_epoch = asyncio.create_task(second.fetchval(identify))
        is_waiting = "select exists (select from pg_locks where not granted and pid = $1)"
        while not await db.fetchval(is_waiting, second.get_server_pid()):
            assert not second_epoch.done(), "it must wait for the first transaction"
        await insert_order(first, "after it")
        await transaction.commit()
        await within(30, asyncio.wait([second_epoch]), "the second epoch")
        assert second_epoch.result() == epoch
    assert [row[0] for row in await db.fetch("select customer_name from orderwire.journal")] == ["after it"]


async def test_reinstalled_schema_has_a_new_epoch(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, **FREQUENT_AUDITS)
    client = await connected_after_one_event(server, connect, db)
    await db.execute("drop schema orderwire cascade; drop view if exists order_analytics")
    await server.wait_for_line("no connection to PostgreSQL")
    await insert_order_without_schema(db)
    await migrate(database_url)
    await client.wait_until(has_received_a_gap, "the gap")
    await client.wait_until(lambda c: c.totals["total_orders"] == 2, "the new totals")
    orders = 2
    # The audit may announce another gap, which covers an order inserted before it: insert until an event arrives.
    while len(client.events) == 1:
        orders += 1
        await insert_order(db, "after it")
        await client.wait_until(lambda c: c.totals["total_orders"] == orders, "the totals with the next order")  # noqa: B023
    await expect_no_resume(server, connect, client.events[0]["id"])


async def insert_order_without_schema(db: Any) -> None:
    """Insert an order while the schema is missing, which otherwise assigns the order number."""
    await db.execute("insert into orders (order_number, customer_name, total) values ('by hand', 'in between', 10)")


async def test_vanished_events_are_a_gap_and_start_a_new_epoch(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, **FREQUENT_AUDITS)
    client = await connected_after_one_event(server, connect, db)
    # The state after a crash with synchronous_commit = off: the event was delivered, and the event and its order are lost.
    async with db.transaction():
        await db.execute("set local session_replication_role = replica")
        await db.execute("delete from orders")
        await db.execute("delete from orderwire.journal")
    await client.wait_until(has_received_a_gap, "the gap")
    await client.wait_until(lambda c: c.totals["total_orders"] == 0, "the new totals")
    orders = 0
    while len(client.events) == 1:
        orders += 1
        await insert_order(db, "after it")
        await client.wait_until(lambda c: c.totals["total_orders"] == orders, "the totals with the next order")  # noqa: B023
    assert client.events[1]["id"].split("-")[0] != client.events[0]["id"].split("-")[0]
    await expect_no_resume(server, connect, client.events[0]["id"])
