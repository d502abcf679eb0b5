"""What is published to everybody, kept once: each session that follows it has only its place in it."""

from __future__ import annotations

import json
from collections.abc import Iterable

from push.batch import Batch, joined
from push.frames import Bulk, Reached, encode

__all__ = ["Feed"]


class Feed:
    """Batches, numbered in the order in which they came, and how often the totals have been told.

    Publishing costs the same for one follower and for ten thousand; a batch is forgotten once whoever still waits for it has
    more waiting than a session may. That bound is on what is *left over*: more is accepted as long as a session is within it
    when it comes, so that a single large publication does not make everybody a slow consumer. Publications themselves are
    bounded by the relay's pages.
    """

    def __init__(self, max_frames: int, max_bytes: int) -> None:
        self._max_frames = max_frames
        self._max_bytes = max_bytes
        self._batches: list[Batch] = []
        # Before each of the batches, counted from the first one ever: frames, and bytes.
        self._before: list[tuple[int, int]] = []
        self._frames = self._bytes = 0
        # Number of the oldest batch that is kept: whoever stands below has more waiting than it may.
        self.first = 0
        # Number that the next batch will have.
        self.end = 0
        # Rises whenever the totals are to be told again: a slot, since only the newest matter.
        self.totals_turn = 1
        # The frame of the newest event; empty before the first one.
        self.last_event = b""
        # What the last follower got: mostly the next one stands at the same place.
        self._got: tuple[int, int, int] | None = None
        self._batch = Batch(())
        self._reached = 0
        # What the last one got to whom so many frames were too much, by now.
        self._too_many = (-1, -1)
        self._instead = (self._batch, self._batch)

    def append(self, batches: Iterable[Batch], last_event: bytes | None = None) -> None:
        """One publication, and the frame of its last event, if it has any. Those who have more than their bound waiting as it
        comes have overflowed (``first``).
        """
        overflown = 0
        for frames, size in self._before:
            if self._frames - frames <= self._max_frames and self._bytes - size <= self._max_bytes:
                break
            overflown += 1
        if overflown:
            del self._batches[:overflown], self._before[:overflown]
            self.first += overflown
        for batch in batches:
            batch.number = self.end
            self._batches.append(batch)
            self._before.append((self._frames, self._bytes))
            self._frames += batch.count
            self._bytes += batch.size
            self.end += 1
        if last_event is not None:
            self.last_event = last_event

    def next(self, place: int, about_bytes: int) -> tuple[Batch, int]:
        """What comes at ``place``, which is from ``first`` to below ``end``: at least one batch, up to about that many bytes,
        as one; and the place after it.
        """
        asked = (place, self.end, about_bytes)
        if asked != self._got:
            at = place - self.first
            taken = [self._batches[at]]
            size = taken[0].size
            for batch in self._batches[at + 1 :]:
                if size >= about_bytes:
                    break
                taken.append(batch)
                size += batch.size
            self._batch = taken[0] if len(taken) == 1 else joined(taken)
            self._reached = place + len(taken)
            self._got = asked
        return self._batch, self._reached

    def rest(self, place: int) -> list[Batch]:
        """Everything from ``place`` on, which is not below ``first``."""
        return self._batches[place - self.first :]

    def frames_before(self, place: int) -> int:
        """How many there were, from the first one ever; ``place`` is not below ``first``."""
        return self._frames if place == self.end else self._before[place - self.first][0]

    def bulk(self, count: int) -> tuple[Batch, Batch]:
        """For whoever does not want the last ``count`` frames one by one: that they have been, and where they end."""
        asked = (self.end, count)
        if asked != self._too_many:
            cursor = json.loads(self.last_event)["id"]
            self._instead = Batch([encode(Bulk(count))]), Batch([encode(Reached(cursor))])
            self._too_many = asked
        return self._instead

    def pressed(self, place: int) -> bool:
        """Whether more than half of the bounds waits for whoever stands at ``place``."""
        if place == self.end:
            return False
        if place < self.first:
            return True
        frames, size = self._before[place - self.first]
        return self._frames - frames > self._max_frames // 2 or self._bytes - size > self._max_bytes // 2
