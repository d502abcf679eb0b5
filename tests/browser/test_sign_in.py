"""Sign-in on a dashboard whose server requires a token: the token is pasted, or is in the fragment of the URL."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.page_helpers import expect_online, expect_order_count, expect_totals, insert_order, open_dashboard
from tests.helpers.tokens import SECRET, token
from tests.support import Server, StartServer


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    return server


async def sign_in(page: Page, text: str) -> None:
    await page.get_by_label("Токен").fill(text)
    await page.get_by_role("button", name="Войти").click()


async def test_pasted_token_signs_in_and_is_stored_for_the_tab_only(server: Server, db: Any, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard")
    await expect(page.get_by_role("grid")).to_have_count(0)
    await sign_in(page, f"  {token()}\n")
    await expect_online(page)
    number = await insert_order(db, "Anna")
    await expect_order_count(page, 1)
    await expect(page.locator(".toast-title")).to_contain_text(number)
    await page.reload()
    await expect_online(page)
    await expect_order_count(page, 1)
    assert await page.evaluate("localStorage.getItem('orderwire.token')") is None
    await page.get_by_role("button", name="Выйти").click()
    await expect(page.get_by_label("Токен")).to_be_visible()


async def test_rejected_token_is_reported(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard")
    for bad in ("nonsense", token(ttl=-60)):
        await sign_in(page, bad)
        await expect(page.get_by_role("alert")).to_contain_text("не подошёл")


async def test_token_in_the_url_signs_in_and_is_removed_from_the_url(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard#token={token()}")
    await expect_online(page)
    assert page.url == f"{server.http_url}/admin/dashboard"
    assert await page.evaluate("history.length") <= 2


async def test_viewer_sees_totals_and_why_there_are_no_orders(server: Server, db: Any, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard#token={token('viewer')}")
    await expect(page.get_by_text("Ваша роль показывает только итоги")).to_be_visible()
    await expect(page.get_by_role("grid")).to_have_count(0)
    await insert_order(db, "Anna", "12.00")
    await expect_totals(page, "1", "12,00 zł", "1")


async def test_expired_token_leads_back_to_the_sign_in(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard#token={token(ttl=5)}")
    await expect_online(page)
    await expect(page.get_by_label("Токен")).to_be_visible()
    await sign_in(page, token())
    await open_dashboard(page, server)
