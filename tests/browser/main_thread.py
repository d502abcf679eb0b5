"""What the main thread of a page does: its tasks, from Chromium's trace, and its CPU time."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from playwright.async_api import Browser, CDPSession, Page

# Each task of each thread is one entry of this category.
TRACE_CATEGORIES = ["toplevel"]
TASK_NAME = "ThreadControllerImpl::RunTask"
# Shorter tasks, such as those that take a message from the network, are not counted: there are many of them, and no one waits.
MIN_TASK_MS = 1.0


@dataclass(frozen=True)
class MainThread:
    """A page's main thread while ``body`` of ``record`` ran. Tasks by their duration in milliseconds, in ascending order."""

    tasks: list[float]
    # CPU time, of which a task has less than its duration when the thread has to wait for a core.
    cpu_seconds: float
    # CPU time of all processes of the browser.
    browser_cpu_seconds: float


class Recorder:
    """Records the main thread of a page, which must be the only one of its browser that does something."""

    def __init__(self, page: Page) -> None:
        self._page = page
        browser = page.context.browser
        assert browser is not None
        self._browser: Browser = browser

    async def start(self) -> None:
        self._page_devtools = await self._page.context.new_cdp_session(self._page)
        self._browser_devtools = await self._browser.new_browser_cdp_session()
        await self._page_devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
        await self._browser.start_tracing(page=self._page, categories=TRACE_CATEGORIES)
        self._cpu_before = await self._cpu()

    async def stop(self) -> MainThread:
        thread, browser = [after - before for after, before in zip(await self._cpu(), self._cpu_before, strict=True)]
        trace = json.loads(await self._browser.stop_tracing())
        await self._page_devtools.detach()
        await self._browser_devtools.detach()
        return MainThread(main_thread_tasks(trace["traceEvents"]), thread, browser)

    async def _cpu(self) -> tuple[float, float]:
        """CPU seconds of the main thread, and of all processes of the browser."""
        processes = await self._browser_devtools.send("SystemInfo.getProcessInfo")
        return await _main_thread_seconds(self._page_devtools), sum(each["cpuTime"] for each in processes["processInfo"])


async def _main_thread_seconds(devtools: CDPSession) -> float:
    metrics = (await devtools.send("Performance.getMetrics"))["metrics"]
    return float(next(metric["value"] for metric in metrics if metric["name"] == "TaskDuration"))


def main_thread_tasks(trace: list[dict[str, Any]]) -> list[float]:
    """Durations in milliseconds, in ascending order, of the busiest main thread's tasks of MIN_TASK_MS and more."""
    main_threads = {
        (entry["pid"], entry["tid"])
        for entry in trace
        if entry["name"] == "thread_name" and entry["args"]["name"] == "CrRendererMain"
    }
    tasks = defaultdict(list)
    for entry in trace:
        if entry["name"] == TASK_NAME and (entry["pid"], entry["tid"]) in main_threads:
            tasks[entry["pid"], entry["tid"]].append(entry.get("dur", 0) / 1000)
    return sorted(task for task in max(tasks.values(), key=sum, default=[]) if task >= MIN_TASK_MS)
