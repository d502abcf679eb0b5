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
from typing import NamedTuple, Never, Protocol

from push.journal.events import Event, JournalIdentity, Position, Snapshot
from push.journal.notify_policy import NotifyMode, NotifyPolicy
from push.journal.queries import JournalConnection
from push.journal.recent_events import RecentEvents
from push.journal.totals import Totals
from push.metrics import Metrics

__all__ = ["Relay", "Sink", "Watermark"]

log = logging.getLogger("orderwire.relay")

# Read at least this often: covers two-phase commit, sessions that switched NOTIFY off, and a dead connection.
FALLBACK_POLL_INTERVAL = 1.0
# And so often while writers may commit without ringing; or less often, so that a read and the fan-out of what it found are
# followed by a pause of this part of what they took, for everything else.
POLL_INTERVAL = 0.02
BUSY_PAUSE_RATIO = 0.3
# In everybody's stead it rings no more often: each time is a transaction, flushed like the writers' own.
NOTIFY_INTERVAL = 0.2
# After any read: what rings meanwhile, and who comes in meanwhile, is served by one read more instead of one each.
COALESCE_DELAY = 0.003
# How long anybody waits for a read, and how many of them are let on in one turn of the loop: each has a session to begin, and
# events, which take several turns, come in between.
READ_WAIT_TIMEOUT = 0.25
WAKE_BATCH = 16
PAGE_EVENTS = 1000
PAGE_BYTES = 512 * 1024


class Watermark(NamedTuple):
    """A snapshot of which everything has been published, and the number in the ring of the first event after it."""

    snapshot: Snapshot
    seq: int


class Sink(Protocol):
    """Where the events go."""

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        """Events, in order, and the totals after them. Does not wait for anybody."""

    def set_totals(self, totals: Totals) -> None:
        """Totals that no event explains: at the start, or after a correction."""

    def announce_gap(self) -> None:
        """Events were lost for good, or positions mean nothing any more: everybody has to fetch anew."""

    async def wait_writable(self) -> None:
        """Return when it makes sense to publish more."""


