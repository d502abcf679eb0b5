"""NOTIFY_MODE: who notifies on channel `orders`, and what the metric says."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from gateway.app_keys import METRICS, RELAY
from push.journal.relay import NOTIFY_INTERVAL
from tests.gateway.conftest import App, StartApp
from tests.helpers.contending_writers import contending_writers
from tests.support import TIMEOUT_SECONDS, Connect, open_connections, within

INSERT = "insert into orders (customer_name, total) values ('c', 1)"
BY_A_SERVER = '"events":[]'


def is_suppressed(app: App) -> bool:
    return app.app[METRICS].registry.get_sample_value("orderwire_notify_suppressed") == 1


async def until_suppressed(app: App, expected: bool) -> None:
    # The metric is 0 before anything is known: the second read of the relay is the first one after it has required NOTIFY.
    reads = app.app[RELAY].read_barrier

    async def poll() -> None:
        while reads.reads_published < 2 or is_suppressed(app) is not expected:
            await asyncio.sleep(0.02)

    await within(TIMEOUT_SECONDS, poll(), f"orderwire_notify_suppressed is {expected:d}")


async def test_auto_suppresses_notify_under_load_and_allows_it_again(
    start_app: StartApp, connect: Connect, database_url: str, db: Any
) -> None:
    received: asyncio.Queue[str] = asyncio.Queue()
    await db.add_listener("orders", lambda *call: received.put_nowait(call[3]))
    async with contending_writers(database_url) as write:
        app = await start_app(NOTIFY_MODE="auto")
        client = await connect(app.ws_url)
        await until_suppressed(app, False)
        total = 0
        for _ in range(3):
            assert received.empty()
            await db.execute(INSERT)
            assert '"new_order"' in await within(TIMEOUT_SECONDS, received.get(), "the notification of a single change")
            total += 1
            while not is_suppressed(app):
                total += await write()
            total += await write()
            while BY_A_SERVER not in await within(TIMEOUT_SECONDS, received.get(), "the server's notification"):
                pass
            await client.wait_until(lambda c, total=total: len(c.events) == total, f"{total} events")  # type: ignore[misc]
            await until_suppressed(app, False)
            # Notifications arrive in commit order: this one is after all others.
            await db.execute("select pg_notify('orders', 'end')")
            while await within(TIMEOUT_SECONDS, received.get(), "the end") != "end":
                pass


async def test_always_notifies_for_each_transaction(start_app: StartApp, database_url: str) -> None:
    received: list[str] = []
    async with open_connections(database_url, 9) as (listener, *writers):
        await listener.add_listener("orders", lambda *call: received.append(call[3]))
        app = await start_app(NOTIFY_MODE="always")
        await until_suppressed(app, False)
        for _ in range(50):
            await asyncio.gather(*(writer.execute(INSERT) for writer in writers))
        assert not is_suppressed(app)
        await listener.execute("select 1")  # notifications on their way arrive before the result
        assert len(received) == 50 * len(writers)
        assert all('"new_order"' in payload for payload in received)


async def test_never_suppresses_notify_and_polls(start_app: StartApp, connect: Connect, database_url: str, db: Any) -> None:
    received: list[str] = []
    async with open_connections(database_url, 1) as (listener,):
        await listener.add_listener("orders", lambda *call: received.append(call[3]))
        app = await start_app(NOTIFY_MODE="never")
        client = await connect(app.ws_url)
        await until_suppressed(app, True)
        for number in range(20):
            await db.execute(INSERT)
            await client.wait_until(lambda c, number=number: len(c.events) == number + 1, "the event")  # type: ignore[misc]
        await listener.execute("select 1")
        assert received
        assert all(BY_A_SERVER in payload for payload in received)


async def test_a_server_that_polls_notifies_of_every_event_at_a_limited_rate(
    start_app: StartApp, database_url: str, db: Any
) -> None:
    received: asyncio.Queue[str] = asyncio.Queue()
    async with open_connections(database_url, 1) as (listener,):
        await listener.add_listener("orders", lambda *call: received.put_nowait(call[3]))
        app = await start_app(NOTIFY_MODE="never")
        await until_suppressed(app, True)
        start = time.monotonic()
        for _ in range(100):
            await db.execute(INSERT)
            await asyncio.sleep(0.01)
        announced = notifications = 0
        while announced < 100:
            payload = await within(TIMEOUT_SECONDS, received.get(), f"the rest; {announced} events were announced")
            assert BY_A_SERVER in payload
            announced += int(json.loads(payload)["more"])
            notifications += 1
        assert announced == 100
        assert (notifications - 1) * NOTIFY_INTERVAL <= time.monotonic() - start
