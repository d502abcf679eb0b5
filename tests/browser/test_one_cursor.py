"""Every number that the page shows belongs to one point of the feed: that of the newest totals."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.page_helpers import expect_order_count, insert_order, open_dashboard, wait_until
from tests.support import Server, StartServer

SAMPLES = 100
EVENTS_PER_SECOND = 50
STATUSES = ("pending", "confirmed", "preparing", "ready", "delivered", "cancelled")

# Notes the totals that arrive, before the page's own listener, and when the frame after them has been drawn.
WATCH_TOTALS = """
    window.totals = [];
    window.drawn = 0;
    const Native = WebSocket;
    window.WebSocket = class extends Native {
        constructor(...parameters) {
            super(...parameters);
            this.addEventListener("message", ({ data }) => {
                const message = JSON.parse(data);
                if (message.type !== "analytics_update") return;
                const count = window.totals.push(message);
                requestAnimationFrame(() => setTimeout(() => { window.drawn = Math.max(window.drawn, count); }));
            });
        }
    };
"""
# Each sample reads all numbers in one task. Amounts are compared by their digits: how they are written is another test's.
TAKE_SAMPLES = """async (count) => {
    const digits = (text) => text.replace(/\\D/g, "");
    const text = (selector) => document.querySelector(selector).textContent;
    const samples = [];
    while (samples.length < count) {
        await new Promise((done) => setTimeout(done, 20 + Math.random() * 100));
        const byStatus = [...document.querySelectorAll(".status-count")].map((cell) => Number(digits(cell.textContent)));
        const list = document.querySelector("[data-found]").dataset;
        samples.push({
            orders: digits(text("[data-total=orders]")),
            revenue: digits(text("[data-total=revenue]")),
            pending: digits(text("[data-total=pending]")),
            byStatus: String(byStatus.reduce((sum, each) => sum + each, 0)),
            pendingByStatus: digits(text("[data-count=pending]")),
            chartOrders: digits(text("[data-period=orders]")),
            chartRevenue: digits(text("[data-period=revenue]")),
            found: list.found,
            loaded: list.loaded,
            complete: document.querySelector("[data-inexact]") === null,
            newest: window.totals.slice(-30).map(
                (totals) => [totals.total_orders, digits(totals.total_revenue), totals.pending_orders].join()
            ),
            undrawn: window.totals.length - window.drawn,
        });
    }
    return samples;
}"""


@contextlib.asynccontextmanager
async def changes(db: Any) -> AsyncIterator[None]:
    """Insert, change and delete orders of the last minutes, EVENTS_PER_SECOND in all, until the block is left."""
    rng = random.Random(5)

    async def change() -> None:
        kind = rng.random()
        if kind < 0.4:
            await insert_order(db, f"Anna {rng.randrange(1000)}", f"{rng.randrange(100, 99999) / 100:.2f}")
        elif kind < 0.7:
            await db.execute(f"update orders set status = $1 where id = ({pick})", rng.choice(STATUSES))
        elif kind < 0.85:
            await db.execute(f"update orders set total = $1::text::numeric where id = ({pick})", str(rng.randrange(1000)))
        elif kind < 0.95:
            await db.execute(f"update orders set customer_name = 'Bo' where id = ({pick})")
        else:
            await db.execute(f"delete from orders where id = ({pick})")

    pick = "select id from orders order by random() limit 1"

    async def write() -> None:
        while True:
            await asyncio.gather(change(), asyncio.sleep(1 / EVENTS_PER_SECOND))

    task = asyncio.create_task(write())
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@pytest.mark.every_browser
async def test_all_numbers_are_of_the_newest_totals_at_every_moment(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url)
    await db.execute("insert into orders (customer_name, total) select 'Anna', n from generate_series(1, 100) n")
    await page.add_init_script(WATCH_TOTALS)
    await open_dashboard(page, server)
    await expect(page.locator("[data-period=orders]")).to_have_text("100")
    async with changes(db):
        samples = await page.evaluate(TAKE_SAMPLES, SAMPLES)
    assert len(samples) == SAMPLES
    for sample in samples:
        shown = f"{sample['orders']},{sample['revenue']},{sample['pending']}"
        # Until the frame after it is drawn, the page shows the totals before.
        assert shown in sample["newest"][-1 - sample["undrawn"] :], sample
        assert {sample[name] for name in ("byStatus", "chartOrders", "found", "loaded")} == {sample["orders"]}, sample
        assert sample["pendingByStatus"] == sample["pending"], sample
        assert sample["chartRevenue"] == sample["revenue"], sample
        assert sample["complete"], sample
    assert len({sample["orders"] for sample in samples}) > SAMPLES // 5


async def test_numbers_of_the_whole_table_are_shown_though_few_orders_are_loaded(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url)
    await db.execute(
        "insert into orders (customer_name, total, status, created_at)"
        " select 'Anna', 1, case when n <= 700 then 'ready' else 'pending' end, now() - interval '1 second' * n"
        " from generate_series(1, 3000) n"
    )
    await open_dashboard(page, server)
    await expect_order_count(page, 3000)
    await expect(page.locator("[data-loaded]")).to_have_attribute("data-loaded", "1000")
    await expect(page.locator("[data-count=pending]")).to_have_text("2 300")
    # Of an order that is not loaded.
    await db.execute("update orders set status = 'cancelled' where id = 2900")
    await expect(page.locator("[data-count=pending]")).to_have_text("2 299")
    await expect(page.locator("[data-count=cancelled]")).to_have_text("1")
    await expect(page.locator("[data-period=orders]")).to_have_text("3 000")
    await page.locator(".segments").get_by_text("7 дней").click()
    await expect(page.locator("[data-period=orders]")).to_have_text("3 000")
    await page.locator(".status-row.ready").click()
    await expect_order_count(page, 700)


@pytest.mark.every_browser
async def test_arrow_keys_read_out_the_columns_of_the_chart(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url)
    await insert_order(db, "Anna", "12.50")
    await open_dashboard(page, server)
    await expect(page.locator("[data-period=orders]")).to_have_text("1")
    await expect(page.locator(".plot canvas")).to_be_visible()
    await page.locator(".plot").focus()
    await page.keyboard.press("End")
    column = page.locator("[data-column]")
    for _ in range(3):  # a minute may have begun meanwhile
        if "заказов 1" in (await column.text_content() or ""):
            break
        await page.keyboard.press("ArrowLeft")
    await expect(column).to_contain_text("заказов 1, выручка 12,50 zł")
    await expect(page.locator(".tooltip")).to_contain_text("12,50 zł")
    await page.keyboard.press("ArrowLeft")
    await expect(column).to_contain_text("заказов 0")


@pytest.mark.every_browser
async def test_page_has_a_frame_with_the_time_since_when_it_is_not_live(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url)
    await open_dashboard(page, server)
    await insert_order(db, "Anna")
    await expect_order_count(page, 1)
    await wait_until(page, "Date.now() - Number(document.querySelector('[data-as-of]').dataset.asOf) < 60000")
    await expect(page.locator(".feed-frame")).to_have_count(0)
    await server.kill()
    frame = page.locator(".feed-frame")
    await expect(frame).to_be_visible()
    await expect(frame).to_contain_text("Нет обновлений")
    assert await frame.evaluate("frame => getComputedStyle(frame).borderTopStyle + frame.offsetWidth") == (
        f"solid{await page.evaluate('document.documentElement.clientWidth')}"
    )
