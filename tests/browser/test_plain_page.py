"""The page that the server shows if the dashboard has not been built."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, expect

from tests.support import Server, copy_checkout, free_port


class UnbuiltCheckout:
    """A copy of the checkout without build output, and the servers started from it, all on one port."""

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory
        self._env = {"PORT": free_port(), "DATABASE_URL": url}
        self.servers: list[Server] = []

    async def serve(self) -> Server:
        server = await Server.start(sys.executable, "server.py", "serve", cwd=self._directory, env=self._env)
        self.servers.append(server)
        return await server.wait_until_ready()


@pytest.fixture
async def unbuilt_checkout(tmp_path: Path, database_url: str) -> AsyncIterator[UnbuiltCheckout]:
    checkout = UnbuiltCheckout(copy_checkout(tmp_path / "checkout", "dist"), database_url)
    yield checkout
    for server in checkout.servers:
        await server.kill()


async def test_plain_page_shows_totals_and_events_and_resumes(unbuilt_checkout: UnbuiltCheckout, db: Any, page: Page) -> None:
    server = await unbuilt_checkout.serve()
    await page.goto(f"{server.http_url}/")
    await expect(page.locator("#status")).to_have_text("online")
    await db.execute("insert into orders (customer_name, total) values ('<b>Иван</b>', 150.50)")
    await expect(page.get_by_text("<b>Иван</b>, 150.50")).to_be_visible()
    await expect(page.locator("#total_revenue")).to_have_text("150.50")
    await server.kill()
    await expect(page.locator("#status")).to_have_text("offline")
    await db.execute("update orders set status = 'ready'")
    await unbuilt_checkout.serve()
    await expect(page.get_by_text("pending → ready")).to_be_visible()
