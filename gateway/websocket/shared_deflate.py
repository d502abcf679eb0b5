"""One DEFLATE stream shared by all clients: each broadcast message is compressed once, and all clients get the same bytes.

A compressed message may refer to earlier ones, which the receiver keeps in its LZ77 window (RFC 7692 section 7.2). So a client
can follow the shared stream from a *join point* on, where the compressor was reset, if it gets every later message of the
stream in order. Uncompressed messages do not touch the window (section 7.2.2), so messages for one client can be sent in
between.

The stream consists of the batches of the broadcast log, from some offset on and without a gap, and of totals between them. It
is a singly linked list of segments: each client holds the last segment that it got, and through it all later ones. Segments
that every client has passed are freed by reference counting. ``Follower.segment`` moves with the bytes that are written, so it
always tells what is in the client's window. Where the next segments are not what the session is to get next, the client stops
following: it gets its messages uncompressed until the next join point.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

from gateway.websocket.frames import compressed_text_frame
from gateway.websocket.permessage_deflate import EMPTY_UNCOMPRESSED_BLOCK, WINDOW_BITS
from push.delivery.batch import Batch

__all__ = ["Follower", "Segment", "SharedDeflate"]

# Level 3: half the CPU time of the default (6) for a tenth more bytes. There is one compressor, so memory level 9 costs little.
COMPRESSION_LEVEL, MEMORY_LEVEL = 3, 9
# A join point empties the window of all followers, which makes the next messages some 400 bytes larger in total for each of
# them. It pays off once the waiting clients have got that many bytes uncompressed, or JOIN_INTERVAL_BYTES after the last one.
JOIN_COST_BYTES = 400
JOIN_INTERVAL_BYTES = 64 * 1024
# A follower further behind stops following: a conflating session is never closed as slow, so its segments would pile up.
MAX_LAG_BYTES = 8 * 1024**2


def _new_compressor() -> zlib._Compress:
    return zlib.compressobj(COMPRESSION_LEVEL, zlib.DEFLATED, -WINDOW_BITS, MEMORY_LEVEL)


class Segment:
    """A batch in the stream. ``end_byte``: payload bytes from the start of the stream up to the end of this batch."""

    __slots__ = ("batch", "data", "end_byte", "next")

    def __init__(self, batch: Batch, data: bytes, start_byte: int = 0) -> None:
        self.batch = batch
        self.data = data
        self.end_byte = start_byte + batch.size
        self.next: Segment | None = None


class Follower(Protocol):
    """A client that negotiated compression, or a cohort of such clients at the same segment.

    ``segment``: the last segment that it got; None while it does not follow the stream.
    """

    segment: Segment | None

    @property
    def client_count(self) -> int:
        """1, or the number of clients in the cohort."""


class SharedDeflate:
    """The stream and its compressor. Owned by the Broadcaster."""

    def __init__(self) -> None:
        self._zlib_compressor = _new_compressor()
        self._tail = Segment(Batch(()), b"")
        # Offset in the broadcast log of the batch that the stream gets next.
        self._end_offset = 0
        # The segment before the newest join point, while clients can still join there.
        self._join_point: Segment | None = None
        self._follower_count = 0
        # The totals that were appended last.
        self._last_totals: Batch | None = None
        # Payload bytes since the join point, and those that clients waiting for the next one have got uncompressed.
        self._bytes_since_join_point = self._uncompressed_bytes = 0
        # Per segment (None: waiting), of the last follower there: its batches, the frames, its new segment, and how many
        # uncompressed bytes each of its clients got while waiting. Valid for one flush pass.
        self._encoded_cache: dict[Segment | None, tuple[list[Batch], bytes, Segment | None, int]] = {}

    def encode(self, batches: list[Batch], follower: Follower, encode_plain: Callable[[Batch], bytes]) -> bytes:
        """Encode the batches for this follower, which must then be written the result.

        Batches without an offset are its own messages; the others are the next ones of the broadcast log, and totals.
        """
        segment = follower.segment
        cached = self._encoded_cache.get(segment)
        if cached is None or cached[0] != batches:
            uncompressed_before = self._uncompressed_bytes
            frames = b"".join(self._encode_batch(follower, batch) or encode_plain(batch) for batch in batches)
            waiting = segment is None and follower.segment is None
            self._encoded_cache[segment] = (
                batches,
                frames,
                follower.segment,
                (self._uncompressed_bytes - uncompressed_before) // follower.client_count if waiting else 0,
            )
            return frames
        _, frames, new_segment, uncompressed_bytes = cached
        if segment is None or new_segment is None:
            self._uncompressed_bytes += uncompressed_bytes * follower.client_count
            self._set_segment(follower, new_segment)
        else:
            follower.segment = new_segment
        return frames

    def remove(self, follower: Follower) -> None:
        """The follower is gone, or is not to follow the stream any more."""
        self._set_segment(follower, None)

    def on_blocked(self, follower: Follower) -> None:
        """The follower's transport is full: it stops following if more than MAX_LAG_BYTES are kept for it."""
        if follower.segment is not None and self._tail.end_byte - follower.segment.end_byte > MAX_LAG_BYTES:
            self._set_segment(follower, None)

    def end_pass(self) -> None:
        """A flush pass is over: the cached results are out of date."""
        self._encoded_cache.clear()

    def _set_segment(self, follower: Follower, segment: Segment | None) -> None:
        self._follower_count += ((segment is not None) - (follower.segment is not None)) * follower.client_count
        follower.segment = segment

    def _encode_batch(self, follower: Follower, batch: Batch) -> bytes | None:
        """The compressed frames up to and including this batch; None if the follower must get the batch uncompressed."""
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
                # The session changed its topics and back, or the stream was restarted at a later offset without it.
                self._set_segment(follower, None)
                return None
            data.append(segment.data)
        self._set_segment(follower, segment)
        return b"".join(data)

    def _encode_totals(self, follower: Follower, batch: Batch) -> bytes | None:
        """Totals belong in the stream exactly after the events that they include (``Batch.offset``)."""
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

    # ---------------------------------------------------------------- the list of segments

    def _try_join(self, follower: Follower, batch: Batch, offset: int, first_part: Batch) -> bool:
        """Make the waiting follower join at this batch, if there is a join point or a new one pays off."""
        join_point = self._join_point
        if join_point is None or join_point.next is None or join_point.next.batch is not first_part:
            if self._follower_count and (
                offset != self._end_offset or not self._reset_pays_off(batch.size * follower.client_count)
            ):
                return False
            if offset < self._end_offset:
                return False
            self._end_offset = offset
            join_point = self._reset_compressor()
        self._set_segment(follower, join_point)
        return True

    def _reset_pays_off(self, extra_bytes: int = 0) -> bool:
        uncompressed_bytes = self._uncompressed_bytes + extra_bytes
        return uncompressed_bytes > 0 and (
            uncompressed_bytes >= self._follower_count * JOIN_COST_BYTES or self._bytes_since_join_point >= JOIN_INTERVAL_BYTES
        )

    def _reset_compressor(self) -> Segment:
        """Make the tail a join point: the next segment refers to none before it."""
        self._zlib_compressor = _new_compressor()
        self._join_point = self._tail
        self._bytes_since_join_point = self._uncompressed_bytes = 0
        self._encoded_cache.pop(None, None)  # waiting clients that come later in this pass can join
        return self._tail

    def _append(self, parts: Sequence[Batch]) -> None:
        """Append the next batches of the broadcast log."""
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
