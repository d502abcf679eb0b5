"""permessage-deflate between Chromium and the server, in both directions."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

from tests.browser.page_helpers import wait_until
from tests.helpers.raw_websocket import DEFLATE_OFFER, RawWebSocket
from tests.support import Server, StartServer

OPEN_WEBSOCKET = """
() => {
    window.messages_ = [];
    window.socket = new WebSocket(location.origin.replace("http", "ws") + "/api/ws");
    window.socket.onmessage = (event) => window.messages_.push(JSON.parse(event.data));
    return new Promise((resolve) => { window.socket.onopen = () => resolve(window.socket.extensions); });
}
"""


async def test_browser_and_server_exchange_compressed_messages(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1")
    await page.goto(f"{server.http_url}/admin/dashboard")
    second_client = await RawWebSocket.connect(server.ws_url, headers=DEFLATE_OFFER)
    try:
        assert await page.evaluate(OPEN_WEBSOCKET) == "permessage-deflate; client_max_window_bits=9"
        for n in range(100):
            await db.execute("insert into orders (customer_name, total) values ($1, $2)", f"Иван {n}", n)
        await wait_until(page, "messages_.filter((message) => message.type === 'new_order').length === 100")
        names = await page.evaluate("messages_.filter((message) => 'id' in message).map((message) => message.customer_name)")
        assert names == [f"Иван {n}" for n in range(100)]
        await second_client.wait_until(lambda c: len(c.events) == 100, "100 events")
        assert second_client.compressed >= 90  # the shared deflate stream began at one of the first events
        await page.evaluate("socket.send(JSON.stringify({ type: 'ping', filler: 'x'.repeat(20000) }))")
        await wait_until(page, "messages_.some((message) => message.type === 'pong')")
    finally:
        await second_client.disconnect()
