"""Changes of statuses on the dashboard, with a real server: by two admins at once, undone, of several orders, forbidden."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import asyncpg
import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import expect_offline, expect_online, expect_order_count, hold_timers, run_held_timers
from tests.helpers.tokens import SECRET, token
from tests.support import Server, StartServer, free_port

# For so many milliseconds a change can be undone, and the notice of one that was carried out is shown
# (web/src/state/status-changes.ts).
NOTICE_DURATION = 5_000


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    return server


async def open_as(page: Page, server: Server, name: str, path: str = "", *, notices_end: bool = False) -> None:
    """Open a view of the dashboard as the admin with this name. Notices stay, unless they are to end by themselves."""
    if not notices_end:
        await hold_timers(page, NOTICE_DURATION)
    await page.goto(f"{server.http_url}/admin/dashboard{path}#token={token(sub=name)}")
    await expect_online(page)


async def insert_orders(db: Any, count: int) -> None:
    await db.execute(
        "insert into orders (customer_name, total) select 'Anna ' || n, n from generate_series(1, $1::int) n", count
    )


def next_status(page: Page, status: str) -> Any:
    return page.locator(f"[data-next={status}]")


def notices(page: Page) -> Any:
    return page.locator("[data-notice]")


@pytest.mark.every_browser
async def test_of_two_admins_who_change_one_order_the_second_is_told_who_was_faster(
    server: Server, db: Any, new_page: NewPage
) -> None:
    await insert_orders(db, 1)
    anna, boris = await new_page(locale="en-GB"), await new_page(locale="en-GB")
    await open_as(anna, server, "Anna Nowak", "/orders/1")
    await open_as(boris, server, "Борис", "/orders/1")
    await expect(next_status(boris, "ready")).to_be_enabled()

    # Boris clicks while his page has not got the event of Anna's change: his request waits until that is made.
    anna_is_done = asyncio.Event()

    async def wait_for_anna(route: Route) -> None:
        if route.request.method == "PATCH":
            await anna_is_done.wait()
        await route.continue_()

    await boris.route("**/api/orders/1", wait_for_anna)
    await next_status(boris, "ready").click()
    await expect(boris.locator("[aria-busy=true] .badge")).to_have_text("Ready")
    await next_status(anna, "confirmed").click()
    await expect(notices(anna)).to_contain_text(re.compile(r"#ORD-\S+: Confirmed"))
    anna_is_done.set()
    await expect(notices(boris)).to_contain_text("Anna Nowak was faster")
    await expect(notices(boris)).to_contain_text("is now: Confirmed")
    for page in (anna, boris):
        await expect(page.locator("section", has=page.locator("#status-title")).locator(".badge")).to_have_text("Confirmed")
        await expect(page.locator("[data-event]").first).to_contain_text("by Anna Nowak")
    assert await db.fetchval("select status from orders") == "confirmed"

    await next_status(boris, "ready").click()
    await expect(anna.locator("[data-event]").first).to_contain_text("by Борис")


@pytest.mark.every_browser
async def test_a_change_is_undone_within_five_seconds_by_the_key(server: Server, db: Any, new_page: NewPage) -> None:
    await insert_orders(db, 1)
    page = await new_page(locale="en-GB")
    await open_as(page, server, "Anna", "/orders/1")
    await next_status(page, "delivered").click()
    await expect(notices(page).get_by_role("button", name="Undo")).to_be_visible()
    await page.keyboard.press("u")
    await expect(notices(page)).to_contain_text("Undone")
    await expect(page.locator("[data-event]")).to_have_count(3)
    assert await db.fetchval("select status from orders") == "pending"
    await run_held_timers(page)
    await expect(notices(page)).to_have_count(0)


@pytest.mark.every_browser(is_carried_out=True)
@pytest.mark.parametrize("is_carried_out", [True, False], ids=["carried-out", "lost"])
async def test_a_server_that_dies_in_the_middle_leaves_the_outcome_unknown_until_the_page_finds_it_out(
    start_server: StartServer, database_url: str, db: Any, new_page: NewPage, is_carried_out: bool
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port, JWT_SECRET=SECRET)
    await insert_orders(db, 1)
    page = await new_page(locale="en-GB")
    await open_as(page, server, "Anna", "/orders/1")
    await expect(next_status(page, "ready")).to_be_enabled()

    async def kill_the_server(route: Route) -> None:
        if route.request.method != "PATCH":
            return await route.continue_()
        await server.kill()
        if is_carried_out:  # the server has committed, and has died before its answer
            await db.execute("update orders set status = 'ready'")
        await route.abort("connectionreset")
        return None

    await page.route("**/api/orders/1", kill_the_server)
    await next_status(page, "ready").click()
    await expect(notices(page)).to_contain_text("the outcome is unknown")
    await expect_offline(page)
    await expect(next_status(page, "delivered")).to_be_disabled()
    await page.unroute_all(behavior="wait")
    await start_server(database_url, PORT=port, JWT_SECRET=SECRET)
    await reconnect_now_in_english(page)
    if is_carried_out:
        await expect(notices(page)).to_contain_text(re.compile(r"#ORD-\S+: Ready"))
        await expect(page.locator("[data-event]")).to_have_count(2)
    else:
        await expect(notices(page)).to_contain_text("was not changed: the server did not carry it out")
        assert await db.fetchval("select status from orders") == "pending"
        await expect(next_status(page, "ready")).to_be_enabled()


async def reconnect_now_in_english(page: Page) -> None:
    button = page.get_by_role("button", name="Now", exact=True)
    await button.or_(page.locator(".connection.online")).first.click()
    await expect_online(page)


@pytest.mark.every_browser
async def test_several_orders_are_changed_at_once_and_those_that_were_faster_are_counted(
    server: Server, db: Any, new_page: NewPage
) -> None:
    await insert_orders(db, 40)
    page = await new_page(locale="en-GB")
    await open_as(page, server, "Anna")
    await expect(page.locator("[data-loaded]")).to_have_attribute("data-loaded", "40")
    grid = page.get_by_role("grid")
    await grid.focus()
    await page.keyboard.press("ArrowDown")
    await page.keyboard.press("x")
    await page.keyboard.press("End")
    await page.keyboard.press("Shift+X")
    await expect(page.get_by_text("40 selected")).to_be_visible()

    # Two are changed meanwhile: the page shows them as pending until it sends its requests.
    release = asyncio.Event()

    async def hold(route: Route) -> None:
        if route.request.method == "PATCH":
            await release.wait()
        await route.continue_()

    await page.route("**/api/orders/*", hold)
    await page.keyboard.press("s")
    await expect(page.get_by_role("dialog")).to_contain_text("Status of 40 orders")
    await page.keyboard.press("2")
    await expect(page.locator(".grid-row[data-change]").first).to_be_visible()
    await db.execute("update orders set status = 'cancelled' where id in (1, 2)")
    release.set()
    await expect(notices(page)).to_contain_text("38 changed, 2 were faster")
    counts = {row[0]: row[1] for row in await db.fetch("select status, count(*) from orders group by 1")}
    assert counts == {"confirmed": 38, "cancelled": 2}
    await page.keyboard.press("u")
    await expect(notices(page)).to_contain_text("Undone: 38 changed")
    assert await db.fetchval("select count(*) from orders where status = 'pending'") == 38
    await grid.focus()
    await page.keyboard.press("Escape")
    await expect(page.get_by_text("40 selected")).to_have_count(0)


@pytest.mark.every_browser
async def test_a_range_is_selected_with_the_mouse_and_a_hidden_order_is_not(server: Server, db: Any, new_page: NewPage) -> None:
    await insert_orders(db, 12)
    page = await new_page(locale="en-GB")
    await open_as(page, server, "Anna")
    await expect(page.locator("[data-loaded]")).to_have_attribute("data-loaded", "12")
    boxes = page.locator(".grid-body .cell-select input")
    await boxes.nth(1).click()
    await boxes.nth(4).click(modifiers=["Shift"])
    await expect(page.get_by_text("4 selected")).to_be_visible()
    await page.get_by_label("Select all shown orders").click()
    await expect(page.get_by_text("12 selected")).to_be_visible()
    await page.get_by_label("Search orders").fill("Anna 12")
    await expect(page.get_by_text("1 selected")).to_be_visible()


async def test_without_a_login_nothing_can_be_changed_and_the_page_says_why(
    start_server: StartServer, database_url: str, db: Any, new_page: NewPage
) -> None:
    server: Server = await start_server(database_url)
    await insert_orders(db, 1)
    page = await new_page(locale="en-GB")
    await page.goto(f"{server.http_url}/admin/dashboard/orders/1")
    await expect_online(page)
    reason = "this server has no login"
    await expect(page.locator("#write-block")).to_contain_text(reason)
    await expect(next_status(page, "ready")).to_be_disabled()
    await page.keyboard.press("s")
    await expect(page.get_by_role("dialog")).to_contain_text(reason)
    await page.keyboard.press("3")
    await page.keyboard.press("Escape")
    await page.goto(f"{server.http_url}/admin/dashboard")
    await expect_order_count(page, 1)
    await page.locator(".grid-body .cell-select input").click()
    await expect(page.locator("#selection-block")).to_contain_text(reason)
    assert await db.fetchval("select status from orders") == "pending"


async def test_the_map_decides_which_changes_are_offered(
    start_server: StartServer, empty_database_url: str, new_page: NewPage
) -> None:
    server: Server = await start_server(empty_database_url, JWT_SECRET=SECRET)
    shop = await asyncpg.connect(empty_database_url)
    await shop.execute("create table sales (id bigint primary key, state text)")
    order_map = {"key": "id", "status": "state", "statuses": ["new", "packed", "sent"]}
    await shop.execute("select orderwire.attach('sales', $1::text::jsonb)", json.dumps(order_map))
    await shop.execute("insert into sales values (1, 'new')")
    page = await new_page(locale="en-GB")
    await open_as(page, server, "Anna", "/orders/1")
    await expect(page.locator("#write-block")).to_contain_text("the map of the table does not allow it")
    order_map |= {"write": {"status": True, "transitions": {"new": ["packed"], "packed": ["sent"]}}}  # type: ignore[dict-item]
    await shop.execute("select orderwire.attach('sales', $1::text::jsonb)", json.dumps(order_map))
    await page.reload()
    await expect(page.locator("[data-next]")).to_have_count(1)
    await next_status(page, "packed").click()
    await expect(page.locator("[data-next]")).to_have_text(["Sent"])
    await expect(notices(page)).to_contain_text("1: Packed")
    assert await shop.fetchval("select state from sales") == "packed"
    await page.keyboard.press("s")
    await expect(page.get_by_role("dialog").locator("[data-status=new]")).to_be_disabled()
    await shop.close()
