"""Stalled connections to PostgreSQL and to clients, and connections that send no HTTP."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from db.database import Database
from db.errors import DatabaseError
from push.journal.events import Position, Snapshot
from tests.helpers.raw_websocket import server_address
from tests.stress.proxy import Proxy
from tests.support import Server, StartServer, within


async def test_query_on_a_stalled_connection_can_be_cancelled(database_url: str) -> None:
    url = urlsplit(database_url)
    proxy = await Proxy(lambda: ("127.0.0.1", url.port or 0)).open()
    proxied_url = url._replace(netloc=url.netloc.rsplit("@", 1)[0] + f"@127.0.0.1:{proxy.port}").geturl()
    querying = asyncio.Event()

    async def query_until_cancelled(database: Database) -> None:
        empty = Snapshot(1, 1)
        while True:
            querying.set()
            try:
                await database.journal.count(Position(empty), empty, 0, 1)
            except DatabaseError:
                continue

    try:
        async with Database(proxied_url, timeout_seconds=2.0).open() as database:
            await database.journal.count(Position(Snapshot(1, 1)), Snapshot(1, 1), 0, 1)
            proxy.stall(True)
            task = asyncio.create_task(query_until_cancelled(database))
            await within(10, querying.wait(), "the start of the query")
            await asyncio.sleep(0)
            task.cancel()
            await within(30, asyncio.wait([task]), "the end of the task")
            assert task.cancelled()
    finally:
        await proxy.close()


async def test_invalid_http_gets_400_and_no_traceback(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    host, port = server_address(server)
    for sent in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/9.9 9\r\n\r\n"):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(sent)
        response = await within(30, reader.read(), "a response")
        assert b" 400 " in response.splitlines()[0]
        writer.close()
        await writer.wait_closed()
    await server.stop()
    assert "Traceback" not in server.output
    assert "Error handling request" not in server.output


async def test_sse_client_that_does_not_read_is_disconnected(start_server: StartServer, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, HEARTBEAT_SECONDS="0.5")
    host, port = server_address(server)
    proxy = await Proxy(lambda: (host, port), 8192).open()

    def server_sockets() -> list[str]:
        links = []
        for pid in server.serving_pids:
            for name in os.listdir(f"/proc/{pid}/fd"):
                with suppress(FileNotFoundError):  # closed since it was listed
                    links.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        return [link for link in links if "socket" in link]

    before = set(server_sockets())
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        writer.write(b"GET /api/sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await within(30, reader.readuntil(b"analytics_update"), "the totals")
        (session,) = set(server_sockets()) - before
        proxy.make_half_open()
        # More than the proxy's receive buffer takes, and less than the server's buffers take.
        await db.execute("insert into orders (customer_name, total) select 'x', 1 from generate_series(1, 1000)")

        async def wait_until_closed() -> None:
            while session in server_sockets():
                await asyncio.sleep(0.05)

        await within(30, wait_until_closed(), "the end of the connection")
    finally:
        writer.close()
        await proxy.close()
