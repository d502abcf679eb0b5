"""The audit: compares the totals with the table of orders, and the journal's epoch with the one that the relay knows.

It finds what happens without an event: rows changed while the triggers were disabled, rows applied by logical replication,
a restored backup.
"""

from __future__ import annotations

import asyncio
import contextlib
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

# Seconds that the relay may take to publish everything up to the snapshot of the scan.
PUBLISH_TIMEOUT = 10.0
# Seconds. A start from a checkpoint takes over silent changes from before it. So the first audit comes soon, and is repeated,
# with pauses that double, until one could compare.
FIRST_AUDIT_DELAY = 1.0


class Audit:
    """Scans the table at an interval and corrects the relay's totals. One per process, with a task of its own (``run``)."""

    def __init__(self, relay: Relay, queries: JournalQueries, metrics: Metrics | None = None) -> None:
        self._relay = relay
        self._queries = queries
        self._metrics = metrics or Metrics()

    async def run(self, interval_seconds: float) -> Never:
        """Audit until cancelled. A database that cannot answer is skipped: the listener reports it."""
        await self._relay.started.wait()
        delay = FIRST_AUDIT_DELAY
        while True:
            if self._relay.totals_verified:
                await self._pause(interval_seconds)
            else:
                await self._pause(min(interval_seconds, delay))
                delay *= 2
            try:
                await self.run_once()
            except (StoreError, TimeoutError) as error:
                log.debug("this audit failed: %s", error)

    async def _pause(self, seconds: float) -> None:
        """Sleep, or return as soon as the totals are to be counted anew."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._relay.recount_due.wait()
        self._relay.recount_due.clear()

    async def run_once(self) -> Totals | None:
        """Return the drift that was found and corrected; None if there was none, or if the two states cannot be compared.

        Raises StoreError, or TimeoutError if the relay takes longer than PUBLISH_TIMEOUT.
        """
        epoch, connection_count = self._relay.epoch, self._relay.connection_count
        identity = await self._queries.identity(epoch, self._relay.delivered())
        if identity.epoch != epoch:
            log.warning("the journal has another epoch than the one that is followed")
            self._relay.recheck_identity()
            return None
        scan = await self._queries.scan_totals()
        async with asyncio.timeout(PUBLISH_TIMEOUT):
            await self._relay.wait_until_published(scan.snapshot)
        # No await from here on. The relay has published everything that the scan saw; what it has published since is among
        # its recent events. It has read after the scan, over the same connection as before the scan: so the database has not
        # crashed in between, and transaction ids mean the same to both.
        since = self._relay.recent_events.missed(Position(scan.snapshot))
        if since is None or (self._relay.epoch, self._relay.connection_count) != (epoch, connection_count):
            return None
        self._relay.totals_verified = True
        drift = scan.totals.plus(since) - self._relay.totals
        if not drift:
            return None
        self._metrics.totals_corrections.inc()
        log.warning(
            "the totals had drifted by %+d orders, %s revenue, %+d pending: corrected. Rows were changed without the triggers",
            drift.orders,
            drift.describe_revenue("+f"),
            drift.pending,
        )
        self._relay.correct_totals(drift)
        return drift
