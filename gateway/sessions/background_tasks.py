"""What sessions have done for them: tasks that are named, owned here, and awaited when the server ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from aiohttp import web

__all__ = ["BACKGROUND_TASKS", "BackgroundTasks"]

log = logging.getLogger("orderwire.session")


class BackgroundTasks:
    """All that are under way."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Begin one."""
        task = asyncio.create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._on_done)
        return task

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a session ended unexpectedly", exc_info=error)

    async def cancel_all(self) -> None:
        """Cancel what is left, and wait for it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


BACKGROUND_TASKS = web.AppKey("BACKGROUND_TASKS", BackgroundTasks)
