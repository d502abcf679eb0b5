"""The end of a process that serves: what asks for it, and how its tasks end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

__all__ = ["Shutdown", "run_until", "stop_on_signal"]

log = logging.getLogger("orderwire.serving")


def stop_on_signal() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    _on_signal(stop.set)
    return stop


def _on_signal(handler: Callable[[], None]) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, handler)


class Shutdown:
    """The end of a process that serves: SIGINT or SIGTERM asks for it, a second one ends DRAIN_DELAY_SECONDS."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        self.requested = asyncio.Event()
        self._at_once = asyncio.Event()

    @classmethod
    def on_signal(cls, delay_seconds: float) -> Shutdown:
        """Register the handlers of the signals."""
        shutdown = cls(delay_seconds)
        _on_signal(shutdown.request)
        return shutdown

    def request(self) -> None:
        """A signal has come."""
        if self.requested.is_set():
            self._at_once.set()
        self.requested.set()

    def request_at_once(self) -> None:
        """End without the delay."""
        self._at_once.set()
        self.requested.set()

    async def delay(self, started: asyncio.Event, announce_end: Callable[[], None]) -> None:
        """Return when the drain may begin. Before that load balancers get time to see that this server is not ready any more.

        It begins at once where no client was served yet, and where a failed task is the reason to end.
        """
        if not (self.requested.is_set() and started.is_set() and self._delay_seconds):
            return
        announce_end()
        log.info("not ready from now on; the drain begins in %g s, or at a second signal", self._delay_seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._delay_seconds):
                await self._at_once.wait()


async def run_until(
    stop: asyncio.Event, tasks: dict[str, Coroutine[Any, Any, None]], drain: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Run the named tasks until ``stop`` is set or one fails, then ``drain``, then cancel them. Raises a task's error."""
    running = [asyncio.create_task(task, name=name) for name, task in tasks.items()]
    stopping = asyncio.create_task(stop.wait(), name="stop signal")
    try:
        pending = {stopping, *running}
        while not stopping.done() and not any(task.done() and task.exception() for task in running):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if drain is not None:
            log.debug("draining")
            await drain()
    finally:
        for task in (stopping, *running):
            task.cancel()
        results = await asyncio.gather(*running, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
