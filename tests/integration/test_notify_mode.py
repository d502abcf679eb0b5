"""When the server that has told writers not to notify is gone, writers notify again (NOTIFY_MODE=never)."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import aiohttp
import pytest

from tests.support import TIMEOUT_SECONDS, Server, StartServer, open_connections, within

INSERT = "insert into orders (customer_name, total) values ('c', 1)"


async def until_notify_is_suppressed(server: Server) -> None:
    async with aiohttp.ClientSession() as http:
        while True:
            async with http.get(server.http_url + "/metrics") as response:
                if re.search(r"^orderwire_notify_suppressed 1\.0$", await response.text(), re.MULTILINE):
                    return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_writers_notify_again_when_the_server_is_gone(
    start_server: StartServer, database_url: str, db: Any, how: str
) -> None:
    received: asyncio.Queue[str] = asyncio.Queue()
    server: Server = await start_server(database_url, NOTIFY_MODE="never")
    await within(TIMEOUT_SECONDS, until_notify_is_suppressed(server), "NOTIFY is suppressed")
    await (server.kill() if how == "kill" else server.stop())
    async with open_connections(database_url, 1) as (listener,):
        await listener.add_listener("orders", lambda *call: received.put_nowait(call[3]))

        async def until_notified() -> None:
            while received.empty():  # PostgreSQL needs a while to notice that the connection is lost
                await db.execute(INSERT)
                await listener.execute("select 1")

        await within(TIMEOUT_SECONDS, until_notified(), "a notification")
        assert '"new_order"' in received.get_nowait()
