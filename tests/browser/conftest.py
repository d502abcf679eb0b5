"""A real Chromium: the machine's, else the one of the npm registry, with node and npm from pip."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

from tests.npm import installed, node_and_npm

HERE = Path(__file__).parent
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
# As root there is no sandbox; without the others it would look for hosts outside.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-zygote",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def runs(path: str, environment: dict[str, str]) -> bool:
    try:
        return subprocess.run([path, "--version"], capture_output=True, env=environment, check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """Path of a Chromium that runs here, and the environment that it needs."""
    environment = dict(os.environ)
    for name in NAMES:
        path = shutil.which(name)
        if path and runs(path, environment):
            return path, environment
    home = installed(HERE)
    shutil.copy(HERE / "chromium.mjs", home)
    environment["TMPDIR"] = str(tmp_path_factory.mktemp("chromium"))
    command = [*node_and_npm()[0], "chromium.mjs"]
    unpack = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False)
    assert unpack.returncode == 0, unpack.stderr
    path, libraries = unpack.stdout.split()
    if not runs(path, environment):
        environment["LD_LIBRARY_PATH"] = libraries
    assert runs(path, environment), "the npm package's Chromium does not run here: install Chromium"
    return path, environment


@pytest.fixture
async def page(chromium: tuple[str, dict[str, str]]) -> AsyncIterator[Page]:
    """A page in a fresh browser; an error on its console fails the test."""
    path, environment = chromium
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=ARGUMENTS, env={**environment})
        yield await browser.new_page()
        await browser.close()
