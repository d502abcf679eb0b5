"""The empty page says how to make the first order."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import expect_order_count, open_dashboard
from tests.browser.test_access import violations
from tests.support import ROOT, Server, StartServer


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url)
    return server


async def test_the_lines_of_the_readme_can_be_copied_and_make_an_order(server: Server, db: Any, new_page: NewPage) -> None:
    page = await new_page(permissions=["clipboard-read", "clipboard-write"])
    await open_dashboard(page, server)
    await expect(page.locator("code")).to_have_count(2)
    psql, insert = await page.locator("code").all_text_contents()
    assert psql == "make psql"
    assert insert in (ROOT / "README.md").read_text(encoding="utf-8")
    await page.get_by_role("button", name="Скопировать").last.click()
    await expect(page.get_by_role("button", name="Скопировано")).to_be_visible()
    await db.execute(await page.evaluate("navigator.clipboard.readText()"))
    await expect_order_count(page, 1)
    await expect(page.locator("code")).to_have_count(0)


async def test_of_a_table_of_ones_own_only_the_name_is_shown(server: Server, page: Page) -> None:
    async def rename(route: Route) -> None:
        response = await route.fetch()
        await route.fulfill(
            response=response, json={**await response.json(), "table": "shop.bestellungen", "statuses": ["neu"]}
        )

    await page.context.route("**/api/meta", rename)
    await open_dashboard(page, server)
    await expect(page.get_by_text("shop.bestellungen")).to_be_visible()
    await expect(page.locator("code")).to_have_count(0)


async def test_a_test_order_is_sent_where_the_server_allows_it(server: Server, db: Any, page: Page) -> None:
    async def allow(route: Route) -> None:
        response = await route.fetch()
        await route.fulfill(response=response, json={**await response.json(), "test_order": True})

    async def insert(route: Route) -> None:
        assert route.request.method == "POST"
        key = await db.fetchval("insert into orders (customer_name, total) values ('Test', 1) returning id")
        await route.fulfill(status=201, json={"id": "event", "key": str(key)})

    await page.context.route("**/api/meta", allow)
    await page.context.route("**/api/test-order", insert)
    await open_dashboard(page, server)
    assert await violations(page) == []
    await page.get_by_role("button", name="Отправить пробный заказ").click()
    await expect_order_count(page, 1)
    await expect(page.locator(".latency")).to_be_visible()
