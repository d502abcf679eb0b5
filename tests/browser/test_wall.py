"""The wall: large numbers at two sizes, the state of the feed, and that it runs without a user."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import fits_width, insert_order
from tests.browser.test_access import violations
from tests.support import Server, StartServer

SIZES = [(1440, 900), (3840, 2160)]
# The height of a digit's ink in pixels.
DIGIT_HEIGHT = """element => {
    const context = new OffscreenCanvas(1, 1).getContext("2d");
    const style = getComputedStyle(element);
    context.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
    const measured = context.measureText("8");
    return measured.actualBoundingBoxAscent + measured.actualBoundingBoxDescent;
}"""

# The parts of the wall that lie over one another, in pairs.
OVERLAPPING = """() => {
    const boxes = [...document.querySelectorAll("main > header, main > section, [data-wall], main dl, main figure")]
        .map((element) => element.getBoundingClientRect());
    const overlap = (a, b) =>
        a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
    const after = (a, index) => boxes.slice(index + 1).filter((b) => overlap(a, b));
    return boxes.flatMap((a, index) => after(a, index).map((b) => [a.toJSON(), b.toJSON()]));
}"""


@pytest.fixture
async def server(start_server: StartServer, database_url: str, db: Any) -> Server:
    server: Server = await start_server(database_url)
    await db.execute(
        "insert into orders (customer_name, total, status) select 'Anna ' || n, 100 * n, 'ready' from generate_series(1, 150) n"
    )
    return server


async def open_wall(page: Page, server: Server) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard/wall")
    await expect(page.locator("main[data-feed=live]")).to_be_visible()
    await expect(page.locator("[data-wall=orders]")).to_have_text("150")


@pytest.mark.every_browser(width=1440)
@pytest.mark.parametrize(("width", "height"), SIZES)
async def test_digits_take_at_least_8_percent_of_the_height(server: Server, new_page: NewPage, width: int, height: int) -> None:
    page = await new_page(viewport={"width": width, "height": height})
    await open_wall(page, server)
    await expect(page.locator("[data-wall=revenue]")).to_have_text("1 132 500 zł")
    for name in ("orders", "revenue", "pending"):
        number = page.locator(f"[data-wall={name}]")
        assert await number.evaluate(DIGIT_HEIGHT) >= 0.08 * height
        assert await number.evaluate("element => element.scrollWidth <= element.clientWidth + 1")
    # The parts are beside each other, and nothing has to be scrolled to.
    assert await page.evaluate(OVERLAPPING) == []
    assert await page.evaluate("document.documentElement.scrollHeight") <= height
    assert await page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.every_browser
async def test_new_orders_appear_in_the_stream_and_the_frame_tells_the_feed(server: Server, db: Any, page: Page) -> None:
    await open_wall(page, server)
    number = await insert_order(db, "Anna")
    newest = page.locator("li").first
    await expect(newest).to_contain_text(number)
    await expect(page.locator("[data-wall=pending]")).to_have_text("1")
    border = "element => getComputedStyle(element).borderTopStyle"
    assert await page.locator("main").evaluate(border) == "solid"
    await server.kill()
    await expect(page.locator("main[data-feed=offline]")).to_be_visible()
    assert await page.locator("main").evaluate(border) == "dotted"


@pytest.mark.every_browser
async def test_the_screen_stays_on_while_the_page_can_be_seen(server: Server, page: Page) -> None:
    await page.add_init_script(
        """
        window.locks = [];
        Object.defineProperty(navigator, "wakeLock", { value: {
            request: async (type) => {
                const lock = { type, released: false, release: async () => { lock.released = true; } };
                window.locks.push(lock);
                return lock;
            },
        } });
        """
    )
    await open_wall(page, server)
    kept = "locks.filter(({ released }) => !released).map(({ type }) => type)"
    assert await page.evaluate(kept) == ["screen"]
    # The browser lets go of it when the page is hidden.
    await page.evaluate("locks.forEach((lock) => { lock.released = true; })")
    await page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    assert await page.evaluate(kept) == ["screen"]
    await page.get_by_role("link", name="К панели").click()
    await expect(page.get_by_role("grid")).to_be_visible()
    assert await page.evaluate(kept) == []


async def test_on_a_small_screen_no_part_lies_over_another(server: Server, page: Page) -> None:
    await open_wall(page, server)
    for width, height in ((390, 844), (768, 1024)):
        await page.set_viewport_size({"width": width, "height": height})
        assert await page.evaluate(OVERLAPPING) == []
        assert await fits_width(page)


async def test_axe_finds_no_violation_in_forced_colors(server: Server, new_page: NewPage) -> None:
    page = await new_page(forced_colors="active", reduced_motion="reduce")
    await open_wall(page, server)
    assert await violations(page) == []
