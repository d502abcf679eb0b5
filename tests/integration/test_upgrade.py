"""Connections that have been taken over from aiohttp: what came early, in which order things are done, and how they end."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.helpers.websocket_frames import FINAL, PING, TEXT, frame
from tests.integration.test_bad_frames import HANDSHAKE, address
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, within

ASKED = (b'{"type":"subscribe","topics":["order:1"]}', b'{"type":"unsubscribe","topics":["order:1"]}', b'{"type":"ping"}')


async def test_what_is_sent_behind_the_handshake_is_done_in_its_order(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    reader, writer = await asyncio.open_connection(*address(server))
    # In one piece: aiohttp reads it all before the connection is ours. A subscription takes a while, and the rest waits for it.
    writer.write(HANDSHAKE + b"".join(frame(FINAL | TEXT, text, mask=b"abcd") for text in ASKED * 3))
    got = await within(TIMEOUT_SECONDS, reader.readuntil(b'{"type":"pong"}'), "the first pong")
    for _ in range(2):
        got += await within(TIMEOUT_SECONDS, reader.readuntil(b'{"type":"pong"}'), "a pong")
    assert got.startswith(b"HTTP/1.1 101 ")
    words = [b"analytics_update", *[b'order:1","orders', b'"topics":["analytics","orders"]', b"pong"] * 3]
    at = 0
    for word in words:
        at = got.index(word, at)
    assert got.count(b'"type":"subscribed"') == 6
    writer.close()


async def test_who_does_not_say_goodbye_holds_up_a_drain_for_seconds_only(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    reader, writer = await asyncio.open_connection(*address(server))
    writer.write(HANDSHAKE)
    await within(TIMEOUT_SECONDS, reader.readuntil(b'"pending_orders":0}'), "the totals")
    start = time.monotonic()
    assert await server.stop() == 0
    assert time.monotonic() - start < 20
    got = await within(TIMEOUT_SECONDS, reader.read(), "the end")
    assert got[2:4] == (3001).to_bytes(2, "big")
    assert "cut off" not in server.output
    writer.close()


async def test_pings_of_one_that_takes_nothing_cost_nothing(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, FRAMES_PER_SECOND="1000000", BYTES_PER_SECOND="100MiB")
    reader, writer = await asyncio.open_connection(*address(server), limit=1024)
    writer.write(HANDSHAKE)
    await within(TIMEOUT_SECONDS, reader.readuntil(b'"pending_orders":0}'), "the totals")
    # asyncio stops reading at twice the limit, and the pongs of 60 MB would be as much.
    pings = frame(FINAL | PING, b"x" * 100, mask=b"abcd") * 1000
    for _ in range(600):
        writer.write(pings)
        await writer.drain()
    other: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await other.wait_until(lambda c: len(c.events) == 1, "an event")
    for pid in server.serving_pids:
        with open(f"/proc/{pid}/status") as lines:
            peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        assert peak < 200 * 1024
    writer.close()
