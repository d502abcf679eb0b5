"""One frame instead of many, for a client that would rather fetch anew what it shows.

What goes out is ``bulk`` (so many events are not told one by one), then those of them that are of single orders which the
client follows, then ``position`` with the cursor of the last. Wherever in between the connection is cut, a resume lacks
nothing: docs/explanation/fan-out.md, "Conflation".
"""

from __future__ import annotations

from collections.abc import Iterable

from push.delivery.batch import Batch
from push.delivery.broadcast_log import BroadcastLog

__all__ = ["Conflation"]


class Conflation:
    """What one session needs for it, beside its place in the feed."""

    __slots__ = ("_delivered", "_max_events", "_own_entries")

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        # Frames of the feed before its place.
        self._delivered = 0
        # From there on those of the single orders that it follows, with their places.
        self._own_entries: list[tuple[int, bytes]] = []

    def advance(self, broadcast_log: BroadcastLog, offset: int) -> None:
        """The session stands at ``place`` now, which is not below the feed's first."""
        self._delivered = broadcast_log.messages_before(offset)
        if self._own_entries:
            self._own_entries = [(at, frame) for at, frame in self._own_entries if at >= offset]

    def add_own(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Events of its own that have come to the feed, with their places."""
        self._own_entries += entries

    @property
    def pending_own(self) -> int:
        """How many of its own wait."""
        return len(self._own_entries)

    def replacement(self, broadcast_log: BroadcastLog, offset: int) -> list[Batch] | None:
        """What goes out instead of all that comes from ``place`` on; None when that is not too much for the client, and all
        of it is still there.
        """
        count = broadcast_log.messages_before(broadcast_log.end_offset) - self._delivered
        if (count <= self._max_events and offset >= broadcast_log.first_offset) or not broadcast_log.last_event_payload:
            return None
        bulk, position = broadcast_log.bulk_batches(count)
        return [bulk, *([Batch([frame for _, frame in self._own_entries])] if self._own_entries else ()), position]
