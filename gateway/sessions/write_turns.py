"""Turns of sessions that each write from a task of their own: a bounded number of bytes in one tick of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque

from aiohttp import web

__all__ = ["WRITE_TURNS", "WriteTurns"]

# A loopback socket takes that in about a millisecond. At least one write goes on in each tick, whatever its size.
BYTES_PER_TICK = 1024**2


class WriteTurns:
    """Who may write in this tick, in order of arrival. One per application."""

    def __init__(self, bytes_per_tick: int = BYTES_PER_TICK) -> None:
        self._bytes_per_tick = bytes_per_tick
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def wait(self, size: int) -> None:
        """Return when the caller may write ``size`` bytes."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._begin_tick)
        self._waiting.append((size, turn))
        await turn

    def _begin_tick(self) -> None:
        budget = self._bytes_per_tick
        while self._waiting and budget > 0:
            size, turn = self._waiting.popleft()
            if not turn.done():  # cancelled
                turn.set_result(None)
                budget -= size
        if self._waiting:
            asyncio.get_running_loop().call_soon(self._begin_tick)


WRITE_TURNS = web.AppKey("WRITE_TURNS", WriteTurns)
