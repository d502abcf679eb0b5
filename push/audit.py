"""The self-audit: are the totals still what the table says, and is the journal still the one that we know?

Rows changed with the triggers disabled, a subscriber of logical replication, a restored backup: such changes are silent.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Never, Protocol

from push.errors import StoreError
from push.events import EventPlace, Identity, Position
from push.metrics import Metrics
from push.relay import Baseline, Relay
from push.totals import Totals

__all__ = ["Audit", "Census"]

log = logging.getLogger("orderwire.audit")

# How long the relay may take to get to where the census was taken.
PUBLISHED_SECONDS = 10.0
# A start from a checkpoint brings along what has changed silently since that was taken: so the first audit is soon, and soon
# again, with pauses that double, while it finds a moment that cannot be compared.
SOON_SECONDS = 1.0


class Census(Protocol):
    """The database, asked beside the live connection. Raises StoreError."""

    async def census(self) -> Baseline:
        """The totals by a scan, and the snapshot that belongs to them. It is a checkpoint for those who start later."""

    async def identity(self, epoch: str | None, delivered: Sequence[EventPlace]) -> Identity:
        """See Journal.identity."""


class Audit:
    """Compares at an interval, and mends."""

    def __init__(self, relay: Relay, census: Census, metrics: Metrics | None = None) -> None:
        self._relay = relay
        self._census = census
        self._metrics = metrics or Metrics()

    async def run(self, interval_seconds: float) -> Never:
        """Audit for as long as this task lives. A database that is away is the listener's business."""
        await self._relay.flowing.wait()
        soon = SOON_SECONDS
        while True:
            if self._relay.proved:
                await asyncio.sleep(interval_seconds)
            else:
                await asyncio.sleep(min(interval_seconds, soon))
                soon *= 2
            try:
                await self.once()
            except (StoreError, TimeoutError) as error:
                log.debug("no audit this time: %s", error)

    async def once(self) -> Totals | None:
        """The drift that was found and mended; None when there was none, or this moment could not be compared."""
        epoch, links = self._relay.epoch, self._relay.links
        identity = await self._census.identity(epoch, self._relay.ring.latest())
        if identity.epoch != epoch:
            log.warning("the journal is another one than at the start")
            self._relay.doubt()
            return None
        counted = await self._census.census()
        async with asyncio.timeout(PUBLISHED_SECONDS):
            await self._relay.published(counted.snapshot)
        # From here on there is no await. The relay has seen all that the census has; what it has seen since is in the ring. It
        # has read after the census by the connection that it had before: so the database has not crashed in between, and a
        # number of a transaction meant the same to both.
        since = self._relay.ring.missed(Position(counted.snapshot))
        if since is None or (self._relay.epoch, self._relay.links) != (epoch, links):
            return None
        self._relay.proved = True
        now = counted.totals.plus(since)
        ours = self._relay.totals
        drift = Totals(now.orders - ours.orders, now.revenue - ours.revenue, now.pending - ours.pending)
        if drift == Totals():
            return None
        self._metrics.drifts.inc()
        log.warning(
            "the totals had drifted by %+d orders, %+f revenue, %+d pending: corrected. Rows were changed without the triggers",
            *(drift.orders, drift.revenue, drift.pending),
        )
        self._relay.correct(drift)
        return drift
