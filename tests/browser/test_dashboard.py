"""The dashboard's table, totals, chart, event log, settings and notifications, with a real server."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import (
    ONLINE,
    clock_stopped,
    expect_online,
    expect_order_count,
    expect_totals,
    hold_timers,
    insert_order,
    look_at,
    open_dashboard,
    read_table_rows,
    run_held_timers,
    wait_until,
)
from tests.support import Server, StartServer


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url)
    return server


@pytest.mark.every_browser
async def test_changes_of_an_order_update_toast_totals_row_event_log_and_chart(server: Server, db: Any, page: Page) -> None:
    await open_dashboard(page, server)
    await expect(page.locator(".connection-state")).to_have_text(f"🟢 {ONLINE}")
    await expect(page.get_by_text("Заказов пока нет")).to_be_visible()

    texts = "toast => ['.toast-title', '.toast-text'].map((part) => toast.querySelector(part).textContent)"
    toast = asyncio.create_task(look_at(page, ".toast", texts), name="look at the toast")
    number = await insert_order(db, "<b>Иван</b> Иванов", "150.50")
    title, text = await toast
    assert title == f"🛒 Новый заказ #{number}"
    assert text.replace("\xa0", " ") == "<b>Иван</b> Иванов · 150,50 zł"
    await expect_totals(page, "1", "150,50 zł", "1")
    await expect_order_count(page, 1)
    assert [cells[:4] for cells in await read_table_rows(page)] == [[number, "<b>Иван</b> Иванов", "150,50 zł", "Ожидает"]]
    await expect(page.locator(".event")).to_have_count(1)
    await expect(page.locator(".event")).to_contain_text(f"{number} создан")
    await expect(page.locator("[data-period=revenue]")).to_have_text("150,50 zł")
    await expect(page.locator("[data-count=pending]")).to_have_text("1")
    await expect(page.get_by_role("img", name="заказов 1, выручка 150,50 zł")).to_be_visible()
    assert await page.title() == "🟢 1 · Orderwire"

    await db.execute("update orders set status = 'preparing'")
    await expect(page.locator(".grid-body .badge")).to_have_text("Готовится")
    await expect_totals(page, "1", "150,50 zł", "0")
    await expect(page.locator("[data-count=preparing]")).to_have_text("1")

    await db.execute("update orders set total = 99, customer_name = 'Пётр'")
    await expect(page.locator(".cell-customer").last).to_have_text("Пётр")
    await expect_totals(page, "1", "99,00 zł", "0")
    await db.execute("delete from orders")
    await expect_order_count(page, 0)
    await expect_totals(page, "0", "0,00 zł", "0")


async def test_new_orders_add_pixels_to_the_chart(server: Server, db: Any, page: Page) -> None:
    await open_dashboard(page, server)
    count_drawn_pixels = """() => {
        const canvas = document.querySelector(".plot canvas");
        const { width, height } = canvas;
        const copy = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
        copy.drawImage(canvas, 0, 0);
        const pixels = copy.getImageData(0, 0, width, height).data;
        let count = 0;
        for (let i = 3; i < pixels.length; i += 4) if (pixels[i] > 0) count++;
        return count;
    }"""
    await expect(page.locator(".plot canvas")).to_be_visible()
    before = await page.evaluate(count_drawn_pixels)
    await db.execute("insert into orders (customer_name, total) select 'Anna', 10 from generate_series(1, 30)")
    await expect(page.locator("[data-period=orders]")).to_have_text("30")
    await wait_until(page, f"({count_drawn_pixels})() > {before}")


async def test_many_orders_at_once_make_one_toast(server: Server, db: Any, page: Page) -> None:
    await open_dashboard(page, server)
    async with clock_stopped(page):
        await db.execute("insert into orders (customer_name, total) select 'Anna ' || n, n from generate_series(1, 700) n")
        # A list: the page may have shown two toasts of single orders for a moment before.
        await expect(page.locator(".toast-title")).to_have_text(["🛒 700 новых заказов"])
        await expect_order_count(page, 700)
        await page.get_by_role("button", name="Закрыть").click()
        await expect(page.locator(".toast")).to_have_count(0)


async def test_filter_and_search_combine_and_apply_to_later_changes(server: Server, db: Any, page: Page) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Анна Новак', 1), ('Иван', 2), ('анна', 3)")
    await db.execute("update orders set status = 'ready' where id <> 2")
    await open_dashboard(page, server)
    await expect_order_count(page, 3)
    await page.keyboard.press("/")
    await page.keyboard.type("АНН")
    await expect_order_count(page, 2)
    await page.get_by_role("button", name=re.compile("^Готов ?2$")).click()
    await expect(page.locator(".status-select summary")).to_have_text("Готов")
    await expect_order_count(page, 2)
    await db.execute("update orders set status = 'delivered' where id = 1")
    await expect_order_count(page, 1)
    assert [cells[1] for cells in await read_table_rows(page)] == ["анна"]
    await page.get_by_role("button", name="Сбросить фильтр").click()
    await expect_order_count(page, 3)
    await page.locator(".status-select summary").click()
    await page.get_by_role("checkbox", name="Доставлен").check()
    await expect_order_count(page, 1)
    await page.get_by_role("checkbox", name="Готов", exact=True).check()
    await expect_order_count(page, 2)
    await page.get_by_label("Поиск заказов").fill("no such thing")
    await expect(page.get_by_text("Ничего не найдено.")).to_be_visible()


@pytest.mark.every_browser
async def test_table_can_be_used_with_the_keyboard_alone(server: Server, db: Any, page: Page) -> None:
    await db.execute("insert into orders (customer_name, total) select 'Anna ' || n, n from generate_series(1, 300) n")
    await open_dashboard(page, server)
    await expect_order_count(page, 300)
    await page.get_by_role("grid").focus()
    active = page.locator(".grid-row[aria-selected=true]")
    for key, index in (("ArrowDown", 2), ("ArrowDown", 3), ("ArrowUp", 2), ("End", 301), ("Home", 2)):
        await page.keyboard.press(key)
        await expect(active).to_have_attribute("aria-rowindex", str(index))
        await expect(active).to_be_in_viewport()
        assert await page.get_by_role("grid").get_attribute("aria-activedescendant") == await active.get_attribute("id")
    await page.keyboard.press("PageDown")
    assert int(await active.get_attribute("aria-rowindex") or 0) > 4
    await page.keyboard.press("Home")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("main")).to_contain_text("Anna 300")
    await db.execute("update orders set status = 'delivering' where customer_name = 'Anna 300'")
    await expect(page.get_by_role("region", name="Статус").locator(".badge")).to_have_text("В доставке")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("grid")).to_be_visible()
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog")).to_contain_text("поиск")


async def test_table_of_5000_orders_draws_fewer_than_60_rows(server: Server, db: Any, page: Page) -> None:
    await db.execute("insert into orders (customer_name, total) select 'Anna ' || n, n from generate_series(1, 5000) n")
    await open_dashboard(page, server)
    grid = page.get_by_role("grid")
    await expect_order_count(page, 5000)
    for _ in range(10):  # scrolling to the end loads the next page of older orders
        count = await page.locator("[data-loaded]").get_attribute("data-loaded")
        if count == "5000":
            break
        await grid.evaluate("grid => { grid.scrollTop = grid.scrollHeight; }")
        await wait_until(page, f"document.querySelector('[data-loaded]').dataset.loaded !== '{count}'")
    await grid.evaluate("grid => { grid.scrollTop = grid.scrollHeight; }")
    await expect(page.locator(".cell-customer", has_text=re.compile("^Anna 1$"))).to_be_visible()
    assert await page.locator(".grid-body .grid-row").count() < 60
    await page.get_by_role("button", name="К новым").click()
    await expect(page.locator(".cell-customer", has_text="Anna 5000")).to_be_visible()


async def test_new_orders_do_not_move_the_rows_in_view(server: Server, db: Any, page: Page) -> None:
    await db.execute("insert into orders (customer_name, total) select 'Anna ' || n, n from generate_series(1, 200) n")
    await open_dashboard(page, server)
    # The cards above the table have their final height when they show the totals.
    await expect(page.locator("[data-total=orders]")).to_have_text("200")
    grid = page.get_by_role("grid")
    await grid.evaluate("grid => { grid.scrollTop = 2000; }")
    row = page.locator(".cell-customer", has_text=re.compile("^Anna 145$"))
    await expect(row).to_be_visible()
    before = await row.bounding_box()
    await db.execute("insert into orders (customer_name, total) select 'New', n from generate_series(1, 50) n")
    await expect_order_count(page, 250)
    assert await row.bounding_box() == before
    await grid.evaluate("grid => { grid.scrollTop = 0; }")
    await insert_order(db, "Newest")
    await expect(page.locator(".cell-customer").nth(1)).to_have_text("Newest")  # nth(0) is the column header


@contextlib.asynccontextmanager
async def requests_held(page: Page, url_pattern: str) -> AsyncIterator[None]:
    """Hold the page's requests to these URLs until the block is left."""
    release = asyncio.Event()

    async def wait_for_release(route: Route) -> None:
        await release.wait()
        await route.continue_()

    await page.route(url_pattern, wait_for_release)
    yield
    release.set()
    await page.unroute_all(behavior="wait")


