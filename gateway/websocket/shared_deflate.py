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

from gateway.websocket.frames import compressed_text_frame
from gateway.websocket.permessage_deflate import EMPTY_UNCOMPRESSED_BLOCK, WINDOW_BITS
from push.delivery.batch import Batch

__all__ = ["Follower", "Segment", "SharedDeflate"]

# Half the work of the usual level (6) for a tenth more bytes; one compressor, so its memory (9: the most) does not matter.
COMPRESSION_LEVEL, MEMORY_LEVEL = 3, 9
# A joining point empties everybody's window: that makes the next messages some 400 bytes larger, all together, for each client
# that has joined. It pays when those who wait for it have lost as much, or else after as many bytes as to forget the cost.
JOIN_COST_BYTES = 400
JOIN_INTERVAL_BYTES = 64 * 1024
# Who is further behind than so many bytes is let go of: a session that conflates is never ended for being slow.
MAX_LAG_BYTES = 8 * 1024**2


def _new_compressor() -> zlib._Compress:
    return zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, -WINDOW_BITS, MEMORY_LEVEL)


class Segment:
    """A batch as the stream has it. ``end_byte``: how many bytes that are there were, from the first one ever, up to its end."""

    __slots__ = ("batch", "data", "end_byte", "next")

    def __init__(self, batch: Batch, data: bytes, start_byte: int = 0) -> None:
        self.batch = batch
        self.data = data
        self.end_byte = start_byte + batch.size
        self.next: Segment | None = None


class Follower(Protocol):
    """A client that can inflate, or several who stand at the same place. ``at``: the segment that they got last; None: they
    have not joined.
    """

    segment: Segment | None

    @property
    def client_count(self) -> int:
        """How many they are."""


