"""The shutdown of a server process, while sessions drain."""

from __future__ import annotations

import asyncio
import signal

from tests.helpers.raw_websocket import RawWebSocket, server_address
from tests.support import TIMEOUT_SECONDS, Server, StartServer, within


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
    client.transport.abort()
    writer.close()
    assert await server.wait_for_exit() == 0
