"""The client package with login: renewed, expired and rejected tokens, and what each role receives."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.client_helpers import BLOCK_WEBSOCKET, START_CLIENT, open_empty_page
from tests.browser.conftest import NewPage
from tests.browser.page_helpers import insert_order, wait_until
from tests.helpers.tokens import SECRET, token
from tests.support import Server, StartServer, free_port

# Playwright passes options as data, so `getToken` is defined here. It returns the next of `tokens`, and then always the last.
START_WITH_TOKENS = f"""
async ({{ tokens, ...options }}) => {{
    window.tokenRequests = 0;
    window.messages = [];
    await ({START_CLIENT})({{ ...options, getToken: () => tokens[Math.min(tokenRequests++, tokens.length - 1)] }});
    service.onMessage((message) => messages.push(message));
}}
"""


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    started: Server = await start_server(database_url, JWT_SECRET=SECRET)
    return started


async def start_with_tokens(page: Page, server: Server, *tokens: str, **options: Any) -> Page:
    await open_empty_page(page, server)
    await page.evaluate(START_WITH_TOKENS, {"tokens": tokens, **options})
    return page


async def test_token_is_renewed_on_the_same_connection_before_it_expires(server: Server, db: Any, page: Page) -> None:
    connections: list[str] = []
    page.on("websocket", lambda socket: connections.append(socket.url))
    await start_with_tokens(page, server, token(ttl=12), token(ttl=600))
    await wait_until(page, "messages.filter(({ type }) => type === 'authenticated').length === 2")
    await wait_until(page, f"Date.now() > {await page.evaluate('Date.now()')} + 3000")  # after the first token has expired
    await insert_order(db, "still there")
    await wait_until(page, "events.length === 1")
    assert await page.evaluate("tokenRequests") == 2
    assert len(connections) == 1
    assert "token" not in connections[0]


@pytest.mark.parametrize("blocked", [False, True], ids=["websocket", "sse"])
async def test_expired_token_is_replaced_and_no_event_is_missed(server: Server, db: Any, page: Page, blocked: bool) -> None:
    if blocked:
        await page.add_init_script(BLOCK_WEBSOCKET)
    await start_with_tokens(page, server, *[token(ttl=4)] * (5 if blocked else 1), token(ttl=600))
    await wait_until(page, "service.isConnected()")
    numbers = [await insert_order(db, "before")]
    await wait_until(page, "events.length === 1")
    await wait_until(page, "!service.isConnected()")
    numbers.append(await insert_order(db, "while away"))
    await wait_until(page, "service.isConnected()")
    numbers.append(await insert_order(db, "after"))
    await wait_until(page, "events.length === 3")
    assert await page.evaluate("events") == numbers
    assert await page.evaluate("gaps") == 0


@pytest.mark.parametrize("blocked", [False, True], ids=["websocket", "sse"])
async def test_rejected_token_closes_the_client_for_good(server: Server, new_page: NewPage, blocked: bool) -> None:
    page = await new_page()
    if blocked:
        await page.add_init_script(BLOCK_WEBSOCKET)
    await start_with_tokens(page, server, token(key="another secret of sufficient length, that is"))
    await wait_until(page, "service.status.state === 'closed'")
    status = await page.evaluate("service.status")
    assert status["terminal"]
    assert status["code"] == (401 if blocked else 3500)


async def test_viewer_gets_totals_and_no_events(server: Server, db: Any, page: Page) -> None:
    await start_with_tokens(page, server, token("viewer"))
    await wait_until(page, "service.isConnected()")
    await insert_order(db, "Anna")
    await wait_until(page, "service.totals.total_orders === 1")
    assert await page.evaluate("events") == []


async def test_customer_keeps_the_topic_of_their_order_over_a_reconnect(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, PORT=port)
    numbers = [await insert_order(db, name) for name in ("mine", "another's")]
    await db.execute("update orders set customer_id = 'anna' where customer_name = 'mine'")
    order_id = await db.fetchval("select id from orders where customer_name = 'mine'")
    await start_with_tokens(page, server, token("customer", sub="anna"))
    await wait_until(page, "service.isConnected()")
    assert await page.evaluate("service.send({ type: 'subscribe', topics: [$] })".replace("$", f"'order:{order_id}'"))
    await wait_until(page, "service.topics?.length === 2")
    await db.execute("update orders set status = 'ready'")
    await wait_until(page, "events.length === 1")
    await server.kill()
    await wait_until(page, "!service.isConnected()")
    await db.execute("update orders set status = 'delivered'")
    await start_server(database_url, JWT_SECRET=SECRET, PORT=port)
    await wait_until(page, "events.length === 2")
    assert await page.evaluate("events") == [numbers[0]] * 2
    assert await page.evaluate("service.topics") == [f"order:{order_id}", "orders"]


async def test_tabs_with_different_logins_do_not_share_a_connection(server: Server, db: Any, new_page: NewPage) -> None:
    admin = await new_page()
    viewer = await new_page(admin.context)
    await start_with_tokens(admin, server, token("admin"), share="admin")
    await start_with_tokens(viewer, server, token("viewer"), share="viewer")
    for tab in (admin, viewer):
        await wait_until(tab, "service.isConnected()")
    await insert_order(db, "Anna")
    await wait_until(admin, "events.length === 1")
    await wait_until(viewer, "service.totals.total_orders === 1")
    assert await viewer.evaluate("events") == []
