"""/api/docs: both interfaces, and a request, a stream and a WebSocket from the page. It loads nothing from other hosts."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Page, expect

from gateway.description.operations import OPERATIONS
from push.protocol.schema import EVENTS
from tests.helpers.tokens import SECRET, token
from tests.support import Server, StartServer

INSERT = "insert into orders (customer_name, total) values ('Анна', 150.50)"


async def test_the_page_lists_and_tries_both_interfaces(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    await db.execute(INSERT)
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    response = await page.goto(f"{server.http_url}/api/docs")
    assert response is not None
    assert "default-src 'none'" in response.headers["content-security-policy"]
    for operation in OPERATIONS.values():
        await expect(page.locator(f"#{operation.name}")).to_be_visible()
    for name in EVENTS.values():
        await expect(page.locator(f"#from-{name}")).to_be_visible()

    # Without a token, then with one.
    order = page.locator("#getOrder")
    await order.locator("summary").click()
    await order.get_by_role("button", name="Send").click()
    await expect(order.locator("output")).to_contain_text("401")
    await page.get_by_placeholder("none").fill(token("admin"))
    await order.get_by_role("button", name="Send").click()
    await expect(order.locator("output")).to_contain_text("Анна")

    stream = page.locator("#openEventStream")
    await stream.locator("summary").click()
    await stream.get_by_role("button", name="Send").click()
    await expect(stream.locator("output")).to_contain_text("analytics_update")

    console = page.locator(".console")
    await console.get_by_role("button", name="Connect").click()
    await expect(console.locator("li").last).to_contain_text("analytics_update")
    await db.execute(INSERT)
    await expect(console.locator("li", has_text="new_order")).to_be_visible()
    await console.get_by_label("text of the message").fill(json.dumps({"type": "subscribe", "topics": ["order:1"]}))
    await console.get_by_role("button", name="Send").click()
    await expect(console.locator("li", has_text="subscribed")).to_be_visible()
    await expect(stream.locator("output")).to_contain_text("new_order")
    assert hosts == {urlsplit(server.http_url).netloc}
