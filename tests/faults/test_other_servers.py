"""An address of the database that leads to more than one server: standbys, and old primaries that come back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.helpers.dashboards import Dashboards
from tests.helpers.replication import Cluster
from tests.helpers.tcp_proxy import TcpProxy, url_via_proxy
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer

pytestmark = pytest.mark.postgres


class Replicated(NamedTuple):
    """A primary, its standby, and an address that leads to either: to the primary at first."""

    primary: Cluster
    standby: Cluster
    proxy: TcpProxy
    url: str

    @property
    def both(self) -> str:
        """A URL with both hosts, the standby first."""
        return self.primary.url.replace("127.0.0.1:", f"127.0.0.1:{self.standby.port},127.0.0.1:", 1)


@pytest.fixture
async def replicated(stopped_cluster: Cluster, tmp_path: Path, broker_without_memory: None) -> AsyncIterator[Replicated]:
    primary = stopped_cluster.copy_to(tmp_path / "primary")
    await asyncio.to_thread(primary.start)
    standby = stopped_cluster.copy_to(tmp_path / "standby", standby_of=primary)
    await asyncio.to_thread(standby.start)
    proxy = TcpProxy(primary.port)
    url = url_via_proxy(primary.url, await proxy.start())
    yield Replicated(primary, standby, proxy, url)
    await proxy.stop()
    for cluster in (standby, primary):
        await asyncio.to_thread(cluster.release)


async def get(server: Server, path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as http, http.get(server.http_url + path) as response:
        return response.status, json.loads(await response.read())


async def until_not_ready(server: Server, reason: str) -> None:
    while True:
        status, body = await get(server, "/readyz")
        if status == 503 and reason in body["error"]["message"]:
            return
        await asyncio.sleep(0.1)


async def until_ready(server: Server) -> None:
    while (await get(server, "/readyz"))[0] != 200:
        await asyncio.sleep(0.1)


async def first_event(connect: Connect, server: Server, cluster: Cluster) -> Client:
    client = await connect(server.ws_url)
    await cluster.execute("insert into orders (customer_name, total) values ('first', 1)")
    await client.wait_until(lambda c: bool(c.events), "the first event")
    return client


INSERT_FIFTY = "insert into orders (customer_name, total) select 'missed', n from generate_series(1, 50) as n"


async def test_a_pool_that_is_led_to_a_standby_answers_nothing_from_it(
    replicated: Replicated, start_server: StartServer, connect: Connect
) -> None:
    primary, standby, proxy, url = replicated
    server = await start_server(url)
    cursor = (await first_event(connect, server, primary)).events[0]["id"]
    await server.stop()
    await standby.execute("select pg_wal_replay_pause()")
    await primary.execute(INSERT_FIFTY)

    # Its memory is empty, so that it has to ask the journal. The listener keeps its connection to the primary.
    server = await start_server(url)
    proxy.port = standby.port
    await primary.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'orderwire'")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await until_not_ready(server, "standby")
    client = await connect(f"{server.ws_url}?last_event_id={cursor}")
    assert await client.wait_closed() == 3002
    assert not client.of_type("resumed")
    for path in (f"/api/events?after={cursor}", "/api/orders", "/api/orders?q=missed", "/api/orders/1", "/api/orders/1/events"):
        status, body = await get(server, path)
        assert (status, body["error"]["code"]) == (503, "unavailable"), path

    proxy.port = primary.port
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await until_ready(server)
        while True:
            client = await connect(f"{server.ws_url}?last_event_id={cursor}")
            await client.wait_until(lambda c: len(c.events) == 50 or c.close_code is not None, "the missed events")
            # A connection that was on its way to the standby may have failed after the server was ready: the client comes back.
            if client.close_code != 3002:
                break
    assert len(client.events) == 50
    assert client.of_type("resumed") == [{"type": "resumed", "recovered": True, "replayed": 50}]


async def test_of_several_hosts_the_one_that_can_be_written_to_is_used(
    replicated: Replicated, start_server: StartServer, connect: Connect
) -> None:
    server = await start_server(replicated.both)
    await first_event(connect, server, replicated.primary)
    status, body = await get(server, "/api/orders")
    assert status == 200
    assert len(body["orders"]) == 1


async def test_an_old_primary_that_comes_back_is_not_believed(replicated: Replicated, start_server: StartServer) -> None:
    old, new = replicated.primary, replicated.standby
    server = await start_server(new.url.replace("127.0.0.1:", f"127.0.0.1:{old.port},127.0.0.1:", 1))

    async def insert(cluster: Cluster, name: str) -> None:
        await cluster.execute(f"insert into orders (customer_name, total) values ('{name}', 1)")

    async with Dashboards(20, lambda: server.http_url) as dashboards:
        await insert(old, "first")
        await dashboards.wait_until(lambda client: len(client.orders) == 1, "the first order")
        while not await new.fetchval("select exists (select from orders)"):
            await asyncio.sleep(0.05)
        await old.crash()
        await new.promote()
        await insert(new, "on the new primary")
        async with new.connection() as db:
            await dashboards.check(db, "on the new primary")

        await asyncio.to_thread(old.start)
        await insert(old, "on the old primary")
        await new.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'orderwire%'")
        await server.wait_for_line("leads to an old primary, on timeline 1: the new one is on timeline 2")
        await dashboards.reconnect()
        await insert(new, "afterwards")
        async with new.connection() as db:
            await dashboards.check(db, "on the new primary")
        assert {answer["recovered"] for client in dashboards.clients for answer in client.answers} == {True}
    _, body = await get(server, "/api/orders")
    assert [order["customer_name"] for order in body["orders"]] == ["afterwards", "on the new primary", "first"]


async def test_a_connection_that_reaches_a_new_primary_ends_the_listening_to_the_old_one(
    replicated: Replicated, start_server: StartServer, connect: Connect
) -> None:
    old, new, proxy, url = replicated
    server = await start_server(url)
    client = await first_event(connect, server, old)
    while not await new.fetchval("select exists (select from orders)"):  # it has the event
        await asyncio.sleep(0.05)
    await new.promote()
    proxy.port = new.port
    await old.execute("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'orderwire'")
    await server.wait_for_line("there is a new primary, on timeline 2: leaving the one on timeline 1")
    await new.execute("insert into orders (customer_name, total) values ('on the new primary', 1)")
    await client.wait_until(lambda c: c.events[-1]["customer_name"] == "on the new primary", "the new primary is followed")
