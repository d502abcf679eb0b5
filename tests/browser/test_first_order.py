"""The empty page says how to make the first order."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import expect_order_count, open_dashboard
from tests.browser.test_access import violations
from tests.support import ROOT, Server, StartServer, copy_checkout


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url)
    return server


@pytest.mark.every_browser
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


@pytest.fixture
async def playground(tmp_path: Path, page: Page) -> AsyncIterator[Server]:
    """A server with the embedded database, which has test orders."""
    copy_checkout(tmp_path / "checkout")
    server = await Server.start(sys.executable, "server.py", "serve", env={"PORT": "0"}, cwd=tmp_path / "checkout")
    yield await server.wait_until_ready()
    await server.stop()


async def test_a_test_order_is_sent_where_the_server_allows_it(playground: Server, page: Page) -> None:
    await open_dashboard(page, playground)
    assert await violations(page) == []
    await page.get_by_role("button", name="Отправить пробный заказ").click()
    await expect_order_count(page, 1)
    await expect(page.locator(".latency")).to_be_visible()
