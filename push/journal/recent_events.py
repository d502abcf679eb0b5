"""The events that this process published most recently, in memory: they answer most resumes without the database."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from itertools import islice

from push.journal.events import Event, EventId, Position, Snapshot

__all__ = ["RecentEvents"]

MAX_EVENTS = 10_000
MAX_BYTES = 16 * 1024**2


class RecentEvents:
    """A bounded log of published events. Each has a sequence number (seq), which ascends by 1 in order of publication.

    Owned by the relay; on the event loop only.
    """

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[Event] = deque()
        # Their ids, which take a while to compute.
        self._ids: deque[EventId] = deque()
        self._by_id: dict[EventId, Event] = {}
        self._bytes = 0
        self._first_seq = 0
        # Watermarks, oldest first, each with the seq of the first event after it.
        self._watermarks: deque[tuple[int, Snapshot]] = deque()

    def reset(self, watermark: Snapshot) -> None:
        """Forget everything: positions have lost their meaning. Skips one seq, so that no seq from before is valid either."""
        self._first_seq = self.next_seq + 1
        self._events.clear()
        self._ids.clear()
        self._by_id.clear()
        self._bytes = 0
        self._watermarks.clear()
        self._watermarks.append((self._first_seq, watermark))

    def append(self, events: Sequence[Event]) -> None:
        """Add events, and drop the oldest ones beyond the limits."""
        for event in events:
            self._events.append(event)
            event_id = event.event_id
            self._ids.append(event_id)
            self._by_id[event_id] = event
            self._bytes += len(event.payload)
        while len(self._events) > self._max_events or self._bytes > self._max_bytes:
            oldest = self._events.popleft()
            del self._by_id[self._ids.popleft()]
            self._bytes -= len(oldest.payload)
            self._first_seq += 1
        while len(self._watermarks) > 1 and self._watermarks[0][0] < self._first_seq:
            self._watermarks.popleft()

    def record_watermark(self, watermark: Snapshot) -> None:
        """Note that everything visible in ``watermark`` has been published."""
        seq = self.next_seq
        # If nothing was published in between, the older watermark still holds, and is covered by more positions.
        if self._watermarks[-1][0] != seq:
            self._watermarks.append((seq, watermark))

    @property
    def next_seq(self) -> int:
        """The seq of the next event to be published."""
        return self._first_seq + len(self._events)

    def find(self, event_id: EventId) -> Event | None:
        return self._by_id.get(event_id)

    def has_since(self, seq: int) -> bool:
        """Whether no event from ``seq`` on has been dropped."""
        return seq >= self._first_seq

    def since(self, seq: int) -> list[Event] | None:
        """The events from ``seq`` on; None if some of them have been dropped."""
        if not self.has_since(seq):
            return None
        return list(islice(self._events, seq - self._first_seq, None))

    def missed(self, position: Position) -> list[Event] | None:
        """The published events that ``position`` misses; None if some of them may have been dropped."""
        possible = self.possibly_missed(position)
        return None if possible is None else position.missing(possible)

    def possibly_missed(self, position: Position) -> list[Event] | None:
        """The published events after the newest watermark that ``position`` covers: it misses none before these.

        None if some of them may have been dropped.
        """
        # What covers a watermark covers every older one, so the newest is found by halves, among those that are retained.
        newest = bisect_left(self._watermarks, True, key=lambda entry: not _covers(position, entry[1])) - 1
        if newest < 0 or (seq := self._watermarks[newest][0]) < self._first_seq:
            return None
        return list(islice(self._events, seq - self._first_seq, None))

    def latest_ids(self, count: int) -> list[EventId]:
        """The ids of the newest events, up to ``count``, oldest first."""
        return list(islice(self._ids, max(0, len(self._ids) - count), None))

    def __len__(self) -> int:
        return len(self._events)


def _covers(position: Position, watermark: Snapshot) -> bool:
    """Whether a reader at ``position`` has everything that is visible in ``watermark``."""
    # The position's own transaction is visible in this watermark: later rows of it may have come before the watermark.
    if position.txid is not None and watermark.sees(position.txid):
        return False
    return position.snapshot.covers(watermark)
