"""The shutdown of a server process, while sessions drain."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import aiohttp
import pytest

from tests.helpers.raw_websocket import RawWebSocket, server_address
from tests.support import TIMEOUT_SECONDS, Connect, Server, StartServer, within


async def test_open_http_connections_are_served_until_the_drain_is_over(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    reader, writer = await asyncio.open_connection(*server_address(server))

    async def get_health() -> bytes:
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        return await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n"), "a status line")

    assert await get_health() == b"HTTP/1.1 200 OK\r\n"
    await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "the headers")
    await reader.read(100)
    # It never answers the close frame, so the drain takes as long as the server gives it.
    client = await RawWebSocket.connect(server.ws_url, auto_reply=False)
    server.process.send_signal(signal.SIGTERM)
    await client.wait_until(lambda c: c.close_code is not None, "the close frame")
    assert client.close_code == 3001
    assert await get_health() == b"HTTP/1.1 200 OK\r\n"
    await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "the headers")
    await reader.read(100)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert b" 503 " in await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n"), "a status line")
    client.transport.abort()
    writer.close()
    assert await server.wait_for_exit() == 0


async def readiness(server: Server) -> int:
    async with aiohttp.ClientSession() as http, http.get(server.http_url + "/readyz") as response:
        return response.status


async def until_not_ready(server: Server, answers: int) -> None:
    """Until so many requests in a row were answered 503: of several workers each gets some."""
    found = 0
    while found < answers:
        found = found + 1 if await readiness(server) == 503 else 0


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_before_a_delayed_drain_the_server_is_not_ready_and_still_accepts(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, workers: str
) -> None:
    """A load balancer sends new clients until it has seen that the server is not ready. A second signal ends the delay."""
    server: Server = await start_server(database_url, DRAIN_DELAY_SECONDS="3600", WORKERS=workers)
    early = await connect(server.ws_url)
    assert await readiness(server) == 200
    server.process.send_signal(signal.SIGTERM)
    await within(TIMEOUT_SECONDS, until_not_ready(server, 20), "no worker is ready")
    late = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    for client in (early, late):
        await client.wait_until(lambda c: len(c.events) == 1, "an event")
    server.process.send_signal(signal.SIGTERM)
    assert [await client.wait_closed() for client in (early, late)] == [3001, 3001]
    assert await server.wait_for_exit() == 0


async def test_the_drain_begins_by_itself_when_its_delay_is_over(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    server: Server = await start_server(database_url, DRAIN_DELAY_SECONDS="0.5")
    client = await connect(server.ws_url)
    server.process.send_signal(signal.SIGTERM)
    assert await client.wait_closed() == 3001
    assert await server.wait_for_exit() == 0


async def test_a_signal_to_every_process_of_several_workers_is_one_signal(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    """systemd sends SIGTERM to each."""
    server: Server = await start_server(database_url, DRAIN_DELAY_SECONDS="3600", WORKERS="2")
    client = await connect(server.ws_url)
    for pid in (server.process.pid, *server.worker_pids.values()):
        os.kill(pid, signal.SIGTERM)
    await within(TIMEOUT_SECONDS, until_not_ready(server, 20), "no worker is ready")
    await client.send('{"type":"ping"}')
    await client.wait_until(lambda c: bool(c.of_type("pong")), "a pong")
    server.process.send_signal(signal.SIGTERM)
    assert await client.wait_closed() == 3001
    assert await server.wait_for_exit() == 0


async def test_a_server_that_is_not_ready_yet_ends_without_delay(start_server: StartServer) -> None:
    url = "postgresql://unused@127.0.0.1:1/none"
    server: Server = await start_server(url, wait=False, DRAIN_DELAY_SECONDS="3600")
    await server.wait_for_line("waiting for it")
    server.process.send_signal(signal.SIGTERM)
    assert await server.wait_for_exit() == 0
