"""Writes 1,000 events a second while a dashboard is open, and measures how smoothly the page runs. ``make burst`` prints it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from playwright.async_api import CDPSession, Page

from tests.browser.command import serve_page
from tests.browser.page_helpers import expect_order_count, open_dashboard, wait_until

EVENTS_PER_SECOND = 1000
DURATION_SECONDS = 20.0
# Orders that the table has before the page is opened, of the last seven days.
TABLE_ORDERS = 100_000
# Each tick inserts this many orders with one statement and updates them with another.
ROWS_PER_STATEMENT = 10
TICK_SECONDS = 2 * ROWS_PER_STATEMENT / EVENTS_PER_SECOND

# A long task takes more than 50 ms. The time above 50 ms is the blocking time: input waits for it.
START_MEASURING = """() => {
    const frames = window.frames_ = [];
    const tasks = window.tasks_ = [];
    window.observer_ = new PerformanceObserver((list) => tasks.push(...list.getEntries().map((entry) => entry.duration)));
    window.observer_.observe({ type: "longtask" });
    let last = performance.now();
    requestAnimationFrame(function frame(now) {
        frames.push(now - last);
        last = now;
        requestAnimationFrame(frame);
    });
}"""
READ_MEASUREMENTS = """() => ({ frames: window.frames_.slice(1), tasks: window.tasks_ })"""


@dataclass(frozen=True)
class Smoothness:
    """The page's frame times and main-thread load during a burst."""

    events: int
    seconds: float
    frames_per_second: float
    slowest_frames_ms: tuple[float, float]  # 95th and 99th percentile
    longest_frame_ms: float
    blocking_ms: float
    longest_task_ms: float
    # CPU time of the main thread per second, as a share of one core.
    busy: float

    def __str__(self) -> str:
        return (
            f"{self.events} events in {self.seconds:.1f} s ({self.events / self.seconds:.0f}/s): "
            f"{self.frames_per_second:.1f} frames/s; 95 % of frames within {self.slowest_frames_ms[0]:.0f} ms, "
            f"99 % within {self.slowest_frames_ms[1]:.0f} ms, the longest {self.longest_frame_ms:.0f} ms; "
            f"main thread busy for {self.busy:.0%} of the time, blocked for {self.blocking_ms:.0f} ms in all, "
            f"the longest task {self.longest_task_ms:.0f} ms"
        )


async def run_burst(page: Page, db: Any, seconds: float = DURATION_SECONDS) -> Smoothness:
    """Write events at EVENTS_PER_SECOND and measure the open page meanwhile."""
    await page.evaluate(START_MEASURING)
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    busy_before = await main_thread_seconds(devtools)
    start = time.monotonic()
    ticks = int(seconds / TICK_SECONDS)
    await write_events(db, ticks)
    elapsed = time.monotonic() - start
    measured = await page.evaluate(READ_MEASUREMENTS)
    busy = await main_thread_seconds(devtools) - busy_before
    frames = sorted(measured["frames"])
    return Smoothness(
        events=2 * ROWS_PER_STATEMENT * ticks,
        seconds=elapsed,
        frames_per_second=1000 * len(frames) / sum(frames),
        slowest_frames_ms=(frames[int(len(frames) * 0.95)], frames[int(len(frames) * 0.99)]),
        longest_frame_ms=frames[-1],
        blocking_ms=sum(duration - 50 for duration in measured["tasks"]),
        longest_task_ms=max(measured["tasks"], default=50.0),
        busy=busy / elapsed,
    )


async def write_events(db: Any, ticks: int) -> None:
    """Insert and change orders at EVENTS_PER_SECOND, for so many times TICK_SECONDS."""
    start = time.monotonic()
    for tick in range(ticks):
        ids = await db.fetch(
            "insert into orders (customer_name, total) select 'Anna ' || n, n + 0.05 from generate_series(1, $1) n"
            " returning id",
            ROWS_PER_STATEMENT,
        )
        status = ("confirmed", "preparing", "ready", "cancelled")[tick % 4]
        await db.execute("update orders set status = $2 where id = any($1)", [row["id"] for row in ids], status)
        await asyncio.sleep(max(0.0, start + (tick + 1) * TICK_SECONDS - time.monotonic()))


async def main_thread_seconds(devtools: CDPSession) -> float:
    """CPU time of the main thread's tasks since the page was opened."""
    metrics = (await devtools.send("Performance.getMetrics"))["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


async def main() -> None:
    async with serve_page() as (server, db, browser):
        page = await browser.new_page(viewport={"width": 1440, "height": 900}, locale="ru-RU")
        await db.execute(
            "insert into orders (customer_name, total, status, created_at)"
            " select 'Anna ' || n, n % 100, 'delivered', now() - interval '6 seconds' * ($1 - n)"
            " from generate_series(1, $1) n",
            TABLE_ORDERS,
        )
        await open_dashboard(page, server)
        await expect_order_count(page, TABLE_ORDERS)
        await wait_until(page, "document.querySelector('[data-count=delivered]').textContent !== '–'")
        print(await run_burst(page, db))


if __name__ == "__main__":
    asyncio.run(main())
