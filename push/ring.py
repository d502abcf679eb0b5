"""The ring: the events that this process published most recently, in the order in which it did."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import islice

from push.events import Event, EventPlace, Position, Snapshot

__all__ = ["Ring"]

MOST_EVENTS = 10_000
MOST_BYTES = 16 * 1024**2
# Enough to tell whether a journal is still the one that was read.
LATEST_EVENTS = 100


class Ring:
    """Bounded memory of what was published. Events are numbered from 0 in order of publication."""

    def __init__(self, most_events: int = MOST_EVENTS, most_bytes: int = MOST_BYTES) -> None:
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._events: deque[Event] = deque()
        self._by_place: dict[EventPlace, Event] = {}
        self._bytes = 0
        self._first = 0
        # Number of the first event after a watermark, and that watermark, oldest first.
        self._marks: deque[tuple[int, Snapshot]] = deque()

    def reset(self, watermark: Snapshot) -> None:
        """Positions so far mean nothing any more, nor do numbers, not even the next one's."""
        self._first = self.end + 1
        self._events.clear()
        self._by_place.clear()
        self._bytes = 0
        self._marks.clear()
        self._marks.append((self._first, watermark))

    def append(self, events: Sequence[Event]) -> None:
        """Remember the events, forget the oldest."""
        for event in events:
            self._events.append(event)
            self._by_place[event.place] = event
            self._bytes += len(event.frame)
        while len(self._events) > self._most_events or self._bytes > self._most_bytes:
            oldest = self._events.popleft()
            del self._by_place[oldest.place]
            self._bytes -= len(oldest.frame)
            self._first += 1
        while len(self._marks) > 1 and self._marks[0][0] < self._first:
            self._marks.popleft()

    def mark(self, watermark: Snapshot) -> None:
        """All that is visible in ``watermark`` has been published."""
        number = self.end
        # Where nothing was published in between the older watermark holds too, and more positions cover it.
        if self._marks[-1][0] != number:
            self._marks.append((number, watermark))

    @property
    def end(self) -> int:
        """Number that the next event will have."""
        return self._first + len(self._events)

    def find(self, place: EventPlace) -> Event | None:
        """The event at this place, if it is remembered."""
        return self._by_place.get(place)

    def reaches(self, number: int) -> bool:
        """Whether everything from this number on is remembered."""
        return number >= self._first

    def since(self, number: int) -> list[Event] | None:
        """Everything from this number on; None when some of it is forgotten."""
        if not self.reaches(number):
            return None
        return list(islice(self._events, number - self._first, None))

    def missed(self, position: Position) -> list[Event] | None:
        """What whoever stands there has not seen of all that was published; None when some of it may be forgotten."""
        for number, watermark in self._marks:
            if number < self._first:
                continue
            # A writer's snapshot counts its own transaction as seen, yet later rows of it may be before this mark.
            if position.txid is not None and watermark.sees(position.txid):
                return None
            if not position.seen.covers(watermark):
                return None
            return [event for event in islice(self._events, number - self._first, None) if position.misses(event)]
        return None

    def latest(self) -> list[EventPlace]:
        """Where the newest events stand: by them a journal is known again."""
        return [event.place for event in islice(self._events, max(0, len(self._events) - LATEST_EVENTS), None)]

    def __len__(self) -> int:
        return len(self._events)
