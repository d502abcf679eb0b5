"""A statement that changes very many rows reaches every client and overflows no send queue of a client that reads."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from bench.load import CompilerMissing, LoadGenerator, compile_c
from bench.scenario import summary
from tests.helpers.raw_websocket import RawWebSocket
from tests.support import Server, StartServer

# `make bulk` runs the full size: BULK_CLIENTS=1000 BULK_ROWS=100000. It moves 20 GB through the loopback.
CLIENTS = int(os.environ.get("BULK_CLIENTS", "100"))
ROWS = int(os.environ.get("BULK_ROWS", "20000"))
STALLED_CLIENTS = 3
DELIVERY_TIMEOUT_SECONDS = 300.0
# The load generator counts the frames that contain this mark.
MARK = "@@0:1@@"


async def update(db: Any) -> None:
    await db.execute("update orders set status = 'ready'")


async def copy(db: Any) -> None:
    rows = [(f"{MARK}{number}", "copied", 1) for number in range(ROWS, 2 * ROWS)]
    await db.copy_records_to_table("orders", records=rows, columns=["order_number", "customer_name", "total"])


@pytest.fixture
async def start_load() -> Any:
    try:
        compile_c(Path(__file__).parents[2] / "bench" / "loadgen.c")
    except CompilerMissing as why:
        pytest.skip(str(why))
    started: list[LoadGenerator] = []

    async def start(server: Server) -> LoadGenerator:
        started.append(await LoadGenerator.start(int(server.http_url.rpartition(":")[2])))
        return started[-1]

    yield start
    for load in started:
        await load.stop()


async def send_queue_overflows(server: Server) -> int:
    async with aiohttp.ClientSession() as http, http.get(f"{server.http_url}/metrics") as response:
        text = await response.text()
    return sum(
        int(float(line.split()[-1])) for line in text.splitlines() if line.startswith("orderwire_send_queue_overflows_total")
    )


@pytest.mark.parametrize("statement", [update, copy])
async def test_bulk_statement_reaches_every_client_without_overflow(
    start_server: StartServer, start_load: Any, database_url: str, db: Any, statement: Callable[[Any], Awaitable[None]]
) -> None:
    await db.execute(
        "insert into orders (order_number, customer_name, total) select $2 || n, 'c', 1 from generate_series(0, $1::int - 1) n",
        ROWS,
        MARK,
    )
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="100000", MAX_CONNECTIONS_PER_ADDRESS="5000")
    many: LoadGenerator = await start_load(server)
    await many.connect(CLIENTS)
    stalled = [await RawWebSocket.connect(server.ws_url, receive_buffer=4096) for _ in range(STALLED_CLIENTS)]
    try:
        for client in stalled:
            client.transport.pause_reading()
        await many.command("reset")
        rounds = 0
        # Until the stalled clients have more data pending than the kernel and their send queue hold.
        while rounds == 0 or await send_queue_overflows(server) < STALLED_CLIENTS:
            rounds += 1
            await statement(db)
            reached = await many.wait_for_frames(rounds * ROWS, DELIVERY_TIMEOUT_SECONDS)
            assert reached, f"not every client has every event: {summary(await many.command('report'))}"
            if statement is copy:
                await db.execute("set session_replication_role = replica; delete from orders; reset session_replication_role")
            else:
                await db.execute(
                    "set session_replication_role = replica; update orders set status = 'pending'; "
                    "reset session_replication_role"
                )
        report = await many.command("report")
        assert (report["clients"], report["lost"]) == (CLIENTS, 0), "a client was closed"
        assert report["marked"] == CLIENTS * ROWS * rounds, "each event once"
        assert await send_queue_overflows(server) == STALLED_CLIENTS
    finally:
        for client in stalled:
            await client.disconnect()
