"""NOTIFY_MODE as an operator sees it: who hears what on channel `orders`, and what `/metrics` says."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import aiohttp
import pytest

from push.journal.relay import NOTIFY_INTERVAL
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, open_connections, within

ADD = "insert into orders (customer_name, total) values ('c', 1)"
BY_A_SERVER = '"events":[]'


async def gate_open(server: Server) -> bool:
    async with aiohttp.ClientSession() as http, http.get(server.http_url + "/metrics") as answer:
        match = re.search(r"^orderwire_notify_suppressed ([01])\.0$", await answer.text(), re.MULTILINE)
    assert match is not None
    return match[1] == "1"


async def until_gate(server: Server, is_open: bool) -> None:
    async def poll() -> None:
        while await gate_open(server) is not is_open:
            await asyncio.sleep(0.02)

    await within(TIMEOUT_SECONDS, poll(), f"gate {'open' if is_open else 'closed'}")


async def add_until(server: Server, writers: list[Any], is_open: bool) -> int:
    """Many commits until the gate is like that; how many it were."""
    count = 0
    while await gate_open(server) is not is_open:
        await asyncio.gather(*(writer.execute(ADD) for writer in writers))
        count += len(writers)
    return count


async def test_auto_steps_aside_under_load_and_comes_back(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    await db.add_listener("orders", lambda *call: heard.put_nowait(call[3]))
    async with open_connections(database_url, 8) as writers:
        server: Server = await start_server(database_url, NOTIFY_MODE="auto")
        client: Client = await connect(server.ws_url)
        await until_gate(server, False)
        total = 0
        for _ in range(3):
            assert heard.empty()
            await writers[0].execute(ADD)
            assert '"new_order"' in await within(TIMEOUT_SECONDS, heard.get(), "the ring of a single change")
            total += 1 + await add_until(server, writers, True)
            await asyncio.gather(*(writer.execute(ADD) for writer in writers))
            total += len(writers)
            while BY_A_SERVER not in await within(TIMEOUT_SECONDS, heard.get(), "the server's ring"):
                pass
            await client.wait_until(lambda c, total=total: len(c.events) == total, f"{total} events")  # type: ignore[misc]
            await until_gate(server, False)
            # Notifications come in the order of commit: this one ends those before.
            await db.execute("select pg_notify('orders', 'end')")
            while await within(TIMEOUT_SECONDS, heard.get(), "the end") != "end":
                pass


async def test_always_rings_for_each_however_many(start_server: StartServer, database_url: str, db: Any) -> None:
    heard: list[str] = []
    async with open_connections(database_url, 9) as (ear, *writers):
        await ear.add_listener("orders", lambda *call: heard.append(call[3]))
        server: Server = await start_server(database_url, NOTIFY_MODE="always")
        await until_gate(server, False)
        for _ in range(50):
            await asyncio.gather(*(writer.execute(ADD) for writer in writers))
        assert not await gate_open(server)
        await ear.execute("select 1")  # whatever is on its way comes before the answer
        assert len(heard) == 50 * len(writers)
        assert all('"new_order"' in payload for payload in heard)


async def test_never_reads_by_the_clock_alone(start_server: StartServer, connect: Connect, database_url: str, db: Any) -> None:
    heard: list[str] = []
    async with open_connections(database_url, 1) as (ear,):
        await ear.add_listener("orders", lambda *call: heard.append(call[3]))
        server: Server = await start_server(database_url, NOTIFY_MODE="never")
        client: Client = await connect(server.ws_url)
        await until_gate(server, True)
        for number in range(20):
            await db.execute(ADD)
            await client.wait_until(lambda c, number=number: len(c.events) == number + 1, "the event")  # type: ignore[misc]
        await ear.execute("select 1")
        assert heard
        assert all(BY_A_SERVER in payload for payload in heard)


async def test_a_server_that_reads_by_the_clock_tells_of_all_and_seldom(
    start_server: StartServer, database_url: str, db: Any
) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    async with open_connections(database_url, 1) as (ear,):
        await ear.add_listener("orders", lambda *call: heard.put_nowait(call[3]))
        server: Server = await start_server(database_url, NOTIFY_MODE="never")
        await until_gate(server, True)
        begun = time.monotonic()
        for _ in range(100):
            await db.execute(ADD)
            await asyncio.sleep(0.01)
        told = rings = 0
        while told < 100:
            payload = await within(TIMEOUT_SECONDS, heard.get(), f"the rest, {told} events have been told of")
            assert BY_A_SERVER in payload
            told += int(json.loads(payload)["more"])
            rings += 1
        assert told == 100
        assert (rings - 1) * NOTIFY_INTERVAL <= time.monotonic() - begun


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_when_the_server_goes_writers_ring_again(start_server: StartServer, database_url: str, db: Any, how: str) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()
    server: Server = await start_server(database_url, NOTIFY_MODE="never")
    await until_gate(server, True)
    await (server.kill() if how == "kill" else server.stop())
    async with open_connections(database_url, 1) as (ear,):
        await ear.add_listener("orders", lambda *call: heard.put_nowait(call[3]))

        async def until_rung() -> None:
            while heard.empty():  # PostgreSQL notices in its own time
                await db.execute(ADD)
                await ear.execute("select 1")

        await within(TIMEOUT_SECONDS, until_rung(), "a ring")
        assert '"new_order"' in heard.get_nowait()
