"""What is published to everybody, kept once: each session that follows it has only its place in it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from push.delivery.batch import Batch, concat
from push.protocol.messages import Bulk, PositionMessage, encode

__all__ = ["BroadcastLog"]


class BroadcastLog:
    """Batches, numbered in the order in which they came, and how often the totals have been told.

    Publishing costs the same for one follower and for ten thousand; a batch is forgotten once whoever still waits for it has
    more waiting than a session may. That bound is on what is *left over*: more is accepted as long as a session is within it
    when it comes, so that a single large publication does not make everybody a slow consumer. Publications themselves are
    bounded by the relay's pages.
    """

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._batches: list[Batch] = []
        # Before each of the batches, counted from the first one ever: frames, and bytes.
        self._counts_before: list[tuple[int, int]] = []
        self._message_count = self._byte_count = 0
        # Number of the oldest batch that is kept: whoever stands below has more waiting than it may.
        self.first_offset = 0
        # Number that the next batch will have.
        self.end_offset = 0
        # Rises whenever the totals are to be told again: a slot, since only the newest matter.
        self.totals_version = 1
        # The frame of the newest event; empty before the first one.
        self.last_event_payload = b""
        # What the last follower got: mostly the next one stands at the same place.
        self._read_key: tuple[int, int, int] | None = None
        self._read_batch = Batch(())
        self._read_end = 0
        # What the last one got to whom so many frames were too much, by now.
        self._bulk_key = (-1, -1)
        self._bulk_batches = (self._read_batch, self._read_batch)

    def append(self, batches: Iterable[Batch], last_event_payload: bytes | None = None) -> None:
        """One publication, and the frame of its last event, if it has any. Those who have more than their bound waiting as it
        comes have overflowed (``first``).
        """
        overflown = 0
        for frames, size in self._counts_before:
            if self._message_count - frames <= self._max_messages and self._byte_count - size <= self._max_bytes:
                break
            overflown += 1
        if overflown:
            del self._batches[:overflown], self._counts_before[:overflown]
            self.first_offset += overflown
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
        """What comes at ``place``, which is from ``first`` to below ``end``: at least one batch, up to about that many bytes,
        as one; and the place after it.
        """
        asked = (offset, self.end_offset, about_bytes)
        if asked != self._read_key:
            at = offset - self.first_offset
            taken = [self._batches[at]]
            size = taken[0].size
            for batch in self._batches[at + 1 :]:
                if size >= about_bytes:
                    break
                taken.append(batch)
                size += batch.size
            self._read_batch = taken[0] if len(taken) == 1 else concat(taken)
            self._read_end = offset + len(taken)
            self._read_key = asked
        return self._read_batch, self._read_end

    def since(self, offset: int) -> list[Batch]:
        """Everything from ``place`` on, which is not below ``first``."""
        return self._batches[offset - self.first_offset :]

    def messages_before(self, offset: int) -> int:
        """How many there were, from the first one ever; ``place`` is not below ``first``."""
        return self._message_count if offset == self.end_offset else self._counts_before[offset - self.first_offset][0]

    def bulk_batches(self, count: int) -> tuple[Batch, Batch]:
        """For whoever does not want the last ``count_rejection`` frames one by one: that they have been, and where they end."""
        asked = (self.end_offset, count)
        if asked != self._bulk_key:
            cursor = json.loads(self.last_event_payload)["id"]
            self._bulk_batches = Batch([encode(Bulk(count))]), Batch([encode(PositionMessage(cursor))])
            self._bulk_key = asked
        return self._bulk_batches

    def is_behind(self, offset: int) -> bool:
        """Whether more than half of the bounds waits for whoever stands at ``place``."""
        if offset == self.end_offset:
            return False
        if offset < self.first_offset:
            return True
        frames, size = self._counts_before[offset - self.first_offset]
        return self._message_count - frames > self._max_messages // 2 or self._byte_count - size > self._max_bytes // 2
