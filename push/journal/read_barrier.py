"""Waiting for a read of the journal that began after the request for it.

A client that writes to the database and then connects, or asks for history, expects to find its own change. The process shows
that change once it has read the journal again. Many clients share one read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["ReadBarrier"]

# Seconds that one call of ``wait_for_fresh_read`` may take.
READ_WAIT_TIMEOUT = 0.25
# Waiters that are woken in one tick of the event loop. Each of them goes on to start a session, and publishing the next
# events, which also takes several ticks, gets its turn in between.
WAKE_BATCH = 16


class _Waiter(NamedTuple):
    # The first read that will do. Reads are numbered from 1.
    read: int
    # In seconds of the loop's clock.
    deadline: float
    woken: asyncio.Future[None]


class ReadBarrier:
    """Numbers the reads of the journal, and wakes those who wait for one. One per relay, which reports its reads here.

    A read covers everything that is new, however many pages it has.
    """

    def __init__(self) -> None:
        self._trigger_read: Callable[[], None] | None = None
        # Set by every request for a read, cleared when one begins.
        self._requested = asyncio.Event()
        self._reads_started = 0
        self._reads_published = 0
        # First in, first out, so both their reads and their deadlines ascend. One timer serves all of them.
        self._waiters: deque[_Waiter] = deque()
        self._timeout_timer: asyncio.TimerHandle | None = None
        self._wake_scheduled = False

    # ---------------------------------------------------------------- for the relay

    def attach(self, trigger_read: Callable[[], None]) -> None:
        """From now on ``trigger_read`` makes the relay read the journal soon. It must be cheap, and must not raise."""
        self._trigger_read = trigger_read

    def detach(self) -> None:
        """The connection is lost: there will be no read until the next ``attach``. Those who wait already go on waiting."""
        self._trigger_read = None

    def read_started(self) -> None:
        """A read begins: it will find everything that has been committed up to now."""
        self._reads_started += 1
        self._requested.clear()

    async def wait_until_requested(self) -> None:
        """Return once a read has been requested that has not begun."""
        await self._requested.wait()

    def read_published(self) -> None:
        """Everything that the latest read has found is published."""
        self._reads_published = self._reads_started
        self._schedule_wake()

    @property
    def next_read(self) -> int:
        """The number of the next read to start."""
        return self._reads_started + 1

    @property
    def reads_published(self) -> int:
        """The number of the latest read whose events are all published."""
        return self._reads_published

    # ---------------------------------------------------------------- for those who need a fresh state

    def trigger_read(self) -> None:
        """Have the journal read soon, like a notification. Does nothing without a connection."""
        if self._trigger_read is not None:
            self._requested.set()
            self._trigger_read()

    async def wait_for_fresh_read(self) -> None:
        """Return once everything that was committed before this call is published.

        Returns all the same after about READ_WAIT_TIMEOUT, and at once without a connection: an old state is better than none.
        """
        if self._trigger_read is None:
            return
        self.trigger_read()
        loop = asyncio.get_running_loop()
        woken = loop.create_future()
        # A read that is under way may have begun before the commit: it does not count.
        self._waiters.append(_Waiter(self.next_read, loop.time() + READ_WAIT_TIMEOUT, woken))
        if self._timeout_timer is None:
            self._timeout_timer = loop.call_later(READ_WAIT_TIMEOUT, self._on_timeout)
        await woken

    def _wake_some(self) -> None:
        """Wake up to WAKE_BATCH waiters whose read is published or whose deadline has passed; the others in the next tick."""
        self._wake_scheduled = False
        now = asyncio.get_running_loop().time()
        for _ in range(WAKE_BATCH):
            if not self._waiters or not (self._waiters[0].read <= self._reads_published or self._waiters[0].deadline <= now):
                return
            woken = self._waiters.popleft().woken
            if not woken.done():  # its task may have been cancelled
                woken.set_result(None)
        self._schedule_wake()

    def _schedule_wake(self) -> None:
        if not self._wake_scheduled:
            self._wake_scheduled = True
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _on_timeout(self) -> None:
        self._schedule_wake()
        again = READ_WAIT_TIMEOUT / 10
        self._timeout_timer = asyncio.get_running_loop().call_later(again, self._on_timeout) if self._waiters else None
