"""Eight hours of a dashboard at 5 events a second, in minutes; and how long an insert takes to the screen. ``make soak``.

What a page remembers depends on the events that it has got, and not on the hours: the events of eight hours come as fast as
the page shows them. Memory is compared after the events of one hour, when lists and caches are full, and of eight.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Page

from tests.browser.burst import ROWS_PER_STATEMENT, write_events
from tests.browser.command import serve_page
from tests.browser.page_helpers import expect_order_count, open_dashboard, wait_until

EVENTS_PER_SECOND = 5
HOURS = 8
EVENTS_PER_HOUR = EVENTS_PER_SECOND * 3600
INSERTS = 40
SECONDS_BETWEEN_INSERTS = 0.5

# Resolves after the frame in which the row of an order is painted, with the time in milliseconds since the Unix epoch.
WAIT_FOR_ROW = """(name) => new Promise((resolve) => {
    const look = () => {
        const shown = [...document.querySelectorAll(".grid-body .grid-row")].some((row) => row.textContent.includes(name));
        if (shown) setTimeout(() => resolve(Date.now()));
        else requestAnimationFrame(look);
    };
    look();
})"""


@dataclass(frozen=True)
class Memory:
    """Of the page, after a garbage collection."""

    heap_bytes: int
    nodes: int


async def read_memory(page: Page) -> Memory:
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("HeapProfiler.collectGarbage")
    heap = await devtools.send("Runtime.getHeapUsage")
    counters = await devtools.send("Memory.getDOMCounters")
    await devtools.detach()
    return Memory(heap["usedSize"], counters["nodes"])


async def write_hour(page: Page, db: Any) -> None:
    """Write the events of an hour, and wait until the page shows them."""
    await write_events(db, EVENTS_PER_HOUR // (2 * ROWS_PER_STATEMENT))
    await expect_order_count(page, await db.fetchval("select count(*) from orders"))


async def insert_latencies(page: Page, db: Any) -> list[float]:
    """Milliseconds from just before an INSERT until its row is painted, on a page that is idle otherwise."""
    latencies = []
    for number in range(INSERTS):
        name = f"Latency {number} of this page"
        shown = asyncio.create_task(page.evaluate(WAIT_FOR_ROW, name), name="wait for the row")
        await asyncio.sleep(SECONDS_BETWEEN_INSERTS)
        before = time.time()
        await db.execute("insert into orders (customer_name, total) values ($1, 1)", name)
        latencies.append(float(await shown) - 1000 * before)
    return latencies


async def main() -> None:
    async with serve_page() as (server, db, browser):
        page = await browser.new_page(viewport={"width": 1440, "height": 900}, locale="en-GB")
        await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
        await open_dashboard(page, server)
        await wait_until(page, "document.querySelector('[data-count=pending]').textContent === '1'")
        latencies = sorted(await insert_latencies(page, db))
        print(
            f"INSERT to the row on the screen, {INSERTS} times on an idle page: "
            f"median {statistics.median(latencies):.0f} ms, the longest {latencies[-1]:.0f} ms"
        )
        await write_hour(page, db)
        first = await read_memory(page)
        for hour in range(2, HOURS + 1):
            await write_hour(page, db)
            last = await read_memory(page)
            print(f"{hour} h: heap {last.heap_bytes / 2**20:.1f} MiB, {last.nodes} nodes", flush=True)
        print(
            f"after {HOURS} hours at {EVENTS_PER_SECOND} events/s against one hour: "
            f"heap {last.heap_bytes / first.heap_bytes:.2f}, nodes {last.nodes / first.nodes:.2f}"
        )


if __name__ == "__main__":
    asyncio.run(main())
