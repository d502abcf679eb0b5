"""The tasks of sessions (handshakes, replays, commands): named, with their errors logged, and awaited at shutdown."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

__all__ = ["BACKGROUND_TASKS", "BackgroundTasks"]

log = logging.getLogger("orderwire.session")


class BackgroundTasks:
    """The tasks that are running. One per application."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Start a task. It is logged if it fails; the caller may cancel it."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a session failed: %s", task.get_name(), exc_info=error)

    async def cancel_all(self) -> None:
        """Cancel all tasks and wait until they have ended. Called once, after the sessions were drained."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


BACKGROUND_TASKS = web.AppKey("BACKGROUND_TASKS", BackgroundTasks)
