"""The ring: the events that this process published most recently, in the order in which it did."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from push.journal.events import Event, EventId, Position, Snapshot

__all__ = ["RecentEvents"]

MAX_EVENTS = 10_000
MAX_BYTES = 16 * 1024**2
# Enough to tell whether a journal is still the one that was read.
LATEST_EVENTS = 100


class RecentEvents:
    """Bounded memory of what was published. Events are numbered from 0 in order of publication."""

    def __init__(self, max_events: int = MAX_EVENTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[Event] = deque()
        self._by_id: dict[EventId, Event] = {}
        self._bytes = 0
        self._first_seq = 0
        # Number of the first event after a watermark, and that watermark, oldest first.
        self._watermarks: deque[tuple[int, Snapshot]] = deque()

    def reset(self, watermark: Snapshot) -> None:
        """Positions so far mean nothing any more, nor do numbers, not even the next one's."""
        self._first_seq = self.next_seq + 1
        self._events.clear()
        self._by_id.clear()
        self._bytes = 0
        self._watermarks.clear()
        self._watermarks.append((self._first_seq, watermark))

    def append(self, events: Sequence[Event]) -> None:
        """Remember the events, forget the oldest."""
        for event in events:
            self._events.append(event)
            self._by_id[event.event_id] = event
            self._bytes += len(event.payload)
        while len(self._events) > self._max_events or self._bytes > self._max_bytes:
            oldest = self._events.popleft()
            del self._by_id[oldest.event_id]
            self._bytes -= len(oldest.payload)
            self._first_seq += 1
        while len(self._watermarks) > 1 and self._watermarks[0][0] < self._first_seq:
            self._watermarks.popleft()

    def record_watermark(self, watermark: Snapshot) -> None:
        """All that is visible in ``watermark`` has been published."""
        number = self.next_seq
        # Where nothing was published in between the older watermark holds too, and more positions cover it.
        if self._watermarks[-1][0] != number:
            self._watermarks.append((number, watermark))

    @property
    def next_seq(self) -> int:
        """Number that the next event will have."""
        return self._first_seq + len(self._events)

    def find(self, event_id: EventId) -> Event | None:
        """The event at this place, if it is remembered."""
        return self._by_id.get(event_id)

    def has_since(self, seq: int) -> bool:
        """Whether everything from this number on is remembered."""
        return seq >= self._first_seq

    def since(self, seq: int) -> list[Event] | None:
        """Everything from this number on; None when some of it is forgotten."""
        if not self.has_since(seq):
            return None
        return list(islice(self._events, seq - self._first_seq, None))

    def missed(self, position: Position) -> list[Event] | None:
        """What whoever stands there has not seen of all that was published; None when some of it may be forgotten."""
        for number, watermark in self._watermarks:
            if number < self._first_seq:
                continue
            # A writer's snapshot counts its own transaction as seen, yet later rows of it may be before this mark.
            if position.txid is not None and watermark.sees(position.txid):
                return None
            if not position.snapshot.covers(watermark):
                return None
            return [event for event in islice(self._events, number - self._first_seq, None) if position.misses(event)]
        return None

    def latest_ids(self) -> list[EventId]:
        """Where the newest events stand: by them a journal is known again."""
        return [event.event_id for event in islice(self._events, max(0, len(self._events) - LATEST_EVENTS), None)]

    def __len__(self) -> int:
        return len(self._events)
