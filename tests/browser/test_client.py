"""The client by itself, in a real browser against the real server: whatever happens to the line, each event once."""

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

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import insert_order, wait_until
from tests.support import ROOT, Server, StartServer, free_port

START = """
async (options) => {
    const { WebSocketService, isOrderEvent } = await import("/client/orderwire.js");
    window.events = [];
    window.gaps = 0;
    window.service = new WebSocketService({ maxAttempts: Infinity, baseDelayMs: 200, ...options });
    service.onMessage((frame) => { if (isOrderEvent(frame)) events.push(frame.order_number); });
    service.onGap(() => { gaps++; });
    service.connect();
}
"""
BLOCK_WEBSOCKET = """
window.WebSocket = class {
    constructor() { setTimeout(() => this.onclose({ code: 1006, reason: "" })); }
    send() {}
    close() {}
};
"""


async def start_client(page: Page, server: Server, **options: Any) -> Page:
    """The client on a page of the server's that does nothing else, once it is online."""
    await page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    await page.goto(f"{server.http_url}/healthz")
    await page.evaluate(START, options)
    await wait_until(page, "service.isConnected()")
    return page


async def expect_exactly(page: Page, numbers: list[str]) -> None:
    """Exactly these events, each once. They come in the order of commit, which is that of the writer."""
    await wait_until(page, f"events.length >= {len(numbers)}")
    assert await page.evaluate("events") == numbers
    assert await page.evaluate("gaps") == 0


@asynccontextmanager
async def concurrent_writer(db: Any) -> AsyncIterator[list[str]]:
    """A writer at work; the numbers of all its orders, complete at the end."""
    numbers: list[str] = []
    stop = asyncio.Event()

    async def write() -> None:
        while not stop.is_set():
            numbers.append(await insert_order(db, "while all this happens"))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.002)

    writer = asyncio.create_task(write())
    yield numbers
    stop.set()
    await writer


async def wait_for_writes(numbers: list[str], more: int) -> None:
    """The writer has gone on by so many."""
    wanted = len(numbers) + more
    while len(numbers) < wanted:
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("blocked", [False, True], ids=["websocket", "sse"])
async def test_nothing_is_missed_when_the_server_is_killed_again_and_again(
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
        for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
            await wait_for_writes(numbers, 50)
            await server.stop(how)
            await wait_for_writes(numbers, 50)
            server = await start_server(database_url, PORT=port)
            await wait_until(page, "service.isConnected()")
        await wait_for_writes(numbers, 50)
    await expect_exactly(page, [first, *numbers])


@pytest.mark.parametrize("end", ["closed", "crashed"])
async def test_tabs_share_one_connection_and_outlive_the_one_that_has_it(
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
        leads, *others = tabs
        if end == "closed":
            await leads.close()
        else:
            cdp = await leads.context.new_cdp_session(leads)
            crash = asyncio.ensure_future(cdp.send("Page.crash"))  # which is never answered
            await leads.wait_for_event("crash")
            crash.cancel()
        for tab in others:
            await wait_until(tab, f"events.length > {len(numbers)}")
        await wait_for_writes(numbers, 50)
    for tab in others:
        await expect_exactly(tab, [first, *numbers])
    assert len(connections) == 2
    assert "last_event_id=" in connections[1]


async def test_a_tab_that_stands_still_loses_the_lead_and_says_what_it_missed(
    start_server: StartServer, database_url: str, db: Any, new_page: NewPage
) -> None:
    server: Server = await start_server(database_url)
    leads = await new_page()
    other = await new_page(leads.context)
    taken_over: list[str] = []
    other.on("websocket", lambda socket: taken_over.append(socket.url))
    for tab in (leads, other):
        await start_client(tab, server, share=True, heartbeatMs=300)
    assert taken_over == []
    first = await insert_order(db, "first")
    for tab in (leads, other):
        await wait_until(tab, "events.length === 1")
    cdp = await leads.context.new_cdp_session(leads)
    await cdp.send("Debugger.enable")
    await cdp.send("Debugger.pause")  # nothing runs there any more
    meanwhile = await insert_order(db, "meanwhile")
    await wait_until(other, "events.length === 2")
    assert len(taken_over) == 1
    await cdp.send("Debugger.disable")
    await wait_until(leads, "service.isConnected() && (events.length === 2 || gaps === 1)")
    last = await insert_order(db, "last")
    await wait_until(leads, f"events.at(-1) === '{last}'")
    await expect_exactly(other, [first, meanwhile, last])


async def test_a_line_that_went_dead_is_noticed(start_server: StartServer, database_url: str, db: Any, page: Page) -> None:
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
    await expect_exactly(page, [first, await insert_order(db, "after")])


async def test_what_is_sent_while_offline_goes_out_afterwards(start_server: StartServer, database_url: str, page: Page) -> None:
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


async def test_a_cut_before_the_first_event_is_told_as_a_gap(start_server: StartServer, database_url: str, page: Page) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await start_client(page, server)
    await server.kill()
    await wait_until(page, "!service.isConnected()")
    await start_server(database_url, PORT=port)
    await wait_until(page, "gaps === 1")


@pytest.fixture
def examples_url() -> Iterator[str]:
    """A web server of somebody else's, with our example of a page."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_request(self, code: object = "-", size: object = "-") -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(ROOT / "examples" / "page"))) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


async def test_a_page_without_a_build_step(
    start_server: StartServer, database_url: str, db: Any, page: Page, examples_url: str
) -> None:
    server: Server = await start_server(database_url, ALLOWED_ORIGINS=examples_url)
    await page.goto(f"{examples_url}/?server={server.http_url}")
    await expect(page.locator("#status")).to_have_text("online")
    number = await insert_order(db, "Анна")
    await expect(page.locator("#events li")).to_have_text([re.compile(f"{number}: new_order pending")])
    await expect(page.locator("#orders")).to_have_text("1")
    await expect(page.locator("#revenue")).to_have_text("150.50")
