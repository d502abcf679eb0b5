"""Several servers with a broker between them: relay and broker are killed, frozen and lost, and nothing is missing."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bus.connection import BrokerOptions, open_connection
from bus.local.nodes import BrokerNodes
from bus.nats import Subjects
from bus.timeline import TimelineKey
from tests.helpers.metrics import metric_sum
from tests.helpers.tokens import SECRET, token
from tests.support import Client, Connect, Server, StartServer, wait_until

pytestmark = pytest.mark.postgres

INSERT = "insert into orders (customer_name, total) values ('Anna', 1)"
RELAY_LINE = "this server reads the journal for all others"
EDGE_LINE = "this server gets its events from another one, through NATS"


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[BrokerNodes]:
    nodes = BrokerNodes(tmp_path / "broker", count=1)
    await nodes.start()
    yield nodes
    await nodes.stop()


StartMember = Callable[..., Awaitable[Server]]


@pytest.fixture
async def start_member(start_server: StartServer, broker: BrokerNodes, database_url: str) -> StartMember:
    """Starts a server of the cluster, and waits until it is ready."""

    async def start(**settings: str) -> Server:
        return await start_server(database_url, BROKER_URL=broker.urls, WORKERS="1", **settings)

    return start


async def insert(db: Any, count: int) -> None:
    for _ in range(count):
        await db.execute(INSERT)


async def has_orders(client: Client, count: int) -> None:
    """The client has so many events, each once, and the totals that count them."""
    await client.wait_until(
        lambda c: len(c.events) >= count and c.totals["total_orders"] == count, f"{count} events and the totals"
    )
    assert max(Counter(event["id"] for event in client.events).values()) == 1
    assert len(client.events) == count


async def test_one_server_reads_the_journal_for_all(start_member: StartMember, connect: Connect, db: Any) -> None:
    first = await start_member()
    second = await start_member()
    edge = await start_member(NODE_ROLE="edge")
    await first.wait_for_line(RELAY_LINE)
    for other in (second, edge):
        await other.wait_for_line(EDGE_LINE)
        assert RELAY_LINE not in other.output
    clients = [await connect(server.ws_url) for server in (first, second, edge)]
    await insert(db, 20)
    for client in clients:
        await has_orders(client, 20)
    assert await db.fetchval("select count(*) from pg_stat_activity where application_name = 'orderwire listener'") == 1
    assert [await metric_sum(server, "orderwire_relay") for server in (first, second, edge)] == [1, 0, 0]
    assert await metric_sum(edge, "orderwire_facts_used_total") > 0
    assert await metric_sum(edge, "orderwire_broker_silence_seconds") < 1.5
    # What an edge has seen can be resumed from at any server.
    cursor = clients[2].events[9]["id"]
    for server in (first, second, edge):
        back = await connect(f"{server.ws_url}?last_event_id={cursor}")
        await back.wait_until(lambda c: len(c.events) == 10, "the replay")


async def test_the_relay_is_killed_under_load(start_member: StartMember, connect: Connect, db: Any) -> None:
    first = await start_member()
    second = await start_member()
    edge = await start_member(NODE_ROLE="edge")
    client = await connect(edge.ws_url)
    await insert(db, 10)
    await has_orders(client, 10)
    writing = asyncio.create_task(insert(db, 300))
    await first.kill()
    await second.wait_for_line(RELAY_LINE)
    await writing
    await has_orders(client, 310)
    await insert(db, 10)
    await has_orders(client, 320)
    assert "feed_status" not in [message["type"] for message in client.messages]


async def test_a_relay_that_is_drained_hands_over(start_member: StartMember, connect: Connect, db: Any) -> None:
    first = await start_member()
    second = await start_member()
    client = await connect(second.ws_url)
    await insert(db, 5)
    await first.stop()
    await second.wait_for_line(RELAY_LINE)
    assert await db.fetchval("select count(*) from orderwire.relay_lease where expires_at > now()") == 1
    await insert(db, 5)
    await has_orders(client, 10)


async def test_two_relays_at_once_are_only_waste(start_member: StartMember, connect: Connect, db: Any) -> None:
    first = await start_member()
    second = await start_member()
    edge = await start_member(NODE_ROLE="edge")
    client = await connect(edge.ws_url)
    await insert(db, 5)
    await has_orders(client, 5)
    # Neither can ask who has the lease: the second hears nothing while the first one is frozen, and begins.
    await db.execute("alter function orderwire.hold_relay_lease rename to hold_relay_lease_gone")
    try:
        os.kill(first.process.pid, signal.SIGSTOP)
        try:
            await second.wait_for_line(RELAY_LINE)
            await insert(db, 5)
        finally:
            os.kill(first.process.pid, signal.SIGCONT)
        for _ in range(20):  # some of it while both are at it
            await insert(db, 5)
            await asyncio.sleep(0.02)
        await has_orders(client, 110)
    finally:
        await db.execute("alter function orderwire.hold_relay_lease_gone rename to hold_relay_lease")

    async def is_one_relay() -> bool:
        return await metric_sum(first, "orderwire_relay") + await metric_sum(second, "orderwire_relay") == 1

    await wait_until(is_one_relay, "one relay again")


async def test_the_broker_is_lost_with_all_that_it_knew(
    start_member: StartMember, connect: Connect, broker: BrokerNodes, db: Any
) -> None:
    relay = await start_member()
    edge = await start_member(NODE_ROLE="edge")
    clients = [await connect(server.ws_url) for server in (relay, edge)]
    await insert(db, 10)
    for client in clients:
        await has_orders(client, 10)
    await broker.kill(0, forget=True)
    await insert(db, 10)
    for client in clients:
        await has_orders(client, 20)
    await edge.wait_for_line("no connection to NATS, events come from PostgreSQL meanwhile")

    async def reads_postgresql() -> bool:
        return await metric_sum(edge, "orderwire_fact_gaps_total", healed_by="postgres") > 0

    await wait_until(reads_postgresql, "the edge reads PostgreSQL")
    for server in (relay, edge):
        assert await metric_sum(server, "orderwire_broker_silence_seconds") > 0
    await broker.start_node(0)
    await broker.wait_until_ready()
    for server in (relay, edge):
        await server.wait_for_line("connected to NATS at")

    async def hears_the_relay() -> bool:
        silences = [await metric_sum(server, "orderwire_broker_silence_seconds") for server in (relay, edge)]
        return silences[0] == 0 and silences[1] < 1

    await wait_until(hears_the_relay, "facts arrive again")
    used = await metric_sum(edge, "orderwire_facts_used_total")
    await insert(db, 10)
    for client in clients:
        await has_orders(client, 30)
    assert await metric_sum(edge, "orderwire_facts_used_total") > used


async def test_revocations_and_problems_of_the_tables_reach_edges(start_member: StartMember, connect: Connect, db: Any) -> None:
    await start_member(JWT_SECRET=SECRET)
    edge = await start_member(JWT_SECRET=SECRET, NODE_ROLE="edge")
    client = await connect(edge.ws_url, headers={"Authorization": f"Bearer {token('admin', sub='anna')}"})
    await client.wait_until(lambda c: bool(c.messages), "a session")
    await db.execute("select orderwire.revoke('anna')")
    assert await client.wait_closed() == 3500
    await db.execute("alter table orders disable trigger zz_orderwire_insert")

    async def is_not_ready() -> bool:
        async with aiohttp.ClientSession() as http, http.get(edge.http_url + "/readyz") as response:
            return response.status == 503 and "zz_orderwire_insert" in await response.text()

    await wait_until(is_not_ready, "the edge says what is wrong with the table")


async def test_a_change_of_many_customers_fits_into_messages(start_member: StartMember, connect: Connect, db: Any) -> None:
    await start_member()
    edge = await start_member(NODE_ROLE="edge")
    client = await connect(edge.ws_url)
    await db.execute(
        "insert into orders (customer_name, customer_id, total) "
        "select repeat('Ж', 2000), md5(n::text), 1 from generate_series(1, 1000) as n"
    )
    await client.wait_until(lambda c: c.totals["total_orders"] == 1000, "the orders")
    gaps = await metric_sum(edge, "orderwire_fact_gaps_total")
    # Several payloads for each: what everyone gets, and what the new and the former customer get.
    await db.execute("update orders set customer_id = customer_id || 'x', total = 2")
    await client.wait_until(lambda c: c.totals["total_revenue"] == "2000.00", "the changes")
    assert await metric_sum(edge, "orderwire_fact_gaps_total") == gaps


async def test_a_correction_of_the_totals_reaches_edges(start_member: StartMember, connect: Connect, db: Any) -> None:
    await start_member(AUDIT_SECONDS="0.2")
    edge = await start_member(NODE_ROLE="edge")
    client = await connect(edge.ws_url)
    await insert(db, 3)
    await has_orders(client, 3)
    await db.execute("set session_replication_role = replica; update orders set total = 5; reset session_replication_role")
    await client.wait_until(lambda c: c.totals["total_revenue"] == "15.00", "the corrected totals")
    assert len(client.events) == 3


async def test_an_edge_says_what_it_needs(start_server: StartServer, broker: BrokerNodes, empty_database_url: str) -> None:
    without_address = await start_server(None, wait=False, BROKER_URL=broker.urls, NODE_ROLE="edge")
    assert await without_address.wait_for_exit() == 2
    assert "NODE_ROLE=edge needs DATABASE_URL" in without_address.output
    without_schema = await start_server(empty_database_url, wait=False, BROKER_URL=broker.urls, NODE_ROLE="edge", WORKERS="1")
    assert await without_schema.wait_for_exit() == 1
    (line,) = [line for line in without_schema.lines if line.strip()]
    assert "orderwire" in line
    assert "migrate" in line


async def test_a_timeline_that_only_the_broker_knows_is_explained(
    start_server: StartServer, broker: BrokerNodes, database_url: str, db: Any
) -> None:
    await (await start_server(database_url, WORKERS="1")).stop()  # makes the schema
    row = await db.fetchrow("select system_identifier, database_oid, timeline from orderwire.database_identity()")
    bucket = Subjects.of_database(row["system_identifier"], row["database_oid"]).stream
    async with open_connection(BrokerOptions((broker.urls,)), broker.urls) as connection:
        await TimelineKey(connection, bucket).raise_to(99, 1)
    server = await start_server(database_url, wait=False, BROKER_URL=broker.urls, WORKERS="1")
    await server.wait_for_line(f"nats kv rm {bucket}, and restart the servers")
    await server.wait_for_line("this connection leads to an old primary")


async def test_without_the_broker_an_edge_finds_the_new_primary(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    """While a connection to the old one is open."""
    await (await start_server(database_url, WORKERS="1")).stop()  # makes the schema
    edge = await start_server(database_url, WORKERS="1", NODE_ROLE="edge", BROKER_URL="nats://127.0.0.1:1")
    client = await connect(edge.ws_url)
    await insert(db, 3)
    await has_orders(client, 3)

    async def connections() -> set[int]:
        sql = "select pid from pg_stat_activity where application_name = 'orderwire' and datname = current_database()"
        return {row["pid"] for row in await db.fetch(sql)}

    others = await connections()

    async def is_lease_open() -> bool:
        return bool(await connections() - others)

    await wait_until(is_lease_open, "the connection that looks which database it is")
    definition = await db.fetchval("select pg_get_functiondef('orderwire.database_identity'::regproc)")
    timeline = "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)"
    assert timeline in definition
    await db.execute(definition.replace(timeline, "'00000007'"))
    for pid in others:
        await db.execute("select pg_terminate_backend($1)", pid)
    await insert(db, 3)
    await has_orders(client, 6)


async def test_without_the_broker_a_server_starts_and_serves(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server = await start_server(database_url, BROKER_URL="nats://127.0.0.1:1", WORKERS="1")
    client = await connect(server.ws_url)
    await insert(db, 3)
    await has_orders(client, 3)
    await server.wait_for_line(RELAY_LINE)
