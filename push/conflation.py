"""One frame instead of many, for a client that would rather fetch anew what it shows.

What goes out is ``bulk`` (so many events are not told one by one), then those of them that are of single orders which the
client follows, then ``position`` with the cursor of the last. Wherever in between the connection is cut, a resume lacks
nothing: docs/explanation/fan-out.md, "Conflation".
"""

from __future__ import annotations

from collections.abc import Iterable

from push.batch import Batch
from push.feed import Feed

__all__ = ["Conflation"]


class Conflation:
    """What one session needs for it, beside its place in the feed."""

    __slots__ = ("_most", "_own", "_told")

    def __init__(self, most_events: int) -> None:
        self._most = most_events
        # Frames of the feed before its place.
        self._told = 0
        # From there on those of the single orders that it follows, with their places.
        self._own: list[tuple[int, bytes]] = []

    def moved(self, feed: Feed, place: int) -> None:
        """The session stands at ``place`` now, which is not below the feed's first."""
        self._told = feed.frames_before(place)
        if self._own:
            self._own = [(at, frame) for at, frame in self._own if at >= place]

    def keep(self, own: Iterable[tuple[int, bytes]]) -> None:
        """Events of its own that have come to the feed, with their places."""
        self._own += own

    @property
    def kept(self) -> int:
        """How many of its own wait."""
        return len(self._own)

    def instead(self, feed: Feed, place: int) -> list[Batch] | None:
        """What goes out instead of all that comes from ``place`` on; None when that is not too much for the client, and all
        of it is still there.
        """
        count = feed.frames_before(feed.end) - self._told
        if (count <= self._most and place >= feed.first) or not feed.last_event:
            return None
        bulk, position = feed.bulk(count)
        return [bulk, *([Batch([frame for _, frame in self._own])] if self._own else ()), position]
