"""Facts that have arrived and are not used yet, of one term: which of them continue a position, and whether some are missing.

Pure: the caller knows when they arrived and from where.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from push.journal.events import Event, Position, Snapshot
from push.journal.facts import Fact, FactHead

__all__ = ["FactQueue", "NextPage"]

# Limits of what arrives while a process cannot use it, because it reads a large change from PostgreSQL. The oldest facts are
# dropped then, which is a gap.
MAX_FACTS = 5000
MAX_BYTES = 64 * 1024**2
# What an event takes beside its payloads, once it has been read from its message (CPython 3.11).
EVENT_BYTES = 800


class NextPage(NamedTuple):
    """What follows on a position: the events that it misses, and the head of the last fact that they were taken from.

    ``facts``: how many were joined.
    """

    events: Sequence[Event]
    head: FactHead
    facts: int


class FactQueue:
    """In the order of the term's sequence numbers, each fact once, however often and in which order they arrive."""

    def __init__(self, max_facts: int = MAX_FACTS, max_bytes: int = MAX_BYTES) -> None:
        self._max_facts = max_facts
        self._max_bytes = max_bytes
        self._facts: list[Fact] = []
        self._seqs: list[int] = []
        self._bytes = 0
        # Facts that were dropped because they told nothing new.
        self.old_count = 0

    def __len__(self) -> int:
        return len(self._facts)

    def clear(self) -> None:
        self._facts.clear()
        self._seqs.clear()
        self._bytes = 0

    def add(self, fact: Fact) -> None:
        """Add a fact of the term, unless it is there."""
        seq = fact.head.seq
        index = bisect_left(self._seqs, seq)
        if index < len(self._seqs) and self._seqs[index] == seq:
            return
        self._seqs.insert(index, seq)
        self._facts.insert(index, fact)
        self._bytes += _memory_of(fact)
        while len(self._facts) > self._max_facts or self._bytes > self._max_bytes:
            self._remove(0)

    def drop_old(self, watermark: Snapshot) -> FactHead | None:
        """Drop what tells a reader at ``watermark`` nothing new. Returns the newest dropped head that ends just there."""
        current = None
        index = 0
        while index < len(self._facts):
            head = self._facts[index].head
            if not head.is_old(watermark):
                index += 1
                continue
            if not head.more and head.upto.covers(watermark):
                current = head
            self._remove(index)
            self.old_count += 1
        return current

    def start(self, max_events: int) -> Fact | None:
        """The fact to begin with for a reader without a position; None if there is none.

        From it to the newest fact none is missing, and all together they have about ``max_events`` at most.
        """
        found, count = None, 0
        expected = self._seqs[-1] if self._seqs else 0
        for fact in reversed(self._facts):
            count += fact.head.event_count
            if fact.head.seq != expected or (count > max_events and found is not None):
                break
            expected -= 1
            if fact.head.past_id == 0:
                found = fact
        return found

    def take(
        self, watermark: Snapshot, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int
    ) -> NextPage | None:
        """Take the next page for a reader at this position out of the queue; None if the queue does not have it.

        ``upto`` and ``past_id``: within a read of several pages, where it ends and how far the reader is; else None and 0.
        Complete reads that follow each other are joined into one page, up to these limits. Raises BadFact.
        """
        if upto is not None:
            return self._take_next_of_read(watermark, upto, past_id)
        events: list[Event] = []
        head: FactHead | None = None
        count = size = 0
        at = watermark
        for fact in self._facts:
            found = fact.head
            if found.past_id or not found.begins_at(at) or found.is_old(at):
                continue
            if found.more:
                # Nothing in front of it. If the reader has all of this page, no event says where the next page begins.
                if head is None and (missing := _missing(fact, at)):
                    return self._take(fact, missing)
                break
            if head is not None and (len(events) + found.event_count > max_events or size + found.byte_count > max_bytes):
                break
            events += _missing(fact, at)
            head, at = found, found.upto
            count += 1
            size += found.byte_count
        if head is None:
            return None
        self.drop_old(at)
        self.old_count -= count  # these were used
        return NextPage(events, head, count)

    def _take_next_of_read(self, watermark: Snapshot, upto: Snapshot, past_id: int) -> NextPage | None:
        for fact in list(self._facts):
            head = fact.head
            if head.upto == upto and head.last_id is not None and head.last_id <= past_id:
                self._remove(self._facts.index(fact))
            elif head.continues(watermark, upto, past_id):
                missing = [event for event in _missing(fact, watermark) if event.id > past_id]
                if missing or not head.more:
                    return self._take(fact, missing)
        return None

    def end(self, watermark: Snapshot) -> Snapshot:
        """Up to where the facts lead from ``watermark`` without a gap, as far as they are complete reads."""
        at = watermark
        for fact in self._facts:
            head = fact.head
            if not head.past_id and not head.more and head.begins_at(at) and not head.is_old(at):
                at = head.upto
        return at

    def leads_beyond(self, watermark: Snapshot) -> bool:
        """Whether a fact tells of rows beyond ``watermark``. If ``take`` has no page nevertheless, facts are missing."""
        return any(not fact.head.is_old(watermark) for fact in self._facts)

    def _take(self, fact: Fact, missing: Sequence[Event]) -> NextPage:
        self._remove(self._facts.index(fact))
        return NextPage(missing, fact.head, 1)

    def _remove(self, index: int) -> None:
        self._bytes -= _memory_of(self._facts[index])
        del self._facts[index], self._seqs[index]


def _memory_of(fact: Fact) -> int:
    return fact.head.byte_count + EVENT_BYTES * fact.head.event_count


def _missing(fact: Fact, watermark: Snapshot) -> Sequence[Event]:
    """The events that a reader at ``watermark`` lacks: all of them where the fact begins just there."""
    return fact.events if fact.head.after == watermark else Position(watermark).missing(fact.events)
