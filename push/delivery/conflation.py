"""Conflation: a client that is far behind gets one ``bulk`` message instead of many events, and fetches anew what it shows.

The replacement is ``bulk`` (the number of events that are left out), then the events of single orders to which the client
subscribes, then ``position`` with the cursor of the last event. A connection that breaks anywhere in between loses nothing:
docs/explanation/fan-out.md, "Conflation".
"""

from __future__ import annotations

from collections.abc import Iterable

from push.delivery.batch import Batch
from push.delivery.broadcast_log import BroadcastLog

__all__ = ["Conflation"]


class Conflation:
    """The conflation state of one session, beside its offset in the broadcast log."""

    __slots__ = ("_delivered", "_max_events", "_own_entries")

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        # Number of messages in the broadcast log before the session's offset.
        self._delivered = 0
        # (offset, payload) of the events from there on that belong to single orders of the session.
        self._own_entries: list[tuple[int, bytes]] = []

    def advance(self, broadcast_log: BroadcastLog, offset: int) -> None:
        """Record that the session has moved to ``offset``, which is still in the log."""
        self._delivered = broadcast_log.messages_before(offset)
        if self._own_entries:
            self._own_entries = [
                (entry_offset, payload) for entry_offset, payload in self._own_entries if entry_offset >= offset
            ]

    def add_own(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Retain (offset, payload) of new events in the log that belong to single orders of the session."""
        self._own_entries += entries

    @property
    def pending_own(self) -> int:
        """Number of retained events."""
        return len(self._own_entries)

    def replacement(self, broadcast_log: BroadcastLog, offset: int) -> list[Batch] | None:
        """What to send instead of everything from ``offset`` on. None if the events can be sent one by one: they are few enough
        for the client, and all of them are still in the log.
        """
        count = broadcast_log.messages_before(broadcast_log.end_offset) - self._delivered
        if (count <= self._max_events and offset >= broadcast_log.first_offset) or not broadcast_log.last_event_payload:
            return None
        bulk, position = broadcast_log.bulk_batches(count)
        own = [payload for _, payload in self._own_entries]
        return [bulk, Batch(own), position] if own else [bulk, position]
