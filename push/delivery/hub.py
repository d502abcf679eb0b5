"""The hub: all sessions of this process, and the fan-out of what the relay publishes.

Publishing appends the events of orders to the broadcast log, hands events of single orders and of streams to the sessions that
subscribe to these, and schedules a *pass*. The pass runs in the next tick of the event loop, in slices. It visits each cohort
and each detached session, which take what they have not sent yet. So everything that is published in one tick goes out
together, and no session waits for another.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, TypeVar

from push.delivery.backpressure import wait_while_congested
from push.delivery.batch import Batch, in_chunks
from push.delivery.broadcast_log import BroadcastLog
from push.delivery.cohort import Cohort
from push.delivery.order_index import OrderIndex
from push.delivery.session import Session
from push.delivery.slices import SLICE_BYTES, SLICE_SIZE, rotation_start
from push.delivery.totals_throttle import TotalsThrottle
from push.journal.events import Event
from push.journal.totals import Totals
from push.metrics import Metrics
from push.protocol.access import Grant
from push.protocol.messages import AnalyticsUpdate, CloseCode, FeedStatus, Resumed, encode

__all__ = ["Hub"]

log = logging.getLogger("orderwire.hub")

T = TypeVar("T")
C = TypeVar("C", bound=Cohort[Any])


class Hub:
    """Made once per process by the composition root. The relay publishes to it (it is a ``Sink``), the session manager adds
    sessions. Only ``wait_writable``, ``heartbeat``, ``announce_feed_status`` and ``drain`` await; every other method is atomic
    to other tasks.
    """

    def __init__(
        self, metrics: Metrics | None = None, *, max_messages: int = 100, max_bytes: int = 1024**2, currency: str = "PLN"
    ) -> None:
        """``max_messages``, ``max_bytes``: how much may be left waiting for a session when more is published.

        ``currency``: that of the total revenue, where orders have a currency.
        """
        self._metrics = metrics or Metrics()
        self._currency = currency
        # All sessions. Those that are live are members of a cohort, or in ``_detached``, or in ``_index_only``; the others have
        # not been admitted yet, or are being replayed to.
        self._sessions: set[Session] = set()
        self._cohorts: list[Cohort[Any]] = []
        self._detached: set[Session] = set()
        # Live sessions that get nothing of what is published to all, as those of customers: no pass visits them.
        self._index_only: set[Session] = set()
        # Those of them that have been sent events since the relay waited last.
        self._addressed: set[Session] = set()
        self._order_index = OrderIndex()
        self._broadcast_log = BroadcastLog(max_messages, max_bytes)
        # Entered around every slice of a pass. The gateway sets it to send all writes of a slice by one system call.
        self.batch_writes: AbstractContextManager[None, None] = nullcontext()
        # The targets that the current pass has not reached yet, the next one last, and whether another pass is due after it.
        self._pass_remaining: list[Cohort[Any] | Session] = []
        self._pass_due = False
        self._pass_count = 0
        self._pass_seconds = 0.0
        self._pass_done = asyncio.Event()
        self._pass_done.set()
        # Unix times of the writers' statements, for the events since the metrics were last updated.
        self._unreported: list[float] = []
        # Size of the newest publication.
        self._published_bytes = 0
        self._totals = Totals()
        self._totals_batch: Batch | None = None
        # What clients have been told, or would be.
        self.feed_status = FeedStatus(True, time.time())
        self._totals_throttle = TotalsThrottle(self._announce_totals)
        self._empty = asyncio.Event()
        self._empty.set()

    # ---------------------------------------------------------------- sessions

    def add(self, session: Session) -> None:
        """Add a session. It takes part in the heartbeat and the drain, and receives nothing that is published before
        ``go_live``.
        """
        self._sessions.add(session)
        self._empty.clear()

    def go_live(self, session: Session) -> None:
        """From now on the session receives what is published, as far as its topics and grant allow."""
        if session in self._sessions:
            session.go_live(self._broadcast_log)
            self._place(session)

    def topics_changed(self, session: Session) -> None:
        """Update the index after ``Session.set_topics``, which has detached the session."""
        if session in self._detached or session in self._index_only:
            self._place(session)

    def _place(self, session: Session) -> None:
        """Put a live session where its subscription belongs."""
        reads_broadcast = session.subscription.receives_all_orders or session.subscription.receives_totals
        (self._detached if reads_broadcast else self._index_only).add(session)
        (self._index_only if reads_broadcast else self._detached).discard(session)
        self._order_index.update(session)

    def remove(self, session: Session) -> None:
        """Remove a session whose connection is gone."""
        session.detach()
        self._sessions.discard(session)
        for sessions in (self._detached, self._index_only, self._addressed):
            sessions.discard(session)
        self._order_index.remove(session)
        if not self._sessions:
            self._empty.set()

    def create_cohort(self, factory: Callable[[BroadcastLog, set[Session], Callable[[], Batch]], C]) -> C:
        """Make a cohort that takes part in the passes. ``factory`` gets the arguments of ``Cohort``."""
        cohort = factory(self._broadcast_log, self._detached, self.totals_batch)
        self._cohorts.append(cohort)
        return cohort

    def revoke_invalid(self, is_valid: Callable[[Grant], bool]) -> None:
        """Close the sessions whose grant is not valid any more."""
        for session in self._sessions:
            if session.grant is not None and not is_valid(session.grant):
                session.close(CloseCode.INVALID_TOKEN, flush=False)

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def has_clients(self) -> bool:
        return bool(self._sessions)

    def is_awaited(self, events: Sequence[Event]) -> bool:
        """Whether a live session would get one of these events now, or the totals after them."""
        if self._detached or any(cohort.members for cohort in self._cohorts):
            return True
        return bool(self._order_index.sessions_for(events))

    # ---------------------------------------------------------------- publishing (called by the relay)

    @property
    def totals(self) -> Totals:
        """The totals after the last event published."""
        return self._totals

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        """Publish the events, of which there is at least one, and the totals after them."""
        now = time.time()
        of_orders = [event for event in events if event.stream is None]
        apart = set() if len(of_orders) == len(events) else self._send_apart(events, now)
        start_offset, batches = self._broadcast_log.end_offset, list(in_chunks([event.payload for event in of_orders]))
        if of_orders:
            self._broadcast_log.append(batches, of_orders[-1].payload)
        self._published_bytes = sum(batch.size for batch in batches)
        for session in apart:
            session.go_live(self._broadcast_log)
        for session in self._order_index.sessions_for(events):
            if session in apart or session.close_if_expired(now):
                continue
            if session.subscription.receives_all_orders:
                offsets = (offset for offset, batch in enumerate(batches, start_offset) for _ in range(batch.count))
                session.retain_for_conflation(zip(offsets, of_orders, strict=True))
            else:
                session.send(*in_chunks([event.payload for event in session.visible(events)]))
                if session in self._index_only:
                    self._addressed.add(session)
        self._unreported += [event.at.timestamp() for event in events]
        self.set_totals(totals)
        self._schedule_pass()

    def _send_apart(self, events: Sequence[Event], now: float) -> set[Session]:
        """Send events to the sessions that read the log and get, among these events, some that the log lacks.

        Returns those that have to skip what the log gets of them.
        """
        selecting = self._order_index.sessions_for(event for event in events if event.stream is not None)
        return {
            session
            for session in selecting
            if session.subscription.receives_all_orders and not session.close_if_expired(now) and session.send_apart(events)
        }

    def announce_gap(self) -> None:
        """Tell all live sessions that events have been lost, so that the clients fetch anew."""
        batch = Batch([encode(Resumed(recovered=False))])
        self._broadcast_log.append([batch])
        for session in (*self._detached, *self._index_only):
            if not session.subscription.receives_all_orders:
                session.send(batch)
        self._schedule_pass()

    def set_totals(self, totals: Totals) -> None:
        """Replace the totals. A change is announced at once, but at most every TOTALS_INTERVAL."""
        if totals == self._totals:
            return
        self._totals = totals
        self._totals_batch = None
        self._totals_throttle.changed()

    def totals_batch(self) -> Batch:
        """The current totals as a message, which is encoded once for all sessions."""
        if self._totals_batch is None:
            self._totals_batch = Batch([encode(AnalyticsUpdate(self._totals, self._currency))])
            self._totals_batch.is_totals = True
        self._totals_batch.offset = self._broadcast_log.end_offset
        return self._totals_batch

    def _announce_totals(self) -> None:
        self._broadcast_log.totals_version += 1
        self._schedule_pass()

    async def wait_writable(self) -> None:
        """Wait for the current pass, and until the sessions have taken enough for more to be published; a minority that is much
        slower than the others is not waited for.
        """
        await self._pass_done.wait()
        # (Members of cohorts have nothing waiting after a pass.)
        live_count = len(self._detached) + len(self._index_only) + sum(len(cohort.members) for cohort in self._cohorts)
        addressed, self._addressed = self._addressed, set()
        await wait_while_congested(self._detached, live_count, self._published_bytes, addressed)

    # ---------------------------------------------------------------- fan-out

    def _schedule_pass(self) -> None:
        """The log has grown: run a pass in the next tick, or after the current pass."""
        if not self._pass_due:
            self._pass_due = True
            self._pass_done.clear()
            if not self._pass_remaining:
                asyncio.get_running_loop().call_soon(self._run_slice)

    def _run_slice(self) -> None:
        """Serve about SLICE_SIZE sessions or write about SLICE_BYTES, and schedule the next slice if there is more to do."""
        if not self._pass_remaining:
            self._pass_due = False
            self._pass_count += 1
            # Cohorts are popped first. A detached session that catches up may then join one in the same pass.
            self._pass_remaining = [*self._rotated(self._detached), *self._rotated(self._cohorts)]
            self._pass_seconds = 0.0
        start, now = time.perf_counter(), time.time()
        served = written = 0
        with self.batch_writes:
            while self._pass_remaining and served < SLICE_SIZE and written < SLICE_BYTES:
                sessions, size = self._deliver(self._pass_remaining.pop(), now)
                served += sessions
                written += size
        self._pass_seconds += time.perf_counter() - start
        if not self._pass_remaining:
            handed_at = time.time()
            self._metrics.observe_fanout([max(0.0, handed_at - at) for at in self._unreported], self._pass_seconds)
            self._unreported.clear()
        if self._pass_remaining or self._pass_due:
            asyncio.get_running_loop().call_soon(self._run_slice)
        else:
            self._pass_done.set()

    def _rotated(self, items: Collection[T]) -> list[T]:
        start = rotation_start(self._pass_count, len(items))
        ordered = list(items)
        return ordered[start:] + ordered[:start]

    def _deliver(self, target: Cohort[Any] | Session, now: float) -> tuple[int, int]:
        """Serve one target of the pass. Returns the number of sessions served, and of bytes written."""
        if isinstance(target, Cohort):
            if target.must_dissolve(now):
                self._pass_remaining += target.dissolve()
                return 0, 0
            count = len(target.members)
            size = self._guarded(target, target.deliver_broadcast)
            if target.members and not target.is_caught_up:
                self._pass_remaining.append(target)
            return count, size or 0
        # Since the pass began the session may have joined a cohort that has been served, or have been removed.
        if target in self._detached:
            return 1, self._guarded(target, partial(target.deliver_broadcast, now)) or 0
        return 1, 0

    def _guarded(self, target: Cohort[Any] | Session, action: Callable[[], T]) -> T | None:
        """Call ``action``; an error closes the target and does not reach the other sessions."""
        try:
            return action()
        except Exception:
            log.exception("fan-out to a session or cohort failed")
            target.fail()
            return None

    # ---------------------------------------------------------------- heartbeat and drain

    async def heartbeat(self, interval_seconds: float) -> None:
        """Ping every session once per interval; runs until it is cancelled."""
        while True:
            await asyncio.sleep(interval_seconds)
            # Listed before the first ping, so that a session that joins or leaves a cohort meanwhile is pinged exactly once.
            without_cohort, cohorts = self._list_sessions()
            for cohort, members in cohorts:
                self._guarded(cohort, partial(cohort.ping, members))
                await asyncio.sleep(0)
            for session in without_cohort:
                session.ping()

    def _list_sessions(self) -> tuple[list[Session], list[tuple[Cohort[Any], list[Session]]]]:
        """The sessions without a cohort, and the cohorts with their members."""
        without_cohort = [session for session in self._sessions if session.cohort is None]
        return without_cohort, [(cohort, list(cohort.members)) for cohort in self._cohorts]

    async def announce_feed_status(self, status: FeedStatus) -> None:
        """Tell every admitted session whether events flow, in slices. One that is admitted later is told by its first messages.

        The message goes beside the broadcast log: conflation would replace it there, with the events.
        """
        self.feed_status = status
        batch = Batch([encode(status)])
        without_cohort, cohorts = self._list_sessions()
        for cohort, members in cohorts:
            self._guarded(cohort, partial(cohort.send, members, batch))
            await asyncio.sleep(0)
        for start in range(0, len(without_cohort), SLICE_SIZE):
            for session in without_cohort[start : start + SLICE_SIZE]:
                if session.grant is not None:
                    session.send(batch)
            await asyncio.sleep(0)

    async def drain(self, timeout_seconds: float) -> None:
        """Close every session after a flush, with a code that tells the client to come back. Returns when all are removed, or
        after the time-out, since the caller then cuts the remaining connections.
        """
        if self._totals_throttle.stop():
            self._broadcast_log.totals_version += 1
        for session in self._sessions:
            session.close(CloseCode.DRAIN)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d sessions did not close in %.0f s: cut off", len(self._sessions), timeout_seconds)
