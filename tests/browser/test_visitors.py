"""What a viewer and a customer see: pages made for them, without what they may not see."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.page_helpers import expect_online, expect_totals, insert_order
from tests.helpers.tokens import SECRET, token
from tests.support import Server, StartServer


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    return server


async def insert_own(db: Any, customer_id: str, status: str = "pending") -> str:
    number = await db.fetchval(
        "insert into orders (customer_name, customer_id, total, status) values ('Anna', $1, 12, $2) returning order_number",
        customer_id,
        status,
    )
    assert isinstance(number, str)
    return number


@pytest.mark.every_browser
async def test_viewer_sees_totals_statuses_and_a_chart(server: Server, db: Any, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard#token={token('viewer')}")
    await expect_online(page)
    await insert_order(db, "Anna", "12.00")
    await expect_totals(page, "1", "12,00 zł", "1")
    await expect(page.locator("[data-status=pending] dd")).to_have_text("1")
    await expect(page.get_by_role("img", name="За сутки заказов: 1")).to_be_visible()
    await expect(page.get_by_role("grid")).to_have_count(0)
    await expect(page.get_by_role("tab")).to_have_count(0)
    await expect(page.get_by_role("button", name="Уведомления")).to_have_count(0)


@pytest.mark.every_browser
async def test_customer_sees_the_own_orders_with_progress_and_history(server: Server, db: Any, page: Page) -> None:
    foreign = await insert_own(db, "bo")
    number = await insert_own(db, "anna", "preparing")
    await page.goto(f"{server.http_url}/admin/dashboard#token={token('customer', sub='anna')}")
    await expect_online(page)
    await expect(page.locator("[data-order]")).to_have_count(1)
    order = page.locator("[data-order]", has_text=number)
    await expect(order.locator("[aria-current=step]")).to_have_text("Готовится")
    await expect(order.locator("[data-state=done]")).to_have_text(["Ожидает", "Подтверждён"])
    await db.execute("update orders set status = 'ready' where order_number = $1", number)
    await expect(order.locator("[aria-current=step]")).to_have_text("Готов")
    await order.get_by_role("button", name="История").click()
    await expect(order.locator(".event")).to_have_count(2)
    assert page.url.endswith("/orders/2")
    await db.execute("update orders set status = 'cancelled' where order_number = $1", number)
    await expect(order.locator(".event")).to_have_count(3)
    await expect(order.get_by_role("list", name="Ход заказа")).to_have_count(0)
    later = await insert_own(db, "anna")
    await expect(page.locator("[data-order]").first).to_contain_text(later)
    await expect(page.get_by_text(foreign)).to_have_count(0)


async def test_the_address_of_an_order_opens_its_history(server: Server, db: Any, page: Page) -> None:
    await insert_own(db, "anna")
    await page.goto(f"{server.http_url}/admin/dashboard/orders/1#token={token('customer', sub='anna')}")
    await expect(page.locator(".event")).to_have_count(1)
