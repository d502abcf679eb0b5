"""Accessibility, layout on each screen size, and the Content-Security-Policy of the dashboard."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, Request, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import clock_stopped, expect_order_count, look_at, open_dashboard
from tests.support import Server, StartServer
from web.build import WEB

AXE = WEB / "node_modules" / "axe-core" / "axe.min.js"
DESKTOP = {"width": 1440, "height": 900}
PHONE = {"width": 390, "height": 844}
WALL = {"width": 3840, "height": 2160}


@pytest.fixture
async def server(start_server: StartServer, database_url: str, db: Any) -> Server:
    # The server starts before the insert: the test's database is a copy, whose journal begins at the first start of a server.
    server: Server = await start_server(database_url)
    statuses = "pending,confirmed,preparing,ready,delivering,delivered,cancelled"
    await db.execute(
        "insert into orders (customer_name, total, status) select 'Anna Nowak ' || n, n, ($1::text[])[n % 7 + 1]"
        " from generate_series(1, 70) n",
        statuses.split(","),
    )
    return server


async def violations(page: Page) -> list[str]:
    """Violations of WCAG 2.2 AA and of good practice that axe finds, one line each."""
    await page.evaluate(AXE.read_text(encoding="utf-8"))  # the page's policy forbids a script tag
    found = await page.evaluate(
        """async () => (await axe.run(document, {
            runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
        })).violations.flatMap((rule) => rule.nodes.map((node) =>
            `${rule.id} ${node.target} ${node.html.slice(0, 120)} ${node.failureSummary}`))"""
    )
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize(
    ("screen", "scheme", "locale"),
    [(DESKTOP, "light", "ru-RU"), (DESKTOP, "dark", "en-US"), (PHONE, "light", "en-US"), (PHONE, "dark", "ru-RU")],
    ids=["desktop-light-ru", "desktop-dark-en", "phone-light-en", "phone-dark-ru"],
)
async def test_axe_finds_no_violation(
    server: Server, db: Any, new_page: NewPage, screen: dict[str, int], scheme: str, locale: str
) -> None:
    # Without motion, because axe would measure the contrast of elements that are still fading in.
    page = await new_page(viewport=screen, color_scheme=scheme, locale=locale, reduced_motion="reduce")
    await open_dashboard(page, server)
    async with clock_stopped(page):
        await db.execute("insert into orders (customer_name, total) values ('Иван', 1)")
        await db.execute("update orders set status = 'cancelled' where id <= 7")
        await expect(page.locator(".toast")).to_have_count(1)
        await expect_order_count(page, 71)
        await page.get_by_role("grid").focus()
        await page.keyboard.press("ArrowDown")
        assert await violations(page) == []
        await expect(page.locator(".toast")).to_have_count(1)

    await page.locator(".status-row").first.click()
    await page.get_by_role("tab").last.click()
    await expect(page.locator(".pager")).to_be_visible()
    assert await violations(page) == []

    await page.locator(".grid-body .cell-select input").first.click()
    await expect(page.locator("#selection-block")).to_be_visible()
    assert await violations(page) == []

    await server.kill()
    await expect(page.locator(".retry-now")).to_be_visible()
    assert await violations(page) == []


@pytest.mark.parametrize(
    "screen",
    [{"width": 320, "height": 568}, PHONE, {"width": 844, "height": 390}, {"width": 820, "height": 1180}, DESKTOP, WALL],
    ids=lambda screen: f"{screen['width']}x{screen['height']}",
)
async def test_page_fits_the_width_of_the_screen_and_cuts_no_text(
    server: Server, new_page: NewPage, screen: dict[str, int]
) -> None:
    page = await new_page(viewport=screen)
    await open_dashboard(page, server)
    await expect_order_count(page, 70)
    assert await page.evaluate("document.documentElement.scrollWidth") <= screen["width"]
    cut_off = await page.evaluate(
        """() => [...document.querySelectorAll(".total dd, .badge, h2, button:not(.toast *)")]
            .filter((element) => element.offsetParent && element.scrollWidth > element.clientWidth + 1)
            .map((element) => element.outerHTML.slice(0, 120))"""
    )
    assert cut_off == []
    # A large screen shows the whole page without scrolling.
    if screen["width"] >= 1440:
        assert await page.evaluate("document.documentElement.scrollHeight") <= screen["height"]


async def test_phone_shows_orders_as_cards_with_touch_targets_of_sufficient_size(server: Server, new_page: NewPage) -> None:
    page = await new_page(viewport=PHONE, has_touch=True, is_mobile=True)
    await open_dashboard(page, server)
    card = page.locator(".grid-body .grid-row").first
    await card.scroll_into_view_if_needed()
    box = await card.bounding_box()
    assert box is not None
    assert box["height"] >= 44
    await card.tap()
    await expect(page.get_by_role("main")).to_contain_text("Anna Nowak 70")
    for button in await page.locator(".toolbar button").all():
        box = await button.bounding_box()
        assert box is None or min(box["width"], box["height"]) >= 24  # WCAG 2.5.8


async def test_reduced_motion_stops_all_animations(server: Server, db: Any, new_page: NewPage) -> None:
    page = await new_page(reduced_motion="reduce")
    await open_dashboard(page, server)
    animations = asyncio.create_task(look_at(page, ".toast", "() => document.getAnimations().length"), name="look at the toast")
    await db.execute("insert into orders (customer_name, total) values ('Иван', 1)")
    assert await animations == 0


async def test_page_loads_everything_from_its_own_server_under_a_strict_policy(
    server: Server, db: Any, new_page: NewPage
) -> None:
    page = await new_page()
    hosts: list[str] = []

    def record(request: Request) -> None:
        hosts.append(urlsplit(request.url).netloc)

    page.on("request", record)
    response = await page.goto(f"{server.http_url}/admin/dashboard")
    assert response is not None
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    await open_dashboard(page, server)
    await page.get_by_role("tab", name="Журнал").click()
    await expect(page.locator(".event").first).to_be_visible()
    assert set(hosts) == {urlsplit(server.http_url).netloc}


async def test_injected_inline_script_does_not_run(server: Server, browser: Browser) -> None:
    page = await browser.new_page()  # not new_page: the violation is an expected console error
    await page.goto(f"{server.http_url}/admin/dashboard")
    directive = await page.evaluate(
        """() => new Promise((done) => {
            addEventListener("securitypolicyviolation", (event) => done(event.effectiveDirective));
            const script = document.createElement("script");
            script.textContent = "window.stolen = true";
            document.head.append(script);
        })"""
    )
    assert directive == "script-src-elem"
    assert await page.evaluate("window.stolen === undefined")
