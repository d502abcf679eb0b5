"""Events of the journal, and positions in it: snapshots and cursors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from push.errors import BadCursor

_CURSOR = re.compile(r"([0-9a-f]{8})-([0-9]{1,19})-([0-9]{1,18})")

__all__ = ["Cursor", "Event", "Page", "Position", "Snapshot"]


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
        if self.xmax < other.xmax and any(other.sees(txid) for txid in range(self.xmax, other.xmax)):
            return False
        return not any(other.sees(txid) for txid in self.xip)

    @classmethod
    def parse(cls, text: str) -> Snapshot:
        """The text form of PostgreSQL, ``xmin:xmax:xip,xip``; ValueError when it is none."""
        xmin, xmax, xip = text.split(":")
        return cls(int(xmin), int(xmax), tuple(int(txid) for txid in xip.split(",") if txid))

    def __str__(self) -> str:
        return f"{self.xmin}:{self.xmax}:{','.join(map(str, self.xip))}"


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


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position of the last event that someone has seen, as clients hold it: ``<epoch>-<txid>-<id>``, opaque to them."""

    epoch: str
    txid: int
    id: int

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises BadCursor when the text is no cursor at all."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise BadCursor("not a cursor")
        return cls(match[1], int(match[2]), int(match[3]))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.txid}-{self.id}"


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
