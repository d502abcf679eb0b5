"""The server waits for a database that starts late or stops responding, and drains its clients at a signal."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from db.embedded.postgres import EmbeddedPostgres
from tests.helpers.tcp_proxy import TcpProxy, url_via_proxy
from tests.support import WORKERS, Client, Connect, Server, StartServer, free_port


@pytest.fixture
async def proxy(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[TcpProxy, int]]:
    """A proxy in front of the tests' PostgreSQL, and its port."""
    between = TcpProxy(int(postgres.url.rsplit(":", 1)[1].split("/")[0]))
    yield between, await between.start()
    await between.stop()


@pytest.mark.postgres
async def test_server_started_before_the_database_waits_for_it(start_server: StartServer, tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data", report=lambda line: None)
    url = await asyncio.to_thread(postgres.start)
    await asyncio.to_thread(postgres.release)
    port = free_port()
    server: Server = await start_server(url, wait=False, PORT=port)
    try:
        await server.wait_for_line_from_each_worker("no connection to PostgreSQL")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            async with http.get("/readyz") as answer:
                assert answer.status == 503
                assert (await answer.json())["error"]["message"] == "the database cannot be reached"
            async with http.get("/healthz") as answer:
                assert answer.status == 200
            assert await asyncio.to_thread(postgres.start) == url
            await server.wait_until_ready()
            async with http.get("/readyz") as answer:
                assert answer.status == 200
        assert server.output.count("Connection refused") == WORKERS, "once by each worker"
        await server.stop()
    finally:
        await asyncio.to_thread(postgres.release)


async def test_half_open_database_connection_is_replaced_without_loss(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, proxy: tuple[TcpProxy, int]
) -> None:
    between, port = proxy
    server: Server = await start_server(url_via_proxy(database_url, port), DATABASE_TIMEOUT_SECONDS="2")
    client: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('before', 1)")
    await client.wait_until(lambda c: len(c.events) == 1, "the event before")

    between.stalled = True
    await db.execute("insert into orders (customer_name, total) values ('meanwhile', 1)")
    await server.wait_for_line_from_each_worker("no connection to PostgreSQL")
    async with aiohttp.ClientSession() as http, http.get(server.http_url + "/readyz") as answer:
        assert answer.status == 503
    between.stalled = False
    await db.execute("insert into orders (customer_name, total) values ('after', 1)")
    await client.wait_until(lambda c: len(c.events) >= 3, "the events meanwhile and after")
    assert [event["customer_name"] for event in client.events] == ["before", "meanwhile", "after"]
    assert client.close_code is None


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_signal_closes_every_client_with_the_drain_code(
    start_server: StartServer, connect: Connect, database_url: str, how: signal.Signals
) -> None:
    server: Server = await start_server(database_url)
    clients: list[Client] = [await connect(server.ws_url) for _ in range(5)]
    assert await server.stop(how) == 0
    for client in clients:
        assert await client.wait_closed() == 3001
    assert "Traceback" not in server.output
