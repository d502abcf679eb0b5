"""``make screenshots``: the dashboard of a shop at its busiest, light and dark, desktop and phone, for the documentation."""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal

import asyncpg
from playwright.async_api import expect

from db.demo import CUSTOMER_NAMES
from db.embedded.postgres import EmbeddedPostgres
from tests.browser.chromium import find_chromium
from tests.browser.page_helpers import finds, open_dashboard
from tests.support import ROOT, Server
from web.build import build

PICTURES = ROOT / "docs" / "screenshots"
DESKTOP = {"viewport": {"width": 1440, "height": 900}}
PHONE = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 2, "is_mobile": True, "has_touch": True}
SCHEMES: list[tuple[Literal["light", "dark"], str]] = [("light", "ru-RU"), ("dark", "en-US")]
# Which status an order has after so many minutes, at the latest.
COURSE = [(3, "pending"), (6, "confirmed"), (14, "preparing"), (19, "ready"), (32, "delivering"), (1440, "delivered")]
ORDER_COUNT = 800


async def fill(db: Any) -> None:
    """An evening: orders come in waves, move on as they get older, and a few are cancelled."""
    dice = random.Random(7)
    now = datetime.now(UTC)
    for age in sorted((dice.uniform(0, 75) for _ in range(ORDER_COUNT)), reverse=True):
        if dice.random() > 0.55 + 0.35 * math.sin(age / 7 + 1):
            continue
        status = next(status for minutes, status in COURSE if age * dice.uniform(0.7, 1.3) <= minutes)
        if dice.random() < 0.04:
            status = "cancelled"
        await db.execute(
            "insert into orders (customer_name, total, status, created_at) values ($1, $2, $3, $4)",
            dice.choice(CUSTOMER_NAMES),
            Decimal(dice.randint(1900, 24000)) / 100,
            status,
            now - timedelta(minutes=age),
        )


async def live(db: Any) -> None:
    """What happens while one looks."""
    moves = {
        "pending": "confirmed",
        "confirmed": "preparing",
        "preparing": "ready",
        "ready": "delivering",
        "delivering": "delivered",
    }
    for before, after in list(moves.items()) * 3:
        await db.execute(
            "update orders set status = $2 where id = (select id from orders where status = $1 order by id limit 1)",
            before,
            after,
        )
    await db.execute("insert into orders (customer_name, total) values ('Иван Иванов', 150.50)")


async def main() -> None:
    build()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        home.chmod(0o755)
        postgres = EmbeddedPostgres(home / "data", report=lambda line: None)
        url = postgres.start()
        server = await Server.serve(url)
        try:
            await server.wait_until_ready()
            db = await asyncpg.connect(url)
            await fill(db)
            async with find_chromium(home).launched() as browser:
                for screen, options in (("desktop", DESKTOP), ("phone", PHONE)):
                    for scheme, locale in SCHEMES:
                        page = await browser.new_page(**options, locale=locale)
                        await page.emulate_media(color_scheme=scheme)
                        await open_dashboard(page, server)
                        orders = await db.fetchval("select count(*) from orders")
                        await live(db)
                        await finds(page, orders + 1)
                        await expect(page.locator(".toast")).to_have_count(1)
                        await page.evaluate(  # until everything that moves, but for the pulse, has arrived
                            "() => Promise.allSettled(document.getAnimations()"
                            ".filter((one) => one.effect.getTiming().iterations !== Infinity).map((one) => one.finished))"
                        )
                        await page.wait_for_timeout(1000)  # the chart is drawn twice a second
                        picture = PICTURES / f"{screen}-{scheme}.png"
                        await page.screenshot(path=picture)
                        print(f"{picture.relative_to(ROOT)}  {picture.stat().st_size // 1000} kB")
                        await page.close()
            await db.close()
        finally:
            await server.stop()
            postgres.release()


if __name__ == "__main__":
    asyncio.run(main())
