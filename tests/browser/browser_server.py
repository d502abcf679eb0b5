"""A browser that all tests of a process share: each connects to it, and what it has opened is closed when it disconnects.

Starting Chromium takes a second of CPU, starting Firefox three.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import playwright
from playwright.async_api import Browser, async_playwright

from tests.helpers.npm import node_and_npm

BrowserName = Literal["chromium", "firefox"]

SCRIPT = Path(__file__).parent / "browser_server.cjs"
PLAYWRIGHT = Path(playwright.__file__).parent / "driver" / "package"


@dataclass(frozen=True)
class BrowserServer:
    """A running browser, and the address at which Playwright reaches it."""

    name: BrowserName
    address: str

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[Browser]:
        async with async_playwright() as driver:
            browser_type = driver.chromium if self.name == "chromium" else driver.firefox
            browser = await browser_type.connect(self.address)
            try:
                yield browser
            finally:
                await browser.close()


@contextmanager
def serve_browser(
    name: BrowserName, options: Mapping[str, Any], environment: Mapping[str, str], *, preload: Path | None = None
) -> Iterator[BrowserServer]:
    """Start a browser with these options of Playwright's ``launchServer``. ``preload`` is run before Playwright."""
    node, _ = node_and_npm()
    required = [] if preload is None else ["--require", str(preload)]
    command = [*node, *required, str(SCRIPT), str(PLAYWRIGHT), name, json.dumps(options)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(environment)) as process:
        assert process.stdout is not None
        address = process.stdout.readline().decode().strip()
        assert address, f"{name} does not start: see the output above"
        yield BrowserServer(name, address)  # it ends when its standard input is closed
