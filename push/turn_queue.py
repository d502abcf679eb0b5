"""Turns by client: of many that wait, each client has one turn after the other clients', however often it waits."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager

__all__ = ["FairSlots", "TurnQueue"]


class TurnQueue:
    """Futures of those that wait. One that is done has its turn."""

    def __init__(self) -> None:
        # By client, the one whose turn is next first. Only clients that wait are in it.
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def append(self, client: Hashable) -> asyncio.Future[None]:
        """Wait for a turn of this client's."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(client, deque()).append(turn)
        return turn

    def remove(self, client: Hashable, turn: asyncio.Future[None]) -> None:
        """Called when ``turn`` was cancelled."""
        turns = self._waiting.get(client, deque())
        if turn in turns:  # else ``grant_next`` has passed it over
            turns.remove(turn)
            if not turns:
                del self._waiting[client]

    def grant_next(self) -> bool:
        """Give the next turn. False if the one that was next has just been cancelled. The queue must not be empty."""
        client, turns = self._waiting.popitem(last=False)
        turn = turns.popleft()
        if turns:
            self._waiting[client] = turns  # behind the others
        if turn.cancelled():  # in this tick: its task has not noticed yet
            return False
        turn.set_result(None)
        return True


class FairSlots:
    """A semaphore of ``count`` slots. The clients that wait have them in turn."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting = TurnQueue()

    @property
    def is_full(self) -> bool:
        """Whether one more would have to wait."""
        return not self._free

    @asynccontextmanager
    async def take(self, client: Hashable, max_wait_seconds: float) -> AsyncIterator[None]:
        """Wait for the client's turn, and hold a slot within the block. Raises TimeoutError if the turn does not come."""
        async with asyncio.timeout(max_wait_seconds):
            await self._acquire(client)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, client: Hashable) -> None:
        turn = self._waiting.append(client)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting.remove(client, turn)
            else:  # granted in the same tick
                self._release()
            raise

    def _release(self) -> None:
        self._free += 1
        self._grant()

    def _grant(self) -> None:
        while self._free and self._waiting:
            if self._waiting.grant_next():
                self._free -= 1
