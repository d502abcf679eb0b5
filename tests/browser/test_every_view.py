"""Each view in both themes: axe finds nothing, nothing is wider than the screen, and nothing lies over a control.

The list is larger: test_access.py and test_toasts.py have the same for it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import covered_controls, expect_online, fits_width, insert_order
from tests.browser.test_access import violations
from tests.browser.test_acting import open_as
from tests.helpers.tokens import SECRET, token
from tests.support import Server, StartServer

SCREENS = [{"width": width, "height": height} for width, height in ((390, 844), (768, 1024), (1440, 900), (3840, 2160))]
STATUSES = ("pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled")


@dataclass(frozen=True)
class View:
    """``ready``: an element that the view has when it shows what it has loaded. ``role`` None: without a login."""

    path: str
    ready: str
    role: str | None = "admin"


VIEWS = {
    "empty": View("", "code"),
    "board": View("/board", "[data-card]"),
    "order": View("/orders/2", "[data-event]"),
    "wall": View("/wall", "figure"),
    "story": View("/story", ".event"),
    "viewer": View("", "[data-status=pending]", role="viewer"),
    "customer": View("/orders/2", ".event", role="customer"),
    "sign-in": View("", "input[type=password]", role=None),
}


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    return server


async def insert_orders(db: Any) -> None:
    """Insert orders of each status and age, two of them of the customer anna, and give each a history."""
    await db.execute(
        "insert into orders (customer_name, customer_id, total, created_at)"
        " select 'Anna Nowak ' || n, case when n <= 2 then 'anna' else 'bo' end, n, now() - interval '1 minute' * n"
        " from generate_series(1, 42) n"
    )
    await db.execute("update orders set status = ($1::text[])[id % 7 + 1]", list(STATUSES))


def address(server: Server, view: View) -> str:
    fragment = "" if view.role is None else f"#token={token(view.role, sub='anna')}"
    return f"{server.http_url}/admin/dashboard{view.path}{fragment}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", VIEWS)
async def test_axe_finds_no_violation_and_the_view_fits_each_screen(
    server: Server, db: Any, new_page: NewPage, name: str, scheme: str
) -> None:
    view = VIEWS[name]
    if name != "empty":
        await insert_orders(db)
    page = await new_page(viewport=SCREENS[0], color_scheme=scheme, reduced_motion="reduce")
    await page.goto(address(server, view))
    await expect(page.locator(view.ready).first).to_be_visible()
    for screen in SCREENS:
        await page.set_viewport_size(screen)  # type: ignore[arg-type]
        assert await fits_width(page), screen
        assert await violations(page) == [], screen


async def change_on_board(page: Page) -> None:
    await page.locator("[data-card] a").first.focus()
    await page.keyboard.press("s")
    await page.keyboard.press("7")


async def change_on_order_page(page: Page) -> None:
    await page.locator("[data-next]:enabled").first.click()


CHANGES = {"board": change_on_board, "order": change_on_order_page}


@pytest.mark.every_browser
@pytest.mark.parametrize("name", CHANGES)
async def test_toasts_and_results_of_changes_cover_no_control(server: Server, db: Any, new_page: NewPage, name: str) -> None:
    view = VIEWS[name]
    await insert_orders(db)
    page = await new_page(viewport=SCREENS[0])
    await open_as(page, server, "Anna", view.path, notices_end=True)
    await expect_online(page)
    await expect(page.locator(view.ready).first).to_be_visible()
    for screen in SCREENS:
        await page.set_viewport_size(screen)  # type: ignore[arg-type]
        covered = asyncio.create_task(covered_controls(page, ".toast"), name="look at the toast")
        await insert_order(db, "Jan")
        assert await covered == [], screen
        covered = asyncio.create_task(covered_controls(page, "[data-notice]"), name="look at the result")
        await CHANGES[name](page)
        assert await covered == [], screen
        await expect(page.locator(".toast, [data-notice]")).to_have_count(0)
