"""Toasts cover no control on any screen, and end by themselves; tabs say each order once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import (
    clock_stopped,
    covered_controls,
    expect_order_count,
    hold_timers,
    insert_order,
    look_at,
    open_dashboard,
)
from tests.support import TIMEOUT_SECONDS, Server, StartServer, within
from tests.support import wait_until as wait_for

SCREENS = [(390, 844), (768, 1024), (1440, 900)]

# A constructor that records the notifications of the tab.
FAKE_NOTIFICATION = """
window.shown = [];
window.Notification = class {
    static permission = "granted";
    static requestPermission = async () => "granted";
    constructor(title) { window.shown.push(title); }
    close() {}
};
"""
# The next notification of all tabs at the same moment.
END_INTERVAL = """
new BroadcastChannel("test").onmessage = () => runHeldTimers();
"""
HIDE = """() => {
    Object.defineProperty(document, "hidden", { value: true, configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
}"""
# Returns when no tab has the lock that says that it can be seen.
NO_TAB_IS_VISIBLE = """async () => {
    const isVisible = ({ name }) => name.startsWith("orderwire.visible");
    while ((await navigator.locks.query()).held.some(isVisible)) await new Promise((done) => setTimeout(done, 20));
}"""
# The delay after a notification before the next one (web/src/alerts.ts), in milliseconds.
NOTIFICATION_INTERVAL = 3_000


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
    async with clock_stopped(page):
        for count in range(1, 4):
            await db.execute("insert into orders (customer_name, total) select 'Jan', 5 from generate_series(1, 3)")
            await expect_order_count(page, 70 + 3 * count)
            await expect(page.locator(".toast")).to_have_count(1)
            assert await covered_controls(page, ".toast") == []
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


async def open_tabs(new_page: NewPage, server: Server, count: int, context: BrowserContext | None = None) -> list[Page]:
    """Tabs of one browser. After a notification, the next one of each comes when the test calls ``end_interval``."""
    pages: list[Page] = []
    for _ in range(count):
        page = await new_page(context or (pages[0].context if pages else None))
        await page.add_init_script(FAKE_NOTIFICATION)
        await hold_timers(page, NOTIFICATION_INTERVAL)
        await page.add_init_script(END_INTERVAL)
        await open_dashboard(page, server)
        pages.append(page)
    return pages


async def end_interval(page: Page) -> None:
    """End it in all tabs at the same moment."""
    await page.evaluate("() => new BroadcastChannel('test').postMessage(null)")


async def hide(*pages: Page) -> None:
    """Hide these tabs, and return when the browser knows that none of them can be seen."""
    for page in pages:
        await page.evaluate(HIDE)
    await within(TIMEOUT_SECONDS, pages[0].evaluate(NO_TAB_IS_VISIBLE), "no tab can be seen")


async def notifications(pages: list[Page], count: int) -> list[str]:
    """Those of all tabs, when there are at least so many."""
    shown: list[str] = []

    async def are_enough() -> bool:
        shown[:] = [title for page in pages for title in await page.evaluate("shown")]
        return len(shown) >= count

    await wait_for(are_enough, f"{count} notifications")
    return shown


@pytest.mark.every_browser
async def test_of_several_hidden_tabs_one_notifies(server: Server, db: Any, new_page: NewPage) -> None:
    pages = await open_tabs(new_page, server, 3)
    await pages[0].locator("[data-permission]").click()
    for page in pages:
        await expect(page.locator("[data-permission]")).to_have_attribute("aria-pressed", "true")
    await hide(*pages)
    number = await insert_order(db, "Иван")
    assert await notifications(pages, 1) == [f"🛒 Новый заказ #{number}"]
    for page in pages:
        await expect_order_count(page, 1)
    # What a second tab says of the same orders comes before the next notification. The tabs claim each at the same moment.
    for count in range(1, 11):
        await db.execute("insert into orders (customer_name, total) select 'Anna', 5 from generate_series(1, 20)")
        for page in pages:
            await expect_order_count(page, 1 + 20 * count)
        await end_interval(pages[0])
        shown = await notifications(pages, 1 + count)
        assert sorted(shown) == ["🛒 20 новых заказов"] * count + [f"🛒 Новый заказ #{number}"]


@pytest.mark.every_browser
async def test_a_hidden_tab_is_silent_while_another_one_can_be_seen(server: Server, db: Any, new_page: NewPage) -> None:
    visible = await new_page()
    [hidden] = await open_tabs(new_page, server, 1, visible.context)
    await open_dashboard(visible, server)
    await hidden.locator("[data-permission]").click()
    await hidden.evaluate(HIDE)
    toast = asyncio.create_task(look_at(visible, ".toast", "toast => toast.dataset.count"), name="look at the toast")
    await insert_order(db, "Иван")
    assert await toast == "1"
    await expect_order_count(hidden, 1)
    # It has asked which tabs can be seen, and has got the answer before this one.
    await hidden.evaluate("navigator.locks.query().then(() => undefined)")
    # When both tabs cannot be seen, the next order is said, and only that one.
    await hide(visible, hidden)
    number = await insert_order(db, "Anna")
    await expect_order_count(hidden, 2)
    await end_interval(hidden)
    assert await notifications([hidden], 1) == [f"🛒 Новый заказ #{number}"]


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
