"""Sessions that stand at one place in the feed, told as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from push.batch import CHUNK_BYTES, Batch
from push.feed import Feed
from push.session import PING_BATCH, Carrier, Session

__all__ = ["MOST", "Crowd"]

# Members of one crowd: what is written to all of them is written in one turn of the loop.
MOST = 1000

C = TypeVar("C", bound=Carrier)


class Crowd(Generic[C]):
    """Sessions that get whatever goes to everybody, have got all of it, have nothing of their own waiting, and whose carriers
    can write at once. What comes next is taken once for all of them, and ``carry`` writes it to all: nobody is looked at.

    Whoever has something of its own to do, or to get, goes apart first, and stands by itself where its crowd stood. So at any
    moment a session is in one crowd, or is one of ``apart``, and its place is the crowd's, or its own.
    """

    def __init__(self, feed: Feed, apart: set[Session], totals: Callable[[], Batch]) -> None:
        self._feed = feed
        self._apart = apart
        self._totals = totals
        # Where all of them stand: see Session.
        self.place, self.turn = feed.end, feed.totals_turn
        # Nobody's grant runs out before.
        self._expires_at = math.inf
        self.members: dict[Session, C] = {}

    def carry(self, batches: list[Batch]) -> None:
        """Write them to all members. Whoever does not take all of it at once is apart by the end of this call."""
        raise NotImplementedError

    # ---------------------------------------------------------------- members

    @property
    def up_to_date(self) -> bool:
        """Whether it has got all that is published."""
        return self.place == self._feed.end and self.turn == self._feed.totals_turn

    @property
    def is_full(self) -> bool:
        """Whether nobody else can join, unless somebody leaves."""
        return len(self.members) >= MOST

    def join(self, session: Session, carrier: C) -> bool:
        """The session is at rest (``Session.at_rest``). False when it cannot join this one, or not now."""
        if not self.members:
            self.place, self.turn, self._expires_at = self._feed.end, self._feed.totals_turn, math.inf
        elif self.is_full or not self.up_to_date:
            return False
        self.members[session] = carrier
        self._expires_at = min(self._expires_at, session.expires_at)
        self._apart.discard(session)
        session.crowd = self
        return True

    def leave(self, session: Session) -> tuple[int, int]:
        """The session goes apart: returns its place, and its turn of the totals."""
        del self.members[session]
        self._apart.add(session)
        return self.place, self.turn

    def must_part(self, now: float) -> bool:
        """Whether some have run out of time, or all have too much waiting: then each has to be told by itself."""
        return now >= self._expires_at or self.place < self._feed.first

    def scatter(self) -> list[Session]:
        """All go apart; returns who they were."""
        members = list(self.members)
        for session in members:
            session.go_apart()
        return members

    # ---------------------------------------------------------------- what all of them are told

    def published(self) -> None:
        """As ``Session.published``, for all members. They need not part (``must_part``)."""
        feed = self._feed
        while self.members and not self.up_to_date:
            batches = []
            if self.place != feed.end:
                batch, self.place = feed.next(self.place, CHUNK_BYTES)
                batches.append(batch)
            if self.place == feed.end and self.turn != feed.totals_turn:
                self.turn = feed.totals_turn
                batches.append(self._totals())
            self.carry(batches)

    def beat(self, members: Iterable[Session]) -> None:
        """As ``Session.beat``, for those who are members, or were a moment ago."""
        for session in members:
            if session.crowd is self:
                session.missed_heartbeat()
            else:
                session.beat()
        if self.members:
            self.carry([PING_BATCH])

    def fail(self) -> None:
        """As ``Session.fail``, for all members."""
        for session in self.scatter():
            session.fail()
