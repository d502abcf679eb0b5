"""A real Chromium: the machine's, else the one of the npm registry, with node and npm from pip."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import Page, async_playwright

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
    environment["PATH"] = f"{Path(sys.executable).parent}:{environment['PATH']}"  # node and npm, installed with pip
    with (HERE / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        modules = HERE / "node_modules" / ".package-lock.json"
        if not modules.exists() or modules.stat().st_mtime < (HERE / "package-lock.json").stat().st_mtime:
            install = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            subprocess.run(install, cwd=HERE, env=environment, check=True, capture_output=True)
            modules.touch()
    environment["TMPDIR"] = str(tmp_path_factory.mktemp("chromium"))
    unpack = subprocess.run(["node", "chromium.mjs"], cwd=HERE, env=environment, check=True, capture_output=True, text=True)
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
