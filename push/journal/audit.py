"""The self-audit: are the totals still what the table says, and is the journal still the one that we know?

Rows changed with the triggers disabled, a subscriber of logical replication, a restored backup: such changes are silent.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Never

from push.errors import StoreError
from push.journal.events import Position
from push.journal.queries import JournalQueries
from push.journal.relay import Relay
from push.journal.totals import Totals
from push.metrics import Metrics

__all__ = ["Audit"]

log = logging.getLogger("orderwire.audit")

# How long the relay may take to get to where the census was taken.
PUBLISH_TIMEOUT = 10.0
# A start from a checkpoint brings along what has changed silently since that was taken: so the first audit is soon, and soon
# again, with pauses that double, while it finds a moment that cannot be compared.
FIRST_AUDIT_DELAY = 1.0


class Audit:
    """Compares at an interval, and mends."""

    def __init__(self, relay: Relay, queries: JournalQueries, metrics: Metrics | None = None) -> None:
        self._relay = relay
        self._queries = queries
        self._metrics = metrics or Metrics()

    async def run(self, interval_seconds: float) -> Never:
        """Audit for as long as this task lives. A database that is away is the listener's business."""
        await self._relay.started.wait()
        soon = FIRST_AUDIT_DELAY
        while True:
            if self._relay.totals_verified:
                await asyncio.sleep(interval_seconds)
            else:
                await asyncio.sleep(min(interval_seconds, soon))
                soon *= 2
            try:
                await self.run_once()
            except (StoreError, TimeoutError) as error:
                log.debug("no audit this time: %s", error)

    async def run_once(self) -> Totals | None:
        """The drift that was found and mended; None when there was none, or this moment could not be compared."""
        epoch, links = self._relay.epoch, self._relay.connection_count
        identity = await self._queries.identity(epoch, self._relay.recent_events.latest_ids())
        if identity.epoch != epoch:
            log.warning("the journal is another one than at the start")
            self._relay.recheck_identity()
            return None
        counted = await self._queries.scan_totals()
        async with asyncio.timeout(PUBLISH_TIMEOUT):
            await self._relay.wait_until_published(counted.snapshot)
        # From here on there is no await. The relay has seen all that the census has; what it has seen since is in the ring. It
        # has read after the census by the connection that it had before: so the database has not crashed in between, and a
        # number of a transaction meant the same to both.
        since = self._relay.recent_events.missed(Position(counted.snapshot))
        if since is None or (self._relay.epoch, self._relay.connection_count) != (epoch, links):
            return None
        self._relay.totals_verified = True
        now = counted.totals.plus(since)
        ours = self._relay.totals
        drift = Totals(now.orders - ours.orders, now.revenue - ours.revenue, now.pending - ours.pending)
        if drift == Totals():
            return None
        self._metrics.totals_corrections.inc()
        log.warning(
            "the totals had drifted by %+d orders, %+f revenue, %+d pending: corrected. Rows were changed without the triggers",
            *(drift.orders, drift.revenue, drift.pending),
        )
        self._relay.correct_totals(drift)
        return drift
