"""Counts the orders for ``GET /api/series``: one count at a time, and with rests, however many ask."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from datetime import UTC, datetime, tzinfo

from push.errors import StoreError
from push.journal.queries import SeriesQueries
from push.journal.series import OrderCounts, count_bounds

__all__ = ["SeriesCounter"]

log = logging.getLogger("orderwire.series")

# How long a request waits for counts, in seconds.
PATIENCE = 1.0
# With more seconds of rest left, the events since bring the last count up to date; with fewer, a request waits for a new one.
MIN_REST_TO_FOLD = 0.1


class SeriesCounter:
    """Gives counts of the orders that include every change from before the request. One per process, on the event loop.

    Each count is followed by a rest of the same length, so that counting takes half of the time at most. During the rest the
    last count is brought up to date by the events since, which takes a fraction of a count. The count goes on when no request
    waits any more; ``close`` cancels it. ``clock`` gives Unix seconds.
    """

    def __init__(self, queries: SeriesQueries, zone: tzinfo, clock: Callable[[], float] = time.time) -> None:
        self._queries = queries
        self.zone = zone
        self._clock = clock
        self._latest: OrderCounts | None = None
        # Times of the loop: when the statement of the latest counts was sent, and when the next count of all orders may begin.
        self._latest_at = self._rests_until = -math.inf
        # Brings ``_latest`` up to date.
        self._refresh: asyncio.Task[None] | None = None
        self._reported: str | None = None

    def now(self) -> datetime:
        """The present time by this machine's clock."""
        return datetime.fromtimestamp(self._clock(), UTC)

    async def counts(self) -> OrderCounts | None:
        """Counts whose position is younger than this call; None if there are none within PATIENCE. Raises StoreError."""
        asked_at = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(PATIENCE):
                while self._latest is None or self._latest_at < asked_at:
                    if self._refresh is None:
                        self._refresh = asyncio.create_task(self._bring_up_to_date(), name="count of the orders")
                        self._refresh.add_done_callback(self._on_refreshed)
                    refresh = self._refresh
                    await asyncio.wait([refresh])  # which goes on when this request is cancelled
                    refresh.result()
        except TimeoutError:
            return None
        return self._latest

    async def close(self) -> None:
        """Cancel the count that is running, and wait for its end."""
        if self._refresh is not None:
            self._refresh.cancel()
            await asyncio.wait([self._refresh])

    async def _bring_up_to_date(self) -> None:
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        if self._latest is not None and self._rests_until - started_at > MIN_REST_TO_FOLD:
            changed = await self._queries.orders_since(self._latest)
            if changed is not None:
                self._latest, self._latest_at = changed, started_at
                return
        self._latest = None
        await asyncio.sleep(self._rests_until - loop.time())
        started_at, now = loop.time(), self.now()
        try:
            counted = await self._queries.count_orders(now, count_bounds(self.zone, now))
        finally:
            self._rests_until = 2 * loop.time() - started_at
        self._latest, self._latest_at = counted, started_at

    def _on_refreshed(self, refresh: asyncio.Task[None]) -> None:
        """Log once why the orders cannot be counted: for a large table, that is known long after the requests were answered."""
        self._refresh = None
        if refresh.cancelled():
            return
        error = refresh.exception()
        if error is None:
            self._reported = None
        elif not isinstance(error, StoreError):
            log.error("the orders cannot be counted for /api/series", exc_info=error)
        elif str(error) != self._reported:
            self._reported = str(error)
            log.warning("the orders cannot be counted for /api/series: %s", error)
