"""1,000 events a second for 20 seconds. How smooth the page stays is a matter of the machine: ``make burst`` prints it."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page, expect

from tests.browser.burst import EVENTS_PER_SECOND, DURATION_SECONDS, run_burst
from tests.browser.page_helpers import expect_order_count, open_dashboard
from tests.support import Server, StartServer


async def test_a_burst_arrives_whole_and_once(start_server: StartServer, database_url: str, db: Any, page: Page) -> None:
    server: Server = await start_server(database_url)
    await open_dashboard(page, server)
    smoothness = await run_burst(page, db)
    print(smoothness)
    assert smoothness.events == EVENTS_PER_SECOND * DURATION_SECONDS
    await expect_order_count(page, await db.fetchval("select count(*) from orders"))
    for status, count in await db.fetch("select status, count(*) from orders group by status"):
        await expect(page.locator(f"[data-count={status}]")).to_have_text(f"{count:,}".replace(",", "\xa0"))
    # The sum of the orders in the page's own book is the sum in the database; the server's totals agree.
    revenue = await db.fetchval("select total_revenue from order_analytics")
    text = f"{revenue:,.2f} zł".replace(",", "\xa0").replace(".", ",").replace(" ", "\xa0")
    await expect(page.locator("[data-period=revenue]")).to_have_text(text)
    await expect(page.locator("[data-total=revenue]")).to_have_text(text)
    ids = await page.locator("[data-event]").evaluate_all("lines => lines.map((line) => line.dataset.event)")
    assert len(set(ids)) == len(ids) > 0
    await expect(page.locator(".connection.online")).to_be_visible()
    await expect(page.locator(".gap")).to_have_count(0)