class Relay:
    """Owns the watermark, the totals and the ring of this process. ``set_topics`` is called anew for every connection."""

    def __init__(self, sink: Sink, metrics: Metrics | None = None, notify_mode: NotifyMode = NotifyMode.ALWAYS) -> None:
        self._sink = sink
        self._metrics = metrics or Metrics()
        self._notify_policy = NotifyPolicy(notify_mode)
        self._metrics.set_ready_source(lambda: self._not_ready_reason is None)
        self._identity: JournalIdentity | None = None
        self._watermark = Watermark(Snapshot(0, 0), 0)
        # No event of a later transaction has been published, nor was in the totals at the start.
        self._newest_txid = 0
        # All of this has been published too; unlike the watermark it may not outlast a crash of the database.
        self._read_snapshot = Snapshot(0, 0)
        self._connection_count = 0
        self._totals = Totals()
        # They were counted, at the start or by the audit since: what changed silently before is in them.
        self.totals_verified = False
        self._advanced = asyncio.Event()
        self._identity_check_due = False
        self._connection: JournalConnection | None = None
        # Events that came while nobody rang, of which other listeners have not been told yet; and when they last were.
        self._unannounced = 0
        self._notified_at = -math.inf
        self._reads_begun = 0
        self._reads_published = 0
        # Who wants a fresh state: from which read on it is one, until when that is waited for, by whom. One timer for all.
        self._waiters: deque[tuple[int, float, asyncio.Future[None]]] = deque()
        self._timeout_timer: asyncio.TimerHandle | None = None
        self._release_scheduled = False
        # A batch of several pages is being published: (its upper snapshot, last id published).
        self._partial_read: tuple[Snapshot, int] | None = None
        self._not_ready_reason: str | None = "waiting for the database"
        self.recent_events = RecentEvents()
        # Set for good at the first time that events flow.
        self.started = asyncio.Event()

    @property
    def not_ready_reason(self) -> str | None:
        """Why events are not flowing right now, in words; None when they are."""
        return self._not_ready_reason

    @property
    def epoch(self) -> str | None:
        """Epoch of the journal that is being followed; None before the first totals have been taken."""
        return self._identity.epoch if self._identity else None

    @property
    def watermark(self) -> Watermark:
        """Everything visible here has been published; what has been since is in the ring from its number on."""
        return self._watermark

    @property
    def read_snapshot(self) -> Snapshot:
        """The snapshot of the last read: the newest state of the database that this process knows of."""
        return self._read_snapshot

    @property
    def connection_count(self) -> int:
        """How many connections have been followed. Another one may mean that the database has crashed in between."""
        return self._connection_count

    def crash_safe(self, snapshot: Snapshot, txid: int = 0) -> Snapshot:
        """What of the snapshot still holds after a crash of the database; ``xmax``: known to have an event in it.

        A snapshot counts a transaction as ended whose end is not on disk yet, say one that was rolled back. A crash makes
        PostgreSQL forget that its number was taken, and give it to another, which may commit. Up to the newest one with an
        event everything is on disk. What came later has no event here, so nothing is lost by leaving it out.
        """
        return snapshot.capped_at(max(self._newest_txid, txid) + 1)

    async def follow(self, connection: JournalConnection) -> Never:
        """Deliver from this connection until it fails (LinkLost). The next call goes on where this one stopped."""
        try:
            self._connection = connection
            self._connection_count += 1
            if self._connection_count > 1:
                self._metrics.listener_reconnects.inc()
            await self._resolve_position(connection)
            self._metrics.catch_up_events.observe(await self._catch_up(connection))
            self._notify_policy.reset_count()  # what has gathered while nobody looked says nothing
            while True:
                await self._read_and_wait(connection)
                if self._identity_check_due:
                    await self._resolve_position(connection)
        finally:
            self._connection = None
            self._not_ready_reason = "the connection to the database is lost"

    async def _read_and_wait(self, connection: JournalConnection) -> None:
        """One read, and the wait for the next one: for a ring, or, while writers need not ring, by the clock."""
        loop = asyncio.get_running_loop()
        by_clock = self._notify_policy.should_poll(begun := loop.time())
        if by_clock:
            await connection.release_notify()
            rings = False
        else:
            await self._notify_other_listeners(connection)  # which ends when it relies on rings itself
            # Asked before the read: what the read does not see comes later than the promise, and rings.
            rings = await connection.require_notify()
        self._metrics.notify_suppressed.set(not rings)
        found = await self._catch_up(connection)
        if by_clock:
            self._unannounced += found
            if begun - self._notified_at >= NOTIFY_INTERVAL:
                await self._notify_other_listeners(connection)
        busy = loop.time() - begun
        rest = max(COALESCE_DELAY, BUSY_PAUSE_RATIO * busy) if by_clock else COALESCE_DELAY
        await asyncio.sleep(rest)
        await connection.wait_for_notify(FALLBACK_POLL_INTERVAL if rings else max(0.0, POLL_INTERVAL - busy - rest))

    async def _notify_other_listeners(self, connection: JournalConnection) -> None:
        """Tell other listeners what they have not heard of."""
        if self._unannounced:
            self._notified_at = asyncio.get_running_loop().time()
            await connection.notify_on_behalf(self._unannounced)
            self._unannounced = 0

    def update_queue_usage(self, usage: float) -> None:
        """Part of the cluster's notification queue that is in use, 0 to 1: looked at every moment."""
        if self._notify_policy.update_queue_usage(usage):
            log.warning(
                "the notification queue is %.0f %% full, somebody listens and does not read: NOTIFY steps aside, see doctor",
                100 * usage,
            )

    def recheck_identity(self) -> None:
        """Somebody noticed that the journal may be another one: look again before the next read."""
        self._identity_check_due = True

    async def wait_until_watermark_retained(self) -> None:
        """Return once the ring holds everything that was published since the watermark."""
        while not self.recent_events.has_since(self._watermark.seq):
            self._advanced.clear()
            await self._advanced.wait()

    async def wait_until_published(self, snapshot: Snapshot) -> None:
        """Return once everything visible in ``snapshot`` has been published, and a read that began after this call is over.

        Before that read nobody knows whether the connection, and the database that it is to, are still what they were: after
        a crash, ``read_snapshot`` may cover transactions that it has never seen.
        """
        target = self._reads_begun + 1
        if self._connection is not None:
            self._connection.wake()
        while self._reads_published < target or not self._read_snapshot.covers(snapshot):
            self._advanced.clear()
            await self._advanced.wait()

    async def wait_for_fresh_read(self) -> None:
        """Return once everything that was committed before this call has been published.

        Gives up after a while, and at once while there is no connection: the state is then as old as it is.
        """
        if self._connection is None:
            return
        self.trigger_read()
        loop = asyncio.get_running_loop()
        waiter = loop.create_future()
        # The read that is under way may have begun before the commit.
        self._waiters.append((self._reads_begun + 1, loop.time() + READ_WAIT_TIMEOUT, waiter))
        if self._timeout_timer is None:
            self._timeout_timer = loop.call_later(READ_WAIT_TIMEOUT, self._on_timeout)
        await waiter

    def trigger_read(self) -> None:
        """Have the journal read, as if it had rung."""
        if self._connection is not None:
            self._connection.wake()

    def _release_waiters(self) -> None:
        """Those who have waited for a read that is there now, or long enough. Who came first waits for the smallest number."""
        self._release_scheduled = False
        now = asyncio.get_running_loop().time()
        for _ in range(WAKE_BATCH):
            if not self._waiters or not (self._waiters[0][0] <= self._reads_published or self._waiters[0][1] <= now):
                return
            waiter = self._waiters.popleft()[2]
            if not waiter.done():  # it may have been cancelled
                waiter.set_result(None)
        self._schedule_release()

    def _schedule_release(self) -> None:
        if not self._release_scheduled:
            self._release_scheduled = True
            asyncio.get_running_loop().call_soon(self._release_waiters)

    def _on_timeout(self) -> None:
        self._schedule_release()
        again = READ_WAIT_TIMEOUT / 10
        self._timeout_timer = asyncio.get_running_loop().call_later(again, self._on_timeout) if self._waiters else None

    def correct_totals(self, drift: Totals) -> None:
        """Add what the totals were found to be off by."""
        self._totals = Totals(
            self._totals.orders + drift.orders, self._totals.revenue + drift.revenue, self._totals.pending + drift.pending
        )
        self._sink.set_totals(self._totals)

    @property
    def totals(self) -> Totals:
        """After the last event published."""
        return self._totals

    async def _resolve_position(self, connection: JournalConnection) -> None:
        """Go on from the watermark if it still means something, else start anew."""
        identity = await connection.identity(self.epoch, self.recent_events.latest_ids())
        self._identity_check_due = False
        if self._is_position_valid(identity.epoch, identity.trimmed_txid):
            self._identity = identity
            return
        anew = self._identity is not None
        self._not_ready_reason = "taking the totals"
        baseline = await connection.baseline()
        log.debug("totals and position %s", "by a scan" if baseline.from_scan else "from the checkpoint and the journal since")
        self._partial_read = None
        self._newest_txid = baseline.newest_txid
        self._read_snapshot = baseline.snapshot
        self.recent_events.reset(self.crash_safe(baseline.snapshot))
        self._watermark = Watermark(self.crash_safe(baseline.snapshot), self.recent_events.next_seq)
        self._totals = baseline.totals
        self.totals_verified = baseline.from_scan
        self._identity = identity
        self._sink.set_totals(self._totals)
        if anew:
            log.warning("the journal is another one, or was trimmed beyond our position: everybody fetches anew")
            self._sink.announce_gap()

    def _is_position_valid(self, epoch: str, trimmed_txid: int) -> bool:
        """Whether the watermark is a position in this journal, and nothing that it lacks has been trimmed."""
        known = self._identity
        return known is not None and known.epoch == epoch and trimmed_txid < self._watermark.snapshot.xmin

    async def _catch_up(self, connection: JournalConnection) -> int:
        """Publish everything that has become visible since the watermark, page by page; returns how many events it was."""
        count = 0
        transactions: set[int] = set()
        while True:
            if self._partial_read is None:
                self._reads_begun += 1
            upto, past_id = self._partial_read or (None, 0)
            page = await connection.page(Position(self._watermark.snapshot), upto, past_id, PAGE_EVENTS, PAGE_BYTES)
            if not self._is_position_valid(page.epoch, page.trimmed_txid):
                await self._resolve_position(connection)
                continue
            end = page.upto
            if page.more and self._partial_read is None:
                # There may be a crash in the midst of the batch. Its end must be the same for every page: cut at what has
                # been published, it would put an order's older event off until after a newer one.
                end = self.crash_safe(page.upto, await connection.newest_txid(page.upto))
            # From here to the new position there is no await: a page is published and accounted for, or neither.
            count += len(page.events)
            transactions.update(event.txid for event in page.events)
            if page.events:
                self.recent_events.append(page.events)
                self._newest_txid = max(self._newest_txid, *(event.txid for event in page.events))
                self._totals = self._totals.plus(page.events)
                self._sink.publish(page.events, self._totals)
            if page.more:
                self._partial_read = (end, page.events[-1].id)
                self._not_ready_reason = "catching up"
            else:
                self._partial_read = None
                self._watermark = Watermark(self.crash_safe(page.upto), self.recent_events.next_seq)
                self.recent_events.record_watermark(self._watermark.snapshot)
                self._read_snapshot = page.upto
                self._reads_published = self._reads_begun
                self._advanced.set()
                self._schedule_release()
                self._metrics.mark_caught_up()
            if page.events:
                await self._sink.wait_writable()
            if not page.more:
                self._not_ready_reason = None
                self.started.set()
                self._notify_policy.record_transactions(len(transactions))
                return count
