"""What must not unsettle the server: dead lines, to PostgreSQL and to clients, and strangers who speak no HTTP."""

from __future__ import annotations

import asyncio
import os
from typing import Any
from urllib.parse import urlsplit

from db.database import Database
from db.errors import DatabaseError
from push.journal.events import Position, Snapshot
from tests.stress.proxy import Proxy
from tests.support import Server, StartServer, within


async def test_a_query_on_a_dead_line_can_be_cancelled(database_url: str) -> None:
    url = urlsplit(database_url)
    proxy = await Proxy(lambda: ("127.0.0.1", url.port or 0)).open()
    through = url._replace(netloc=url.netloc.rsplit("@", 1)[0] + f"@127.0.0.1:{proxy.port}").geturl()
    asked = asyncio.Event()

    async def persistent(database: Database) -> None:
        nothing = Snapshot(1, 1)
        while True:
            asked.set()
            try:
                await database.journal.count(Position(nothing), nothing, 0, 1)
            except DatabaseError:
                continue

    try:
        async with Database(through, timeout_seconds=2.0).open() as database:
            await database.journal.count(Position(Snapshot(1, 1)), Snapshot(1, 1), 0, 1)
            proxy.stall(True)
            task = asyncio.create_task(persistent(database))
            await within(10, asked.wait(), "the query is under way")
            await asyncio.sleep(0)
            task.cancel()
            await within(30, asyncio.wait([task]), "the task has ended")
            assert task.cancelled()
    finally:
        await proxy.close()


async def test_bytes_that_are_no_http_get_400_and_leave_no_traceback(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    host, port = server.http_url.removeprefix("http://").split(":")
    for rubbish in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET / HTTP/9.9 9\r\n\r\n"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(rubbish)
        answer = await within(30, reader.read(), "an answer")
        assert b" 400 " in answer.splitlines()[0]
        writer.close()
        await writer.wait_closed()
    await server.stop()
    assert "Traceback" not in server.output
    assert "Error handling request" not in server.output


async def test_an_sse_client_that_takes_nothing_is_let_go(start_server: StartServer, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, HEARTBEAT_SECONDS="0.5")
    host, port = server.http_url.removeprefix("http://").split(":")
    proxy = await Proxy(lambda: (host, int(port)), 8192).open()

    def sockets() -> list[str]:
        directories = [f"/proc/{pid}/fd" for pid in server.serving_pids]
        files = [os.readlink(f"{directory}/{name}") for directory in directories for name in os.listdir(directory)]
        return [link for link in files if "socket" in link]

    try:
        before = set(sockets())
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"GET /api/sse HTTP/1.0\r\n\r\n")
        await within(30, reader.readuntil(b"analytics_update"), "the totals")
        (session,) = set(sockets()) - before
        proxy.make_half_open()
        # More than the client's side of the network takes, less than the server's buffers do.
        await db.execute("insert into orders (customer_name, total) select 'x', 1 from generate_series(1, 1000)")

        async def let_go() -> None:
            while session in sockets():
                await asyncio.sleep(0.05)

        await within(30, let_go(), "the connection is closed")
        writer.close()
    finally:
        await proxy.close()
