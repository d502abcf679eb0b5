"""Finds a Firefox for the tests: Debian's package ``firefox-esr``, or any other on the PATH. Playwright drives it by WebDriver BiDi."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from playwright.async_api import Browser, async_playwright

EXECUTABLE_NAMES = ("firefox-esr", "firefox")
# Nothing that connects to other hosts.
PREFERENCES: dict[str, str | float | bool] = {
    "app.normandy.enabled": False,
    "browser.region.update.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.search.update": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.getAddons.cache.enabled": False,
    "extensions.systemAddon.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "http://127.0.0.1:1",
}


@dataclass(frozen=True)
class Firefox:
    """The path of a Firefox on this machine."""

    path: str

    @asynccontextmanager
    async def launch(self) -> AsyncIterator[Browser]:
        async with async_playwright() as playwright:
            browser = await playwright.firefox.launch(
                channel="moz-firefox", executable_path=self.path, firefox_user_prefs=PREFERENCES
            )
            try:
                yield browser
            finally:
                await browser.close()


def find_firefox() -> Firefox | None:
    """Return a Firefox, or None if the machine has none."""
    for name in EXECUTABLE_NAMES:
        if path := shutil.which(name):
            return Firefox(path)
    return None
