"""Sessions that stand at one place in the feed, told as one."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from push.delivery.batch import CHUNK_BYTES, Batch
from push.delivery.broadcast_log import BroadcastLog
from push.delivery.session import PING_BATCH, Session, SessionTransport

__all__ = ["MAX_MEMBERS", "Cohort"]

# Members of one crowd: what is written to all of them is written in one turn of the loop.
MAX_MEMBERS = 1000

C = TypeVar("C", bound=SessionTransport)


class Cohort(Generic[C]):
    """Sessions that get whatever goes to everybody, have got all of it, have nothing of their own waiting, and whose carriers
    can write at once. What comes next is taken once for all of them, and ``carry`` writes it to all: nobody is looked at.

    Whoever has something of its own to do, or to get, goes apart first, and stands by itself where its crowd stood. So at any
    moment a session is in one crowd, or is one of ``detached``, and its place is the crowd's, or its own.
    """

    def __init__(self, broadcast_log: BroadcastLog, detached: set[Session], get_totals: Callable[[], Batch]) -> None:
        self._broadcast_log = broadcast_log
        self._detached = detached
        self._get_totals = get_totals
        # Where all of them stand: see Session.
        self.offset, self.totals_seen = broadcast_log.end_offset, broadcast_log.totals_version
        # Nobody's grant runs out before.
        self._earliest_expiry = math.inf
        self.members: dict[Session, C] = {}

    def write_all(self, batches: list[Batch]) -> None:
        """Write them to all members. Whoever does not take all of it at once is apart by the end of this call."""
        raise NotImplementedError

    # ---------------------------------------------------------------- members

    @property
    def is_caught_up(self) -> bool:
        """Whether it has got all that is published."""
        return self.offset == self._broadcast_log.end_offset and self.totals_seen == self._broadcast_log.totals_version

    @property
    def is_full(self) -> bool:
        """Whether nobody else can join, unless somebody leaves."""
        return len(self.members) >= MAX_MEMBERS

    def join(self, session: Session, transport: C) -> bool:
        """The session is at rest (``Session.is_caught_up``). False when it cannot join this one, or not now."""
        if not self.members:
            self.offset, self.totals_seen, self._earliest_expiry = (
                self._broadcast_log.end_offset,
                self._broadcast_log.totals_version,
                math.inf,
            )
        elif self.is_full or not self.is_caught_up:
            return False
        self.members[session] = transport
        self._earliest_expiry = min(self._earliest_expiry, session.expires_at)
        self._detached.discard(session)
        session.cohort = self
        return True

    def leave(self, session: Session) -> tuple[int, int]:
        """The session goes apart: returns its place, and its turn of the totals."""
        del self.members[session]
        self._detached.add(session)
        return self.offset, self.totals_seen

    def must_dissolve(self, now: float) -> bool:
        """Whether some have run out of time, or all have too much waiting: then each has to be told by itself."""
        return now >= self._earliest_expiry or self.offset < self._broadcast_log.first_offset

    def dissolve(self) -> list[Session]:
        """All go apart; returns who they were."""
        members = list(self.members)
        for session in members:
            session.detach()
        return members

    # ---------------------------------------------------------------- what all of them are told

    def deliver_broadcast(self) -> None:
        """As ``Session.published``, for all members. They need not part (``must_dissolve``)."""
        feed = self._broadcast_log
        while self.members and not self.is_caught_up:
            batches = []
            if self.offset != feed.end_offset:
                batch, self.offset = feed.read(self.offset, CHUNK_BYTES)
                batches.append(batch)
            if self.offset == feed.end_offset and self.totals_seen != feed.totals_version:
                self.totals_seen = feed.totals_version
                batches.append(self._get_totals())
            self.write_all(batches)

    def ping(self, members: Iterable[Session]) -> None:
        """As ``Session.ping``, for those who are members, or were a moment ago."""
        for session in members:
            if session.cohort is self:
                session.record_ping()
            else:
                session.ping()
        if self.members:
            self.write_all([PING_BATCH])

    def fail(self) -> None:
        """As ``Session.fail``, for all members."""
        for session in self.dissolve():
            session.fail()
