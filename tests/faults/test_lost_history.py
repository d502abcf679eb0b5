"""A database that loses what has been delivered, or does not: promotion, files put back, a dump restored in place.

Twenty dashboards believe what they are told. Afterwards each must show what is in the database.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from tests.helpers.dashboards import Dashboards
from tests.helpers.replication import Cluster
from tests.helpers.tcp_proxy import TcpProxy, url_via_proxy
from tests.support import TIMEOUT_SECONDS, Server, StartServer, free_port, within

pytestmark = pytest.mark.postgres

DASHBOARDS = 20
# No audit must be needed.
SETTINGS = {"AUDIT_SECONDS": "86400", "LOG_LEVEL": "INFO"}


@pytest.fixture
async def cluster(stopped_cluster: Cluster, tmp_path: Path, broker_without_memory: None) -> AsyncIterator[Cluster]:
    cluster = stopped_cluster.copy_to(tmp_path / "cluster")
    await asyncio.to_thread(cluster.start)
    yield cluster
    await asyncio.to_thread(cluster.release)


@pytest.fixture
async def standby(stopped_cluster: Cluster, cluster: Cluster, tmp_path: Path) -> AsyncIterator[Cluster]:
    """A standby of ``cluster`` that streams."""
    standby = stopped_cluster.copy_to(tmp_path / "standby", standby_of=cluster)
    await asyncio.to_thread(standby.start)
    yield standby
    await asyncio.to_thread(standby.release)


@pytest.fixture
async def address(cluster: Cluster) -> AsyncIterator[tuple[TcpProxy, str]]:
    """An address of the database that can be moved."""
    proxy = TcpProxy(cluster.port)
    port = await proxy.start()
    yield proxy, url_via_proxy(cluster.url, port)
    await proxy.stop()


async def insert(cluster: Cluster, *names: str) -> None:
    await cluster.execute(*[f"insert into orders (customer_name, total) values ('{name}', 2)" for name in names])


async def restart(start_server: StartServer, server: Server, url: str) -> Server:
    """At the same address."""
    port = server.http_url.rsplit(":", 1)[1]
    await server.kill()
    return await start_server(url, **SETTINGS, PORT=port)


def recovered(dashboards: Dashboards) -> set[bool]:
    """What the clients have been told."""
    return {answer["recovered"] for client in dashboards.clients for answer in client.answers}


async def check_after_loss(cluster: Cluster, dashboards: Dashboards) -> None:
    await dashboards.wait_until(lambda client: bool(client.answers), "all are told")
    await check(cluster, dashboards)
    assert recovered(dashboards) == {False}


async def check(cluster: Cluster, dashboards: Dashboards) -> None:
    await insert(cluster, "after it")
    async with cluster.connection() as db:
        await dashboards.check(db, "after it")


@pytest.mark.parametrize("restarted", [False, True], ids=["server stays", "server restarts"])
async def test_promotion_of_a_synchronous_standby_loses_nothing_and_says_so(
    cluster: Cluster, standby: Cluster, address: tuple[TcpProxy, str], start_server: StartServer, restarted: bool
) -> None:
    proxy, url = address
    await cluster.execute("alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await cluster.fetchval("select exists (select from pg_stat_replication where sync_state = 'sync')"):
            await asyncio.sleep(0.05)
    server = await start_server(url, **SETTINGS, PORT=free_port())
    another = await start_server(url, **SETTINGS)
    async with Dashboards(DASHBOARDS, lambda: server.http_url) as dashboards:
        await insert(cluster, "before it", "and this")
        async with cluster.connection() as db:
            await dashboards.check(db, "before it")
        proxy.port = standby.port
        await cluster.crash()
        await standby.promote()
        await insert(standby, "on the new primary")
        if restarted:  # the other one shows that nothing is lost
            await within(TIMEOUT_SECONDS, until_ready(another), "the other server has read the new primary")
            server = await restart(start_server, server, url)
        else:
            await dashboards.reconnect(dashboards.clients[::2])
        async with standby.connection() as db:
            await dashboards.check(db, "before it")
        await check(standby, dashboards)
    assert recovered(dashboards) == {True}


async def test_promotion_of_a_standby_that_lacks_events_is_told(
    cluster: Cluster, standby: Cluster, address: tuple[TcpProxy, str], start_server: StartServer
) -> None:
    proxy, url = address
    server = await start_server(url, **SETTINGS)
    async with Dashboards(DASHBOARDS, lambda: server.http_url) as dashboards:
        await insert(cluster, "before it")
        async with cluster.connection() as db:
            await dashboards.check(db, "before it")
        await standby.execute("alter system set primary_conninfo = ''", "select pg_reload_conf()")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while await cluster.fetchval("select exists (select from pg_stat_replication)"):
                await asyncio.sleep(0.05)
        await insert(cluster, "lost")
        await dashboards.wait_until(lambda client: len(client.orders) == 2, "all have the order that will be lost")
        proxy.port = standby.port
        await cluster.crash()
        await standby.promote()
        await check_after_loss(standby, dashboards)


async def put_files_back(cluster: Cluster, saved: Cluster) -> None:
    """Go back to the copy, and write another history with the same numbers of transactions and events."""
    numbers = "select txid::text::bigint as txid, id from orderwire.journal order by id"
    async with cluster.connection() as db:
        old = [(row["txid"], row["id"]) for row in await db.fetch(numbers)]
    await cluster.crash()
    cluster.replace_files(saved)
    await asyncio.to_thread(cluster.start)
    async with cluster.connection() as db:
        await db.execute("select setval('orderwire.journal_id_seq', $1, false)", old[0][1])
        for txid, _ in old:
            while await db.fetchval("select pg_snapshot_xmax(pg_current_snapshot())::text::bigint") < txid:
                await db.execute("select pg_current_xact_id()")
            await db.execute("insert into orders (customer_name, total) values ('in another history', 3)")
        new = [(row["txid"], row["id"]) for row in await db.fetch(numbers)]
    assert new[: len(old)] == old, "the test needs events that coincide"


@pytest.mark.parametrize("restarted", [False, True], ids=["server stays", "server restarts"])
async def test_files_put_back_are_told_although_the_numbers_coincide(
    cluster: Cluster, address: tuple[TcpProxy, str], start_server: StartServer, tmp_path: Path, restarted: bool
) -> None:
    proxy, url = address
    await asyncio.to_thread(cluster.release)
    saved = cluster.copy_to(tmp_path / "saved")
    await asyncio.to_thread(cluster.start)
    server = await start_server(url, **SETTINGS, PORT=free_port())
    async with Dashboards(DASHBOARDS, lambda: server.http_url) as dashboards:
        await cluster.execute(*["select pg_current_xact_id()"] * 20)  # numbers that the other history needs before its events
        await insert(cluster, "lost", "lost too")
        await dashboards.wait_until(lambda client: len(client.orders) == 2, "all have the orders that will be lost")
        async with aiohttp.ClientSession(server.http_url) as http, http.get("/api/orders") as response:
            position = (await response.json())["position"]
        proxy.port = 1  # nothing listens there
        await put_files_back(cluster, saved)
        proxy.port = cluster.port
        if restarted:
            server = await restart(start_server, server, url)
        await check_after_loss(cluster, dashboards)
        async with aiohttp.ClientSession(server.http_url) as http:
            for cursor in (position, dashboards.clients[0].cursor):
                assert cursor is not None
                async with http.get(f"/api/events?after={quote(cursor)}") as response:
                    assert response.status == (410 if cursor == position else 200)


@pytest.mark.parametrize("option", [[], ["--single-transaction"]], ids=["in steps", "in one transaction"])
async def test_dump_restored_in_place_is_told_without_an_audit(
    cluster: Cluster, address: tuple[TcpProxy, str], start_server: StartServer, tmp_path: Path, option: list[str]
) -> None:
    _, url = address
    server = await start_server(url, **SETTINGS)
    async with Dashboards(DASHBOARDS, lambda: server.http_url) as dashboards:
        await insert(cluster, "before it")
        async with cluster.connection() as db:
            await dashboards.check(db, "before it")
        dump = str(tmp_path / "dump")
        await asyncio.to_thread(cluster.run_program, "pg_dump", "--format=custom", f"--file={dump}")
        await insert(cluster, "lost", "lost too")
        await cluster.execute("update orders set status = 'ready' where customer_name = 'before it'")
        await dashboards.wait_until(lambda client: ("ready", Decimal(2)) in client.orders.values(), "all have what is lost")
        await asyncio.to_thread(cluster.run_program, "pg_restore", "--clean", "--exit-on-error", *option, dump)
        await check_after_loss(cluster, dashboards)
    assert "Traceback" not in server.output


async def until_ready(server: Server) -> Any:
    async with aiohttp.ClientSession(server.http_url) as http:
        while True:
            async with http.get("/api/events?limit=1") as events, http.get("/readyz") as ready:
                if events.status == ready.status == 200:
                    return
            await asyncio.sleep(0.1)
