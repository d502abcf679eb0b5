"""Who may read the journal next: few reads at a time, resumes before history, and each client in turn."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from enum import IntEnum

from push.turn_queue import TurnQueue

__all__ = ["ReadKind", "ReadSlots"]

# While history waits, so many resumes in a row go first.
MAX_RESUMES_IN_A_ROW = 4


class ReadKind(IntEnum):
    """What a read is for. A client that resumes has lost its stream; one that reads history has asked for a page."""

    RESUME = 0
    HISTORY = 1


class ReadSlots:
    """A semaphore with fair shares: at most ``count`` reads at a time, and one fewer of history.

    Resumes go first, but for one in MAX_RESUMES_IN_A_ROW + 1. Of one kind, each client that waits has one read in turn, however
    many it asks for.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._running = dict.fromkeys(ReadKind, 0)
        self._waiting = {kind: TurnQueue() for kind in ReadKind}
        self._resumes_in_a_row = 0

    @asynccontextmanager
    async def take(self, kind: ReadKind, client: Hashable) -> AsyncIterator[None]:
        """Wait for the client's turn, and hold a slot within the block. ``client``: equal for all reads of one client."""
        turn = self._waiting[kind].append(client)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._waiting[kind].remove(client, turn)
            else:  # granted in the same tick
                self._release(kind)
            raise
        try:
            yield
        finally:
            self._release(kind)

    def _release(self, kind: ReadKind) -> None:
        self._running[kind] -= 1
        self._grant()

    def _grant(self) -> None:
        """Give the free slots to those whose turn it is."""
        while (kind := self._next_kind()) is not None:
            if self._waiting[kind].grant_next():
                self._running[kind] += 1
                self._resumes_in_a_row = self._resumes_in_a_row + 1 if kind is ReadKind.RESUME else 0

    def _next_kind(self) -> ReadKind | None:
        """Whose read is next; None if there is no slot for those that wait."""
        resume, history = (bool(self._waiting[kind]) for kind in ReadKind)
        if sum(self._running.values()) >= self._count:
            return None
        history = history and self._running[ReadKind.HISTORY] < max(1, self._count - 1)
        if resume and not (history and self._resumes_in_a_row >= MAX_RESUMES_IN_A_ROW):
            return ReadKind.RESUME
        return ReadKind.HISTORY if history else None
