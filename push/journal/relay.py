"""The relay: reads the journal over one connection, and publishes every event to a sink, once and in order.

A notification carries no data for the relay, it only means "read now". Live delivery, the start of the process, the gap after
a lost connection and the fallback read all take the same path, ``Relay._read_new``. docs/explanation/delivery.md explains why
no event is lost or published twice.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple, Never, Protocol

from push.errors import ConnectionLost, StoreError
from push.journal.events import Event, EventId, JournalIdentity, Position, Snapshot
from push.journal.notify_policy import NotifyMode, NotifyPolicy
from push.journal.page_observer import PageObserver, PublishedPage
from push.journal.queries import JournalConnection, RelayedPage
from push.journal.read_barrier import ReadBarrier
from push.journal.read_pace import FALLBACK_POLL_INTERVAL, UNWATCHED_INTERVAL, ReadPace
from push.journal.recent_events import RecentEvents
from push.journal.totals import Totals
from push.metrics import Metrics

__all__ = ["Relay", "Sink", "Watermark"]

log = logging.getLogger("orderwire.relay")

# Notify on behalf of writers at most this often, in seconds: each time is a transaction.
NOTIFY_INTERVAL = 0.2
# The size of a page, in events and in bytes of JSON.
PAGE_EVENTS = 1000
PAGE_BYTES = 512 * 1024


# How many of the newest events are looked up in the journal, to tell whether it is still the same one.
LATEST_EVENTS = 100


class Watermark(NamedTuple):
    """A snapshot of which everything has been published, and the sequence number in RecentEvents of the first event after.

    ``newest_event`` is one of the newest transaction that has an event in the snapshot; None if the journal has none.
    """

    snapshot: Snapshot
    seq: int
    newest_event: EventId | None = None


class Sink(Protocol):
    """Receives what the relay publishes. The methods must not raise."""

    @property
    def has_clients(self) -> bool:
        """Whether anything is delivered to clients now. While there are none the relay reads less often."""

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        """Take events, in order and at least one, and the totals after the last of them. Must not block."""

    def set_totals(self, totals: Totals) -> None:
        """Take totals that no event explains: at the start, or after a correction by the audit."""

    def announce_gap(self) -> None:
        """Events are lost for good, or the cursors of before are meaningless: every client has to fetch anew."""

    async def wait_writable(self) -> None:
        """Return when the sink can take more. The relay awaits this between two pages: it is the back-pressure."""


class Relay:
    """Owns this process's position in the journal, its totals and its memory of recent events.

    One per process, on the event loop. ``follow`` is called again for every new connection, one at a time; the other methods
    may be called at any time.
    """

    def __init__(self, sink: Sink, metrics: Metrics | None = None, notify_mode: NotifyMode = NotifyMode.ALWAYS) -> None:
        self._sink = sink
        self._metrics = metrics or Metrics()
        self._notify_policy = NotifyPolicy(notify_mode)
        self._read_pace = ReadPace()
        self._metrics.set_ready_source(lambda: self.not_ready_reason is None)
        self._identity: JournalIdentity | None = None
        self._watermark = Watermark(Snapshot(0, 0), 0)
        # The newest transaction that has an event among those published, or in the totals of the start.
        self._newest_txid = 0
        # An event of it; None if the journal has none.
        self._newest_event: EventId | None = None
        # Everything in this snapshot is published too. Unlike the watermark it may lose its meaning in a crash of the database.
        self._read_snapshot = Snapshot(0, 0)
        self._connection_count = 0
        self._totals = Totals()
        # False while the totals rest on a checkpoint, which may be wrong: rows can be changed without the triggers.
        # The audit sets it.
        self.totals_verified = False
        # Set when an event does not tell what it adds to the totals: the audit counts them anew, and clears it.
        self.recount_due = asyncio.Event()
        # Set whenever the watermark advances.
        self._advanced = asyncio.Event()
        self._identity_check_due = False
        # Events whose writers did not notify and of which other listeners have not been told yet; when they last were told.
        self._unnotified = 0
        self._notified_at = -math.inf
        # Within a read of several pages: its upper snapshot, and the id of the last event published.
        self._partial_read: tuple[Snapshot, int] | None = None
        self._not_ready_reason: str | None = "waiting for the database"
        # Why changes of an attached table make no events, although the journal can be read; set from outside.
        self.attachment_problem: str | None = None
        # Unix time of the last check that found no such problem; before the first check, of the start.
        self.attachment_checked_at = time.time()
        # Unix times by this machine's clock: when the read that is under way began, and when the last complete one did.
        self._read_began_at = self._last_read_began_at = time.time()
        # Times of the loop's clock: when a page was read last; when the connection was lost, None while one is read from.
        self.progressed_at = -math.inf
        self.lost_at: float | None = None
        # Why it was lost, as a text that clients may read.
        self.public_loss_reason = StoreError.public_text
        # Why nothing but the journal's new events can be read; set from outside.
        self.pool_problem: str | None = None
        self.recent_events = RecentEvents()
        self.read_barrier = ReadBarrier()
        # Passes on what this process reads, to others that do not read the journal themselves; set from outside.
        self.observer: PageObserver | None = None
        # Set by the first complete read, and never cleared, not even when the connection is lost.
        self.started = asyncio.Event()

    # ---------------------------------------------------------------- state

    @property
    def not_ready_reason(self) -> str | None:
        """Why events do not flow right now, as a text for people; None while they do."""
        return self._not_ready_reason or self.pool_problem or self.attachment_problem

    @property
    def caught_up(self) -> bool:
        """Whether the journal has been read to its end since the connection was opened."""
        return self._not_ready_reason is None

    @property
    def as_of(self) -> float:
        """The Unix time, by this machine's clock, up to which every change is in the totals and has been published.

        While changes make no events (``attachment_problem``) it is that of the last check that found no such problem.
        """
        if self.attachment_problem is not None:
            return min(self._last_read_began_at, self.attachment_checked_at)
        return self._last_read_began_at

    @property
    def epoch(self) -> str | None:
        """The epoch of the journal that is followed; None until the first totals have been read."""
        return self._identity.epoch if self._identity else None

    @property
    def watermark(self) -> Watermark:
        """The snapshot up to which everything is published, also after a crash of the database."""
        return self._watermark

    @property
    def read_snapshot(self) -> Snapshot:
        """The snapshot of the latest complete read: the newest state of the database that this process has seen."""
        return self._read_snapshot

    @property
    def connection_count(self) -> int:
        """How many connections have been followed. If it has changed, the database may have crashed in between."""
        return self._connection_count

    @property
    def totals(self) -> Totals:
        """The totals after the last event published."""
        return self._totals

    def crash_safe(self, snapshot: Snapshot, txid: int = 0) -> Snapshot:
        """Return the part of ``snapshot`` that still holds after a crash of the database.

        A snapshot counts transactions as ended whose end is not on disk yet, for instance one that was rolled back. After a
        crash PostgreSQL does not know that their ids were taken, and gives them to other transactions, which may commit. All
        ids up to the newest transaction with an event are safe, since its commit was flushed. No later transaction has an
        event in this snapshot, so cutting them off loses nothing. ``txid`` is a transaction known to have an event, in
        addition to those published.
        """
        return snapshot.capped_at(max(self._newest_txid, txid) + 1)

    # ---------------------------------------------------------------- for others in this process

    def report_outage(self, cause: str) -> None:
        """No connection could be opened; ``cause`` is for any client. Called while no connection is followed."""
        self._not_ready_reason = cause

    def update_queue_usage(self, usage: float) -> None:
        """Take the usage of the cluster's notification queue, 0 to 1. Called about every second."""
        if self._notify_policy.update_queue_usage(usage):
            log.warning(
                "the notification queue is %.0f %% full, because a session listens and does not read: writers stop notifying, "
                "see `make doctor` (or `python server.py doctor`)",
                100 * usage,
            )

    def delivered(self, count: int = LATEST_EVENTS) -> list[EventId]:
        """The events by which to tell whether a journal is the one that is followed: the latest ones, and the newest one."""
        newest = [] if self._newest_event is None else [self._newest_event]
        return newest + self.recent_events.latest_ids(count)

    def recheck_identity(self) -> None:
        """Check before the next read whether the journal is still the same one."""
        self._identity_check_due = True

    def correct_totals(self, drift: Totals) -> None:
        """Add to the totals what the audit has found missing."""
        self._totals += drift
        self._sink.set_totals(self._totals)

    async def wait_until_watermark_retained(self) -> None:
        """Return once ``recent_events`` holds everything published since the watermark.

        A read of many pages can push its own beginning out of memory: the watermark advances when that read is complete.
        """
        while not self.recent_events.has_since(self._watermark.seq):
            self._advanced.clear()
            await self._advanced.wait()

    async def wait_until_published(self, snapshot: Snapshot) -> None:
        """Return once everything in ``snapshot`` is published and a read that started after this call is complete.

        That read proves that the connection still leads to the same database. Without it, after a crash, ``read_snapshot``
        might cover transaction ids that have been given out a second time since.
        """
        target = self.read_barrier.next_read
        self.read_barrier.trigger_read()
        while self.read_barrier.reads_published < target or not self._read_snapshot.covers(snapshot):
            self._advanced.clear()
            await self._advanced.wait()

    @property
    def _is_observed(self) -> bool:
        return self.observer is not None and self.observer.is_active

    # ---------------------------------------------------------------- the loop

    async def follow(self, connection: JournalConnection) -> Never:
        """Publish what this connection reads, until it fails with ConnectionLost. The next call continues from there."""
        reason = None
        try:
            self.read_barrier.attach(connection.wake)
            self._connection_count += 1
            if self._connection_count > 1:
                self._metrics.listener_reconnects.inc()
            # The database may have lost any of the latest transactions, and those of one read come in another order than they
            # were committed.
            await self._resolve_position(connection, self.delivered(len(self.recent_events)))
            self._metrics.catch_up_events.observe(await self._read_new(connection))
            self._notify_policy.reset_count()  # what was written while no connection was followed is no rate
            while True:
                await self._read_and_wait(connection)
                if self._identity_check_due:
                    await self._resolve_position(connection, self.delivered())
        except ConnectionLost as error:
            reason = error.reason
            cause = error.__cause__
            self.public_loss_reason = (cause if isinstance(cause, StoreError) else error).public_text
            raise
        finally:
            if self.lost_at is None:  # else it has not been read from since, and every attempt ends here
                self.lost_at = asyncio.get_running_loop().time()
            self.read_barrier.detach()
            self._not_ready_reason = reason or "the connection to the database is lost"

    async def _read_and_wait(self, connection: JournalConnection) -> None:
        """Read once, then wait until the next read is due: for a notification, or while writers may skip it, for the clock."""
        loop = asyncio.get_running_loop()
        started_at = loop.time()
        polls = self._notify_policy.should_poll(started_at)
        if polls:
            await connection.release_notify()
            notify_guaranteed = False
        else:
            # While this connection is still the notifier: require_notify ends that.
            await self._notify_other_listeners(connection)
            # Before the read: what the read does not see is committed after the guarantee, and will notify.
            notify_guaranteed = await connection.require_notify()
        self._metrics.notify_suppressed.set(not notify_guaranteed)
        event_count = await self._read_new(connection)
        if polls:
            self._unnotified += event_count
            if started_at - self._notified_at >= NOTIFY_INTERVAL:
                await self._notify_other_listeners(connection)
        read_seconds = loop.time() - started_at
        if self._notify_policy.is_sample_due(loop.time()):
            self._notify_policy.record_waiters(await connection.notify_waiters(), loop.time())
        await asyncio.sleep(self._read_pace.pause(read_seconds, polls=polls) if connection.asks_database else 0)
        if not self._sink.has_clients and not self._is_observed:
            await self._wait_unwatched(started_at + UNWATCHED_INTERVAL - loop.time())
        until_poll = started_at + self._read_pace.poll_interval(event_count) - loop.time()
        await connection.wait_for_notify(FALLBACK_POLL_INTERVAL if notify_guaranteed else max(0.0, until_poll))

    async def _wait_unwatched(self, seconds: float) -> None:
        """Wait for so long without looking at notifications, or until a client or another part of this process wants a read."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.read_barrier.wait_until_requested()

    async def _notify_other_listeners(self, connection: JournalConnection) -> None:
        if self._unnotified:
            self._notified_at = asyncio.get_running_loop().time()
            await connection.notify_on_behalf(self._unnotified)
            self._unnotified = 0

    async def _resolve_position(self, connection: JournalConnection, delivered: Sequence[EventId]) -> None:
        """Keep the watermark if it is valid in a journal that has ``delivered``, otherwise start from the totals of now."""
        identity = await connection.identity(self.epoch, delivered)
        self._identity_check_due = False
        if self._is_position_valid(identity):
            self._identity = identity
            return
        is_restart = self._identity is not None
        self._not_ready_reason = "taking the totals"
        self._last_read_began_at = time.time()
        baseline = await connection.baseline()
        newest_event = await connection.newest_event(baseline.snapshot)
        log.debug("totals and position %s", "by a scan" if baseline.from_scan else "from the checkpoint and the journal since")
        self._partial_read = None
        self._newest_txid = baseline.newest_txid
        self._newest_event = newest_event
        self._read_snapshot = baseline.snapshot
        self.recent_events.reset(self.crash_safe(baseline.history_after or baseline.snapshot))
        if baseline.history:
            self.recent_events.append(baseline.history)
            self.recent_events.record_watermark(self.crash_safe(baseline.snapshot))
        self._watermark = Watermark(self.crash_safe(baseline.snapshot), self.recent_events.next_seq, newest_event)
        self._totals = baseline.totals
        self.totals_verified = baseline.from_scan
        self._identity = identity
        self._note_progress()
        self._sink.set_totals(self._totals)
        if is_restart:
            log.warning("the journal is another one, or was trimmed beyond our position: all clients have to fetch anew")
            self._sink.announce_gap()

    def _is_position_valid(self, identity: JournalIdentity) -> bool:
        """Whether the watermark is a position in this journal, and no event after it has been trimmed."""
        known = self._identity
        return known is not None and known.epoch == identity.epoch and identity.trimmed_txid < self._watermark.snapshot.xmin

    async def _read_new(self, connection: JournalConnection) -> int:
        """Publish everything that became visible since the watermark, page by page. Returns the number of events."""
        count = 0
        transactions: set[int] = set()
        while True:
            if self._partial_read is None:
                self._read_began_at = time.time()
                self.read_barrier.read_started()
            upto, past_id = self._partial_read or (None, 0)
            page = await connection.page(Position(self._watermark.snapshot), upto, past_id, PAGE_EVENTS, PAGE_BYTES)
            if isinstance(page, RelayedPage) and page.reconnected:
                self._connection_count += 1
                await self._resolve_position(connection, self.delivered(len(self.recent_events)))
                continue
            # Also when it is the same one, but written anew: a dump from before the latest events may have been restored.
            if page.identity != self._identity:
                await self._resolve_position(connection, self.delivered())
                continue
            before = self._watermark
            end = page.upto
            if isinstance(page, RelayedPage):
                self._read_began_at = page.read_began_at
                # Its last transaction has an event, perhaps one on a later page.
                self._newest_txid = max(self._newest_txid, end.xmax - 1)
            elif page.more and self._partial_read is None:
                # The database may crash before the last page is read, so the upper snapshot of this read must survive a crash,
                # and must be the same for every page. Cut off at what is published so far, it would postpone the older of two
                # events of one order until after the newer one.
                newest = await connection.newest_event(page.upto)
                end = self.crash_safe(page.upto, newest.txid if newest else 0)
            self._note_progress()
            # No await from here to the new position: a page is published and accounted for, or neither.
            count += len(page.events)
            transactions.update(event.txid for event in page.events)
            if page.events:
                self._publish(page.events)
            if page.placeholders:
                self._metrics.placeholder_events.inc(page.placeholders)
                log.warning(
                    "%d events of the journal cannot be read: clients have got their type, id and key, and nothing else",
                    page.placeholders,
                )
            if not page.exact:
                log.warning("an event does not tell what it adds to the totals: they are counted anew")
                self.totals_verified = False
                self.recount_due.set()
            if page.more:
                self._partial_read = (end, page.events[-1].id)
                self._not_ready_reason = "catching up"
            else:
                self._complete_read(page.upto)
                end = self._watermark.snapshot
                if isinstance(page, RelayedPage):
                    self._take_totals(page)
            if self.observer is not None and self.observer.is_active:
                state = (self._totals, self.totals_verified, self._read_began_at)
                self.observer.page_published(
                    PublishedPage(
                        before.snapshot, end, past_id, page.more, page.events, page.identity, before.newest_event, *state
                    )
                )
                await self.observer.wait_writable()
            if page.events:
                await self._sink.wait_writable()
            if not page.more:
                self._not_ready_reason = None
                self.started.set()
                self._notify_policy.record_transactions(len(transactions))
                return count

    def _take_totals(self, page: RelayedPage) -> None:
        """Take over the totals that another process has, which may have been corrected by its audit."""
        if page.totals is None or (self.totals_verified and not page.verified):
            return
        self.totals_verified = page.verified
        if page.totals != self._totals:
            self._totals = page.totals
            self._sink.set_totals(self._totals)

    def _note_progress(self) -> None:
        self.progressed_at, self.lost_at = asyncio.get_running_loop().time(), None

    def _publish(self, events: Sequence[Event]) -> None:
        self.recent_events.append(events)
        newest = max(events, key=lambda event: event.txid)
        if newest.txid >= self._newest_txid:
            self._newest_txid, self._newest_event = newest.txid, newest.event_id
        self._totals = self._totals.plus(events)
        self._sink.publish(events, self._totals)

    def _complete_read(self, snapshot: Snapshot) -> None:
        """Everything in ``snapshot`` is published: advance the watermark to it."""
        self._partial_read = None
        self._last_read_began_at = self._read_began_at
        self._watermark = Watermark(self.crash_safe(snapshot), self.recent_events.next_seq, self._newest_event)
        self.recent_events.record_watermark(self._watermark.snapshot)
        self._read_snapshot = snapshot
        self.read_barrier.read_published()
        self._advanced.set()
        self._metrics.mark_read_to_end()
