"""The built dashboard in a real Chromium."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.browser.chromium import Chromium, find_chromium

# What a browser says when the server or the network is away, or refuses, which is what some tests are about.
OUTAGE = re.compile(
    r"net::ERR_(CONNECTION_\w+|INTERNET_DISCONNECTED|EMPTY_RESPONSE|NETWORK_\w+|INCOMPLETE_\w+)"
    r"|status of (401|403|503)|WebSocket connection to"
)

NewPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
def chromium(built: None, run_directory: Path) -> Chromium:
    """A Chromium that runs here; one is unpacked for all processes of the run."""
    # Each test starts Playwright's driver, a Node program: compiled once, it takes 0.5 s instead of 0.7.
    os.environ.setdefault("NODE_COMPILE_CACHE", str(run_directory / "node"))
    return find_chromium(run_directory / "chromium")


@pytest.fixture
async def browser(chromium: Chromium) -> AsyncIterator[Browser]:
    async with chromium.launched() as browser:
        yield browser


@pytest.fixture
async def new_page(browser: Browser) -> AsyncIterator[NewPage]:
    """Opens pages, each in a profile of its own unless ``context`` is given. What they complain of fails the test."""
    complaints: list[str] = []

    async def open_one(context: BrowserContext | None = None, **options: Any) -> Page:
        context = context or await browser.new_context(**{"locale": "ru-RU", **options})
        page = await context.new_page()
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        return page

    yield open_one
    assert [text for text in complaints if not OUTAGE.search(text)] == []


@pytest.fixture
async def page(new_page: NewPage) -> Page:
    """One page, in Russian."""
    return await new_page()
