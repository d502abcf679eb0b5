"""Finding orders: on the server, by filters that are in the address, and as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.page_helpers import expect_order_count, open_dashboard, read_table_rows, wait_until
from tests.support import Server, StartServer

pytestmark = pytest.mark.every_browser
SEARCH = "Поиск заказов"
# Text is typed, key by key and in Latin letters: in Firefox, Playwright's ``fill`` changes no field that React controls.


@pytest.fixture
async def server(start_server: StartServer, database_url: str, db: Any) -> Server:
    """With 1,201 orders, of which the page loads 1,000; the oldest one, of customer Zenobia, has the number X-1."""
    server: Server = await start_server(database_url)
    await db.execute(
        "insert into orders (customer_name, order_number, total, created_at)"
        " select 'Zenobia', 'X-1', 4321.50, now() - interval '30 days'"
        " union all select 'Anna ' || n, null, n, now() - interval '1 minute' * (2000 - n) from generate_series(1, 1200) n"
    )
    return server


async def listed_customers(page: Page) -> list[str]:
    return [cells[1] for cells in await read_table_rows(page)]


@pytest.mark.every_browser(text="#X-1")
@pytest.mark.parametrize("text", ["zenob", "#X-1", "X-1", "4321,5"])
async def test_search_finds_an_order_that_was_never_loaded(server: Server, page: Page, text: str) -> None:
    await open_dashboard(page, server)
    await expect_order_count(page, 1201)
    await page.keyboard.press("/")
    await page.keyboard.type(text)
    await expect(page.locator(".cell-customer", has_text="Zenobia")).to_be_visible()
    await expect(page.locator("[data-found]")).to_have_attribute("data-exact", "true")
    assert await listed_customers(page) == ["Zenobia"]
    await page.keyboard.press("ArrowDown")
    await expect(page.locator(".grid-row[aria-selected=true]")).to_contain_text("Zenobia")
    await page.keyboard.press("Enter")
    await wait_until(page, "location.pathname.endsWith('/admin/dashboard/orders/1')")


async def test_filter_is_in_the_address_and_the_back_button_leads_out_of_it(server: Server, db: Any, page: Page) -> None:
    await db.execute("update orders set status = 'ready' where id in (1, 900, 1000)")
    await open_dashboard(page, server)
    await page.get_by_label(SEARCH).press_sequentially("anna")
    await wait_until(page, "location.search === '?q=anna'")
    await page.locator(".status-row.ready").click()
    await wait_until(page, "location.search === '?q=anna&status=ready'")
    await expect_order_count(page, 2)
    address = page.url
    await page.go_back()
    await expect(page.get_by_label(SEARCH)).to_have_value("anna")
    await wait_until(page, "location.search === '?q=anna'")
    await page.go_back()
    await expect(page.get_by_label(SEARCH)).to_have_value("")
    await expect_order_count(page, 1201)
    # A link can be shared.
    await page.goto(address)
    await expect(page.get_by_label(SEARCH)).to_have_value("anna")
    await expect_order_count(page, 2)
    # Its orders are links, and the way back leads to the filter.
    await page.locator(".cell-number a").first.click()
    await wait_until(page, "location.pathname.endsWith('/orders/1000')")
    await page.go_back()
    await expect_order_count(page, 2)


async def test_orders_appear_and_disappear_while_they_begin_and_cease_to_match(server: Server, db: Any, page: Page) -> None:
    await db.execute("update orders set status = 'ready' where id in (1, 900)")
    await page.goto(f"{server.http_url}/admin/dashboard?status=ready&status=delivering")
    await expect_order_count(page, 2)
    await expect(page.locator(".cell-customer", has_text="Zenobia")).to_be_visible()
    await db.execute("update orders set status = 'delivered' where id = 1")  # found by the server
    await expect(page.locator(".cell-customer", has_text="Zenobia")).to_have_count(0)
    await db.execute("update orders set status = 'delivering' where id in (2, 1100)")  # not loaded, and loaded
    await expect(page.locator(".grid-body .cell-customer")).to_have_text(["Anna 1099", "Anna 899", "Anna 1"])
    await db.execute("delete from orders where id = 1100")
    await expect(page.locator(".grid-body .cell-customer")).to_have_text(["Anna 899", "Anna 1"])
    await expect_order_count(page, 2)


async def test_days_restrict_the_list(server: Server, db: Any, page: Page) -> None:
    await db.execute("insert into orders (customer_name, total, created_at) values ('Old', 1, now() - interval '3 days')")
    await open_dashboard(page, server)
    await page.get_by_label("День", exact=True).select_option("7d")
    await wait_until(page, "location.search === '?days=7d'")
    await expect(page.locator("[data-found]")).to_have_attribute("data-exact", "false")
    await page.get_by_label(SEARCH).press_sequentially("old")
    await expect_order_count(page, 1)
    await page.get_by_label("День", exact=True).select_option("today")
    await expect(page.get_by_text("Ничего не найдено.")).to_be_visible()
    await page.get_by_label("День", exact=True).select_option("range")
    day = await db.fetchval("select (now() at time zone 'UTC' - interval '3 days')::date::text")
    await page.get_by_label("С дня").fill(day)
    await page.get_by_label("По день").fill(day)
    await expect_order_count(page, 1)
    await wait_until(page, f"location.search === '?q=old&from={day}&to={day}'")


async def test_nothing_found_is_said_only_when_the_server_has_looked_at_all_orders(server: Server, page: Page) -> None:
    async def answer(route: Route) -> None:
        """The first page stops at its time limit, the second one finds nothing either."""
        is_last = "after=further" in route.request.url
        found: dict[str, Any] = {
            "orders": [],
            "next": None if is_last else "further",
            "complete": is_last,
            "position": "e-s1.1",
        }
        await route.fulfill(json=found if is_last else {**found, "searched_to": "2020-01-02T03:04:05Z"})

    await open_dashboard(page, server)
    await page.route("**/api/orders?q=*", answer)
    await page.get_by_label(SEARCH).press_sequentially("Absent")
    await expect(page.locator(".search-note")).to_contain_text("Поиск дошёл до")
    await expect(page.get_by_text("Ничего не найдено.")).to_have_count(0)
    await page.get_by_role("button", name="Искать дальше").click()
    await expect(page.get_by_text("Ничего не найдено.")).to_be_visible()
    await expect(page.locator(".search-note")).to_have_count(0)


# The file that the user chooses.
CHOSEN_FILE = """
    window.saved = new Blob();
    window.showSaveFilePicker = async () => ({
        createWritable: async () => ({
            write: async (bytes) => { window.saved = new Blob([window.saved, bytes]); },
            close: async () => {},
            abort: async () => { window.saved = new Blob(); },
        }),
    });
