"""Who may read the journal next: few reads at a time, resumes before history, and each client in turn."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from enum import IntEnum

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
        # By client, the one whose turn is next first. Only clients that wait are in it.
        self._waiting: dict[ReadKind, OrderedDict[Hashable, deque[asyncio.Future[None]]]] = {
            kind: OrderedDict() for kind in ReadKind
        }
        self._resumes_in_a_row = 0

    @asynccontextmanager
    async def take(self, kind: ReadKind, client: Hashable) -> AsyncIterator[None]:
        """Wait for the client's turn, and hold a slot within the block. ``client``: equal for all reads of one client."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[kind].setdefault(client, deque()).append(turn)
        self._grant()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self._remove(kind, client, turn)
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

    def _remove(self, kind: ReadKind, client: Hashable, turn: asyncio.Future[None]) -> None:
        turns = self._waiting[kind].get(client, deque())
        if turn in turns:  # else ``_grant`` has passed it over
            turns.remove(turn)
            if not turns:
                del self._waiting[kind][client]

    def _grant(self) -> None:
        """Give the free slots to those whose turn it is."""
        while (kind := self._next_kind()) is not None:
            waiting = self._waiting[kind]
            client, turns = waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                waiting[client] = turns  # behind the others
            if turn.cancelled():  # in this tick: its reader has not noticed yet
                continue
            self._running[kind] += 1
            self._resumes_in_a_row = self._resumes_in_a_row + 1 if kind is ReadKind.RESUME else 0
            turn.set_result(None)

    def _next_kind(self) -> ReadKind | None:
        """Whose read is next; None if there is no slot for those that wait."""
        resume, history = (bool(self._waiting[kind]) for kind in ReadKind)
        if sum(self._running.values()) >= self._count:
            return None
        history = history and self._running[ReadKind.HISTORY] < max(1, self._count - 1)
        if resume and not (history and self._resumes_in_a_row >= MAX_RESUMES_IN_A_ROW):
            return ReadKind.RESUME
        return ReadKind.HISTORY if history else None
