"""Cohorts: sessions at one offset in the broadcast log, served together by one write."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from push.delivery.batch import CHUNK_BYTES, Batch
from push.delivery.broadcast_log import BroadcastLog
from push.delivery.session import PING_BATCH, Session
from push.delivery.session_transport import SessionTransport

__all__ = ["MAX_MEMBERS", "Cohort"]

# A cohort is written to in one callback of the event loop, which this bounds.
MAX_MEMBERS = 1000

T = TypeVar("T", bound=SessionTransport)


class Cohort(Generic[T]):
    """Caught-up sessions that receive everything that is broadcast, have nothing of their own waiting, and whose transports
    accept data. What is published next is read once for all of them, and ``write_all`` writes it to all.

    Made by ``Hub.create_cohort`` for the gateway, which implements ``write_all``. A session that gets a message of its own, or
    cannot be written to, detaches first and continues at the cohort's offset. So a live session is either a member of one
    cohort or in the hub's set ``detached``.
    """

    def __init__(self, broadcast_log: BroadcastLog, detached: set[Session], get_totals: Callable[[], Batch]) -> None:
        self._broadcast_log = broadcast_log
        self._detached = detached
        self._get_totals = get_totals
        # Of all members; see the attributes of Session.
        self.offset, self.totals_seen = broadcast_log.end_offset, broadcast_log.totals_version
        # No grant of a member expires before this time.
        self._earliest_expiry = math.inf
        self.members: dict[Session, T] = {}

    def write_all(self, batches: list[Batch]) -> None:
        """Write the batches to all members. A member that does not take all of it at once must be detached by the return."""
        raise NotImplementedError

    # ---------------------------------------------------------------- members

    @property
    def is_caught_up(self) -> bool:
        """Whether the members have been sent everything that is published."""
        return self.offset == self._broadcast_log.end_offset and self.totals_seen == self._broadcast_log.totals_version

    @property
    def is_full(self) -> bool:
        """Whether the cohort has MAX_MEMBERS."""
        return len(self.members) >= MAX_MEMBERS

    def join(self, session: Session, client: T) -> bool:
        """Add a caught-up session (``Session.is_caught_up``). False if the cohort is full, or not caught up itself."""
        if not self.members:
            self.offset, self.totals_seen = self._broadcast_log.end_offset, self._broadcast_log.totals_version
            self._earliest_expiry = math.inf
        elif self.is_full or not self.is_caught_up:
            return False
        self.members[session] = client
        self._earliest_expiry = min(self._earliest_expiry, session.expires_at)
        self._detached.discard(session)
        session.cohort = self
        return True

    def leave(self, session: Session) -> tuple[int, int]:
        """Remove a member; called by ``Session.detach``. Returns the member's offset and version of the totals."""
        del self.members[session]
        self._detached.add(session)
        return self.offset, self.totals_seen

    def must_dissolve(self, now: float) -> bool:
        """Whether a grant may have expired, or the cohort has overflowed: then each member has to be served by itself."""
        return now >= self._earliest_expiry or self.offset < self._broadcast_log.first_offset

    def dissolve(self) -> list[Session]:
        """Detach all members; returns them."""
        members = list(self.members)
        for session in members:
            session.detach()
        return members

    # ---------------------------------------------------------------- delivery

    def deliver_broadcast(self) -> int:
        """Write to all members a chunk of what is new in the log; returns the number of bytes. Called by the hub in every pass,
        again while the cohort is not caught up, unless it must dissolve.
        """
        if not self.members or self.is_caught_up:
            return 0
        broadcast_log = self._broadcast_log
        batches = []
        if self.offset != broadcast_log.end_offset:
            batch, self.offset = broadcast_log.read(self.offset, CHUNK_BYTES)
            batches.append(batch)
        if self.offset == broadcast_log.end_offset and self.totals_seen != broadcast_log.totals_version:
            self.totals_seen = broadcast_log.totals_version
            batches.append(self._get_totals())
        size = sum(batch.size for batch in batches) * len(self.members)
        self.write_all(batches)
        return size

    def ping(self, members: Iterable[Session]) -> None:
        """Send a heartbeat to ``members``. The hub lists them before it pings the first cohort; those who have left meanwhile
        get it by their own queue.
        """
        for session in members:
            if session.cohort is self:
                session.record_ping()
            else:
                session.ping()
        if self.members:
            self.write_all([PING_BATCH])

    def send(self, members: Iterable[Session], batch: Batch) -> None:
        """Send a message that is not in the log to ``members``, which the hub has listed before as for ``ping``."""
        for session in members:
            if session.cohort is not self:
                session.send(batch)
        if self.members:
            self.write_all([batch])

    def fail(self) -> None:
        """Close all members after an error of our own (see ``Session.fail``)."""
        for session in self.dissolve():
            session.fail()
