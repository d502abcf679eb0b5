"""Finds a Firefox for the tests: Debian's package ``firefox-esr``, or any other on the PATH.

Playwright drives it by WebDriver BiDi. ``make browsers`` runs this module to say that there is none. No package of npm or PyPI
contains a Firefox.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.browser.browser_server import BrowserServer, serve_browser

DRIVER_PATCH = Path(__file__).parent / "firefox_driver.cjs"
EXECUTABLE_NAMES = ("firefox-esr", "firefox")
MISSING = "no Firefox on this machine: apt-get install firefox-esr, or put another one on the PATH"
PREFERENCES: dict[str, str | float | bool] = {
    # The clipboard, which has no permission here that a test could grant.
    "dom.events.testing.asyncClipboard": True,
    # axe would measure the contrast of elements that are still fading in.
    "ui.prefersReducedMotion": 1,
    # Nothing that connects to other hosts.
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

    @contextmanager
    def serve(self) -> Iterator[BrowserServer]:
        options = {"channel": "moz-firefox", "executablePath": self.path, "firefoxUserPrefs": PREFERENCES}
        with serve_browser("firefox", options, os.environ, preload=DRIVER_PATCH) as server:
            yield server


def find_firefox() -> Firefox | None:
    """Return a Firefox, or None if the machine has none."""
    for name in EXECUTABLE_NAMES:
        if path := shutil.which(name):
            return Firefox(path)
    return None


if __name__ == "__main__":
    sys.exit(None if find_firefox() else MISSING)
