"""Measures the way of the README: from `git clone` to the first event on an open dashboard. ``make first-event``.

In a new clone in a temporary directory, with the two commands of the README: `git clone` and `make run`. The first round is
that of a new machine, with empty caches of pip and npm; the second has the caches of the first. The time between two lines
that `make run` prints belongs to the first of them. What is spent under "installing …" is the share of the registries.
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from playwright.async_api import Browser

from tests.browser.chromium import find_chromium
from tests.browser.page_helpers import open_dashboard
from tests.browser.soak import WAIT_FOR_ROW
from tests.support import ROOT, Process, Server

LIMIT_SECONDS = 60.0
# How long a round may take before it counts as failed.
TIMEOUT_SECONDS = 600.0
INSERT = "insert into orders (customer_name, total) values ('First event', 150.50)"


class Phase(NamedTuple):
    name: str
    seconds: float


class Stopwatch:
    """Divides the time since it was made into phases."""

    def __init__(self) -> None:
        self._last = time.monotonic()
        self._cpu_before = _cpu_seconds()
        self.phases: list[Phase] = []

    def end_phase(self, name: str) -> None:
        now = time.monotonic()
        self.phases.append(Phase(name, now - self._last))
        self._last = now

    @property
    def total(self) -> float:
        return sum(phase.seconds for phase in self.phases)

    @property
    def registry_share(self) -> float:
        return sum(phase.seconds for phase in self.phases if phase.name.startswith("installing"))

    @property
    def cpu_seconds(self) -> float:
        """Of all programs that have ended since: how long it would take one processor with nothing else to do."""
        return _cpu_seconds() - self._cpu_before


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


async def measure(source: Path, directory: Path, caches: Path, browser: Browser) -> Stopwatch:
    """One round. The clone is ``directory``; it must not exist."""
    watch = Stopwatch()
    clone = await Process.start("git", "clone", "--quiet", f"file://{source}", str(directory))
    if await clone.wait_for_exit() != 0:
        sys.exit(f"git clone failed: {clone.output}")
    watch.end_phase("git clone")
    environment = {"PIP_CACHE_DIR": str(caches / "pip"), "npm_config_cache": str(caches / "npm"), "PORT": "0"}
    server = await Server.start("make", "run", cwd=directory, env=environment)
    try:
        await follow_start(server, watch)
        page = await browser.new_page(locale="en-GB")
        await open_dashboard(page, server)
        watch.end_phase("open the dashboard")
        shown = asyncio.create_task(page.evaluate(WAIT_FOR_ROW, "First event"), name="wait for the row")
        psql = await Process.start("make", "psql", f'ARGS=-c "{INSERT}"', cwd=directory)
        await shown
        watch.end_phase("make psql, until the order is on the page")
        if await psql.wait_for_exit() != 0:
            sys.exit(f"make psql failed: {psql.output}")
        await page.close()
    finally:
        await server.stop_group()
    return watch


async def follow_start(server: Server, watch: Stopwatch) -> None:
    """Add a phase for each line that `make run` prints until the server is ready. A line of a log or of pip begins none."""
    phase, seen = "make", 0
    while not phase.startswith("ready"):
        line = await server.wait_for_line("", start_index=seen, seconds=TIMEOUT_SECONDS)
        seen += 1
        if not re.match(r"WARNING|\d\d:\d\d:\d\d ", line):
            watch.end_phase(phase)
            phase = line


def print_report(name: str, watch: Stopwatch) -> None:
    print(
        f"{name}: {watch.total:.1f} s, {watch.registry_share:.1f} s of them with the registries; "
        f"{watch.cpu_seconds:.1f} s of CPU, load {os.getloadavg()[0]:.1f}"
    )
    for phase in watch.phases:
        if phase.seconds >= 0.1:
            print(f"  {phase.seconds:5.1f} s  {phase.name}")


async def main() -> int:
    with tempfile.TemporaryDirectory() as home:
        directory = Path(home)
        directory.chmod(0o755)
        async with find_chromium(directory).launch() as browser:
            cold = await measure(ROOT, directory / "cold", directory / "caches", browser)
            print_report("cold, with empty caches", cold)
            warm = await measure(ROOT, directory / "warm", directory / "caches", browser)
            print_report("once more, with the caches of pip and npm", warm)
    if cold.total > LIMIT_SECONDS:
        print(f"the first round took longer than {LIMIT_SECONDS:g} s")
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.exit(asyncio.run(main()))
