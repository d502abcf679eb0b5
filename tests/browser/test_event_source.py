"""Chromium's EventSource reconnects by itself and misses no event when the server is restarted."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Page

from tests.browser.page_helpers import wait_until
from tests.helpers.tcp_proxy import TcpProxy, url_via_proxy
from tests.support import Server, StartServer, free_port

OPEN_EVENT_SOURCE = """
() => {
    window.names = [];
    window.source = new EventSource("/api/sse");
    window.source.addEventListener("new_order", (event) => window.names.push(JSON.parse(event.data).customer_name));
    return new Promise((resolve) => { window.source.onopen = () => resolve(true); });
}
"""


async def test_event_source_resumes_after_the_server_was_killed(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await page.goto(f"{server.http_url}/admin/dashboard")
    await page.evaluate(OPEN_EVENT_SOURCE)
    await db.execute("insert into orders (customer_name, total) values ('before', 1)")
    await wait_until(page, "names.length === 1")

    await server.kill()
    await db.execute("insert into orders (customer_name, total) values ('while down', 1)")
    await start_server(database_url, PORT=port)
    await wait_until(page, "names.length === 2")
    await db.execute("insert into orders (customer_name, total) values ('after', 1)")
    await wait_until(page, "names.length === 3")
    assert await page.evaluate("names") == ["before", "while down", "after"]


async def insert_while_server_is_down(start_server: StartServer, database_url: str, db: Any, page: Page) -> str:
    """Open an event source, stop the server and insert an order. Returns the port at which the page expects the server."""
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await page.goto(f"{server.http_url}/admin/dashboard")
    await page.evaluate(OPEN_EVENT_SOURCE)
    await server.stop()
    await db.execute("insert into orders (customer_name, total) values ('while down', 1)")
    return port


async def test_event_source_resumes_if_it_has_received_no_event(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    port = await insert_while_server_is_down(start_server, database_url, db, page)
    await start_server(database_url, PORT=port)
    await wait_until(page, "names.length === 1")


async def test_event_source_reconnects_to_a_server_that_waits_for_its_database(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    port = await insert_while_server_is_down(start_server, database_url, db, page)
    await page.evaluate("() => { window.opened = 0; window.source.onopen = () => { window.opened++; }; }")
    proxy = TcpProxy(urlsplit(database_url).port or 0)
    proxy.stalled = True
    try:
        second: Server = await start_server(url_via_proxy(database_url, await proxy.start()), wait=False, PORT=port)
        await second.wait_for_line_from_each_worker("waiting for it")
        await wait_until(page, "opened > 0")
        proxy.stalled = False
        await second.wait_until_ready()
        await wait_until(page, "names.length === 1")
    finally:
        await proxy.stop()
