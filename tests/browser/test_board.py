"""The board, with a real server."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import asyncpg
import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import clock_stopped, wait_until
from tests.browser.test_access import violations
from tests.browser.test_acting import notices, open_as
from tests.helpers.tokens import SECRET
from tests.support import Server, StartServer


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    return server


async def insert(db: Any, count: int, status: str = "pending") -> None:
    query = "insert into orders (customer_name, total, status) select 'Anna ' || n, n, $2 from generate_series(1, $1::int) n"
    await db.execute(query, count, status)


def column(page: Page, status: str) -> Any:
    return page.locator(f"[data-column={status}]")


def cards(page: Page, status: str) -> Any:
    return column(page, status).locator("[data-card]")


async def drag(page: Page, key: str, to: str) -> str | None:
    """Drag a card with the mouse. Returns how the column looks below it."""
    await page.locator(f"[data-card='{key}'] a").hover()
    await page.mouse.down()
    box = await column(page, to).bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 60, steps=8)
    await wait_until(page, f"document.querySelector('[data-column={to}]').dataset.drop")
    drop: str | None = await column(page, to).get_attribute("data-drop")
    await page.mouse.up()
    return drop


@pytest.mark.every_browser
async def test_cards_follow_events_and_are_dragged_with_the_mouse(server: Server, db: Any, new_page: NewPage) -> None:
    await insert(db, 2)
    page = await new_page(locale="en-GB", viewport={"width": 1440, "height": 900})
    await open_as(page, server, "Anna", "/board")
    await expect(page.locator("[data-column]")).to_have_count(5)
    await expect(cards(page, "pending")).to_have_count(2)
    await db.execute("update orders set status = 'ready' where id = 1")
    await expect(cards(page, "ready")).to_have_count(1)
    assert await drag(page, "2", "confirmed") == "over"
    await expect(cards(page, "confirmed")).to_contain_text("Anna 2")
    await expect(notices(page)).to_contain_text("Confirmed")
    assert await db.fetchval("select status from orders where id = 2") == "confirmed"
    # The click that ends a drag opens nothing, another one opens the order.
    assert page.url.endswith("/board")
    await page.locator("[data-card='2'] a").click()
    await expect(page.get_by_role("heading", name="Order ORD-")).to_be_visible()


async def test_nothing_moves_below_the_pointer_while_a_card_is_dragged(server: Server, db: Any, new_page: NewPage) -> None:
    await insert(db, 3)
    page = await new_page(locale="en-GB", viewport={"width": 1366, "height": 768})
    await open_as(page, server, "Anna", "/board")
    await expect(cards(page, "pending")).to_have_count(3)
    await page.get_by_role("button", name="Alarm").click()
    places = """[...document.querySelectorAll('section[data-column], [data-card]')].flatMap((element) => {
        const { x, y, width } = element.getBoundingClientRect();
        return [x, y, width];
    })"""
    before = await page.evaluate(places)
    box = await page.locator("[data-card='1']").bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + 20, box["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(box["x"] + 40, box["y"] + 40, steps=4)
    await wait_until(page, "document.querySelector('[data-column=cancelled]')")
    async with clock_stopped(page):
        await insert(db, 1)
        await expect(page.locator(".toast")).to_contain_text("New order #")
        assert await page.evaluate(places) == pytest.approx(before, abs=0.5)  # browsers round to 1/64 px
    # A status without a column takes the card too.
    target = await column(page, "cancelled").bounding_box()
    assert target is not None
    await page.mouse.move(target["x"] + 40, target["y"] + 20, steps=4)
    await expect(column(page, "cancelled")).to_have_attribute("data-drop", "over")
    await expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    await page.mouse.up()
    await expect(page.get_by_role("button", name="Acknowledge")).to_be_visible()
    await expect(notices(page)).to_contain_text("Cancelled")
    await expect(cards(page, "pending")).to_have_count(3)
    assert await db.fetchval("select status from orders where id = 1") == "cancelled"


async def test_a_column_where_the_map_allows_no_change_looks_so_and_takes_no_card(
    start_server: StartServer, empty_database_url: str, new_page: NewPage
) -> None:
    server: Server = await start_server(empty_database_url, JWT_SECRET=SECRET)
    shop = await asyncpg.connect(empty_database_url)
    await shop.execute("create table sales (id bigint primary key, state text)")
    order_map = {"key": "id", "status": "state", "statuses": ["new", "packed", "sent", "lost"], "cancelled": ["lost"]}
    order_map |= {"write": {"status": True, "transitions": {"new": ["packed", "lost"], "packed": ["sent"]}}}  # type: ignore[dict-item]
    await shop.execute("select orderwire.attach('sales', $1::text::jsonb)", json.dumps(order_map))
    await shop.execute("insert into sales values (1, 'new')")
    page = await new_page(locale="en-GB", viewport={"width": 1440, "height": 900})
    await open_as(page, server, "Anna", "/board")
    await expect(cards(page, "new")).to_have_count(1)
    await page.get_by_role("button", name="Columns and ages").click()
    await page.get_by_role("checkbox", name="Sent").check()
    await page.keyboard.press("Escape")
    assert await drag(page, "1", "sent") == "forbidden"
    await expect(cards(page, "new")).to_have_count(1)
    assert await shop.fetchval("select state from sales") == "new"
    assert await drag(page, "1", "packed") == "over"
    await expect(cards(page, "packed")).to_have_count(1)
    await expect(notices(page)).to_contain_text("Packed")
    await shop.close()


@pytest.mark.every_browser
async def test_a_card_is_moved_with_the_keyboard_and_keeps_the_focus(server: Server, db: Any, new_page: NewPage) -> None:
    await insert(db, 3)
    page = await new_page(locale="en-GB", viewport={"width": 1440, "height": 900})
    await open_as(page, server, "Anna", "/board")
    await page.locator("[data-card='3'] a").focus()
    await page.keyboard.press("ArrowDown")
    await expect(page.locator("[data-card='2'] a")).to_be_focused()
    await page.keyboard.press("Space")
    await page.keyboard.press("ArrowRight")
    await page.keyboard.press("ArrowRight")
    await expect(page.get_by_text("To: Preparing")).to_be_attached()
    await page.keyboard.press("Space")
    await expect(cards(page, "preparing")).to_have_count(1)
    await expect(page.locator("[data-card='2'] a")).to_be_focused()
    await expect(notices(page)).to_contain_text("Preparing")
    assert await db.fetchval("select status from orders where id = 2") == "preparing"
    await page.keyboard.press("s")
    await page.keyboard.press("7")
    await expect(cards(page, "preparing")).to_have_count(0)


async def test_a_finger_drags_after_it_has_rested_and_scrolls_otherwise(server: Server, db: Any, new_page: NewPage) -> None:
    await insert(db, 30)
    page = await new_page(locale="en-GB", viewport={"width": 768, "height": 1024}, has_touch=True, is_mobile=True)
    await open_as(page, server, "Anna", "/board")
    await expect(cards(page, "pending")).to_have_count(30)
    touch = await page.context.new_cdp_session(page)

    async def send(kind: str, *points: tuple[float, float]) -> None:
        touch_points = [{"x": x, "y": y} for x, y in points]
        await touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touch_points})

    card = await page.locator("[data-card='30'] a").bounding_box()
    target = await column(page, "confirmed").bounding_box()
    assert card is not None
    assert target is not None
    x, y = card["x"] + 20, card["y"] + 20
    await send("touchStart", (x, y))
    await wait_until(page, "document.querySelector('[data-moving]')")
    await send("touchMove", (x + 30, y + 30))
    await send("touchMove", (target["x"] + 40, target["y"] + 80))
    await expect(column(page, "confirmed")).to_have_attribute("data-drop", "over")
    await send("touchEnd")
    await expect(cards(page, "confirmed")).to_have_count(1)
    await expect(notices(page)).to_contain_text("Confirmed")
    assert await db.fetchval("select status from orders where id = 30") == "confirmed"


async def test_20_000_orders_leave_the_board_usable(server: Server, db: Any, new_page: NewPage) -> None:
    await insert(db, 20_000)
    page = await new_page(locale="en-GB", viewport={"width": 1440, "height": 900})
    await open_as(page, server, "Anna", "/board")
    await expect(cards(page, "pending")).to_have_count(32)
    await cards(page, "pending").first.locator("..").evaluate("list => list.scrollTop = 100")
    await expect(cards(page, "pending")).to_have_count(200)
    await expect(page.locator("[data-count=pending]")).to_have_text(re.compile(r"20,000|1,000\+"))
    await db.execute("update orders set status = 'confirmed' where id = 20000")
    await expect(cards(page, "confirmed")).to_have_count(1)
    await expect(cards(page, "pending")).to_have_count(200)
    await db.execute("update orders set status = 'ready' where id = 1")  # not loaded
    await expect(cards(page, "ready")).to_contain_text("Anna 1")


@pytest.mark.every_browser
async def test_the_alarm_rings_until_it_is_acknowledged_and_says_when_the_browser_blocks_it(
    server: Server, db: Any, new_page: NewPage
) -> None:
    page = await new_page(locale="en-GB")
    await open_as(page, server, "Anna", "/board")
    await page.get_by_role("button", name="Alarm").click()
    await insert(db, 2)
    await expect(page.get_by_role("alert").filter(has_text="2 new orders")).to_be_visible()
    await page.keyboard.press("a")
    await expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    await insert(db, 1)
    await page.get_by_role("button", name="Acknowledge").click()
    await expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    # In another tab, which the user has not touched yet. (For Chromium, what Playwright evaluates counts as a touch.)
    page = await new_page(context=page.context)
    await page.add_init_script(
        """const activation = { hasBeenActive: false };
        Object.defineProperty(navigator, "userActivation", { get: () => activation });
        addEventListener("pointerdown", () => { activation.hasBeenActive = true; });"""
    )
    await open_as(page, server, "Anna", "/board")
    await expect(page.get_by_text("The browser blocks the sound")).to_be_visible()
    await page.mouse.click(5, 5)
    await expect(page.get_by_text("The browser blocks the sound")).to_have_count(0)


@pytest.mark.every_browser
async def test_the_alarm_rings_for_an_order_that_comes_while_the_board_loads(
    server: Server, db: Any, new_page: NewPage
) -> None:
    page = await new_page(locale="en-GB")
    may_load = asyncio.Event()

    async def answer_later(route: Route) -> None:
        await may_load.wait()
        await route.continue_()

    await page.route(re.compile(r"/api/orders\?.*status="), answer_later)
    await open_as(page, server, "Anna", "/board")
    await page.get_by_role("button", name="Alarm").click()
    await insert(db, 1)
    await expect(page.get_by_text("New order #").first).to_be_visible()  # the event is here
    await expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    may_load.set()
    await expect(cards(page, "pending")).to_have_count(1)
    await expect(page.get_by_role("button", name="Acknowledge")).to_be_visible()
    # Another view acknowledges nothing.
    await page.get_by_role("link", name="List").click()
    await expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)
    await page.get_by_role("link", name="Board").click()
    await page.get_by_role("button", name="Acknowledge").click()
    await expect(page.get_by_role("button", name="Acknowledge")).to_have_count(0)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_no_violation_while_a_card_is_moved_and_in_the_settings(
    server: Server, db: Any, new_page: NewPage, scheme: str
) -> None:
    for status in ("pending", "confirmed", "preparing", "ready"):
        await insert(db, 12, status)
    await db.execute("update orders set created_at = now() - interval '15 minutes' where id % 3 = 0")
    await db.execute("update orders set created_at = now() - interval '45 minutes' where id % 3 = 1")
    page = await new_page(viewport={"width": 1440, "height": 900}, color_scheme=scheme, reduced_motion="reduce")
    await open_as(page, server, "Anna", "/board")
    await expect(cards(page, "pending")).to_have_count(12)
    await page.locator("[data-card='12'] a").focus()
    await page.keyboard.press("Space")
    assert await violations(page) == []
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name="Столбцы и возраст").click()
    await expect(page.get_by_role("dialog")).to_be_visible()
    assert await violations(page) == []
