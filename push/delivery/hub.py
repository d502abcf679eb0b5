"""The fan-out: what the relay publishes goes to every session, and nobody waits for anybody.

Publishing appends to the feed, and no more, however many sessions there are. Soon after, in a *round*, each session is told
that there is something new, and takes everything that it has not taken yet at once.
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
from push.delivery.session import Session
from push.journal.events import Event
from push.journal.totals import Totals
from push.metrics import Metrics
from push.protocol.access import Grant
from push.protocol.messages import AnalyticsUpdate, CloseCode, Resumed, encode

__all__ = ["SLICE_SIZE", "Hub", "rotation_start"]

log = logging.getLogger("orderwire.hub")

# analytics_update goes out at most this often.
TOTALS_INTERVAL = 0.1
# Sessions that are told in one go; what else is going on gets a turn in between.
SLICE_SIZE = 1000
# By what part of them a round begins later than the one before: the golden one, so that it is hardly ever the same session
# again, however many there are.
GOLDEN_RATIO = (5**0.5 - 1) / 2

T = TypeVar("T")
C = TypeVar("C", bound=Cohort[Any])


def rotation_start(iteration: int, count: int) -> int:
    """With which of so many to begin this time."""
    return int(iteration * GOLDEN_RATIO % 1 * count)


class Hub:
    """All sessions of this process. Its methods do not await (but for ``wait_writable``), so what they do is atomic to everyone else."""

    def __init__(self, metrics: Metrics | None = None, *, max_messages: int = 100, max_bytes: int = 1024**2) -> None:
        """``max_messages``, ``max_bytes``: what may be left waiting for a session when more is published."""
        self._metrics = metrics or Metrics()
        self._sessions: set[Session] = set()
        # Those of them that get what is published: each stands in a crowd, or apart. The others are being replayed what they
        # missed, or have not been admitted yet.
        self._cohorts: list[Cohort[Any]] = []
        self._detached: set[Session] = set()
        # Those of them that do not get every event one by one, but those of single orders; and these orders.
        self._sessions_by_order: dict[int, set[Session]] = {}
        self._orders_by_session: dict[Session, frozenset[int]] = {}
        self._broadcast_log = BroadcastLog(max_messages, max_bytes)
        # What is told within, whoever carries it may put off until the end, and send it together. It is set by that one.
        self.batch_writes: AbstractContextManager[None, None] = nullcontext()
        # Whom this round has still to tell, the next one last; and whether there must be another one.
        self._pass_remaining: list[Cohort[Any] | Session] = []
        self._pass_due = False
        self._pass_count = 0
        self._pass_seconds = 0.0
        self._pass_done = asyncio.Event()
        self._pass_done.set()
        # Unix times of the writers' statements, of the events that this pass hands out.
        self._unreported: list[float] = []
        # By the newest publication.
        self._published_bytes = 0
        self._totals = Totals()
        self._totals_batch: Batch | None = None
        self._totals_timer: asyncio.TimerHandle | None = None
        self._totals_pending = False
        self._empty = asyncio.Event()
        self._empty.set()

    # ---------------------------------------------------------------- sessions come and go

    def add(self, session: Session) -> None:
        """The session gets the heartbeat and takes part in the drain, and nothing that is published before it goes live."""
        self._sessions.add(session)
        self._empty.clear()

    def go_live(self, session: Session) -> None:
        """From here on the session gets everything that is published and that its topics and grant let it see."""
        if session in self._sessions:
            session.go_live(self._broadcast_log)
            self._detached.add(session)
            self._index_orders(session)

    def topics_changed(self, session: Session) -> None:
        """What a session follows is different from now on: so it stands apart."""
        if session in self._detached:
            self._index_orders(session)

    def remove(self, session: Session) -> None:
        """The session's transport is gone."""
        session.detach()
        self._sessions.discard(session)
        self._detached.discard(session)
        self._unindex_orders(session)
        if not self._sessions:
            self._empty.set()

    def create_cohort(self, factory: Callable[[BroadcastLog, set[Session], Callable[[], Batch]], C]) -> C:
        """A new crowd, which has a part in the rounds."""
        crowd = factory(self._broadcast_log, self._detached, self.totals_batch)
        self._cohorts.append(crowd)
        return crowd

    def revoke_invalid(self, is_valid: Callable[[Grant], bool]) -> None:
        """End the sessions whose grant does not hold any more."""
        for session in self._sessions:
            if session.grant is not None and not is_valid(session.grant):
                session.close(CloseCode.INVALID_TOKEN, flush=False)

    def _index_orders(self, session: Session) -> None:
        self._unindex_orders(session)
        if order_ids := session.indexed_orders:
            self._orders_by_session[session] = order_ids
        for order_id in order_ids:
            self._sessions_by_order.setdefault(order_id, set()).add(session)

    def _unindex_orders(self, session: Session) -> None:
        for order_id in self._orders_by_session.pop(session, ()):
            sessions = self._sessions_by_order[order_id]
            sessions.discard(session)
            if not sessions:
                del self._sessions_by_order[order_id]

    def __len__(self) -> int:
        return len(self._sessions)

    # ---------------------------------------------------------------- what the relay says

    @property
    def totals(self) -> Totals:
        """At the moment of the last event published."""
        return self._totals

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        """Hand the events to every session that follows them, and the totals after them."""
        start, batches = self._broadcast_log.end_offset, list(in_chunks([event.payload for event in events]))
        self._broadcast_log.append(batches, events[-1].payload)
        self._published_bytes = sum(batch.size for batch in batches)
        now = time.time()
        for session in self._subscribers_of(events):
            if session.close_if_expired(now):
                continue
            if session.sees_all_events:
                places = (place for place, batch in enumerate(batches, start) for _ in range(batch.count))
                session.retain_for_conflation(zip(places, events, strict=True))
            else:
                session.send(*in_chunks([event.payload for event in session.visible(events)]))
        self._unreported += [event.at.timestamp() for event in events]
        self.set_totals(totals)
        self._schedule_pass()

    def _subscribers_of(self, events: Sequence[Event]) -> set[Session]:
        """Those who follow one of these orders, and do not get all events one by one anyway."""
        if not self._sessions_by_order:
            return set()
        sessions: set[Session] = set()
        for order_id in {event.order_id for event in events}:
            sessions |= self._sessions_by_order.get(order_id, set())
        return sessions

    def _schedule_pass(self) -> None:
        """There is something new in the feed: a round, in the loop's next turn, for all that is published in this one."""
        if not self._pass_due:
            self._pass_due = True
            self._pass_done.clear()
            if not self._pass_remaining:
                asyncio.get_running_loop().call_soon(self._run_slice)

    def _run_slice(self) -> None:
        """A slice of a round. Each round begins with another session: nobody is always the last."""
        if not self._pass_remaining:
            self._pass_due = False
            self._pass_count += 1
            # Crowds first: who stands apart, and has got everything, may join one.
            self._pass_remaining = [*self._rotated(self._detached), *self._rotated(self._cohorts)]
            self._pass_seconds = 0.0
        start, now = time.perf_counter(), time.time()
        told = 0
        with self.batch_writes:
            while self._pass_remaining and told < SLICE_SIZE:
                told += self._deliver(self._pass_remaining.pop(), now)
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
        first = rotation_start(self._pass_count, len(items))
        ordered = list(items)
        return ordered[first:] + ordered[:first]

    def _deliver(self, target: Cohort[Any] | Session, now: float) -> int:
        """Returns how many sessions that is."""
        if isinstance(target, Cohort):
            if target.must_dissolve(now):
                self._pass_remaining += target.dissolve()
                return 0
            count = len(target.members)
            self._guarded(target, target.deliver_broadcast)
            return count
        # (It may have joined one, or have left, since the round began: then it has been told, or is not to be told.)
        if target in self._detached:
            self._guarded(target, partial(target.deliver_broadcast, now))
        return 1

    def _guarded(self, target: Cohort[Any] | Session, action: Callable[[], None]) -> None:
        """What goes wrong there is nobody else's business."""
        try:
            action()
        except Exception:
            log.exception("a session, or a crowd of them, could not be told")
            target.fail()

    def announce_gap(self) -> None:
        """Everybody has to fetch anew."""
        batch = Batch([encode(Resumed(recovered=False))])
        self._broadcast_log.append([batch])
        for session in self._detached:
            if not session.sees_all_events:
                session.send(batch)
        self._schedule_pass()

    def set_totals(self, totals: Totals) -> None:
        """The totals are now these: say so at once, then at most every TOTALS_SECONDS."""
        if totals == self._totals:
            return
        self._totals = totals
        self._totals_batch = None
        if self._totals_timer is None:
            self._announce_totals()
        else:
            self._totals_pending = True

    def totals_batch(self) -> Batch:
        """The totals of this moment as a frame, encoded once for all."""
        if self._totals_batch is None:
            self._totals_batch = Batch([encode(AnalyticsUpdate(self._totals))])
            self._totals_batch.is_totals = True
        self._totals_batch.offset = self._broadcast_log.end_offset
        return self._totals_batch

    def _announce_totals(self) -> None:
        self._totals_pending = False
        self._broadcast_log.totals_version += 1
        self._schedule_pass()
        self._totals_timer = asyncio.get_running_loop().call_later(TOTALS_INTERVAL, self._on_totals_timer)

    def _on_totals_timer(self) -> None:
        self._totals_timer = None
        if self._totals_pending:
            self._announce_totals()

    async def wait_writable(self) -> None:
        """Let the sessions be told and drain before more comes, but wait for nobody who is much slower than half of them."""
        await self._pass_done.wait()
        # (Who is in a crowd has nothing waiting: the round is over.)
        live = len(self._detached) + sum(len(crowd.members) for crowd in self._cohorts)
        await wait_while_congested(self._detached, live, self._published_bytes)

    # ---------------------------------------------------------------- heartbeat and drain

    async def heartbeat(self, interval_seconds: float) -> None:
        """Ping everybody every interval, for as long as this task lives."""
        while True:
            await asyncio.sleep(interval_seconds)
            # Each once, wherever it goes meanwhile.
            alone = [session for session in self._sessions if session.cohort is None]
            for crowd, members in [(crowd, list(crowd.members)) for crowd in self._cohorts]:
                self._guarded(crowd, partial(crowd.ping, members))
                await asyncio.sleep(0)
            for session in alone:
                session.ping()

    async def drain(self, timeout_seconds: float) -> None:
        """Flush every session, close it with "come back", and wait until all have left."""
        if self._totals_timer is not None:
            self._totals_timer.cancel()
            self._totals_timer = None
        if self._totals_pending:
            self._broadcast_log.totals_version += 1
        for session in self._sessions:
            session.close(CloseCode.DRAIN)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d sessions did not close in %.0f s: cut off", len(self._sessions), timeout_seconds)
