"""The page of one order, with a real server."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import expect_online, expect_order_count, fits_width, open_dashboard
from tests.browser.test_access import violations
from tests.support import Server, StartServer


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url)
    return server


async def open_order(page: Page, server: Server, key: str) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard/orders/{key}")
    await expect_online(page)


def history(page: Page) -> Any:
    return page.locator("[data-event]")


@pytest.mark.every_browser
async def test_a_row_leads_to_the_page_and_the_browser_back(server: Server, db: Any, page: Page) -> None:
    await db.execute("insert into orders (customer_name, total) select 'Anna ' || n, n from generate_series(1, 3) n")
    await open_dashboard(page, server)
    await expect_order_count(page, 3)
    await page.get_by_role("grid").focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_contain_text("Anna 3")
    assert page.url == f"{server.http_url}/admin/dashboard/orders/3"
    await page.keyboard.press("j")
    await expect(page.get_by_role("main")).to_contain_text("Anna 2")
    await page.keyboard.press("k")
    await expect(page.get_by_role("main")).to_contain_text("Anna 3")
    await page.reload()
    await expect(page.get_by_role("main")).to_contain_text("Anna 3")
    for _ in range(3):
        await page.go_back()
    await expect_order_count(page, 3)


@pytest.mark.every_browser
async def test_the_history_is_live_whole_and_without_twins(server: Server, db: Any, page: Page) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Anna', 10)")
    await db.execute("update orders set status = 'confirmed'")
    await open_order(page, server, "1")
    await expect(history(page)).to_have_count(2)
    # While the page loads anew, the order changes all the time.
    await page.reload(wait_until="commit")
    for number in range(30):
        await db.execute("update orders set total = $1::text::numeric", f"{number + 20}.00")
    await db.execute("update orders set status = 'ready'")
    await expect(history(page)).to_have_count(33)
    ids = await history(page).evaluate_all("entries => entries.map((entry) => Number(entry.dataset.event.split('-').at(-1)))")
    assert ids == sorted(set(ids), reverse=True)
    await expect(history(page).first).to_contain_text("Готов")
    await expect(page.locator("[data-since]")).to_have_text(re.compile(r"^уже "))
    await expect(page.locator(".details-total")).to_have_text("49,00 zł")

    await db.execute("delete from orders")
    await expect(page.get_by_text("Этот заказ удалён")).to_be_visible()
    await expect(history(page)).to_have_count(34)
    await expect(page.locator(".details-total")).to_have_text("49,00 zł")
    await page.reload()
    await expect(page.get_by_text("Этот заказ удалён")).to_be_visible()
    await expect(history(page)).to_have_count(34)
    await expect(page.locator(".details-total")).to_have_text("49,00 zł")


async def test_an_unknown_key_is_named_until_the_order_is_there(server: Server, db: Any, page: Page) -> None:
    await open_order(page, server, "1")
    await expect(page.get_by_text("Заказа с ключом 1 нет")).to_be_visible()
    await db.execute("insert into orders (customer_name, total) values ('Anna', 10)")
    await expect(history(page)).to_have_count(1)
    await expect(page.get_by_role("heading", name="Заказ ORD-")).to_be_visible()


@pytest.mark.every_browser
async def test_the_link_is_copied_and_shown_as_a_code(server: Server, db: Any, new_page: NewPage) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Anna', 10)")
    page = await new_page(permissions=["clipboard-read", "clipboard-write"])
    await open_order(page, server, "1")
    await page.get_by_role("button", name="Скопировать").click()
    await expect(page.get_by_text("Ссылка скопирована.")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == f"{server.http_url}/admin/dashboard/orders/1"
    await page.get_by_role("button", name="QR-код").click()
    await expect(page.get_by_role("img", name="/admin/dashboard/orders/1")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_violation_in_the_code_and_in_the_menu_of_statuses(
    server: Server, db: Any, new_page: NewPage, scheme: str
) -> None:
    await db.execute("insert into orders (customer_name, total) select 'Anna ' || n, n from generate_series(1, 3) n")
    page = await new_page(viewport={"width": 390, "height": 844}, color_scheme=scheme, reduced_motion="reduce")
    await open_order(page, server, "2")
    await page.get_by_role("button", name="QR-код").click()
    await expect(page.get_by_role("img", name="QR-код")).to_be_visible()
    assert await fits_width(page)
    assert await violations(page) == []
    await page.get_by_role("heading", level=2).click()
    await page.keyboard.press("s")
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert await violations(page) == []