async def test_event_log_is_paged_from_the_first_to_the_last_event(server: Server, db: Any, page: Page) -> None:
    await db.execute("insert into orders (customer_name, total) select 'Anna', n from generate_series(1, 120) n")
    numbers = [row[0] for row in await db.fetch("select order_number from orders order by id")]
    await open_dashboard(page, server)
    await page.get_by_role("tab", name="Журнал").click()
    panel = page.get_by_role("tabpanel")
    shown: list[str] = []
    for number, length in ((1, 50), (2, 50), (3, 20)):
        await expect(panel.get_by_text(f"стр. {number}")).to_be_visible()
        await expect(panel.locator(".event b").first).to_have_text(numbers[len(shown)])  # the previous page stays until then
        await expect(panel.locator(".event")).to_have_count(length)
        shown += await panel.locator(".event b").all_text_contents()
        if number < 3:
            async with requests_held(page, "**/api/events?*"):
                # A second click before the page has loaded has no effect.
                for _ in range(2):
                    await panel.get_by_role("button", name="Дальше").evaluate("button => button.click()")
    assert shown == numbers
    await expect(panel.get_by_text("Конец журнала")).to_be_visible()
    await expect(panel.get_by_role("button", name="Дальше")).to_be_disabled()
    await panel.get_by_role("button", name="Назад").click()
    await expect(panel.locator(".event b").first).to_have_text(numbers[50])
    await panel.get_by_role("button", name="В начало").click()
    await expect(panel.locator(".event b").first).to_have_text(numbers[0])


