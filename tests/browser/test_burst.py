"""After 1,000 events a second the page shows what the database has. Smoothness is printed, not asserted.

`make burst` writes for longer. What the page bounds is far exceeded here too: it keeps 200 events.
"""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page, expect

from tests.browser.burst import EVENTS_PER_SECOND, run_burst
from tests.browser.page_helpers import expect_order_count, open_dashboard
from tests.support import Server, StartServer

BURST_SECONDS = 6.0


async def test_every_event_of_a_burst_arrives_once(start_server: StartServer, database_url: str, db: Any, page: Page) -> None:
    server: Server = await start_server(database_url)
    await open_dashboard(page, server)
    smoothness = await run_burst(page, db, BURST_SECONDS)
    print(smoothness)
    assert smoothness.events == EVENTS_PER_SECOND * BURST_SECONDS
    await expect_order_count(page, await db.fetchval("select count(*) from orders"))
    for status, count in await db.fetch("select status, count(*) from orders group by status"):
        await expect(page.locator(f"[data-count={status}]")).to_have_text(f"{count:,}".replace(",", "\xa0"))
    # The page's own sum of its orders, and the totals from the server, equal the sum in the database.
    revenue = await db.fetchval("select total_revenue from order_analytics")
    text = f"{revenue:,.2f} zł".replace(",", "\xa0").replace(".", ",").replace(" ", "\xa0")
    await expect(page.locator("[data-period=revenue]")).to_have_text(text)
    await expect(page.locator("[data-total=revenue]")).to_have_text(text)
    ids = await page.locator("[data-event]").evaluate_all("lines => lines.map((line) => line.dataset.event)")
    assert len(set(ids)) == len(ids) > 0
    await expect(page.locator(".connection.online")).to_be_visible()
    await expect(page.locator(".gap")).to_have_count(0)
