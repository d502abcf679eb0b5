"""The dashboard when the network, the server or a tab disappears and returns."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import (
    expect_offline,
    expect_online,
    expect_order_count,
    expect_totals,
    insert_order,
    look_at,
    open_dashboard,
    read_table_rows,
    reconnect_now,
)
from tests.support import Server, StartServer, free_port


async def listed_order_numbers(page: Page) -> list[str]:
    """The numbers of the orders in the list of events, oldest first."""
    return list(reversed(await page.locator(".events .event b").all_text_contents()))


@pytest.mark.every_browser
async def test_page_shows_offline_and_misses_no_event_when_the_server_returns(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await open_dashboard(page, server)
    numbers = [await insert_order(db, "before")]
    await expect_order_count(page, 1)

    await server.kill()
    await expect_offline(page)
    await expect(page.locator(".connection-state")).to_have_text("⚪ Офлайн")
    # Which attempt it is depends on the random delay of the first: it may be over before the page is looked at.
    await expect(page.locator(".connection-detail")).to_have_text(
        [re.compile(r"^на \d\d:\d\d:\d\d$"), re.compile(r"^попытка \d+ через \d+ с$")]
    )
    await expect(page).to_have_title("⚪ 1 · Orderwire")
    await expect(page.get_by_role("button", name="Сейчас", exact=True)).to_be_visible()
    numbers += [await insert_order(db, f"while down {n}") for n in range(5)]
    await db.execute("update orders set status = 'ready' where customer_name = 'before'")
    await start_server(database_url, PORT=port)
    await reconnect_now(page)
    await expect_order_count(page, 6)
    await expect_totals(page, "6", "903,00 zł", "5")
    await expect(page.locator(".events .event")).to_have_count(7)
    assert await listed_order_numbers(page) == [*numbers, numbers[0]]
    assert [cells[0] for cells in await read_table_rows(page)] == numbers[::-1]
    await expect(page.locator(".gap")).to_have_count(0)


@pytest.mark.parametrize(
    ("locale", "state", "warning"),
    [
        ("ru-RU", "🟡 Онлайн, без событий", r"^Новые события не приходят с \d\d:\d\d:\d\d: .+ устареть\.$"),
        ("en-GB", "🟡 Online, no events", r"^No events since \d\d:\d\d:\d\d: .+ out of date\.$"),
        ("pl-PL", "🟡 Online, bez zdarzeń", r"^Od \d\d:\d\d:\d\d nie ma nowych zdarzeń: .+ nieaktualne\.$"),
    ],
)
async def test_page_warns_while_events_do_not_flow(
    start_server: StartServer, database_url: str, db: Any, new_page: NewPage, locale: str, state: str, warning: str
) -> None:
    server: Server = await start_server(database_url)
    page = await new_page(locale=locale)
    await open_dashboard(page, server)
    banner = page.locator(".feed-frame [role=alert]")
    await expect(banner).to_have_count(0)
    await db.execute("alter table orders disable trigger zz_orderwire_insert")
    await expect(banner).to_have_text(re.compile(warning))
    await expect(page.locator(".feed-frame")).to_be_visible()
    await expect(page.locator(".connection-state")).to_have_text(state)
    await expect(page).to_have_title("🟡 0 · Orderwire")
    # A page that is opened now says so too, and the other one when it is over.
    other = await new_page(locale=locale)
    await open_dashboard(other, server)
    await expect(other.locator(".feed-frame [role=alert]")).to_have_text(re.compile(warning))
    await db.execute("alter table orders enable trigger zz_orderwire_insert")
    for tab in (page, other):
        await expect(tab.locator(".feed-frame")).to_have_count(0)
        await expect(tab).to_have_title("🟢 0 · Orderwire")


async def test_page_reconnects_by_itself(start_server: StartServer, database_url: str, db: Any, page: Page) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await open_dashboard(page, server)
    await server.stop()
    await expect_offline(page)
    await start_server(database_url, PORT=port)
    await expect_online(page)  # without a click
    await insert_order(db, "after")
    await expect_order_count(page, 1)


async def test_orders_from_before_the_first_event_are_not_missed(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    """Without an event the page resumes from what it has loaded, and announces what is new."""
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await open_dashboard(page, server)
    await expect_order_count(page, 0)
    await server.kill()
    await expect_offline(page)
    await insert_order(db, "while down")
    # The page may reconnect, and the toast end, before the test sees that the server is ready.
    toast = asyncio.create_task(look_at(page, ".toast", "toast => toast.dataset.count"), name="look at the toast")
    await start_server(database_url, PORT=port)
    await reconnect_now(page)
    await expect_order_count(page, 1)
    assert await toast == "1"


async def test_page_misses_no_event_while_the_browser_is_offline(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url)
    await open_dashboard(page, server)
    await insert_order(db, "before")
    await expect_order_count(page, 1)
    await page.context.set_offline(True)
    await expect_offline(page)
    await insert_order(db, "meanwhile")
    await page.context.set_offline(False)
    await expect_online(page)
    await expect_order_count(page, 2)
    await expect(page.locator(".events .event")).to_have_count(2)


async def test_changes_during_the_load_of_the_orders_are_applied_once(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url)
    await db.execute("insert into orders (customer_name, total) values ('old', 1), ('gone', 2)")
    writes = iter(
        [
            "insert into orders (customer_name, total) values ('in between', 3)",
            "update orders set status = 'ready' where customer_name = 'old'",
            "delete from orders where customer_name = 'gone'",
        ]
    )

    async def delay_response(route: Route) -> None:
        """Change the orders after the server has read them and before the page receives them."""
        response = await route.fetch()
        for sql in writes:
            await db.execute(sql)
        await expect(page.locator(".events .event")).to_have_count(3)
        await route.fulfill(response=response)

    await page.route("**/api/orders**", delay_response)
    await open_dashboard(page, server)
    await expect_order_count(page, 2)
    assert [[cells[1], cells[3]] for cells in await read_table_rows(page)] == [["in between", "Ожидает"], ["old", "Готов"]]


async def test_gap_is_shown_and_the_orders_are_loaded_again(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await open_dashboard(page, server)
    await insert_order(db, "before")
    await expect_order_count(page, 1)
    await server.kill()
    await expect_offline(page)
    # More events than the server replays to one client.
    await db.execute("insert into orders (customer_name, total) select 'many', 1 from generate_series(1, 10001)")
    await start_server(database_url, PORT=port)
    await reconnect_now(page)
    await expect(page.locator(".gap")).to_have_count(1)
    await expect_totals(page, "10 002", "10 151,50 zł", "10 002")
    await expect(page.locator(".grid-body .cell-customer").first).to_have_text("many")


@pytest.mark.every_browser
async def test_tabs_show_the_same_after_one_is_closed_and_another_opened(
    start_server: StartServer, database_url: str, db: Any, new_page: NewPage
) -> None:
    server: Server = await start_server(database_url)
    first = await new_page()
    second = await new_page(first.context)
    for tab in (first, second):
        await open_dashboard(tab, server)
    await insert_order(db, "both")
    for tab in (first, second):
        await expect_order_count(tab, 1)
        await expect(tab.locator(".events .event")).to_have_count(1)
    await first.close()
    await insert_order(db, "one")
    await expect_order_count(second, 2)
    third = await new_page(second.context)
    await open_dashboard(third, server)
    await expect_order_count(third, 2)
    await insert_order(db, "both again")
    for tab in (second, third):
        await expect_order_count(tab, 3)
        await expect_totals(tab, "3", "451,50 zł", "3")


async def test_failed_load_of_the_orders_is_shown_and_retried(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url)
    await insert_order(db, "Anna")
    failures = iter([True, True])

    async def fail_twice(route: Route) -> None:
        if next(failures, False):
            await route.fulfill(status=503, json={"error": {"code": "unavailable", "message": "not now"}})
        else:
            await route.continue_()

    await page.route("**/api/orders**", fail_twice)
    await page.goto(f"{server.http_url}/admin/dashboard")
    await expect(page.get_by_role("alert")).to_contain_text("Не удалось загрузить")
    await expect_order_count(page, 1)
    await expect(page.get_by_role("alert")).to_have_count(0)