class SharedDeflate:
    """What has been compressed, and who gets it."""

    def __init__(self) -> None:
        self._zlib_compressor = _new_compressor()
        self._tail = Segment(Batch(()), b"")
        # Number of the batch of the feed that comes next.
        self._end_offset = 0
        # The segment before the newest joining point, while clients may stand there.
        self._join_point: Segment | None = None
        self._follower_count = 0
        # The totals that were added last.
        self._last_totals: Batch | None = None
        # Bytes since the joining point, and those that clients who wait for the next one got uncompressed.
        self._bytes_since_join_point = self._uncompressed_bytes = 0
        # For each place in the chain what its last client was given, and to where; and how much that is to one who waits.
        self._encoded_cache: dict[Segment | None, tuple[list[Batch], bytes, Segment | None, int]] = {}

    def encode(self, batches: list[Batch], follower: Follower, encode_plain: Callable[[Batch], bytes]) -> bytes:
        """The batches for this client, which is to be written them. It follows everything that goes to everybody."""
        at = follower.segment
        given = self._encoded_cache.get(at)
        if given is None or given[0] != batches:
            missed = self._uncompressed_bytes
            frames = b"".join(self._encode_batch(follower, batch) or encode_plain(batch) for batch in batches)
            waits = at is None and follower.segment is None
            self._encoded_cache[at] = (
                batches,
                frames,
                follower.segment,
                (self._uncompressed_bytes - missed) // follower.client_count if waits else 0,
            )
            return frames
        _, frames, to, missed = given
        if at is None or to is None:
            self._uncompressed_bytes += missed * follower.client_count
            self._set_segment(follower, to)
        else:
            follower.segment = to
        return frames

    def remove(self, follower: Follower) -> None:
        """It has gone, or is not to follow any more."""
        self._set_segment(follower, None)

    def on_blocked(self, follower: Follower) -> None:
        """It takes nothing: what is kept for it is kept within a bound."""
        if follower.segment is not None and self._tail.end_byte - follower.segment.end_byte > MAX_LAG_BYTES:
            self._set_segment(follower, None)

    def end_pass(self) -> None:
        """A round is over: nobody stands where the last ones stood."""
        self._encoded_cache.clear()

    def _set_segment(self, follower: Follower, segment: Segment | None) -> None:
        self._follower_count += ((segment is not None) - (follower.segment is not None)) * follower.client_count
        follower.segment = segment

    def _encode_batch(self, follower: Follower, batch: Batch) -> bytes | None:
        """What brings the client this batch, and whatever comes before it; None when it is to have it uncompressed."""
        if batch.offset is None:
            return None
        if batch.is_totals:
            return self._encode_totals(follower, batch)
        return self._encode_published(follower, batch, batch.offset, batch.parts or (batch,))

    def _encode_published(self, follower: Follower, batch: Batch, offset: int, parts: Sequence[Batch]) -> bytes | None:
        if follower.segment is None and not self._try_join(follower, batch, offset, parts[0]):
            self._uncompressed_bytes += batch.size * follower.client_count
            return None
        if offset <= self._end_offset < offset + len(parts):
            self._append(parts[self._end_offset - offset :])
        data = []
        segment = follower.segment
        for part in parts:
            segment = segment and segment.next
            while segment is not None and segment.batch.is_totals:
                data.append(segment.data)
                segment = segment.next
            if segment is None or segment.batch is not part:
                # Its session has gone other ways meanwhile (other topics), or the stream has begun anew without it.
                self._set_segment(follower, None)
                return None
            data.append(segment.data)
        self._set_segment(follower, segment)
        return b"".join(data)

    def _encode_totals(self, follower: Follower, batch: Batch) -> bytes | None:
        """In the stream they come where they are right: after exactly the events that they include (``number``)."""
        segment, data = follower.segment, list[bytes]()
        if segment is None:
            return None
        while segment.next is not None and segment.next.batch.is_totals:
            segment = segment.next
            data.append(segment.data)
            if segment.batch is batch:
                self._set_segment(follower, segment)
                return b"".join(data)
        if segment is not self._tail or batch.offset != self._end_offset or batch is self._last_totals:
            return None
        self._last_totals = batch
        self._append_segment(batch)
        self._set_segment(follower, self._tail)
        return b"".join([*data, self._tail.data])

    # ---------------------------------------------------------------- the chain

    def _try_join(self, follower: Follower, batch: Batch, offset: int, first_part: Batch) -> bool:
        """Whether a client that waits can follow from this batch on."""
        joint = self._join_point
        if joint is None or joint.next is None or joint.next.batch is not first_part:
            if self._follower_count and (
                offset != self._end_offset or not self._reset_pays_off(batch.size * follower.client_count)
            ):
                return False
            if offset < self._end_offset:
                return False
            self._end_offset = offset
            joint = self._reset_compressor()
        self._set_segment(follower, joint)
        return True

    def _reset_pays_off(self, extra_bytes: int = 0) -> bool:
        missed = self._uncompressed_bytes + extra_bytes
        return missed > 0 and (
            missed >= self._follower_count * JOIN_COST_BYTES or self._bytes_since_join_point >= JOIN_INTERVAL_BYTES
        )

    def _reset_compressor(self) -> Segment:
        """Whatever is added next refers to nothing before."""
        self._zlib_compressor = _new_compressor()
        self._join_point = self._tail
        self._bytes_since_join_point = self._uncompressed_bytes = 0
        self._encoded_cache.pop(None, None)  # those who wait, and are still to be written to, can join
        return self._tail

    def _append(self, parts: Sequence[Batch]) -> None:
        """The feed goes on."""
        if self._reset_pays_off():
            self._reset_compressor()
        elif self._join_point is not self._tail:
            self._join_point = None
        for part in parts:
            self._append_segment(part)
            self._bytes_since_join_point += part.size
        self._end_offset += len(parts)

    def _append_segment(self, batch: Batch) -> None:
        self._tail.next = Segment(batch, b"".join(map(self._compress, batch.messages)), self._tail.end_byte)
        self._tail = self._tail.next

    def _compress(self, frame: bytes) -> bytes:
        data = self._zlib_compressor.compress(frame) + self._zlib_compressor.flush(zlib.Z_SYNC_FLUSH)
        return compressed_text_frame(data[: -len(EMPTY_UNCOMPRESSED_BLOCK)])
