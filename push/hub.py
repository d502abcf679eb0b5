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

from push.access import Grant
from push.batch import Batch, in_chunks
from push.crowd import Crowd
from push.events import Event
from push.feed import Feed
from push.frames import AnalyticsUpdate, Close, Resumed, encode
from push.metrics import Metrics
from push.room import drained
from push.session import Session
from push.totals import Totals

__all__ = ["SLICE", "Hub", "turned"]

log = logging.getLogger("orderwire.hub")

# analytics_update goes out at most this often.
TOTALS_SECONDS = 0.1
# Sessions that are told in one go; what else is going on gets a turn in between.
SLICE = 1000
# By what part of them a round begins later than the one before: the golden one, so that it is hardly ever the same session
# again, however many there are.
TURN = (5**0.5 - 1) / 2

T = TypeVar("T")
C = TypeVar("C", bound=Crowd[Any])


def turned(time: int, count: int) -> int:
    """With which of so many to begin this time."""
    return int(time * TURN % 1 * count)


class Hub:
    """All sessions of this process. Its methods do not await (but for ``room``), so what they do is atomic to everyone else."""

    def __init__(self, metrics: Metrics | None = None, *, max_frames: int = 100, max_bytes: int = 1024**2) -> None:
        """``max_frames``, ``max_bytes``: what may be left waiting for a session when more is published."""
        self._metrics = metrics or Metrics()
        self._sessions: set[Session] = set()
        # Those of them that get what is published: each stands in a crowd, or apart. The others are being replayed what they
        # missed, or have not been admitted yet.
        self._crowds: list[Crowd[Any]] = []
        self._apart: set[Session] = set()
        # Those of them that do not get every event one by one, but those of single orders; and these orders.
        self._by_order: dict[int, set[Session]] = {}
        self._singled_out: dict[Session, frozenset[int]] = {}
        self._feed = Feed(max_frames, max_bytes)
        # What is told within, whoever carries it may put off until the end, and send it together. It is set by that one.
        self.together: AbstractContextManager[None, None] = nullcontext()
        # Whom this round has still to tell, the next one last; and whether there must be another one.
        self._round: list[Crowd[Any] | Session] = []
        self._round_due = False
        self._rounds = 0
        self._round_seconds = 0.0
        self._round_over = asyncio.Event()
        self._round_over.set()
        self._unheard: list[Event] = []
        # By the newest publication.
        self._published_bytes = 0
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
            session.go_live(self._feed)
            self._apart.add(session)
            self._index(session)

    def topics_changed(self, session: Session) -> None:
        """What a session follows is different from now on: so it stands apart."""
        if session in self._apart:
            self._index(session)

    def leave(self, session: Session) -> None:
        """The session's transport is gone."""
        session.go_apart()
        self._sessions.discard(session)
        self._apart.discard(session)
        self._find_no_more(session)
        if not self._sessions:
            self._empty.set()

    def crowd(self, make: Callable[[Feed, set[Session], Callable[[], Batch]], C]) -> C:
        """A new crowd, which has a part in the rounds."""
        crowd = make(self._feed, self._apart, self.totals_batch)
        self._crowds.append(crowd)
        return crowd

    def review(self, holds: Callable[[Grant], bool]) -> None:
        """End the sessions whose grant does not hold any more."""
        for session in self._sessions:
            if session.grant is not None and not holds(session.grant):
                session.end(Close.INVALID_TOKEN, flush=False)

    def _index(self, session: Session) -> None:
        self._find_no_more(session)
        if order_ids := session.singles_out:
            self._singled_out[session] = order_ids
        for order_id in order_ids:
            self._by_order.setdefault(order_id, set()).add(session)

    def _find_no_more(self, session: Session) -> None:
        for order_id in self._singled_out.pop(session, ()):
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
        start, batches = self._feed.end, list(in_chunks([event.frame for event in events]))
        self._feed.append(batches, events[-1].frame)
        self._published_bytes = sum(batch.size for batch in batches)
        now = time.time()
        for session in self._of_single_orders(events):
            if session.lapsed(now):
                continue
            if session.sees_all:
                places = (place for place, batch in enumerate(batches, start) for _ in range(batch.count))
                session.keep(zip(places, events, strict=True))
            else:
                session.send(*in_chunks([event.frame for event in session.visible(events)]))
        self._unheard += events
        self.set_totals(totals)
        self._soon()

    def _of_single_orders(self, events: Sequence[Event]) -> set[Session]:
        """Those who follow one of these orders, and do not get all events one by one anyway."""
        if not self._by_order:
            return set()
        sessions: set[Session] = set()
        for order_id in {event.order_id for event in events}:
            sessions |= self._by_order.get(order_id, set())
        return sessions

    def _soon(self) -> None:
        """There is something new in the feed: a round, in the loop's next turn, for all that is published in this one."""
        if not self._round_due:
            self._round_due = True
            self._round_over.clear()
            if not self._round:
                asyncio.get_running_loop().call_soon(self._tell_some)

    def _tell_some(self) -> None:
        """A slice of a round. Each round begins with another session: nobody is always the last."""
        if not self._round:
            self._round_due = False
            self._rounds += 1
            # Crowds first: who stands apart, and has got everything, may join one.
            self._round = [*self._rotated(self._apart), *self._rotated(self._crowds)]
            self._round_seconds = 0.0
        start, now = time.perf_counter(), time.time()
        told = 0
        with self.together:
            while self._round and told < SLICE:
                told += self._tell(self._round.pop(), now)
        self._round_seconds += time.perf_counter() - start
        if not self._round:
            self._metrics.fanned_out(self._unheard, self._round_seconds)
            self._unheard.clear()
        if self._round or self._round_due:
            asyncio.get_running_loop().call_soon(self._tell_some)
        else:
            self._round_over.set()

    def _rotated(self, all_: Collection[T]) -> list[T]:
        first = turned(self._rounds, len(all_))
        ordered = list(all_)
        return ordered[first:] + ordered[:first]

    def _tell(self, whom: Crowd[Any] | Session, now: float) -> int:
        """Returns how many sessions that is."""
        if isinstance(whom, Crowd):
            if whom.must_part(now):
                self._round += whom.scatter()
                return 0
            count = len(whom.members)
            self._carefully(whom, whom.published)
            return count
        # (It may have joined one, or have left, since the round began: then it has been told, or is not to be told.)
        if whom in self._apart:
            self._carefully(whom, partial(whom.published, now))
        return 1

    def _carefully(self, whom: Crowd[Any] | Session, tell: Callable[[], None]) -> None:
        """What goes wrong there is nobody else's business."""
        try:
            tell()
        except Exception:
            log.exception("a session, or a crowd of them, could not be told")
            whom.fail()

    def gap(self) -> None:
        """Everybody has to fetch anew."""
        batch = Batch([encode(Resumed(recovered=False))])
        self._feed.append([batch])
        for session in self._apart:
            if not session.sees_all:
                session.send(batch)
        self._soon()

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
            self._totals_batch.is_totals = True
        self._totals_batch.number = self._feed.end
        return self._totals_batch

    def _tell_totals(self) -> None:
        self._totals_waiting = False
        self._feed.totals_turn += 1
        self._soon()
        self._totals_timer = asyncio.get_running_loop().call_later(TOTALS_SECONDS, self._totals_pause_over)

    def _totals_pause_over(self) -> None:
        self._totals_timer = None
        if self._totals_waiting:
            self._tell_totals()

    async def room(self) -> None:
        """Let the sessions be told and drain before more comes, but wait for nobody who is much slower than half of them."""
        await self._round_over.wait()
        # (Who is in a crowd has nothing waiting: the round is over.)
        live = len(self._apart) + sum(len(crowd.members) for crowd in self._crowds)
        await drained(self._apart, live, self._published_bytes)

    # ---------------------------------------------------------------- heartbeat and drain

    async def heartbeat(self, interval_seconds: float) -> None:
        """Ping everybody every interval, for as long as this task lives."""
        while True:
            await asyncio.sleep(interval_seconds)
            # Each once, wherever it goes meanwhile.
            alone = [session for session in self._sessions if session.crowd is None]
            for crowd, members in [(crowd, list(crowd.members)) for crowd in self._crowds]:
                self._carefully(crowd, partial(crowd.beat, members))
                await asyncio.sleep(0)
            for session in alone:
                session.beat()

    async def drain(self, timeout_seconds: float) -> None:
        """Flush every session, close it with "come back", and wait until all have left."""
        if self._totals_timer is not None:
            self._totals_timer.cancel()
            self._totals_timer = None
        if self._totals_waiting:
            self._feed.totals_turn += 1
        for session in self._sessions:
            session.end(Close.DRAIN)
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._empty.wait()
        except TimeoutError:
            log.warning("%d sessions did not close in %.0f s: cut off", len(self._sessions), timeout_seconds)
