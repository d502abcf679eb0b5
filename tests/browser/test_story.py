"""The story: it plays the journal, goes back, and says where it ends."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support import Server, StartServer


@pytest.fixture
async def server(start_server: StartServer, database_url: str, db: Any) -> Server:
    server: Server = await start_server(database_url)
    await db.execute("insert into orders (customer_name, total) select 'Anna ' || n, n from generate_series(1, 5) n")
    await db.execute("update orders set status = 'ready' where id <= 2")
    await db.execute("delete from orders where id = 5")
    return server


async def open_story(page: Page, server: Server) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard/story")
    await expect(page.locator("[data-story-time]")).not_to_have_text("–")


def column(page: Page, status: str) -> Any:
    return page.locator(f"section[data-status={status}] h2 b")


@pytest.mark.every_browser
async def test_plays_to_the_end_of_the_journal_and_goes_back(server: Server, page: Page) -> None:
    await open_story(page, server)
    await page.get_by_text("600×").click()
    await page.get_by_role("button", name="Пуск").click()
    await expect(page.get_by_role("status")).to_have_text("Конец журнала")
    await expect(column(page, "pending")).to_have_text("2")
    await expect(column(page, "ready")).to_have_text("2")
    await expect(page.locator(".event")).to_have_count(8)
    await expect(page.get_by_role("button", name="Пуск")).to_be_disabled()
    slider = page.get_by_role("slider")
    await slider.press("Home")
    await expect(column(page, "ready")).to_have_text("0")
    await expect(page.get_by_role("button", name="Пуск")).to_be_enabled()
    await slider.press("End")
    await expect(column(page, "ready")).to_have_text("2")


async def test_starts_at_a_chosen_time(server: Server, db: Any, page: Page) -> None:
    # The page asks for the last order before that time, and begins with the event that made it.
    await open_story(page, server)
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    await page.get_by_label("Начать с").fill("2024-01-01T20:00")
    await expect(page.locator("[data-story-time]")).to_contain_text("2024")
    await expect(column(page, "pending")).to_have_text("0")
    assert any("to=2024-01-01T" in url for url in requests)
