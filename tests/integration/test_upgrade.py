"""Connections after the upgrade: early bytes, the order of answers, drain, and clients that do not read."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from tests.helpers.raw_websocket import UPGRADE_REQUEST, server_address
from tests.helpers.websocket_frames import FINAL, PING, TEXT, frame
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, within

COMMANDS = (b'{"type":"subscribe","topics":["order:1"]}', b'{"type":"unsubscribe","topics":["order:1"]}', b'{"type":"ping"}')


async def test_early_commands_are_answered_in_order(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    reader, writer = await asyncio.open_connection(*server_address(server))
    # In one write: all is read before the session starts. A subscription takes some time, and the commands after it wait.
    writer.write(UPGRADE_REQUEST + b"".join(frame(FINAL | TEXT, text, mask=b"abcd") for text in COMMANDS * 3))
    received = await within(TIMEOUT_SECONDS, reader.readuntil(b'{"type":"pong"}'), "the first pong")
    for _ in range(2):
        received += await within(TIMEOUT_SECONDS, reader.readuntil(b'{"type":"pong"}'), "a pong")
    assert received.startswith(b"HTTP/1.1 101 ")
    expected = [b"analytics_update", *[b'order:1","orders', b'"topics":["analytics","orders"]', b"pong"] * 3]
    position = 0
    for text in expected:
        position = received.index(text, position)
    assert received.count(b'"type":"subscribed"') == 6
    writer.close()


async def test_client_that_does_not_answer_the_close_frame_delays_a_drain_by_seconds_only(
    start_server: StartServer, database_url: str
) -> None:
    server: Server = await start_server(database_url)
    reader, writer = await asyncio.open_connection(*server_address(server))
    writer.write(UPGRADE_REQUEST)
    await within(TIMEOUT_SECONDS, reader.readuntil(b'"pending_orders":0}'), "the totals")
    start = time.monotonic()
    assert await server.stop() == 0
    assert time.monotonic() - start < 20
    received = await within(TIMEOUT_SECONDS, reader.read(), "the end")
    assert received[2:4] == (3001).to_bytes(2, "big")
    assert "cut off" not in server.output
    writer.close()


async def test_pings_of_a_client_that_does_not_read_cost_no_memory(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, FRAMES_PER_SECOND="1000000", BYTES_PER_SECOND="100MiB")
    reader, writer = await asyncio.open_connection(*server_address(server), limit=1024)
    writer.write(UPGRADE_REQUEST)
    await within(TIMEOUT_SECONDS, reader.readuntil(b'"pending_orders":0}'), "the totals")
    # The client stops reading at twice its limit of 1,024 bytes; pongs for 60 MB of pings would take 60 MB.
    pings = frame(FINAL | PING, b"x" * 100, mask=b"abcd") * 1000
    for _ in range(600):
        writer.write(pings)
        await writer.drain()
    other: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await other.wait_until(lambda c: len(c.events) == 1, "an event")
    for pid in server.serving_pids:
        with open(f"/proc/{pid}/status") as status:
            peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        assert peak_kib < 200 * 1024
    writer.close()
