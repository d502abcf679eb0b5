"""The fan-out: what the relay publishes goes to every session, and nobody waits for anybody."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

from push.access import Grant
from push.batch import Batch, in_chunks
from push.events import Event
from push.frames import AnalyticsUpdate, Close, Resumed, encode
from push.metrics import Metrics
from push.session import Session
from push.totals import Totals

__all__ = ["Hub"]

log = logging.getLogger("orderwire.hub")

# analytics_update goes out at most this often.
TOTALS_SECONDS = 0.1
# How long a batch waits for the sessions to drain the one before it: twice as long as half of them needed, at least this
# and at most that.
ROOM_LEAST_SECONDS = 0.02
ROOM_MOST_SECONDS = 1.0


class Hub:
    """All sessions of this process. Its methods do not await (but for ``room``), so what they do is atomic to everyone else."""

    def __init__(self, metrics: Metrics | None = None) -> None:
        self._metrics = metrics or Metrics()
        self._sessions: set[Session] = set()
        # Those of them that get what is published, with the single orders under which each is found; the others are being
        # replayed what they missed, or have not been admitted yet.
        self._live: dict[Session, frozenset[int]] = {}
        # Live ones that get every event, and those that follow single orders.
        self._followers: set[Session] = set()
        self._by_order: dict[int, set[Session]] = {}
        self._totals = Totals()
        self._totals_batch: Batch | None = None
        self._totals_timer: asyncio.TimerHandle | None = None
        self._totals_waiting = False
        self._empty = asyncio.Event()
        self._empty.set()

    # ---------------------------------------------------------------- sessions come and go

    def enter(self, session: Session) -> None:
        """The session gets the heartbeat and takes part in the drain, and nothing that is published before it goes live."""
        self._sessions.add(session)
        self._empty.clear()

    def go_live(self, session: Session) -> None:
        """From here on the session gets everything that is published and that its topics and grant let it see."""
        if session in self._sessions:
            self._withdraw(session)
            self._live[session] = session.order_ids
            if session.sees_all:
                self._followers.add(session)
            for order_id in session.order_ids:
                self._by_order.setdefault(order_id, set()).add(session)

    def topics_changed(self, session: Session) -> None:
        """What a live session follows is different from now on."""
        if session in self._live:
            self.go_live(session)

    def leave(self, session: Session) -> None:
        """The session's transport is gone."""
        self._sessions.discard(session)
        self._withdraw(session)
        if not self._sessions:
            self._empty.set()

    def review(self, holds: Callable[[Grant], bool]) -> None:
        """End the sessions whose grant does not hold any more."""
        for session in self._sessions:
            if session.grant is not None and not holds(session.grant):
                session.end(Close.INVALID_TOKEN, flush=False)

    def _withdraw(self, session: Session) -> None:
        self._followers.discard(session)
        for order_id in self._live.pop(session, ()):
            sessions = self._by_order[order_id]
            sessions.discard(session)
            if not sessions:
                del self._by_order[order_id]

    def __len__(self) -> int:
        return len(self._sessions)

    # ---------------------------------------------------------------- what the relay says

    @property
    def totals(self) -> Totals:
        """At the moment of the last event published."""
        return self._totals

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        """Hand the events to every session that follows them, and the totals after them."""
        start, now = time.perf_counter(), time.time()
        shared = tuple(in_chunks([event.frame for event in events]))
        for session in self._followers:
            # (Asked here first: this is done for everybody, at every event.)
            if now < session.expires_at or not session.lapsed(now):
                session.send(*shared)
        for session in self._of_single_orders(events):
            if not session.lapsed(now):
                session.send(*in_chunks([event.frame for event in session.visible(events)]))
        self.set_totals(totals)
        self._metrics.fanned_out(events, time.perf_counter() - start)

    def _of_single_orders(self, events: Sequence[Event]) -> set[Session]:
        """Those who follow one of these orders, and do not get all events anyway."""
        if not self._by_order:
            return set()
        sessions: set[Session] = set()
        for order_id in {event.order_id for event in events}:
            sessions |= self._by_order.get(order_id, set())
        return sessions - self._followers

    def gap(self) -> None:
        """Everybody has to fetch anew."""
        batch = Batch([encode(Resumed(recovered=False))])
        for session in self._live:
            session.send(batch)

    def set_totals(self, totals: Totals) -> None:
        """The totals are now these: say so at once, then at most every TOTALS_SECONDS."""
        if totals == self._totals:
            return
        self._totals = totals
        self._totals_batch = None
        if self._totals_timer is None:
            self._tell_totals()
        else:
            self._totals_waiting = True

    def totals_batch(self) -> Batch:
        """The totals of this moment as a frame, encoded once for all."""
        if self._totals_batch is None:
            self._totals_batch = Batch([encode(AnalyticsUpdate(self._totals))])
        return self._totals_batch

    def _tell_totals(self) -> None:
        self._totals_waiting = False
        now = time.time()
        for session in self._live:
            if not session.lapsed(now):
                session.totals_changed()
        self._totals_timer = asyncio.get_running_loop().call_later(TOTALS_SECONDS, self._totals_pause_over)

    def _totals_pause_over(self) -> None:
        self._totals_timer = None
        if self._totals_waiting:
            self._tell_totals()

    async def room(self) -> None:
        """Let the sessions drain before more comes, but wait for nobody who is much slower than half of them."""
        loop = asyncio.get_running_loop()
        start = loop.time()
        allowed = ROOM_MOST_SECONDS
        while pressed := sum(session.pressed for session in self._live):
            spent = loop.time() - start
            if pressed <= len(self._live) // 2:
                allowed = min(allowed, max(2 * spent, ROOM_LEAST_SECONDS))
            if spent > allowed:
                return
            await asyncio.sleep(0.001)

    # ---------------------------------------------------------------- heartbeat and drain

    async def heartbeat(self, interval_seconds: float) -> None:
        """Ping everybody every interval, for as long as this task lives."""
        while True:
            await asyncio.sleep(interval_seconds)
            for session in self._sessions:
                session.beat()

    async def drain(self, timeout_seconds: float) -> None:
        """Flush every session, close it with "come back", and wait until all have left."""
        if self._totals_timer is not None:
            self._totals_timer.cancel()
            self._totals_timer = None
        for session in self._sessions:
            if self._totals_waiting:
                session.totals_changed()
            session.end(Close.DRAIN)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d sessions did not close in %.0f s: cut off", len(self._sessions), timeout_seconds)
