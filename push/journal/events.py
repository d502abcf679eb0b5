"""Events of the journal, and positions in it: snapshots and cursors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from push.errors import BadCursor

__all__ = ["Cursor", "Event", "EventId", "JournalIdentity", "Page", "Position", "Snapshot"]


class Snapshot(NamedTuple):
    """A PostgreSQL snapshot: which transactions count as committed (manual, "Transaction ID and Snapshot Information").

    Every transaction below ``xmin`` has ended, none from ``xmax`` on has; those in between have unless in ``xip``.
    """

    xmin: int
    xmax: int
    xip: tuple[int, ...] = ()

    def sees(self, txid: int) -> bool:
        """Whether what ``xmax`` committed is visible here."""
        return txid < self.xmin or (txid < self.xmax and txid not in self.xip)

    def covers(self, other: Snapshot) -> bool:
        """Whether everything visible in ``other`` is visible here too."""
        # Unseen here are exactly xip and everything from xmax on; none of these may be visible there.
        if any(other.sees(txid) for txid in self.xip):
            return False
        return self.xmax >= other.xmax or not any(other.sees(txid) for txid in range(self.xmax, other.xmax))

    def capped_at(self, xmax: int) -> Snapshot:
        """The same, but nothing from ``xmax`` on is visible."""
        if xmax >= self.xmax:
            return self
        return Snapshot(min(self.xmin, xmax), xmax, tuple(running for running in self.xip if running < xmax))


class Position(NamedTuple):
    """What somebody has seen: all that is visible in ``seen``, and of transaction ``xmax`` the rows up to ``id``.

    The second part matters for the position after one event: ``seen`` is then its writer's snapshot, which says nothing
    of the writer's own later rows. ``xmax`` is None for a position that is a snapshot alone.
    """

    snapshot: Snapshot
    txid: int | None = None
    id: int | None = None

    def misses(self, event: Event) -> bool:
        """Whether ``event`` is still to come for whoever stands here."""
        if event.txid == self.txid:
            assert self.id is not None
            return event.id > self.id
        return not self.snapshot.sees(event.txid)


class Cursor(NamedTuple):
    """A position as clients hold it, opaque to them: the epoch of the journal, and a place in it.

    The place is an event's (``<txid>-<id>``), or a snapshot (``s<xmin>.<xmax>.<xip>…``). While somebody pages through
    history it is where they started, the snapshot that they page up to, and the last id that they got: ``p<place>_s…_<id>``.
    """

    epoch: str
    after: EventId | Snapshot
    upto: Snapshot | None = None
    past_id: int = 0

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises BadCursor when the text is no cursor at all."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise BadCursor("not a cursor")
        if match["page"] is None:
            return cls(match["epoch"], _parse_after(match["place"]))
        return cls(match["epoch"], _parse_after(match["start"]), _parse_snapshot(match["upto"]), int(match["past"]))

    def __str__(self) -> str:
        if self.upto is None:
            return f"{self.epoch}-{_format_after(self.after)}"
        return f"{self.epoch}-p{_format_after(self.after)}_{_format_after(self.upto)}_{self.past_id}"


class EventId(NamedTuple):
    """Where an event stands: its transaction and its id."""

    txid: int
    id: int


_INTEGER = r"[0-9]{1,18}"
_SNAPSHOT = rf"s{_INTEGER}\.{_INTEGER}(?:\.{_INTEGER}){{0,1000}}"
_AFTER = rf"{_INTEGER}-{_INTEGER}|{_SNAPSHOT}"
_CURSOR = re.compile(
    rf"(?P<epoch>[0-9a-f]{{8}})-(?:(?P<place>{_AFTER})|(?P<page>p(?P<start>{_AFTER})_(?P<upto>{_SNAPSHOT})_(?P<past>{_INTEGER})))"
)


def _parse_snapshot(text: str) -> Snapshot:
    xmin, xmax, *xip = map(int, text[1:].split("."))
    # What PostgreSQL itself would refuse must not look like a database that cannot answer just now.
    if xmin < 1 or any(before >= after for before, after in pairwise((xmin - 1, *xip, xmax))):
        raise BadCursor("not a snapshot")
    return Snapshot(xmin, xmax, tuple(xip))


def _parse_after(text: str) -> EventId | Snapshot:
    if text.startswith("s"):
        return _parse_snapshot(text)
    txid, event_id = text.split("-")
    return EventId(int(txid), int(event_id))


def _format_after(after: EventId | Snapshot) -> str:
    if isinstance(after, Snapshot):
        return "s" + ".".join(map(str, (after.xmin, after.xmax, *after.xip)))
    return f"{after.txid}-{after.id}"


@dataclass(frozen=True, slots=True)
class Event:
    """One recorded change, and what it does to the totals."""

    txid: int
    id: int
    order_id: int
    customer_id: str | None
    writer_snapshot: Snapshot
    at: datetime
    orders_delta: int
    revenue_delta: Decimal
    pending_delta: int
    payload: bytes

    @property
    def event_id(self) -> EventId:
        """Where it stands in the journal."""
        return EventId(self.txid, self.id)


@dataclass(frozen=True, slots=True)
class JournalIdentity:
    """Which journal it is, and up to which transaction it may have been trimmed."""

    epoch: str
    trimmed_txid: int


@dataclass(frozen=True, slots=True)
class Page:
    """Events between two snapshots, oldest first. ``more``: the last one here is not the last one before ``upto``."""

    events: Sequence[Event]
    upto: Snapshot
    more: bool
    # As of the same moment: which journal it is, and up to which transaction it may have been trimmed.
    epoch: str
    trimmed_txid: int