"""


async def test_csv_has_what_the_filter_finds(server: Server, db: Any, page: Page, tmp_path: Path) -> None:
    await page.add_init_script(CHOSEN_FILE)
    await db.execute("update orders set status = 'ready' where id in (1, 2, 1201)")
    await page.goto(f"{server.http_url}/admin/dashboard?status=ready")
    await expect_order_count(page, 3)
    rows = await read_table_rows(page)
    await page.get_by_role("button", name="CSV").click()
    await expect(page.locator("[data-csv=done]")).to_be_visible()
    text = (await page.evaluate("saved.text()")).removeprefix("\ufeff")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert [[line["number"], line["customer_name"]] for line in lines] == [row[:2] for row in rows]
    assert {line["status"] for line in lines} == {"ready"}
    if page.context.browser and page.context.browser.browser_type.name == "firefox":
        return  # Playwright is not told of downloads there
    # Where the user can choose no file, the browser downloads it.
    await page.evaluate("delete window.showSaveFilePicker")
    async with page.expect_download() as download:
        await page.get_by_role("button", name="CSV").click()
    await (await download.value).save_as(tmp_path / "orders.csv")
    assert (tmp_path / "orders.csv").read_bytes().decode("utf-8-sig") == text


async def test_csv_that_breaks_off_says_so(server: Server, page: Page) -> None:
    await page.add_init_script("delete window.showSaveFilePicker")
    await open_dashboard(page, server)
    await page.route("**/api/orders.csv*", lambda route: route.abort("connectionreset"))
    await page.get_by_role("button", name="CSV").click()
    await expect(page.locator("[data-csv=broken]")).to_have_text("CSV оборвался: сохранено не всё.")


async def test_filters_can_be_saved_under_a_name(server: Server, page: Page) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard?q=zenobia")
    await page.get_by_role("button", name="Сохранить фильтр").click()
    await page.keyboard.type("mine")
    await page.keyboard.press("Enter")
    await page.get_by_role("button", name="Сбросить фильтр").click()
    await expect_order_count(page, 1201)
    await page.reload()
    await page.get_by_role("link", name="mine").click()
    await expect_order_count(page, 1)
    await wait_until(page, "location.search === '?q=zenobia'")
    await page.get_by_role("button", name="Удалить mine").click()
    await expect(page.get_by_role("link", name="mine")).to_have_count(0)
