"""Fixtures: Chromium, Firefox, and pages whose console errors fail the test."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.browser.browser_server import BrowserServer
from tests.browser.chromium import Chromium, find_chromium
from tests.browser.firefox import MISSING, find_firefox

# Console errors of a browser whose server or network is down, or that gets a 401, 403, 404, 409 or 503: some tests cause these.
EXPECTED_ERRORS = re.compile(
    r"net::ERR_(CONNECTION_\w+|SOCKET_NOT_CONNECTED|INTERNET_DISCONNECTED|EMPTY_RESPONSE|NETWORK_\w+|INCOMPLETE_\w+)"
    r"|status of (401|403|404|409|503)|WebSocket connection to"
    # In Firefox; the last one is a request that the end of the server has cut off.
    r"|^Firefox can.t establish a connection|^The connection to wss?:.* was interrupted|^Error$"
)

NewPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
def chromium(built: None, run_directory: Path) -> Chromium:
    """A Chromium, unpacked once for all processes of the run."""
    # Each test starts Playwright's driver, a Node program. With its compiled code cached, that takes 0.5 s instead of 0.7.
    os.environ.setdefault("NODE_COMPILE_CACHE", str(run_directory / "node"))
    return find_chromium(run_directory / "chromium")


@pytest.fixture(scope="session")
def chromium_server(chromium: Chromium) -> Iterator[BrowserServer]:
    with chromium.serve() as server:
        yield server


@pytest.fixture(scope="session")
def firefox_server(chromium: Chromium) -> Iterator[BrowserServer]:
    firefox = find_firefox()
    if firefox is None:
        pytest.skip(MISSING)
    with firefox.serve() as server:
        yield server


@pytest.fixture
async def browser(request: pytest.FixtureRequest) -> AsyncIterator[Browser]:
    """Chromium; in a test with the mark ``every_browser``, Firefox too, if the machine has one."""
    server: BrowserServer = request.getfixturevalue(f"{getattr(request, 'param', 'chromium')}_server")
    async with server.connect() as browser:
        yield browser


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("every_browser"):
        metafunc.parametrize("browser", ["chromium", "firefox"], indirect=True)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the parameters out that a test with the mark ``every_browser(name=value)`` does not name for Firefox."""

    def is_wanted(item: pytest.Item) -> bool:
        mark = item.get_closest_marker("every_browser")
        if mark is None or not isinstance(item, pytest.Function):
            return True
        parameters = item.callspec.params
        return parameters["browser"] != "firefox" or mark.kwargs.items() <= parameters.items()

    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item)])
    items[:] = [item for item in items if is_wanted(item)]


@pytest.fixture
async def new_page(browser: Browser) -> AsyncIterator[NewPage]:
    """Opens pages, each with its own profile unless ``context`` is given. Their console errors and warnings fail the test."""
    errors: list[str] = []

    async def open_page(context: BrowserContext | None = None, **options: Any) -> Page:
        context = context or await browser.new_context(**{"locale": "ru-RU", **options})
        page = await context.new_page()
        page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield open_page
    assert [text for text in errors if not EXPECTED_ERRORS.search(text)] == []


@pytest.fixture
async def page(new_page: NewPage) -> Page:
    """One page, with a Russian browser."""
    return await new_page()