@pytest.mark.every_browser
async def test_language_follows_the_browser_and_can_be_switched(server: Server, db: Any, new_page: NewPage) -> None:
    await insert_order(db, "Anna", "1234567.89")
    for locale, language, total in (
        ("en-US", "en", "zł 1,234,567.89"),
        ("ru", "ru", "1 234 567,89 zł"),
        ("pl-PL", "pl", "1 234 567,89 zł"),
        ("de", "en", None),
    ):
        page = await new_page(locale=locale)
        await open_dashboard(page, server)
        await expect(page.locator("html")).to_have_attribute("lang", language)
        if total is not None:
            await expect_totals(page, "1", total, "1")
    page = await new_page(locale="en-GB")
    await open_dashboard(page, server)
    await expect(page.locator(".connection-state")).to_contain_text("Online (Live)")
    await page.get_by_role("button", name="RU: переключить на русский").click()
    await expect(page.locator(".connection-state")).to_contain_text(ONLINE)
    await expect_totals(page, "1", "1 234 567,89 zł", "1")
    await page.reload()
    await expect(page.locator("html")).to_have_attribute("lang", "ru")
    await expect(page.get_by_role("heading", name="Заказы", exact=True)).to_be_visible()


@pytest.mark.every_browser
async def test_page_shows_what_dates_names_and_amounts_there_are(server: Server, db: Any, page: Page) -> None:
    """Dates that JavaScript does not know, long names, names written from right to left, and large amounts."""
    await open_dashboard(page, server)
    write = "insert into orders (customer_name, total, created_at) values ($1, $2::text::numeric, $3::text::timestamptz)"
    names = ["year 10000", "infinite", "ancient", "עברית 12345 ערבית", "x" * 16_384]
    dates = ["10000-01-01", "infinity", "0044-03-15 BC", "2026-01-01", "294276-12-31"]
    for name, date in zip(names, dates, strict=True):
        await db.execute(write, name, "9999999999.99", date)
    await expect_order_count(page, 5)
    for _ in range(2):  # by events, and as the server lists them
        await expect(page.locator(".panel")).to_have_count(7)
        await expect(page.locator(".grid-body .grid-row")).to_have_count(5)
        await expect(page.locator("[data-count=pending]")).to_have_text("5")
        await expect_totals(page, "5", "49 999 999 999,95 zł", "5")
        await expect(page.locator(".panel-failed")).to_have_count(0)
        await page.reload()
        await expect_online(page)
    cell = page.locator(".cell-customer", has_text="עברית").locator("bdi")
    assert await cell.evaluate("cell => getComputedStyle(cell).unicodeBidi") == "isolate"


