"""One deflate stream for all: what goes to everybody is compressed once, and everybody gets the same bytes (RFC 7692).

A compressed message may refer to the ones before it, in the receiver's window. So a client can follow the stream from a
*joining point* on, where nothing refers to before, as long as it gets every message of the stream from there, in order. What is
not compressed does not touch the window (section 7.2.2): what is for one client alone can go in between.

The stream is the feed, from some batch on and without a gap, and between its batches the totals. It is a chain: each client
holds the segment that it got last, and that one holds all later ones; those before, which nobody stands at, are gone by
themselves. A client is given what follows its segment, or nothing of the stream: ``at`` moves with the bytes, so it tells what
is in the client's window. Where the chain is not what the session is to get next, the client gets that uncompressed, and waits
for another joining point.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.deflate import TAIL, WINDOW_BITS
from gateway.framing import compressed_text
from push.batch import Batch

__all__ = ["Follower", "Segment", "Stream"]

# Half the work of the usual level (6) for a tenth more bytes; one compressor, so its memory (9: the most) does not matter.
LEVEL, MEMORY = 3, 9
# A joining point empties everybody's window: that makes the next messages some 400 bytes larger, all together, for each client
# that has joined. It pays when those who wait for it have lost as much, or else after as many bytes as to forget the cost.
JOINING_COSTS = 400
JOINING_PAUSE = 64 * 1024
# Who is further behind than so many bytes is let go of: a session that conflates is never ended for being slow.
MOST_BEHIND = 8 * 1024**2


def _compressor() -> zlib._Compress:
    return zlib.compressobj(LEVEL, zlib.DEFLATED, -WINDOW_BITS, MEMORY)


class Segment:
    """A batch as the stream has it. ``reached``: how many bytes that are there were, from the first one ever, up to its end."""

    __slots__ = ("batch", "data", "next", "reached")

    def __init__(self, batch: Batch, data: bytes, before: int = 0) -> None:
        self.batch = batch
        self.data = data
        self.reached = before + batch.size
        self.next: Segment | None = None


class Follower(Protocol):
    """A client that can inflate, or several who stand at the same place. ``at``: the segment that they got last; None: they
    have not joined.
    """

    at: Segment | None

    @property
    def clients(self) -> int:
        """How many they are."""


class Stream:
    """What has been compressed, and who gets it."""

    def __init__(self) -> None:
        self._deflate = _compressor()
        self._tail = Segment(Batch(()), b"")
        # Number of the batch of the feed that comes next.
        self._end = 0
        # The segment before the newest joining point, while clients may stand there.
        self._joint: Segment | None = None
        self._members = 0
        # The totals that were added last.
        self._told: Batch | None = None
        # Bytes since the joining point, and those that clients who wait for the next one got uncompressed.
        self._since = self._missed = 0
        # For each place in the chain what its last client was given, and to where; and how much that is to one who waits.
        self._given: dict[Segment | None, tuple[list[Batch], bytes, Segment | None, int]] = {}

    def encoded(self, batches: list[Batch], follower: Follower, plain: Callable[[Batch], bytes]) -> bytes:
        """The batches for this client, which is to be written them. It follows everything that goes to everybody."""
        at = follower.at
        given = self._given.get(at)
        if given is None or given[0] != batches:
            missed = self._missed
            frames = b"".join(self._next(follower, batch) or plain(batch) for batch in batches)
            waits = at is None and follower.at is None
            self._given[at] = batches, frames, follower.at, (self._missed - missed) // follower.clients if waits else 0
            return frames
        _, frames, to, missed = given
        if at is None or to is None:
            self._missed += missed * follower.clients
            self._move(follower, to)
        else:
            follower.at = to
        return frames

    def leave(self, follower: Follower) -> None:
        """It has gone, or is not to follow any more."""
        self._move(follower, None)

    def stuck(self, follower: Follower) -> None:
        """It takes nothing: what is kept for it is kept within a bound."""
        if follower.at is not None and self._tail.reached - follower.at.reached > MOST_BEHIND:
            self._move(follower, None)

    def rest(self) -> None:
        """A round is over: nobody stands where the last ones stood."""
        self._given.clear()

    def _move(self, follower: Follower, to: Segment | None) -> None:
        self._members += ((to is not None) - (follower.at is not None)) * follower.clients
        follower.at = to

    def _next(self, follower: Follower, batch: Batch) -> bytes | None:
        """What brings the client this batch, and whatever comes before it; None when it is to have it uncompressed."""
        if batch.number is None:
            return None
        if batch.is_totals:
            return self._totals(follower, batch)
        return self._published(follower, batch, batch.number, batch.parts or (batch,))

    def _published(self, follower: Follower, batch: Batch, number: int, parts: Sequence[Batch]) -> bytes | None:
        if follower.at is None and not self._let_in(follower, batch, number, parts[0]):
            self._missed += batch.size * follower.clients
            return None
        if number <= self._end < number + len(parts):
            self._append(parts[self._end - number :])
        data = []
        segment = follower.at
        for part in parts:
            segment = segment and segment.next
            while segment is not None and segment.batch.is_totals:
                data.append(segment.data)
                segment = segment.next
            if segment is None or segment.batch is not part:
                # Its session has gone other ways meanwhile (other topics), or the stream has begun anew without it.
                self._move(follower, None)
                return None
            data.append(segment.data)
        self._move(follower, segment)
        return b"".join(data)

    def _totals(self, follower: Follower, batch: Batch) -> bytes | None:
        """In the stream they come where they are right: after exactly the events that they include (``number``)."""
        segment, data = follower.at, list[bytes]()
        if segment is None:
            return None
        while segment.next is not None and segment.next.batch.is_totals:
            segment = segment.next
            data.append(segment.data)
            if segment.batch is batch:
                self._move(follower, segment)
                return b"".join(data)
        if segment is not self._tail or batch.number != self._end or batch is self._told:
            return None
        self._told = batch
        self._add(batch)
        self._move(follower, self._tail)
        return b"".join([*data, self._tail.data])

    # ---------------------------------------------------------------- the chain

    def _let_in(self, follower: Follower, batch: Batch, number: int, first: Batch) -> bool:
        """Whether a client that waits can follow from this batch on."""
        joint = self._joint
        if joint is None or joint.next is None or joint.next.batch is not first:
            if self._members and (number != self._end or not self._pays(batch.size * follower.clients)):
                return False
            if number < self._end:
                return False
            self._end = number
            joint = self._begin_anew()
        self._move(follower, joint)
        return True

    def _pays(self, more: int = 0) -> bool:
        missed = self._missed + more
        return missed > 0 and (missed >= self._members * JOINING_COSTS or self._since >= JOINING_PAUSE)

    def _begin_anew(self) -> Segment:
        """Whatever is added next refers to nothing before."""
        self._deflate = _compressor()
        self._joint = self._tail
        self._since = self._missed = 0
        self._given.pop(None, None)  # those who wait, and are still to be written to, can join
        return self._tail

    def _append(self, parts: Sequence[Batch]) -> None:
        """The feed goes on."""
        if self._pays():
            self._begin_anew()
        elif self._joint is not self._tail:
            self._joint = None
        for part in parts:
            self._add(part)
            self._since += part.size
        self._end += len(parts)

    def _add(self, batch: Batch) -> None:
        self._tail.next = Segment(batch, b"".join(map(self._compressed, batch.frames)), self._tail.reached)
        self._tail = self._tail.next

    def _compressed(self, frame: bytes) -> bytes:
        data = self._deflate.compress(frame) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        return compressed_text(data[: -len(TAIL)])
