"""Finds a Chromium for the tests: the one on the PATH if it runs, otherwise the one of the npm package @sparticuz/chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from tests.browser.browser_server import BrowserServer, serve_browser
from tests.helpers.npm import installed, node_and_npm
from tests.support import locked

HERE = Path(__file__).parent
EXECUTABLE_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# Chromium has no sandbox as root. The other options keep it from starting processes that are not needed and from connecting to
# external hosts.
LAUNCH_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-zygote",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Chromium:
    """The path of a Chromium that runs on this machine, and the environment variables that it needs."""

    path: str
    environment: dict[str, str]

    @asynccontextmanager
    async def launch(self) -> AsyncIterator[Browser]:
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=self.path, args=LAUNCH_OPTIONS, env={**self.environment})
            try:
                yield browser
            finally:
                await browser.close()

    @contextmanager
    def serve(self) -> Iterator[BrowserServer]:
        options = {"executablePath": self.path, "args": LAUNCH_OPTIONS}
        with serve_browser("chromium", options, self.environment) as server:
            yield server


def find_chromium(temporary: Path) -> Chromium:
    """Return a Chromium. The npm package is unpacked in ``temporary``, which several processes may share."""
    environment = dict(os.environ)
    for name in EXECUTABLE_NAMES:
        path = shutil.which(name)
        if path and _can_run(path, environment):
            return Chromium(path, environment)
    home = installed(HERE)
    environment["TMPDIR"] = str(temporary)
    command = [*node_and_npm()[0], "chromium.mjs"]
    with locked(temporary / "lock"):
        shutil.copy(HERE / "chromium.mjs", home)
        # The script skips files that have been unpacked before.
        unpack = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert unpack.returncode == 0, unpack.stderr
    path, libraries = unpack.stdout.split()
    if not _can_run(path, environment):
        environment["LD_LIBRARY_PATH"] = libraries
    assert _can_run(path, environment), "the npm package's Chromium does not run here: install Chromium"
    return Chromium(path, environment)


def _can_run(path: str, environment: dict[str, str]) -> bool:
    try:
        return subprocess.run([path, "--version"], capture_output=True, env=environment, check=False).returncode == 0
    except OSError:
        return False
