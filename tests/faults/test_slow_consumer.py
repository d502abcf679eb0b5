"""A client that stops reading affects neither the latency of other clients nor the memory of the server."""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.raw_websocket import RawWebSocket
from tests.support import Message, Server, StartServer

CLIENTS = 100
NAME = "\U0001f355" * 500  # 2000 bytes: an event has up to 500 characters of a name
ROUNDS = 20


def resident_kib(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1])


async def latencies(clients: list[RawWebSocket], db: Any) -> list[float]:
    """Seconds from INSERT to arrival, one value per client and round."""
    found = []
    loop = asyncio.get_running_loop()
    for _ in range(ROUNDS):
        goal = len(clients[0].events) + 1
        start = loop.time()
        await db.execute("insert into orders (customer_name, total) values ('one', 1)")
        for client in clients:
            await client.wait_until(lambda c: len(c.events) >= goal, "one more event")  # noqa: B023  (used at once)
            found.append(client.last_event_at - start)
    return found


@pytest.mark.alone  # compares latencies, and memory
async def test_client_that_stops_reading_is_closed_and_delays_no_other(
    start_server: StartServer, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, HEARTBEAT_SECONDS="3600")
    parsed: dict[bytes, Message] = {}
    clients = [await RawWebSocket.connect(server.ws_url, parsed=parsed) for _ in range(CLIENTS - 1)]
    stalled = await RawWebSocket.connect(server.ws_url, parsed=parsed, receive_buffer=4096)
    try:
        before = statistics.median(await latencies(clients, db))
        stalled.transport.pause_reading()
        memory = sum(map(resident_kib, server.serving_pids))
        written = 0

        async def batch() -> None:
            nonlocal written
            await db.execute("insert into orders (customer_name, total) select $1, n from generate_series(1, 100) as n", NAME)
            written += 100
            for client in clients:
                await client.wait_until(lambda c: len(c.events) >= ROUNDS + written, "the batch")

        # Fill the kernel's buffers of the stalled client, then measure.
        for _ in range(20):
            await batch()
        after = statistics.median(await latencies(clients, db))
        grown = sum(map(resident_kib, server.serving_pids)) - memory

        assert after < 3 * before + 0.02
        assert grown < 64 * 1024, f"{grown} KiB for one stalled client"
        for client in clients:
            assert len({event["id"] for event in client.events}) == len(client.events) == 2 * ROUNDS + written
            assert not client.lost

        # It reads again within the close time-out and receives the close code.
        stalled.transport.resume_reading()
        await stalled.wait_until(lambda c: c.lost, "the end of the stalled client")
        assert stalled.close_code == 3008
        assert len(stalled.events) < 2 * ROUNDS + written
    finally:
        for client in (*clients, stalled):
            await client.disconnect()
