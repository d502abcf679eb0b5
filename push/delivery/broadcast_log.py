"""The broadcast log: what topic ``orders`` carries, kept once for all its sessions. Each has only its offset in the log."""

from __future__ import annotations

import json
from collections.abc import Iterable

from push.delivery.batch import Batch, concat
from push.protocol.messages import Bulk, PositionMessage, encode

__all__ = ["BroadcastLog"]

# Different offsets whose next batch is kept for other sessions.
MAX_CACHED_READS = 16


class BroadcastLog:
    """An append-only sequence of batches, of which the newest are kept, and the version of the totals.

    Publishing costs the same for one reader and for ten thousand. A batch is dropped when a session that has not read it yet
    has more waiting than ``max_messages`` or ``max_bytes``. The bounds apply to what is left over when more is published, not
    to the sum of both, so one large publication does not make slow consumers of all sessions. The relay bounds a publication by
    its pages.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._batches: list[Batch] = []
        # For each of the batches: the number of messages and of bytes published before it.
        self._counts_before: list[tuple[int, int]] = []
        self._message_count = self._byte_count = 0
        # Offset of the oldest batch that is kept. A session below it has overflowed.
        self.first_offset = 0
        # Offset that the next batch will get.
        self.end_offset = 0
        # Incremented when sessions have to send the totals again. Not a batch in the log, since only the newest totals matter.
        self.totals_version = 1
        # Payload of the newest event; empty before the first one.
        self.last_event_payload = b""
        # Results of ``read`` since the last ``append``, by its arguments: other sessions ask for the same.
        self._reads: dict[tuple[int, int], tuple[Batch, int]] = {}
        # The last result of ``bulk_batches``.
        self._bulk_key = (-1, -1)
        self._bulk_batches = (Batch(()), Batch(()))

    def append(self, batches: Iterable[Batch], last_event_payload: bytes | None = None) -> None:
        """Append one publication; ``last_event_payload`` if it contains events. First drops the batches before which a reader
        has more than the bounds waiting, so such a reader has overflowed (its offset is below ``first_offset``).
        """
        self._reads.clear()
        dropped = 0
        for messages_before, bytes_before in self._counts_before:
            if (
                self._message_count - messages_before <= self._max_messages
                and self._byte_count - bytes_before <= self._max_bytes
            ):
                break
            dropped += 1
        if dropped:
            del self._batches[:dropped], self._counts_before[:dropped]
            self.first_offset += dropped
        for batch in batches:
            batch.offset = self.end_offset
            self._batches.append(batch)
            self._counts_before.append((self._message_count, self._byte_count))
            self._message_count += batch.count
            self._byte_count += batch.size
            self.end_offset += 1
        if last_event_payload is not None:
            self.last_event_payload = last_event_payload

    def read(self, offset: int, about_bytes: int) -> tuple[Batch, int]:
        """One batch with what follows ``offset``, up to about ``about_bytes`` but at least one batch of the log, and the offset
        after it. ``offset`` is in the log: ``first_offset <= offset < end_offset``. All readers at one offset get the same
        object, unless they are at more than MAX_CACHED_READS different ones.
        """
        found = self._reads.get((offset, about_bytes))
        if found is None:
            index = offset - self.first_offset
            taken = [self._batches[index]]
            size = taken[0].size
            for batch in self._batches[index + 1 :]:
                if size >= about_bytes:
                    break
                taken.append(batch)
                size += batch.size
            if len(self._reads) >= MAX_CACHED_READS:
                self._reads.clear()
            found = self._reads[offset, about_bytes] = taken[0] if len(taken) == 1 else concat(taken), offset + len(taken)
        return found

    def since(self, offset: int) -> list[Batch]:
        """All batches from ``offset`` on; ``offset`` is not below ``first_offset``."""
        return self._batches[offset - self.first_offset :]

    def messages_before(self, offset: int) -> int:
        """Number of messages ever published before ``offset``, which is not below ``first_offset``."""
        return self._message_count if offset == self.end_offset else self._counts_before[offset - self.first_offset][0]

    def bulk_batches(self, count: int) -> tuple[Batch, Batch]:
        """The ``bulk`` and ``position`` messages that stand for the last ``count`` messages of the log."""
        key = (self.end_offset, count)
        if key != self._bulk_key:
            cursor = json.loads(self.last_event_payload)["id"]
            self._bulk_batches = Batch([encode(Bulk(count))]), Batch([encode(PositionMessage(cursor))])
            self._bulk_key = key
        return self._bulk_batches

    def is_behind(self, offset: int) -> bool:
        """Whether a session at ``offset`` has more than half of the bounds waiting."""
        if offset == self.end_offset:
            return False
        if offset < self.first_offset:
            return True
        messages_before, bytes_before = self._counts_before[offset - self.first_offset]
        return (
            self._message_count - messages_before > self._max_messages // 2
            or self._byte_count - bytes_before > self._max_bytes // 2
        )
