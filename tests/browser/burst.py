"""Writes 1,000 events a second while a page is open, and measures how smoothly the page runs. ``make burst`` prints it.

An empty page, which takes the same messages and shows nothing, comes first: the server, the database, the writer and the
browser share the machine, so it is the best that any page can do there.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Page, expect

from tests.browser.command import serve_page
from tests.browser.main_thread import Recorder
from tests.browser.page_helpers import expect_online, open_dashboard, wait_until
from tests.support import Server

EVENTS_PER_SECOND = 1000
DURATION_SECONDS = 20.0
# Orders that the table has before the page is opened, of the last seven days.
TABLE_ORDERS = 100_000
# Each tick inserts this many orders with one statement and updates them with another.
ROWS_PER_STATEMENT = 10
TICK_SECONDS = 2 * ROWS_PER_STATEMENT / EVENTS_PER_SECOND

MEASURE_FRAMES = """() => {
    const frames = window.frames_ = [];
    let last = performance.now();
    requestAnimationFrame(function frame(now) {
        frames.push(now - last);
        last = now;
        requestAnimationFrame(frame);
    });
}"""
READ_FRAMES = "() => window.frames_.slice(1)"
# Resolves when the server has sent its first message.
RECEIVE_MESSAGES = """() => new Promise((resolve, reject) => {
    window.socket = new WebSocket(location.origin.replace("http", "ws") + "/api/ws");
    window.socket.onmessage = resolve;
    window.socket.onerror = () => reject(new Error("no WebSocket"));
})"""


@dataclass(frozen=True)
class Smoothness:
    """The page's frames and the tasks of its main thread during a burst. Times are in milliseconds."""

    events: int
    seconds: float
    frames_per_second: float
    # 95th and 99th percentile, and the longest.
    frames: tuple[float, float, float]
    # Of the tasks of a millisecond and more.
    tasks: tuple[float, float, float]
    # CPU time of the main thread, and of all processes of the browser, for each event.
    main_thread_per_event: float
    browser_per_event: float

    def __str__(self) -> str:
        frames, tasks = [" / ".join(f"{ms:.0f}" for ms in times) for times in (self.frames, self.tasks)]
        return (
            f"{self.frames_per_second:.1f} frames/s; 95 %, 99 % and all frames within {frames} ms, tasks within {tasks} ms; "
            f"CPU time of an event {1000 * self.main_thread_per_event:.0f} µs in the main thread, "
            f"{1000 * self.browser_per_event:.0f} µs in all of the browser; "
            f"{self.events} events in {self.seconds:.1f} s ({self.events / self.seconds:.0f}/s)"
        )


async def run_burst(page: Page, db: Any, seconds: float = DURATION_SECONDS) -> Smoothness:
    """Write events at EVENTS_PER_SECOND and measure the open page meanwhile."""
    await page.evaluate(MEASURE_FRAMES)
    recorder = Recorder(page)
    await recorder.start()
    start = time.monotonic()
    ticks = int(seconds / TICK_SECONDS)
    await write_events(db, ticks)
    elapsed = time.monotonic() - start
    frames = sorted(await page.evaluate(READ_FRAMES))
    main_thread = await recorder.stop()
    events = 2 * ROWS_PER_STATEMENT * ticks
    return Smoothness(
        events=events,
        seconds=elapsed,
        frames_per_second=1000 * len(frames) / sum(frames),
        frames=_slowest(frames),
        tasks=_slowest(main_thread.tasks or [0.0]),
        main_thread_per_event=1000 * main_thread.cpu_seconds / events,
        browser_per_event=1000 * main_thread.browser_cpu_seconds / events,
    )


def _slowest(times: list[float]) -> tuple[float, float, float]:
    """The 95th and 99th percentile of times in ascending order, and the last."""
    return times[int(len(times) * 0.95)], times[int(len(times) * 0.99)], times[-1]


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


async def open_empty_page(page: Page, server: Server) -> None:
    """Open a page of the server that shows next to nothing, and have it receive all messages."""
    await page.goto(f"{server.http_url}/healthz")
    await page.evaluate(RECEIVE_MESSAGES)


async def open_list(page: Page, server: Server) -> None:
    """Open the list of orders with the charts, and wait until everything has loaded."""
    await open_dashboard(page, server)
    await wait_until(page, "document.querySelector('[data-count=delivered]').textContent !== '–'")
    await expect(page.locator(".plot canvas")).to_be_visible()


async def open_board(page: Page, server: Server) -> None:
    """Open the board, and wait until its columns have loaded."""
    await page.goto(f"{server.http_url}/admin/dashboard/board")
    await expect_online(page)
    await expect(page.locator("[aria-busy=false] [data-column=pending]")).to_be_visible()


PAGES: dict[str, Callable[[Page, Server], Awaitable[None]]] = {
    "empty page": open_empty_page,
    "list and chart": open_list,
    "board": open_board,
}


async def fill_table(db: Any) -> None:
    """Insert TABLE_ORDERS orders."""
    await db.execute(
        "insert into orders (customer_name, total, status, created_at)"
        " select 'Anna ' || n, n % 100, 'delivered', now() - interval '6 seconds' * ($1 - n)"
        " from generate_series(1, $1) n",
        TABLE_ORDERS,
    )


async def main() -> None:
    async with serve_page() as (server, db, browser):
        await fill_table(db)
        for name, open_page in PAGES.items():
            page = await browser.new_page(viewport={"width": 1440, "height": 900}, locale="ru-RU")
            await open_page(page, server)
            print(f"{name}: {await run_burst(page, db)}", flush=True)
            await page.close()


if __name__ == "__main__":
    asyncio.run(main())
