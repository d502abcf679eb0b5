"""``make screenshots``: takes the documentation's screenshots of each view of the dashboard, light and dark.

Those of every component (``web/gallery``) go to ``.cache/gallery``: to be looked at.
"""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, Page, expect

from db.demo import CUSTOMER_NAMES
from tests.browser.command import serve_page
from tests.browser.gallery import SCENES, build_gallery, serve_gallery
from tests.browser.page_helpers import expect_order_count, open_dashboard
from tests.support import ROOT

SCREENSHOTS = ROOT / "docs" / "screenshots"
COMPONENTS = ROOT / ".cache" / "gallery"
DESKTOP: dict[str, Any] = {"viewport": {"width": 1440, "height": 900}}
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
SCHEMES: list[tuple[Literal["light", "dark"], str]] = [("light", "ru-RU"), ("dark", "en-US")]
# An order has this status up to this age in minutes.
STATUS_BY_AGE = [(3, "pending"), (6, "confirmed"), (14, "preparing"), (19, "ready"), (32, "delivering"), (1440, "delivered")]
MAX_ORDERS = 800
# What each view shows when it is ready. The list has pictures of a phone, too.
VIEWS = {
    "board": "[data-column]",
    "wall": "[data-wall=revenue]",
    "story": "input[type=range]",
    "orders/{key}": "ol li",
}


async def insert_orders_of_an_evening(db: Any) -> None:
    """Insert orders of 75 minutes in waves, with a status by their age; a few are cancelled."""
    rng = random.Random(7)
    now = datetime.now(UTC)
    for age in sorted((rng.uniform(0, 75) for _ in range(MAX_ORDERS)), reverse=True):
        if rng.random() > 0.55 + 0.35 * math.sin(age / 7 + 1):
            continue
        status = next(status for minutes, status in STATUS_BY_AGE if age * rng.uniform(0.7, 1.3) <= minutes)
        if rng.random() < 0.04:
            status = "cancelled"
        await db.execute(
            "insert into orders (customer_name, total, status, created_at) values ($1, $2, $3, $4)",
            rng.choice(CUSTOMER_NAMES),
            Decimal(rng.randint(1900, 24000)) / 100,
            status,
            now - timedelta(minutes=age),
        )


async def change_some_orders(db: Any) -> None:
    """Update statuses and insert an order, so that the page shows recent events and a toast."""
    next_status = {
        "pending": "confirmed",
        "confirmed": "preparing",
        "preparing": "ready",
        "ready": "delivering",
        "delivering": "delivered",
    }
    for before, after in list(next_status.items()) * 3:
        await db.execute(
            "update orders set status = $2 where id = (select id from orders where status = $1 order by id limit 1)",
            before,
            after,
        )
    await db.execute("insert into orders (customer_name, total) values ('Иван Иванов', 150.50)")


async def take(page: Page, path: Path, *, full_page: bool = False) -> None:
    await page.evaluate(  # waits for all animations that end; the pulse of the connection never does
        "() => Promise.allSettled(document.getAnimations()"
        ".filter((a) => a.effect.getTiming().iterations !== Infinity).map((a) => a.finished))"
    )
    await page.wait_for_timeout(1000)  # the chart is drawn twice a second
    await page.screenshot(path=path, full_page=full_page)
    print(f"{path.relative_to(ROOT)}  {path.stat().st_size // 1000} kB")


async def main() -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    async with serve_page() as (server, db, browser):
        await insert_orders_of_an_evening(db)
        for screen, options in (("desktop", DESKTOP), ("phone", PHONE)):
            for scheme, locale in SCHEMES:
                page = await browser.new_page(**options, locale=locale)
                await page.emulate_media(color_scheme=scheme)
                await open_dashboard(page, server)
                orders = await db.fetchval("select count(*) from orders")
                await change_some_orders(db)
                await expect_order_count(page, orders + 1)
                await expect(page.locator(".toast")).to_have_count(1)
                await take(page, SCREENSHOTS / f"{screen}-{scheme}.png")
                await page.close()
        key = await db.fetchval("select id from orders where status = 'delivering' order by id desc limit 1")
        for view, ready in VIEWS.items():
            for scheme, locale in SCHEMES:
                page = await browser.new_page(**DESKTOP, locale=locale)
                await page.emulate_media(color_scheme=scheme)
                await page.goto(f"{server.http_url}/admin/dashboard/{view.format(key=key)}")
                await page.locator(ready).first.wait_for()
                await take(page, SCREENSHOTS / f"{view.partition('/')[0]}-{scheme}.png")
                await page.close()
        await take_components(browser)


async def take_components(browser: Browser) -> None:
    with tempfile.TemporaryDirectory() as directory:
        build_gallery(Path(directory))
        async with serve_gallery(Path(directory)) as address:
            for scene in SCENES:
                for scheme, locale in SCHEMES:
                    page = await browser.new_page(**DESKTOP, locale=locale)
                    await page.emulate_media(color_scheme=scheme)
                    await page.goto(f"{address}?scene={scene}")
                    await page.locator("[data-part]").last.wait_for()
                    await take(page, COMPONENTS / f"{scene}-{scheme}.png", full_page=True)
                    await page.close()


if __name__ == "__main__":
    asyncio.run(main())
