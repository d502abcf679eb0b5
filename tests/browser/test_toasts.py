"""Toasts cover no control on any screen, and end by themselves; tabs say each order once."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import covered_controls, expect_order_count, insert_order, open_dashboard, wait_until
from tests.support import Server, StartServer

SCREENS = [(390, 844), (768, 1024), (1440, 900)]

# A constructor that records notifications, in the browser's storage, which all tabs share.
FAKE_NOTIFICATION = """
window.Notification = class {
    static permission = "granted";
    static requestPermission = async () => "granted";
    constructor(title) {
        localStorage.setItem("shown", JSON.stringify([...JSON.parse(localStorage.getItem("shown") ?? "[]"), title]));
    }
    close() {}
};
"""
HIDE = "Object.defineProperty(document, 'hidden', { value: true, configurable: true })"


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url)
    return server


@pytest.mark.every_browser(width=390)
@pytest.mark.parametrize(("width", "height"), SCREENS)
async def test_toasts_cover_no_control_and_move_nothing(
    server: Server, db: Any, new_page: NewPage, width: int, height: int
) -> None:
    page = await new_page(viewport={"width": width, "height": height})
    await db.execute("insert into orders (customer_name, total) select 'Anna ' || n, n from generate_series(1, 70) n")
    await open_dashboard(page, server)
    await expect_order_count(page, 70)
    await expect(page.locator("[data-total=orders]")).to_have_text("70")
    await expect(page.locator(".plot canvas")).to_be_visible()
    await expect(page.locator("[data-count=pending]")).to_have_text("70")
    before = await page.get_by_role("grid").bounding_box()
    assert await covered_controls(page) == []
    for count in range(1, 4):
        await db.execute("insert into orders (customer_name, total) select 'Jan', 5 from generate_series(1, 3)")
        await expect_order_count(page, 70 + 3 * count)
        await expect(page.locator(".toast")).to_have_count(1)
        assert await covered_controls(page) == []
    await page.evaluate("document.documentElement.scrollTo(0, 0)")
    assert await page.get_by_role("grid").bounding_box() == before
    await expect(page.locator(".toast")).to_have_count(0)


async def test_the_way_from_the_database_to_the_screen_is_measured(server: Server, db: Any, page: Page) -> None:
    await open_dashboard(page, server)
    await insert_order(db, "Anna")
    await expect(page.locator(".latency")).to_contain_text("база → этот экран")
    text = await page.locator(".latency").inner_text()
    milliseconds = int("".join(character for character in text if character.isdigit()))
    assert 1 <= milliseconds <= 30_000


async def open_tabs(context: BrowserContext, new_page: NewPage, server: Server, count: int) -> list[Page]:
    pages = [await new_page(context) for _ in range(count)]
    for page in pages:
        await page.add_init_script(FAKE_NOTIFICATION)
        await open_dashboard(page, server)
    return pages


async def test_of_several_hidden_tabs_one_notifies(server: Server, db: Any, new_page: NewPage) -> None:
    first = await new_page()
    pages = await open_tabs(first.context, new_page, server, 3)
    await pages[0].get_by_role("button", name="Уведомления").click()
    for page in (first, *pages):
        await page.evaluate(HIDE)
        await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    number = await insert_order(db, "Иван")
    for page in pages:
        await expect_order_count(page, 1)
    await wait_until(pages[0], "localStorage.getItem('shown') !== null")
    # The next notification of any tab would come after this one.
    await db.execute("insert into orders (customer_name, total) select 'Anna', 5 from generate_series(1, 20)")
    await wait_until(pages[0], "JSON.parse(localStorage.getItem('shown')).length >= 2")
    [one, many, *rest] = await pages[0].evaluate("JSON.parse(localStorage.getItem('shown'))")
    assert (one, many, rest) == (f"🛒 Новый заказ #{number}", "🛒 20 новых заказов", [])


async def test_a_hidden_tab_is_silent_while_another_one_can_be_seen(server: Server, db: Any, new_page: NewPage) -> None:
    visible = await new_page()
    [hidden] = await open_tabs(visible.context, new_page, server, 1)
    await open_dashboard(visible, server)
    await hidden.get_by_role("button", name="Уведомления").click()
    await hidden.evaluate(HIDE)
    await insert_order(db, "Иван")
    await expect(visible.locator(".toast")).to_have_count(1)
    # When both tabs cannot be seen, the next order is said, and only that one.
    await visible.evaluate(HIDE)
    await visible.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    number = await insert_order(db, "Anna")
    await wait_until(hidden, "localStorage.getItem('shown') !== null")
    assert await hidden.evaluate("JSON.parse(localStorage.getItem('shown'))") == [f"🛒 Новый заказ #{number}"]


@pytest.mark.every_browser
async def test_the_bell_tells_what_the_browser_allows(server: Server, new_page: NewPage) -> None:
    page = await new_page(permissions=["notifications"])
    await page.add_init_script("window.Notification = class { static permission = 'granted'; }")
    await open_dashboard(page, server)
    bell = page.locator("[data-permission]")
    await expect(bell).to_have_attribute("aria-pressed", "false")
    await bell.click()
    await expect(bell).to_have_attribute("aria-pressed", "true")
    # The user takes it back in the browser's settings, and comes back to the page.
    await page.evaluate("Notification.permission = 'denied'; dispatchEvent(new Event('focus'))")
    await expect(bell).to_have_attribute("aria-pressed", "false")
    await expect(bell).to_have_accessible_name("Уведомления запрещены в браузере")
    await page.evaluate("Notification.permission = 'granted'; dispatchEvent(new Event('focus'))")
    await expect(bell).to_have_attribute("aria-pressed", "true")
