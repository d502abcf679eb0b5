"""Scripts that run the WebSocket client on a page that does nothing else."""

from __future__ import annotations

from playwright.async_api import Page

from tests.support import Server

# Starts a client as `service`, and collects the order numbers of its events in `events` and its gaps in `gaps`.
START_CLIENT = """
async (options) => {
    const { WebSocketService, isOrderEvent } = await import("/client/orderwire.js");
    window.events = [];
    window.gaps = 0;
    window.service = new WebSocketService({ maxAttempts: Infinity, baseDelayMs: 200, ...options });
    service.onMessage((message) => { if (isOrderEvent(message)) events.push(message.order_number); });
    service.onGap(() => { gaps++; });
    service.connect();
}
"""
# Makes every WebSocket fail, as behind a proxy that does not support them: the client falls back to SSE.
BLOCK_WEBSOCKET = """
window.WebSocket = class {
    constructor() { setTimeout(() => this.onclose({ code: 1006, reason: "" })); }
    send() {}
    close() {}
};
"""


async def open_empty_page(page: Page, server: Server) -> None:
    """Open a page of the server's origin that runs no script."""
    await page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    await page.goto(f"{server.http_url}/healthz")
