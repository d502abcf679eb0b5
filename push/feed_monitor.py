"""Decides whether events flow, as clients are told by ``feed_status``.

Clients are told later than ``/readyz``, which is exact: a connection that is replaced within RECONNECT_GRACE costs no event and
no notice, so it is not announced. Otherwise each short restart of the database would change every screen twice.
"""

from __future__ import annotations

import asyncio
import time
from typing import Never, Protocol

from push.journal.relay import Relay
from push.metrics import Metrics
from push.protocol.messages import FeedStatus

__all__ = ["FeedAudience", "FeedMonitor"]

# All times are in seconds.
CHECK_INTERVAL = 0.25
# The connection is lost for so long. The listener tries again after 0.1, 0.2, 0.4 … s at most: three or four times by then.
RECONNECT_GRACE = 2.0
# A connection that is not known to be lost, but nothing has been read from for so long. It is read at least once a second, so
# the rest is for a busy database or machine.
SILENCE_LIMIT = 5.0

# What clients may read. Texts of errors are for the operator: they name servers, roles and tables.
NO_ANSWER = "the database does not answer in time"
CATCHING_UP = "the server is catching up"
NOT_RECORDED = "changes of orders are not recorded"


class FeedAudience(Protocol):
    """Whom a change of the status is announced to: the hub, or the console."""

    async def announce_feed_status(self, status: FeedStatus) -> None:
        """Send the status to all sessions. Must not raise."""


class FeedMonitor:
    """One per relay. Knows the status that was announced last; the first one, ``live``, goes without saying."""

    def __init__(self, relay: Relay, audience: FeedAudience, metrics: Metrics | None = None) -> None:
        self._relay = relay
        self._audience = audience
        self._metrics = metrics or Metrics()
        self._status = FeedStatus(True, time.time())

    async def run(self) -> Never:
        """Announce each change of the status, from the first totals on, until this task is cancelled."""
        while True:
            if self._relay.epoch is not None:
                await self._check()
            await asyncio.sleep(CHECK_INTERVAL)

    async def _check(self) -> None:
        reason = self._reason(asyncio.get_running_loop().time())
        self._metrics.feed_live.set(reason is None)
        if reason != self._status.reason:
            since = time.time() if reason is None else self._relay.as_of
            self._status = FeedStatus(reason is None, since, reason)
            await self._audience.announce_feed_status(self._status)

    def _reason(self, now: float) -> str | None:
        """Why events do not flow, for clients; None while they do. ``now`` is the loop's time."""
        relay, live = self._relay, self._status.live
        if relay.lost_at is not None:
            if not live or now - relay.lost_at >= RECONNECT_GRACE:
                return relay.public_loss_reason
        elif now - relay.progressed_at >= SILENCE_LIMIT:
            return NO_ANSWER
        elif not live and not relay.caught_up:
            return CATCHING_UP
        return None if relay.attachment_problem is None else NOT_RECORDED
