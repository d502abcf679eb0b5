"""A real browser reads what the server compresses, and the server what the browser does."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

from tests.browser.page_helpers import until
from tests.helpers.raw_websocket import DEFLATE_OFFER, RawWebSocket
from tests.support import Server, StartServer

LISTEN = """
() => {
    window.frames_ = [];
    window.socket = new WebSocket(location.origin.replace("http", "ws") + "/api/ws");
    window.socket.onmessage = (event) => window.frames_.push(JSON.parse(event.data));
    return new Promise((resolve) => { window.socket.onopen = () => resolve(window.socket.extensions); });
}
"""


async def test_a_browser_offers_it_and_reads_all(start_server: StartServer, database_url: str, db: Any, page: Page) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1")
    await page.goto(f"{server.http_url}/admin/dashboard")
    beside = await RawWebSocket.connect(server.ws_url, headers=DEFLATE_OFFER)
    try:
        assert await page.evaluate(LISTEN) == "permessage-deflate; client_no_context_takeover"
        for n in range(100):
            await db.execute("insert into orders (customer_name, total) values ($1, $2)", f"Иван {n}", n)
        await until(page, "frames_.filter((frame) => frame.type === 'new_order').length === 100")
        names = await page.evaluate("frames_.filter((frame) => 'id' in frame).map((frame) => frame.customer_name)")
        assert names == [f"Иван {n}" for n in range(100)]
        await beside.wait_until(lambda c: len(c.events) == 100, "100 events")
        assert beside.compressed >= 90  # so there was a stream to follow, or nearly from the first event on
        await page.evaluate("socket.send(JSON.stringify({ type: 'ping', filler: 'x'.repeat(20000) }))")
        await until(page, "frames_.some((frame) => frame.type === 'pong')")
    finally:
        await beside.disconnect()