async def test_currency_is_the_setting_of_the_server(start_server: StartServer, database_url: str, db: Any, page: Page) -> None:
    await insert_order(db, "Anna", "12.00")
    server = await start_server(database_url, CURRENCY="eur")
    await open_dashboard(page, server)
    await expect_totals(page, "1", "12,00 €", "1")


async def test_theme_follows_the_system_and_can_be_switched(server: Server, new_page: NewPage) -> None:
    page = await new_page(color_scheme="dark")
    await open_dashboard(page, server)
    lightness = "() => Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert await page.evaluate(lightness) < 60
    await page.emulate_media(color_scheme="light")
    assert await page.evaluate(lightness) > 200
    await page.get_by_role("button", name="Тема: как в системе").click()
    await page.get_by_role("button", name="Тема: светлая").click()
    assert await page.evaluate(lightness) < 60
    await page.reload()
    await expect_online(page)
    assert await page.evaluate(lightness) < 60


async def test_sound_is_off_until_it_is_switched_on(server: Server, db: Any, page: Page) -> None:
    await page.add_init_script(
        """
        window.tones = 0;
        const create = AudioContext.prototype.createOscillator;
        AudioContext.prototype.createOscillator = function () { window.tones++; return create.call(this); };
        """
    )
    await open_dashboard(page, server)
    await insert_order(db, "Anna")
    await expect_order_count(page, 1)
    assert await page.evaluate("tones") == 0
    button = page.get_by_role("button", name="Звук")
    await button.click()
    await expect(button).to_have_attribute("aria-pressed", "true")
    await wait_until(page, "tones > 0")  # switching on plays the sound once
    before = await page.evaluate("tones")
    await insert_order(db, "Anna")
    await wait_until(page, f"tones > {before}")


async def test_hidden_tab_shows_one_notification_for_many_orders(server: Server, db: Any, new_page: NewPage) -> None:
    page = await new_page(permissions=["notifications"])
    await page.add_init_script(
        """
        window.notifications = [];
        window.Notification = class {
            static permission = "granted";
            static requestPermission = async () => "granted";
            constructor(title, options) { window.notifications.push([title, options.body, options.tag]); }
            close() {}
        };
        """
    )
    await hold_timers(page, 3_000)  # the delay after a notification before the next one
    await open_dashboard(page, server)
    await page.get_by_role("button", name="Уведомления").click()
    await insert_order(db, "Anna")
    await expect_order_count(page, 1)
    assert await page.evaluate("notifications") == []  # the tab is visible
    await page.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
    number = await insert_order(db, "Иван")
    await wait_until(page, "notifications.length === 1")
    await db.execute("insert into orders (customer_name, total) select 'Anna', 5 from generate_series(1, 20)")
    await expect_order_count(page, 22)
    await run_held_timers(page)
    await wait_until(page, "notifications.length === 2")
    [first, second] = await page.evaluate("notifications")
    assert [text.replace("\xa0", " ") for text in first[:2]] == [f"🛒 Новый заказ #{number}", "Иван · 150,50 zł"]
    assert second[0] == "🛒 20 новых заказов"
    assert first[2] == second[2]
