"""The dashboard and the client below a prefix, behind proxies that take the prefix away, or not."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.page_helpers import expect_online, expect_totals, insert_order, wait_until
from tests.helpers.prefix_proxy import prefix_proxy
from tests.helpers.tokens import SECRET, token
from tests.support import StartServer

PREFIX = "/shop/orderwire"


@pytest.fixture(params=[True, False], ids=["strips", "keeps"])
async def site(request: pytest.FixtureRequest, start_server: StartServer, database_url: str) -> AsyncIterator[str]:
    server = await start_server(database_url, BASE_PATH=PREFIX, JWT_SECRET=SECRET)
    async with prefix_proxy(server.http_url, PREFIX, strips=request.param) as url:
        yield url


async def test_the_dashboard_is_live_below_a_prefix(site: str, page: Page, db: Any) -> None:
    await insert_order(db, "Anna")
    await page.goto(site)
    await expect(page).to_have_url(re.compile(f"{PREFIX}/admin/dashboard$"))
    await page.goto(f"{site}/admin/dashboard#token={token()}")
    await page.reload()
    await expect_online(page)
    await expect(page.locator(".grid[aria-busy=false]")).to_be_visible()
    await expect_totals(page, "1", "150,50 zł", "1")
    await insert_order(db, "Boris")
    await expect_totals(page, "2", "301,00 zł", "2")
    # A server below another prefix of the host does not get the token.
    assert await page.evaluate("Object.keys(sessionStorage)") == [f"orderwire.token{PREFIX}"]


async def test_the_client_connects_to_the_server_that_serves_it(site: str, page: Page, db: Any) -> None:
    await page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    await page.goto(f"{site}/healthz")
    await page.evaluate(
        """async ([script, shown]) => {
            const { wsService } = await import(script);
            wsService.configure({ getToken: () => shown });
            window.types = [];
            wsService.onMessage(({ type }) => types.push(type));
            const online = new Promise((done) => wsService.onConnect(done));
            wsService.connect();
            await online;
        }""",
        [f"{PREFIX}/client/orderwire.js", token()],
    )
    await insert_order(db, "Anna")
    await wait_until(page, "types.includes('new_order')")
