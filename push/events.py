"""Events of the journal, and positions in it: snapshots and cursors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from push.errors import BadCursor

__all__ = ["Cursor", "Event", "EventPlace", "Page", "Position", "Snapshot"]


class Snapshot(NamedTuple):
    """A PostgreSQL snapshot: which transactions count as committed (manual, "Transaction ID and Snapshot Information").

    Every transaction below ``xmin`` has ended, none from ``xmax`` on has; those in between have unless in ``xip``.
    """

    xmin: int
    xmax: int
    xip: tuple[int, ...] = ()

    def sees(self, txid: int) -> bool:
        """Whether what ``txid`` committed is visible here."""
        return txid < self.xmin or (txid < self.xmax and txid not in self.xip)

    def covers(self, other: Snapshot) -> bool:
        """Whether everything visible in ``other`` is visible here too."""
        # Unseen here are exactly xip and everything from xmax on; none of these may be visible there.
        if any(other.sees(txid) for txid in self.xip):
            return False
        return self.xmax >= other.xmax or not any(other.sees(txid) for txid in range(self.xmax, other.xmax))

    def before(self, txid: int) -> Snapshot:
        """The same, but nothing from ``txid`` on is visible."""
        if txid >= self.xmax:
            return self
        return Snapshot(min(self.xmin, txid), txid, tuple(running for running in self.xip if running < txid))


class Position(NamedTuple):
    """What somebody has seen: all that is visible in ``seen``, and of transaction ``txid`` the rows up to ``id``.

    The second part matters for the position after one event: ``seen`` is then its writer's snapshot, which says nothing
    of the writer's own later rows. ``txid`` is None for a position that is a snapshot alone.
    """

    seen: Snapshot
    txid: int | None = None
    id: int | None = None

    def misses(self, event: Event) -> bool:
        """Whether ``event`` is still to come for whoever stands here."""
        if event.txid == self.txid:
            assert self.id is not None
            return event.id > self.id
        return not self.seen.sees(event.txid)


class Cursor(NamedTuple):
    """A position as clients hold it, opaque to them: the epoch of the journal, and a place in it.

    The place is an event's (``<txid>-<id>``), or a snapshot (``s<xmin>.<xmax>.<xip>…``). While somebody pages through
    history it is where they started, the snapshot that they page up to, and the last id that they got: ``p<place>_s…_<id>``.
    """

    epoch: str
    place: EventPlace | Snapshot
    upto: Snapshot | None = None
    past_id: int = 0

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises BadCursor when the text is no cursor at all."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise BadCursor("not a cursor")
        if match["page"] is None:
            return cls(match["epoch"], _place(match["place"]))
        return cls(match["epoch"], _place(match["start"]), _snapshot(match["upto"]), int(match["past"]))

    def __str__(self) -> str:
        if self.upto is None:
            return f"{self.epoch}-{_place_text(self.place)}"
        return f"{self.epoch}-p{_place_text(self.place)}_{_place_text(self.upto)}_{self.past_id}"


class EventPlace(NamedTuple):
    """Where an event stands: its transaction and its id."""

    txid: int
    id: int


_NUMBER = r"[0-9]{1,18}"
_SNAPSHOT = rf"s{_NUMBER}\.{_NUMBER}(?:\.{_NUMBER}){{0,1000}}"
_PLACE = rf"{_NUMBER}-{_NUMBER}|{_SNAPSHOT}"
_CURSOR = re.compile(
    rf"(?P<epoch>[0-9a-f]{{8}})-(?:(?P<place>{_PLACE})|(?P<page>p(?P<start>{_PLACE})_(?P<upto>{_SNAPSHOT})_(?P<past>{_NUMBER})))"
)


def _snapshot(text: str) -> Snapshot:
    xmin, xmax, *xip = map(int, text[1:].split("."))
    return Snapshot(xmin, xmax, tuple(xip))


def _place(text: str) -> EventPlace | Snapshot:
    if text.startswith("s"):
        return _snapshot(text)
    txid, event_id = text.split("-")
    return EventPlace(int(txid), int(event_id))


def _place_text(place: EventPlace | Snapshot) -> str:
    if isinstance(place, Snapshot):
        return "s" + ".".join(map(str, (place.xmin, place.xmax, *place.xip)))
    return f"{place.txid}-{place.id}"


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded change, and what it does to the totals."""

    txid: int
    id: int
    order_id: int
    customer_id: str | None
    seen: Snapshot
    at: datetime
    orders: int
    revenue: Decimal
    pending: int
    frame: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Events between two snapshots, oldest first. ``more``: the last one here is not the last one before ``upto``."""

    events: Sequence[Event]
    upto: Snapshot
    more: bool
    # Events of this transaction and older ones may be missing from the page: they may have been trimmed.
    trimmed_txid: int
