"""The client with a login: a token that is refused, renewed, run out, and what each role sees."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import insert_order, wait_until
from tests.browser.test_client import BLOCK_WEBSOCKET, START
from tests.helpers.tokens import SECRET, token
from tests.support import Server, StartServer, free_port

# The options come as data, which a function is not: `tokens` are given out one after the other, the last for ever.
LOG_IN = f"""
async ({{ tokens, ...options }}) => {{
    window.asked = 0;
    window.frames = [];
    await ({START})({{ ...options, getToken: () => tokens[Math.min(asked++, tokens.length - 1)] }});
    service.onMessage((frame) => frames.push(frame));
}}
"""


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    started: Server = await start_server(database_url, JWT_SECRET=SECRET)
    return started


async def log_in(page: Page, server: Server, *tokens: str, **options: Any) -> Page:
    await page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    await page.goto(f"{server.http_url}/healthz")
    await page.evaluate(LOG_IN, {"tokens": tokens, **options})
    return page


async def test_a_token_is_renewed_in_the_session_before_it_runs_out(server: Server, db: Any, page: Page) -> None:
    connections: list[str] = []
    page.on("websocket", lambda socket: connections.append(socket.url))
    await log_in(page, server, token(ttl=12), token(ttl=600))
    await wait_until(page, "frames.filter(({ type }) => type === 'authenticated').length === 2")
    await wait_until(page, f"Date.now() > {await page.evaluate('Date.now()')} + 3000")  # beyond the end of the first one
    await insert_order(db, "still there")
    await wait_until(page, "events.length === 1")
    assert await page.evaluate("asked") == 2
    assert len(connections) == 1
    assert "token" not in connections[0]


@pytest.mark.parametrize("blocked", [False, True], ids=["websocket", "sse"])
async def test_a_token_that_ran_out_is_replaced_and_nothing_is_missed(
    server: Server, db: Any, page: Page, blocked: bool
) -> None:
    if blocked:
        await page.add_init_script(BLOCK_WEBSOCKET)
    await log_in(page, server, *[token(ttl=4)] * (5 if blocked else 1), token(ttl=600))
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
async def test_a_refused_token_is_not_tried_again(server: Server, new_page: NewPage, blocked: bool) -> None:
    page = await new_page()
    if blocked:
        await page.add_init_script(BLOCK_WEBSOCKET)
    await log_in(page, server, token(key="another secret of sufficient length, that is"))
    await wait_until(page, "service.status.state === 'closed'")
    status = await page.evaluate("service.status")
    assert status["terminal"]
    assert status["code"] == (401 if blocked else 3500)


async def test_a_viewer_sees_the_totals_alone(server: Server, db: Any, page: Page) -> None:
    await log_in(page, server, token("viewer"))
    await wait_until(page, "service.isConnected()")
    await insert_order(db, "anybody")
    await wait_until(page, "service.totals.total_orders === 1")
    assert await page.evaluate("events") == []


async def test_a_customer_follows_their_own_order_over_a_reconnect(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, PORT=port)
    numbers = [await insert_order(db, name) for name in ("mine", "another's")]
    await db.execute("update orders set customer_id = 'anna' where customer_name = 'mine'")
    order = await db.fetchval("select id from orders where customer_name = 'mine'")
    await log_in(page, server, token("customer", sub="anna"))
    await wait_until(page, "service.isConnected()")
    assert await page.evaluate("service.send({ type: 'subscribe', topics: [$] })".replace("$", f"'order:{order}'"))
    await wait_until(page, "service.topics?.length === 1")
    await db.execute("update orders set status = 'ready'")
    await wait_until(page, "events.length === 1")
    await server.kill()
    await wait_until(page, "!service.isConnected()")
    await db.execute("update orders set status = 'delivered'")
    await start_server(database_url, JWT_SECRET=SECRET, PORT=port)
    await wait_until(page, "events.length === 2")
    assert await page.evaluate("events") == [numbers[0]] * 2
    assert await page.evaluate("service.topics") == [f"order:{order}"]


async def test_tabs_of_different_logins_keep_apart(server: Server, db: Any, new_page: NewPage) -> None:
    admin = await new_page()
    viewer = await new_page(admin.context)
    await log_in(admin, server, token("admin"), share="admin")
    await log_in(viewer, server, token("viewer"), share="viewer")
    for tab in (admin, viewer):
        await wait_until(tab, "service.isConnected()")
    await insert_order(db, "anybody")
    await wait_until(admin, "events.length === 1")
    await wait_until(viewer, "service.totals.total_orders === 1")
    assert await viewer.evaluate("events") == []
