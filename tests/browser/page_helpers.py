"""Steps and expectations on the dashboard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Page, expect

from tests.support import TIMEOUT_SECONDS, Server, within

expect.set_options(timeout=TIMEOUT_SECONDS * 1000)

ONLINE = "Онлайн (Реальное время)"

# The controls whose middle a message lies over as the page is, and those that a pointer does not reach after a scroll to them.
# Controls that are not drawn are left out.
COVERED = """() => {
    document.documentElement.scrollTo(0, 0);
    // What is seen of a radio button or a checkbox is its label.
    const seenOf = (control) => control.closest("label:has([type=radio], [type=checkbox])") ?? control;
    const hitAt = (seen) => {
        const box = seen.getBoundingClientRect();
        return document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);
    };
    const controls = [...document.querySelectorAll("button, a[href], input, select, textarea")]
        .filter((control) => control.checkVisibility() && !control.disabled);
    const below = controls.filter((control) => {
        const message = hitAt(seenOf(control))?.closest(".toast, [data-notice]") ?? null;
        return message !== null && !message.contains(control);
    });
    const unreached = controls.filter((control) => {
        const seen = seenOf(control);
        seen.scrollIntoView({ block: "center" });
        const hit = hitAt(seen);
        return hit === null || !(seen.contains(hit) || seen.closest("label")?.contains(hit));
    });
    return [...below, ...unreached].map((control) => control.outerHTML.slice(0, 120));
}"""


# Timers of one delay do not run by themselves, only when the test calls ``runHeldTimers``; those of an interval stay.
HOLD_TIMERS = """(() => {
    const held = new Map();
    let count = 0;
    const hold = (start, stays) => (run, delay, ...rest) => {
        if (delay !== DELAY) return start(run, delay, ...rest);
        const key = --count; // that of no timer of the browser
        held.set(key, { run: () => run(...rest), stays });
        return key;
    };
    const release = (stop) => (key) => void (held.delete(key) || stop(key));
    window.setTimeout = hold(window.setTimeout, false);
    window.setInterval = hold(window.setInterval, true);
    window.clearTimeout = release(window.clearTimeout);
    window.clearInterval = release(window.clearInterval);
    window.runHeldTimers = () => {
        for (const [key, { run, stays }] of [...held]) {
            if (!stays) held.delete(key);
            run();
        }
    };
})()"""


async def open_dashboard(page: Page, server: Server) -> None:
    """Open the dashboard, and return when it is online and has loaded its orders."""
    await page.goto(f"{server.http_url}/admin/dashboard")
    await expect_online(page)
    await expect(page.locator(".grid[aria-busy=false]")).to_be_visible()


async def wait_until(page: Page, condition: str) -> None:
    """Wait until the JavaScript expression is true.

    Playwright's wait_for_function would need eval, which the page's Content-Security-Policy forbids.
    """
    waiting = f"() => new Promise((done) => {{ const look = () => ({condition}) ? done() : setTimeout(look, 20); look(); }})"
    await within(TIMEOUT_SECONDS, page.evaluate(waiting), condition)


async def look_at(page: Page, selector: str, script: str) -> Any:
    """What the JavaScript function returns for the element as soon as the page has it.

    The page waits for it, and looks at once: what ends by itself is there for some seconds, and a busy machine may look later.
    """
    look = f"""(selector) => new Promise((done) => {{
        const look = () => {{
            const found = document.querySelector(selector);
            if (found === null) setTimeout(look, 20);
            else done(({script})(found));
        }};
        look();
    }})"""
    return await within(TIMEOUT_SECONDS, page.evaluate(look, selector), selector)


async def covered_controls(page: Page, while_shown: str = "body") -> list[str]:
    """The controls that a pointer does not reach, since something else lies over their middle, when this element is there."""
    found = await look_at(page, while_shown, COVERED)
    assert isinstance(found, list)
    return found


@asynccontextmanager
async def clock_stopped(page: Page) -> AsyncIterator[None]:
    """Within the block it is always the same time on the page: toasts stay, however long the test takes. Its timers run."""
    await page.evaluate("() => { const now = Date.now(); window.runningClock = Date.now; Date.now = () => now; }")
    yield
    await page.evaluate("() => { Date.now = window.runningClock; }")


async def hold_timers(page: Page, milliseconds: int) -> None:
    """Timers of this delay run when the test calls ``run_held_timers``. To be called before the page is opened."""
    await page.add_init_script(HOLD_TIMERS.replace("DELAY", str(milliseconds)))


async def run_held_timers(page: Page) -> None:
    await page.evaluate("runHeldTimers()")


async def fits_width(page: Page) -> bool:
    """Whether the page is not wider than its viewport."""
    fits = await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert isinstance(fits, bool)
    return fits


async def expect_online(page: Page) -> None:
    await expect(page.locator(".connection.online")).to_be_visible()


async def expect_offline(page: Page) -> None:
    await expect(page.locator(".connection:not(.online)")).to_be_visible()


async def reconnect_now(page: Page) -> None:
    """Click "reconnect now", unless the page has reconnected by itself already; return when it is online."""
    button = page.get_by_role("button", name="Сейчас", exact=True)
    await button.or_(page.locator(".connection.online")).first.click()
    await expect_online(page)


async def expect_totals(page: Page, orders: str, revenue: str, pending: str) -> None:
    """Wait until the totals have these texts. Playwright compares no-break spaces like ordinary ones."""
    for name, text in (("orders", orders), ("revenue", revenue), ("pending", pending)):
        await expect(page.locator(f"[data-total={name}]")).to_have_text(text)


async def expect_order_count(page: Page, count: int) -> None:
    """Wait until the table has this number of orders, including those that are not drawn."""
    await expect(page.locator("[data-found]")).to_have_attribute("data-found", str(count))


async def read_table_rows(page: Page) -> list[list[str]]:
    """The cell texts of the drawn rows, from top to bottom."""
    cells: list[list[str]] = await page.evaluate(
        """() => [...document.querySelectorAll(".grid-body .grid-row")]
            .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
            .map((row) => [...row.querySelectorAll(":scope > :not(.cell-select)")])
            .map((cells) => cells.map((cell) => cell.innerText.replace(/\\s/g, " ")))"""
    )
    return cells


async def insert_order(db: Any, customer: str, total: str = "150.50") -> str:
    """Insert an order; returns its order number."""
    number = await db.fetchval(
        "insert into orders (customer_name, total) values ($1, $2::text::numeric) returning order_number", customer, total
    )
    assert isinstance(number, str)
    return number
