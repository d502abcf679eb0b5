"""Each client receives every event once, in order, with exact totals, under concurrent writes and faults."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.faults.load import WriteLoad, random_seed
from tests.helpers.raw_websocket import RawWebSocket
from tests.support import TIMEOUT_SECONDS, Message, Server, StartServer, within

CHANGES = 50_000
CLIENTS = 20
CRASHES = 3
# The clients run in the process of the writers, which a busy machine may leave without a processor for longer than the server
# waits for its clients. Slow clients have tests of their own.
SEND_QUEUE = {"SEND_QUEUE_FRAMES": "100000", "SEND_QUEUE_BYTES": "100MiB"}


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL of this test alone, which it kills."""
    postgres = EmbeddedPostgres(tmp_path / "data", report=lambda line: None)
    postgres.start()
    yield postgres
    postgres.release()


async def run_and_compare(
    server: Server, url: str, inject_fault: Callable[[WriteLoad], Coroutine[Any, Any, None]]
) -> WriteLoad:
    """Run the writers together with ``inject_fault``; then compare the events of each client with the journal."""
    load = WriteLoad(url, random_seed(), CHANGES)
    parsed: dict[bytes, Message] = {}
    clients = [await RawWebSocket.connect(server.ws_url, parsed=parsed) for _ in range(CLIENTS)]
    try:
        await within(3 * TIMEOUT_SECONDS, load.run_while(inject_fault(load)), "the writers' work")

        connection = await asyncpg.connect(url)
        await commit_late(url, connection, clients[0])
        journal = await connection.fetch(
            "select j.id, j.key::bigint as order_id, e.event ->> 'id' as cursor "
            "from orderwire.journal as j join orderwire.events as e using (txid, id) order by j.id"
        )
        totals = await connection.fetchrow("select * from order_analytics")
        assert totals is not None
        await connection.close()
        print(f"{len(journal)} changes committed, {load.rolled_back_changes} rolled back, {load.unknown_outcomes} unknown")
        for client in clients:
            await client.wait_until(lambda c: len(c.events) >= len(journal), f"{len(journal)} events")
            await client.wait_until(lambda c: totals_tuple(c.totals) == tuple(totals), f"totals {tuple(totals)}")
        # The close frame is the next frame: no further event is pending.
        assert await server.stop() == 0
        for client in clients:
            await client.wait_until(lambda c: c.close_code is not None, "close")
    finally:
        for client in clients:
            await client.disconnect()

    ids = {row["cursor"]: row["id"] for row in journal}
    order_of = {row["cursor"]: row["order_id"] for row in journal}
    for number, client in enumerate(clients):
        assert totals_tuple(client.totals) == tuple(totals)
        assert client.close_code == 3001
        if number > 0 and client.events == clients[0].events:
            continue  # most have the same sequence, which has been compared
        times = Counter(event["id"] for event in client.events)
        assert [cursor for cursor in ids if cursor not in times] == [], "lost"
        assert [cursor for cursor in times if cursor not in ids] == [], "never committed"
        assert [cursor for cursor, n in times.items() if n > 1] == [], "more than once"
        last: dict[int, int] = {}
        for event in client.events:
            assert event["order_id"] == order_of[event["id"]]
            assert ids[event["id"]] > last.get(event["order_id"], 0), f"events of order {event['order_id']} out of order"
            last[event["order_id"]] = ids[event["id"]]

    assert len(journal) >= load.committed_changes >= CHANGES
    assert load.rolled_back_changes > CHANGES / 100
    out_of_order = sum(ids[a["id"]] > ids[b["id"]] for a, b in itertools.pairwise(clients[0].events))
    assert out_of_order > 0, "all commits were in the order of ids: this run tests nothing"
    return load


async def commit_late(url: str, connection: asyncpg.Connection[asyncpg.Record], client: RawWebSocket) -> None:
    """Commit one event with a smaller id than one that was delivered, in case the load has none."""
    late = await asyncpg.connect(url)
    async with late.transaction():
        await late.execute("insert into orders (customer_name, total) values ('late', 1)")
        await connection.execute("insert into orders (customer_name, total) values ('early', 1)")
        await client.wait_until(lambda c: any(e.get("customer_name") == "early" for e in c.events[-100:]), "the early event")
    await late.close()


def totals_tuple(totals: Message) -> tuple[int, Decimal, int]:
    return totals["total_orders"], Decimal(totals["total_revenue"]), totals["pending_orders"]


@pytest.mark.parametrize("mode", ["always", "never"])  # the other tests use the default, auto
async def test_every_client_gets_every_event_once_and_in_order(start_server: StartServer, database_url: str, mode: str) -> None:
    server: Server = await start_server(database_url, NOTIFY_MODE=mode, **SEND_QUEUE)

    async def no_fault(load: WriteLoad) -> None:
        pass

    load = await run_and_compare(server, database_url, no_fault)
    assert load.unknown_outcomes == 0


async def test_delivery_while_the_listen_connection_is_terminated_five_times_a_second(
    start_server: StartServer, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, **SEND_QUEUE)
    cuts = 0

    async def cut(load: WriteLoad) -> None:
        nonlocal cuts
        while True:
            load.must_go_on = cuts < 10
            cuts += await db.fetchval(
                """
                select count(*) filter (where pg_terminate_backend(pid))
                from pg_stat_activity
                where application_name = 'orderwire listener' and datname = current_database()
                """
            )
            await asyncio.sleep(0.2)

    await run_and_compare(server, database_url, cut)
    assert cuts >= 10


@pytest.mark.postgres
async def test_delivery_across_crashes_of_postgres(start_server: StartServer, own_postgres: EmbeddedPostgres) -> None:
    url = own_postgres.url
    await migrate(url)
    await create_starter(url)
    server: Server = await start_server(url, **SEND_QUEUE)
    crashes = 0

    async def crash(load: WriteLoad) -> None:
        nonlocal crashes
        for crash in range(CRASHES):
            await load.wait_for_fraction((crash + 1) / (CRASHES + 1))
            killed = own_postgres.pid
            assert killed is not None
            os.kill(killed, signal.SIGKILL)
            while own_postgres.pid == killed:
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(own_postgres.start) == url
            crashes += 1

    load = await run_and_compare(server, url, crash)
    assert crashes == CRASHES
    assert load.unknown_outcomes > 0
