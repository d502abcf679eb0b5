"""The relay: what became visible in the journal since the watermark goes to the hub, once and in order.

NOTIFY rings, the journal delivers: a wake-up only means "read now". Live delivery, the start, a gap after a lost connection
and the fallback are one path, `_catch_up`. Why nothing is lost and nothing comes twice: docs/explanation/delivery.md.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Never, Protocol

from push.events import Event, EventPlace, Identity, Page, Position, Snapshot
from push.metrics import Metrics
from push.pace import NotifyMode, Pace
from push.ring import Ring
from push.totals import Totals

__all__ = ["Baseline", "Journal", "Mark", "Relay", "Sink"]

log = logging.getLogger("orderwire.relay")

# Read at least this often: covers two-phase commit, sessions that switched NOTIFY off, and a dead connection.
FALLBACK_SECONDS = 1.0
# And so often while writers may commit without ringing; or less often, so that a read and the fan-out of what it found are
# followed by a pause of this part of what they took, for everything else.
CLOCK_SECONDS = 0.02
PAUSE = 0.3
# In everybody's stead it rings no more often: each time is a transaction, flushed like the writers' own.
RING_SECONDS = 0.2
# After any read: what rings meanwhile, and who comes in meanwhile, is served by one read more instead of one each.
REST_SECONDS = 0.003
# How long anybody waits for a read, and how many of them are let on in one turn of the loop: each has a session to begin, and
# events, which take several turns, come in between.
PATIENCE_SECONDS = 0.25
LET_ON_AT_ONCE = 16
PAGE_EVENTS = 1000
PAGE_BYTES = 512 * 1024


@dataclass(frozen=True, slots=True)
class Baseline:
    """Totals and the snapshot that they were taken in, and the newest transaction with an event in it: by one statement.

    ``counted``: by a scan of the table; else from a checkpoint and the journal since.
    """

    totals: Totals
    snapshot: Snapshot
    newest_txid: int
    counted: bool = True


class Mark(NamedTuple):
    """A snapshot of which everything has been published, and the number in the ring of the first event after it."""

    snapshot: Snapshot
    number: int


class Journal(Protocol):
    """One live connection to the journal, which is listening already. Any method may raise LinkLost."""

    async def identity(self, epoch: str | None, delivered: Sequence[EventPlace]) -> Identity:
        """Epoch and trimming of the journal. It draws a new epoch when events that were delivered are no longer in it."""

    async def baseline(self) -> Baseline:
        """The totals, and the snapshot that belongs to them."""

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        """The events that ``after`` misses and ``upto`` (None: now) sees, from id ``past_id`` on."""

    async def newest_txid(self, upto: Snapshot) -> int:
        """The newest transaction with an event that ``upto`` sees; 0 without any. Asked while ``upto`` is fresh."""

    async def wait(self, timeout_seconds: float) -> None:
        """Return at the next notification or ``wake``, or after the timeout."""

    def wake(self) -> None:
        """As if a notification had come."""

    async def rely_on_rings(self) -> bool:
        """Ask to be rung. True: whatever the next read does not see will ring. False: read by the clock, and ask again."""

    async def stop_relying(self) -> None:
        """Writers need not ring for us any more. To be called again and again, for as long as it is meant."""

    async def ring(self, unheard: int) -> None:
        """Tell those who listen for themselves, when it is our turn, that so many events came while nobody rang."""


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

    def __init__(self, sink: Sink, metrics: Metrics | None = None, mode: NotifyMode = NotifyMode.ALWAYS) -> None:
        self._sink = sink
        self._metrics = metrics or Metrics()
        self._pace = Pace(mode)
        self._metrics.watch_ready(lambda: self._trouble is None)
        self._identity: Identity | None = None
        self._watermark = Mark(Snapshot(0, 0), 0)
        # No event of a later transaction has been published, nor was in the totals at the start.
        self._newest_txid = 0
        # All of this has been published too; unlike the watermark it may not outlast a crash of the database.
        self._read_upto = Snapshot(0, 0)
        self._links = 0
        self._totals = Totals()
        # They were counted, at the start or by the audit since: what changed silently before is in them.
        self.proved = False
        self._advanced = asyncio.Event()
        self._doubted = False
        self._journal: Journal | None = None
        # Events that came while nobody rang, of which other listeners have not been told yet; and when they last were.
        self._unheard = 0
        self._rang_at = -math.inf
        self._reads_begun = 0
        self._reads_published = 0
        # Who wants a fresh state: from which read on it is one, until when that is waited for, by whom. One timer for all.
        self._waiters: deque[tuple[int, float, asyncio.Future[None]]] = deque()
        self._impatience: asyncio.TimerHandle | None = None
        self._letting_on = False
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
    def watermark(self) -> Mark:
        """Everything visible here has been published; what has been since is in the ring from its number on."""
        return self._watermark

    @property
    def read_upto(self) -> Snapshot:
        """The snapshot of the last read: the newest state of the database that this process knows of."""
        return self._read_upto

    @property
    def links(self) -> int:
        """How many connections have been followed. Another one may mean that the database has crashed in between."""
        return self._links

    def lasting(self, snapshot: Snapshot, txid: int = 0) -> Snapshot:
        """What of the snapshot still holds after a crash of the database; ``txid``: known to have an event in it.

        A snapshot counts a transaction as ended whose end is not on disk yet, say one that was rolled back. A crash makes
        PostgreSQL forget that its number was taken, and give it to another, which may commit. Up to the newest one with an
        event everything is on disk. What came later has no event here, so nothing is lost by leaving it out.
        """
        return snapshot.before(max(self._newest_txid, txid) + 1)

    async def follow(self, journal: Journal) -> Never:
        """Deliver from this connection until it fails (LinkLost). The next call goes on where this one stopped."""
        try:
            self._journal = journal
            self._links += 1
            if self._links > 1:
                self._metrics.reconnects.inc()
            await self._take_position(journal)
            self._metrics.catch_ups.observe(await self._catch_up(journal))
            self._pace.forget()  # what has gathered while nobody looked says nothing
            while True:
                await self._read_on(journal)
                if self._doubted:
                    await self._take_position(journal)
        finally:
            self._journal = None
            self._trouble = "the connection to the database is lost"

    async def _read_on(self, journal: Journal) -> None:
        """One read, and the wait for the next one: for a ring, or, while writers need not ring, by the clock."""
        loop = asyncio.get_running_loop()
        by_clock = self._pace.fast(begun := loop.time())
        if by_clock:
            await journal.stop_relying()
            rings = False
        else:
            await self._ring_in_turn(journal)  # which ends when it relies on rings itself
            # Asked before the read: what the read does not see comes later than the promise, and rings.
            rings = await journal.rely_on_rings()
        self._metrics.gate_open.set(not rings)
        found = await self._catch_up(journal)
        if by_clock:
            self._unheard += found
            if begun - self._rang_at >= RING_SECONDS:
                await self._ring_in_turn(journal)
        busy = loop.time() - begun
        rest = max(REST_SECONDS, PAUSE * busy) if by_clock else REST_SECONDS
        await asyncio.sleep(rest)
        await journal.wait(FALLBACK_SECONDS if rings else max(0.0, CLOCK_SECONDS - busy - rest))

    async def _ring_in_turn(self, journal: Journal) -> None:
        """Tell other listeners what they have not heard of."""
        if self._unheard:
            self._rang_at = asyncio.get_running_loop().time()
            await journal.ring(self._unheard)
            self._unheard = 0

    def queue_usage(self, usage: float) -> None:
        """Part of the cluster's notification queue that is in use, 0 to 1: looked at every moment."""
        if self._pace.queue_usage(usage):
            log.warning(
                "the notification queue is %.0f %% full, somebody listens and does not read: NOTIFY steps aside, see doctor",
                100 * usage,
            )

    def doubt(self) -> None:
        """Somebody noticed that the journal may be another one: look again before the next read."""
        self._doubted = True

    async def watermark_in_reach(self) -> None:
        """Return once the ring holds everything that was published since the watermark."""
        while not self.ring.reaches(self._watermark.number):
            self._advanced.clear()
            await self._advanced.wait()

    async def published(self, snapshot: Snapshot) -> None:
        """Return once everything visible in ``snapshot`` has been published, and a read that began after this call is over.

        Before that read nobody knows whether the connection, and the database that it is to, are still what they were: after
        a crash, ``read_upto`` may cover transactions that it has never seen.
        """
        target = self._reads_begun + 1
        if self._journal is not None:
            self._journal.wake()
        while self._reads_published < target or not self._read_upto.covers(snapshot):
            self._advanced.clear()
            await self._advanced.wait()

    async def fresh(self) -> None:
        """Return once everything that was committed before this call has been published.

        Gives up after a while, and at once while there is no connection: the state is then as old as it is.
        """
        if self._journal is None:
            return
        self.read_now()
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        # The read that is under way may have begun before the commit.
        self._waiters.append((self._reads_begun + 1, loop.time() + PATIENCE_SECONDS, waiter))
        if self._impatience is None:
            self._impatience = loop.call_later(PATIENCE_SECONDS, self._lose_patience)
        await waiter

    def read_now(self) -> None:
        """Have the journal read, as if it had rung."""
        if self._journal is not None:
            self._journal.wake()

    def _let_on(self) -> None:
        """Those who have waited for a read that is there now, or long enough. Who came first waits for the smallest number."""
        self._letting_on = False
        now = asyncio.get_running_loop().time()
        for _ in range(LET_ON_AT_ONCE):
            if not self._waiters or not (self._waiters[0][0] <= self._reads_published or self._waiters[0][1] <= now):
                return
            waiter = self._waiters.popleft()[2]
            if not waiter.done():  # it may have been cancelled
                waiter.set_result(None)
        self._let_on_soon()

    def _let_on_soon(self) -> None:
        if not self._letting_on:
            self._letting_on = True
            asyncio.get_running_loop().call_soon(self._let_on)

    def _lose_patience(self) -> None:
        self._let_on_soon()
        again = PATIENCE_SECONDS / 10
        self._impatience = asyncio.get_running_loop().call_later(again, self._lose_patience) if self._waiters else None

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
        identity = await journal.identity(self.epoch, self.ring.latest())
        self._doubted = False
        if self._still_means_something(identity.epoch, identity.trimmed_txid):
            self._identity = identity
            return
        anew = self._identity is not None
        self._trouble = "taking the totals"
        baseline = await journal.baseline()
        log.debug("totals and position %s", "by a scan" if baseline.counted else "from the checkpoint and the journal since")
        self._unfinished = None
        self._newest_txid = baseline.newest_txid
        self._read_upto = baseline.snapshot
        self.ring.reset(self.lasting(baseline.snapshot))
        self._watermark = Mark(self.lasting(baseline.snapshot), self.ring.end)
        self._totals = baseline.totals
        self.proved = baseline.counted
        self._identity = identity
        self._sink.set_totals(self._totals)
        if anew:
            log.warning("the journal is another one, or was trimmed beyond our position: everybody fetches anew")
            self._sink.gap()

    def _still_means_something(self, epoch: str, trimmed_txid: int) -> bool:
        """Whether the watermark is a position in this journal, and nothing that it lacks has been trimmed."""
        known = self._identity
        return known is not None and known.epoch == epoch and trimmed_txid < self._watermark.snapshot.xmin

    async def _catch_up(self, journal: Journal) -> int:
        """Publish everything that has become visible since the watermark, page by page; returns how many events it was."""
        count = 0
        transactions: set[int] = set()
        while True:
            if self._unfinished is None:
                self._reads_begun += 1
            upto, past_id = self._unfinished or (None, 0)
            page = await journal.page(Position(self._watermark.snapshot), upto, past_id, PAGE_EVENTS, PAGE_BYTES)
            if not self._still_means_something(page.epoch, page.trimmed_txid):
                await self._take_position(journal)
                continue
            end = page.upto
            if page.more and self._unfinished is None:
                # There may be a crash in the midst of the batch. Its end must be the same for every page: cut at what has
                # been published, it would put an order's older event off until after a newer one.
                end = self.lasting(page.upto, await journal.newest_txid(page.upto))
            # From here to the new position there is no await: a page is published and accounted for, or neither.
            count += len(page.events)
            transactions.update(event.txid for event in page.events)
            if page.events:
                self.ring.append(page.events)
                self._newest_txid = max(self._newest_txid, *(event.txid for event in page.events))
                self._totals = self._totals.plus(page.events)
                self._sink.publish(page.events, self._totals)
            if page.more:
                self._unfinished = (end, page.events[-1].id)
                self._trouble = "catching up"
            else:
                self._unfinished = None
                self._watermark = Mark(self.lasting(page.upto), self.ring.end)
                self.ring.mark(self._watermark.snapshot)
                self._read_upto = page.upto
                self._reads_published = self._reads_begun
                self._advanced.set()
                self._let_on_soon()
                self._metrics.read_to_the_end()
            if page.events:
                await self._sink.room()
            if not page.more:
                self._trouble = None
                self.flowing.set()
                self._pace.saw(len(transactions))
                return count
