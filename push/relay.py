"""The relay: what became visible in the journal since the watermark goes to the hub, once and in order.

NOTIFY rings, the journal delivers: a wake-up only means "read now". Live delivery, the start, a gap after a lost connection
and the fallback are one path, `_catch_up`. Why nothing is lost and nothing comes twice: docs/architecture.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Never, Protocol

from push.events import Event, EventPlace, Page, Position, Snapshot
from push.ring import Ring
from push.totals import Totals

__all__ = ["Baseline", "Identity", "Journal", "Relay", "Sink"]

log = logging.getLogger("orderwire.relay")

# Read at least this often: covers two-phase commit, sessions that switched NOTIFY off, and a dead connection.
FALLBACK_SECONDS = 1.0
PAGE_EVENTS = 1000
# As many of the newest events are looked for in the journal to see whether it is still the one that we know.
IDENTITY_EVENTS = 100
PAGE_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Baseline:
    """Totals and the snapshot that they were taken in, by one statement."""

    totals: Totals
    snapshot: Snapshot
    # The newest transaction with an event in the journal.
    newest_txid: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Which journal this is, and up to which transaction it may have been trimmed."""

    epoch: str
    trimmed_txid: int


class Journal(Protocol):
    """One live connection to the journal, which is listening already. Any method may raise LinkLost."""

    async def identity(self, delivered: Sequence[EventPlace]) -> Identity:
        """Epoch and trimming of the journal. It draws a new epoch when events that were delivered are no longer in it."""

    async def baseline(self) -> Baseline:
        """The totals, by a scan, and the snapshot that belongs to them."""

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        """The events that ``after`` misses and ``upto`` (None: now) sees, from id ``past_id`` on."""

    async def wait(self, timeout_seconds: float) -> None:
        """Return at the next notification, or after the timeout."""


class Sink(Protocol):
    """Where the events go."""

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        """Events, in order, and the totals after them. Does not wait for anybody."""

    def set_totals(self, totals: Totals) -> None:
        """Totals that no event explains: at the start, or after a correction."""

    def gap(self) -> None:
        """Events were lost for good, or positions mean nothing any more: everybody has to fetch anew."""

    async def room(self) -> None:
        """Return when it makes sense to publish more."""


class Relay:
    """Owns the watermark, the totals and the ring of this process. ``follow`` is called anew for every connection."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._identity: Identity | None = None
        self._watermark = Snapshot(0, 0)
        # No event of a later transaction has been published, nor was in the totals at the start.
        self._newest_txid = 0
        self._totals = Totals()
        self._advanced = asyncio.Event()
        self._doubted = False
        # A batch of several pages is being published: (its upper snapshot, last id published).
        self._unfinished: tuple[Snapshot, int] | None = None
        self._trouble: str | None = "waiting for the database"
        self.ring = Ring()
        # Set for good at the first time that events flow.
        self.flowing = asyncio.Event()

    @property
    def trouble(self) -> str | None:
        """Why events are not flowing right now, in words; None when they are."""
        return self._trouble

    @property
    def epoch(self) -> str | None:
        """Epoch of the journal that is being followed; None before the first totals have been taken."""
        return self._identity.epoch if self._identity else None

    @property
    def watermark(self) -> Snapshot:
        """Everything visible here has been published, and from ``ring.mark_number`` on all that has been since."""
        return self._watermark

    def lasting(self, snapshot: Snapshot, txid: int = 0) -> Snapshot:
        """What of the snapshot still holds after a crash of PostgreSQL; ``txid``: known to have an event in it.

        A transaction that rolled back counts as ended in a snapshot, but until its record is flushed a crash makes
        PostgreSQL forget that its number was taken: the number is given again, to a transaction that may commit. Up to
        the newest one with an event, all is flushed; later ones have no event in the snapshot, so nothing is lost by
        leaving them out.
        """
        return snapshot.before(max(self._newest_txid, txid) + 1)

    async def follow(self, journal: Journal) -> Never:
        """Deliver from this connection until it fails (LinkLost). The next call goes on where this one stopped."""
        try:
            await self._take_position(journal)
            while True:
                await self._catch_up(journal)
                self._trouble = None
                self.flowing.set()
                await journal.wait(FALLBACK_SECONDS)
                if self._doubted:
                    await self._take_position(journal)
        finally:
            self._trouble = "the connection to the database is lost"

    def doubt(self) -> None:
        """Somebody noticed that the journal may be another one: look again before the next read."""
        self._doubted = True

    async def published(self, snapshot: Snapshot) -> None:
        """Return once everything visible in ``snapshot`` has been published."""
        while not self._watermark.covers(snapshot):
            self._advanced.clear()
            await self._advanced.wait()

    def correct(self, by: Totals) -> None:
        """Add what the totals were found to be off by."""
        self._totals = Totals(
            self._totals.orders + by.orders, self._totals.revenue + by.revenue, self._totals.pending + by.pending
        )
        self._sink.set_totals(self._totals)

    @property
    def totals(self) -> Totals:
        """After the last event published."""
        return self._totals

    async def _take_position(self, journal: Journal) -> None:
        """Go on from the watermark if it still means something, else start anew."""
        identity = await journal.identity([EventPlace(event.txid, event.id) for event in self.ring.latest(IDENTITY_EVENTS)])
        self._doubted = False
        known = self._identity
        if known is not None and known.epoch == identity.epoch and identity.trimmed_txid < self._watermark.xmin:
            # The connection may have been lost in a crash.
            self._watermark = self.lasting(self._watermark, identity.trimmed_txid)
            return
        self._trouble = "taking the totals"
        baseline = await journal.baseline()
        self._unfinished = None
        self._watermark = baseline.snapshot
        self._newest_txid = baseline.newest_txid
        self._totals = baseline.totals
        self._identity = identity
        self.ring.reset(self._watermark)
        self._sink.set_totals(self._totals)
        if known is not None:
            log.warning("the journal is another one, or was trimmed beyond our position: everybody fetches anew")
            self._sink.gap()

    async def _catch_up(self, journal: Journal) -> None:
        """Publish everything that has become visible since the watermark, page by page."""
        while True:
            upto, past_id = self._unfinished or (None, 0)
            page = await journal.page(Position(self._watermark), upto, past_id, PAGE_EVENTS, PAGE_BYTES)
            if page.trimmed_txid >= self._watermark.xmin:
                await self._take_position(journal)
                continue
            # From here to the new position there is no await: a page is published and accounted for, or neither.
            if page.events:
                self.ring.append(page.events)
                self._totals = self._totals.plus(page.events)
                self._newest_txid = max(self._newest_txid, *(event.txid for event in page.events))
                self._sink.publish(page.events, self._totals)
            if page.more:
                self._unfinished = (page.upto, page.events[-1].id)
                self._trouble = "catching up"
            else:
                self._unfinished = None
                # A batch of several pages may have been begun before a crash.
                self._watermark = page.upto if upto is None else self.lasting(page.upto)
                self.ring.mark(self._watermark)
                self._advanced.set()
            if page.events:
                await self._sink.room()
            if not page.more:
                return
