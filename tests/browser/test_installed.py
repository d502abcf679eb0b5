"""The installed page: its manifest, and the service worker, which shows an offline page and keeps nothing of the server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import NewPage
from tests.browser.page_helpers import (
    expect_online,
    expect_totals,
    hold_timers,
    insert_order,
    run_held_timers,
    wait_until,
)
from tests.browser.test_access import violations
from tests.helpers.prefix_proxy import prefix_proxy
from tests.support import TIMEOUT_SECONDS, Server, StartServer, free_port, within

CONTROLLED = "navigator.serviceWorker.controller !== null"
PREFIX = "/shop/orderwire"
# How often the offline page looks for the server (web/src/worker/worker.ts), in milliseconds.
RETRY_INTERVAL = 15_000


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    server: Server = await start_server(database_url)
    return server


@pytest.fixture(params=["root", "strips", "keeps"])
async def site(request: pytest.FixtureRequest, start_server: StartServer, database_url: str) -> AsyncIterator[str]:
    """The address of a server, at the root of its host and below a prefix."""
    if request.param == "root":
        yield (await start_server(database_url)).http_url
        return
    server = await start_server(database_url, BASE_PATH=PREFIX)
    async with prefix_proxy(server.http_url, PREFIX, strips=request.param == "strips") as url:
        yield url


async def open_with_worker(page: Page, url: str) -> None:
    await page.goto(f"{url}/admin/dashboard")
    await expect_online(page)
    await wait_until(page, CONTROLLED)


async def test_the_page_can_be_installed(site: str, new_page: NewPage) -> None:
    page = await new_page(service_workers="allow")
    await page.goto(f"{site}/admin/dashboard/board")
    await wait_until(page, CONTROLLED)
    scope = await page.evaluate("navigator.serviceWorker.ready.then(({ scope }) => scope)")
    assert scope == f"{site}/admin/dashboard"
    session = await page.context.new_cdp_session(page)
    answer = await session.send("Page.getAppManifest")
    assert answer["url"] == f"{site}/admin/manifest.webmanifest"
    assert answer["errors"] == []
    manifest = json.loads(answer["data"])
    assert await page.evaluate("([path, base]) => new URL(path, base).href", [manifest["start_url"], answer["url"]]) == scope
    for icon in manifest["icons"]:
        side = await page.evaluate(
            """async ([path, base]) => {
                const image = await createImageBitmap(await (await fetch(new URL(path, base))).blob());
                return `${image.width}x${image.height}`;
            }""",
            [icon["src"], answer["url"]],
        )
        assert side == icon["sizes"]


@pytest.mark.every_browser
async def test_offline_page_tells_what_was_known_and_when(
    start_server: StartServer, database_url: str, db: Any, new_page: NewPage
) -> None:
    port = free_port()
    server = await start_server(database_url, PORT=port)
    page = await new_page(service_workers="allow")
    await hold_timers(page, RETRY_INTERVAL)
    await open_with_worker(page, server.http_url)
    await insert_order(db, "Anna", "12.00")
    await expect_totals(page, "1", "12,00 zł", "1")
    # The page stores what it knows within seconds.
    stored = page.evaluate(
        """async () => {
            for (;;) {
                const [entry] = await (await caches.open("orderwire-last-known")).matchAll();
                if ((await entry?.text())?.includes("12,00")) return;
                await new Promise((done) => setTimeout(done, 20));
            }
        }"""
    )
    await within(TIMEOUT_SECONDS, stored, "the totals are stored")
    await server.stop()
    await page.reload()
    await expect(page.get_by_role("heading", name="Сервер недоступен")).to_be_visible()
    await expect(page.get_by_text("Что известно на")).to_be_visible()
    await expect(page.get_by_role("definition").nth(1)).to_have_text("12,00 zł")
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        assert await violations(page) == []
    server = await start_server(database_url, PORT=port)
    await page.get_by_role("link", name="Попробовать ещё раз").click()
    await expect_online(page)
    # The offline page also finds the server by itself.
    await server.stop()
    await page.reload()
    await expect(page.get_by_role("heading", name="Сервер недоступен")).to_be_visible()
    await start_server(database_url, PORT=port)
    await run_held_timers(page)
    await expect_online(page)


async def test_the_worker_keeps_no_file_and_no_answer(server: Server, db: Any, new_page: NewPage) -> None:
    page = await new_page(service_workers="allow")
    await open_with_worker(page, server.http_url)
    await page.reload()
    await expect_online(page)
    kept = await page.evaluate(
        """async () => {
            const caches_ = await Promise.all((await caches.keys()).map((name) => caches.open(name)));
            const requests = await Promise.all(caches_.map((cache) => cache.keys()));
            return requests.flat().map(({ url }) => new URL(url).pathname);
        }"""
    )
    assert set(kept) <= {"/admin/dashboard/last-known"}


async def test_where_the_page_may_show_no_notification_the_worker_shows_it(server: Server, db: Any, new_page: NewPage) -> None:
    page = await new_page(service_workers="allow", permissions=["notifications"])
    await page.add_init_script(
        """
        window.Notification = class {
            static permission = "granted";
            constructor() { throw new TypeError("Illegal constructor"); }
        };
        window.shown = [];
        ServiceWorkerRegistration.prototype.showNotification = async (...said) => { window.shown.push(said); };
        """
    )
    await open_with_worker(page, server.http_url)
    await page.get_by_role("button", name="Уведомления").click()
    await page.evaluate("Object.defineProperty(document, 'hidden', { value: true })")
    number = await insert_order(db, "Иван")
    await wait_until(page, "shown.length === 1")
    [[title, options]] = await page.evaluate("shown")
    assert title == f"🛒 Новый заказ #{number}"
    assert options["data"]["href"] == "/admin/dashboard/orders/1"
