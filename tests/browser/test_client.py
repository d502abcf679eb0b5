"""The client package in Chromium: each event arrives once, whatever happens to the connection, the server or a tab."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.client_helpers import BLOCK_WEBSOCKET, START_CLIENT, open_empty_page
from tests.browser.conftest import NewPage
from tests.browser.page_helpers import insert_order, wait_until
from tests.support import ROOT, Server, StartServer, free_port


async def start_client(page: Page, server: Server, **options: Any) -> Page:
    """Start a client on an empty page; return when it is connected."""
    await open_empty_page(page, server)
    await page.evaluate(START_CLIENT, options)
    await wait_until(page, "service.isConnected()")
    return page


async def expect_events(page: Page, numbers: list[str]) -> None:
    """Wait for exactly the events of these orders, each once and in the order of their commits, without a gap."""
    await wait_until(page, f"events.length >= {len(numbers)}")
    assert await page.evaluate("events") == numbers
    assert await page.evaluate("gaps") == 0


@asynccontextmanager
async def concurrent_writer(db: Any) -> AsyncIterator[list[str]]:
    """Insert orders in the background. Yields the list of their numbers, which is complete when the block has been left."""
    numbers: list[str] = []
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            numbers.append(await insert_order(db, "concurrent"))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.002)

    writer = asyncio.create_task(write())
    yield numbers
    stop.set()
    await writer


async def wait_for_writes(numbers: list[str], count: int) -> None:
    """Wait until the concurrent writer has inserted ``count`` more orders."""
    target = len(numbers) + count
    while len(numbers) < target:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("blocked", [False, True], ids=["websocket", "sse"])
async def test_every_event_arrives_once_when_the_server_is_killed_repeatedly(
    start_server: StartServer, database_url: str, db: Any, page: Page, blocked: bool
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    if blocked:
        await page.add_init_script(BLOCK_WEBSOCKET)
    await start_client(page, server)
    assert await page.evaluate("service.status.transport") == ("sse" if blocked else "websocket")
    first = await insert_order(db, "first")
    await wait_until(page, "events.length === 1")
    async with concurrent_writer(db) as numbers:
        for sig in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            await wait_for_writes(numbers, 50)
            await server.stop(sig)
            await wait_for_writes(numbers, 50)
            server = await start_server(database_url, PORT=port)
            await wait_until(page, "service.isConnected()")
        await wait_for_writes(numbers, 50)
    await expect_events(page, [first, *numbers])


@pytest.mark.parametrize("end", ["closed", "crashed"])
async def test_tabs_share_one_connection_and_another_tab_takes_over_when_its_owner_ends(
    start_server: StartServer, database_url: str, db: Any, new_page: NewPage, end: str
) -> None:
    server: Server = await start_server(database_url)
    connections: list[str] = []
    tabs: list[Page] = []
    for _ in range(3):
        tab = await new_page(tabs[0].context if tabs else None)
        tab.on("websocket", lambda socket: connections.append(socket.url))
        tabs.append(await start_client(tab, server, share=True))
    assert len(connections) == 1
    first = await insert_order(db, "first")
    for tab in tabs:
        await wait_until(tab, "events.length === 1")
    async with concurrent_writer(db) as numbers:
        await wait_for_writes(numbers, 50)
        leader, *followers = tabs
        if end == "closed":
            await leader.close()
        else:
            cdp = await leader.context.new_cdp_session(leader)
            crash = asyncio.ensure_future(cdp.send("Page.crash"))  # gets no answer
            await leader.wait_for_event("crash")
            crash.cancel()
        for tab in followers:
            await wait_until(tab, f"events.length > {len(numbers)}")
        await wait_for_writes(numbers, 50)
    for tab in followers:
        await expect_events(tab, [first, *numbers])
    assert len(connections) == 2
    assert "last_event_id=" in connections[1]


async def test_frozen_tab_loses_the_lead_and_catches_up_or_reports_a_gap(
    start_server: StartServer, database_url: str, db: Any, new_page: NewPage
) -> None:
    server: Server = await start_server(database_url)
    leader = await new_page()
    follower = await new_page(leader.context)
    new_connections: list[str] = []
    follower.on("websocket", lambda socket: new_connections.append(socket.url))
    for tab in (leader, follower):
        await start_client(tab, server, share=True, heartbeatMs=300)
    assert new_connections == []
    first = await insert_order(db, "first")
    for tab in (leader, follower):
        await wait_until(tab, "events.length === 1")
    cdp = await leader.context.new_cdp_session(leader)
    await cdp.send("Debugger.enable")
    await cdp.send("Debugger.pause")  # stops all scripts of the tab
    meanwhile = await insert_order(db, "meanwhile")
    await wait_until(follower, "events.length === 2")
    assert len(new_connections) == 1
    await cdp.send("Debugger.disable")
    await wait_until(leader, "service.isConnected() && (events.length === 2 || gaps === 1)")
    last = await insert_order(db, "last")
    await wait_until(leader, f"events.at(-1) === '{last}'")
    await expect_events(follower, [first, meanwhile, last])


async def test_unresponsive_server_is_detected_by_the_heartbeat(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url)
    await start_client(page, server, heartbeatMs=200)
    first = await insert_order(db, "before")
    await wait_until(page, "events.length === 1")
    os.killpg(server.process.pid, signal.SIGSTOP)
    try:
        await wait_until(page, "!service.isConnected()")
    finally:
        os.killpg(server.process.pid, signal.SIGCONT)
    await wait_until(page, "service.isConnected()")
    await expect_events(page, [first, await insert_order(db, "after")])


async def test_messages_sent_while_offline_are_queued_up_to_the_limit(
    start_server: StartServer, database_url: str, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await start_client(page, server, queueLimit=2)
    await server.kill()
    await wait_until(page, "!service.isConnected()")
    await page.evaluate(
        """() => {
            window.pongs = 0;
            service.onMessage(({ type }) => { if (type === "pong") pongs++; });
            window.sent = Promise.all([1, 2, 3].map(() => service.send({ type: "ping" })));
        }"""
    )
    await start_server(database_url, PORT=port)
    assert await page.evaluate("sent") == [True, True, False]
    await wait_until(page, "pongs === 2")


async def test_reconnect_without_a_cursor_is_reported_as_a_gap(
    start_server: StartServer, database_url: str, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await start_client(page, server)
    await server.kill()
    await wait_until(page, "!service.isConnected()")
    await start_server(database_url, PORT=port)
    await wait_until(page, "gaps === 1")


@pytest.fixture
def examples_url() -> Iterator[str]:
    """URL of a web server of another origin that serves examples/page."""

    class QuietHandler(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(ROOT / "examples" / "page"))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_example_page_without_a_build_step_shows_events_and_totals(
    start_server: StartServer, database_url: str, db: Any, page: Page, examples_url: str
) -> None:
    server: Server = await start_server(database_url, ALLOWED_ORIGINS=examples_url)
    await page.goto(f"{examples_url}/?server={server.http_url}")
    await expect(page.locator("#status")).to_have_text("online")
    number = await insert_order(db, "Анна")
    await expect(page.locator("#events li")).to_have_text([re.compile(f"{number}: new_order pending")])
    await expect(page.locator("#orders")).to_have_text("1")
    await expect(page.locator("#revenue")).to_have_text("150.50")
