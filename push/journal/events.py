"""Events of the journal, and positions in it: snapshots and cursors. Values only."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import NamedTuple

from push.errors import BadCursor

__all__ = ["Cursor", "Event", "EventId", "JournalIdentity", "Page", "Position", "Snapshot", "event_tag"]


class Snapshot(NamedTuple):
    """A value of PostgreSQL's ``pg_snapshot``: which transactions count as ended (manual, "pg_snapshot Components").

    Every transaction below ``xmin`` has ended, and none from ``xmax`` on. Of those in between, all have ended but ``xip``,
    which is in ascending order.
    """

    xmin: int
    xmax: int
    xip: tuple[int, ...] = ()

    def sees(self, txid: int) -> bool:
        """Whether rows of transaction ``txid`` are visible, provided that it has committed."""
        if txid < self.xmin or txid >= self.xmax:
            return txid < self.xmin
        # A search by halves: a cursor may name a thousand running transactions, and be compared with ten thousand events.
        index = bisect_left(self.xip, txid)
        return index == len(self.xip) or self.xip[index] != txid

    def covers(self, other: Snapshot) -> bool:
        """Whether everything visible in ``other`` is visible in this snapshot too."""
        # Invisible here are exactly xip and everything from xmax on: none of these may be visible in the other one.
        if any(other.sees(txid) for txid in self.xip):
            return False
        return self.xmax >= other.xmax or not any(other.sees(txid) for txid in range(self.xmax, other.xmax))

    def capped_at(self, xmax: int) -> Snapshot:
        """The same snapshot, except that no transaction from ``xmax`` on is visible."""
        if xmax >= self.xmax:
            return self
        return Snapshot(min(self.xmin, xmax), xmax, tuple(running for running in self.xip if running < xmax))


class Position(NamedTuple):
    """What a reader has already: everything visible in ``snapshot``, and of transaction ``txid`` the rows up to ``id``.

    ``txid`` and ``id`` are set for the position after one event. ``snapshot`` is then what the event's writer saw, which says
    nothing about the rows of the writer's own transaction. Both are None for a position that is just a snapshot.
    """

    snapshot: Snapshot
    txid: int | None = None
    id: int | None = None

    def misses(self, event: Event) -> bool:
        """Whether a reader at this position does not have ``event`` yet."""
        if event.txid == self.txid:
            assert self.id is not None
            return event.id > self.id
        return not self.snapshot.sees(event.txid)

    def missing(self, events: Iterable[Event]) -> list[Event]:
        """Those of the events that a reader at this position does not have yet. Asks the snapshot once for each transaction."""
        sees: dict[int, bool] = {}
        missing = []
        for event in events:
            txid = event.txid
            if txid == self.txid:
                seen = not self.misses(event)
            elif (verdict := sees.get(txid)) is not None:
                seen = verdict
            else:
                seen = sees[txid] = self.snapshot.sees(txid)
            if not seen:
                missing.append(event)
        return missing


class Cursor(NamedTuple):
    """A position as clients hold it, a text that is opaque to them: the epoch of the journal, and a position in it.

    ``after`` is the last event that the client has, written ``<txid>-<tag>-<id>``, or a snapshot, written
    ``s<xmin>.<xmax>.<xip>…``. Between two pages of history ``upto`` is the snapshot in which the pages end, and ``past_id`` the
    id of the last event that the client got; ``after`` is then where the first page began. That is written
    ``p<after>_<upto>_<past_id>``.

    The numbers of transactions do not say in which history they are: when a backup of the files is put back, they are given
    out again. An event has its tag for that. A cursor with a snapshot has a ``witness`` instead, written behind a tilde: an
    event of the newest transaction that has one and that its newest snapshot sees. None if the journal had none.
    """

    epoch: str
    after: EventId | Snapshot
    upto: Snapshot | None = None
    past_id: int = 0
    witness: EventId | None = None

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises BadCursor if ``text`` does not have the form of a cursor. Whether the position exists is not checked."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise BadCursor("not a cursor")
        if match["event"] is not None:
            return cls(match["epoch"], _parse_event(match["event"]))
        witness = None if match["witness"] is None else _parse_event(match["witness"])
        if match["snapshot"] is not None:
            return cls(match["epoch"], _parse_snapshot(match["snapshot"]), witness=witness)
        start = match["start"]
        after = _parse_snapshot(start) if start.startswith("s") else _parse_event(start)
        return cls(match["epoch"], after, _parse_snapshot(match["upto"]), int(match["past"]), witness)

    def __str__(self) -> str:
        witness = "" if self.witness is None else f"~{_format_after(self.witness)}"
        if self.upto is None:
            return f"{self.epoch}-{_format_after(self.after)}{witness}"
        return f"{self.epoch}-p{_format_after(self.after)}_{_format_after(self.upto)}_{self.past_id}{witness}"


class EventId(NamedTuple):
    """Identifies an event within one epoch: the writer's transaction, and the id that was drawn when the row was written.

    ``tag`` tells it from an event with the same numbers in another history of the database: see ``event_tag``.
    """

    txid: int
    id: int
    tag: int


def event_tag(at: datetime) -> int:
    """The function orderwire.event_tag: the lower 32 bits of the event's time in microseconds."""
    microseconds = (at - _UNIX_EPOCH) // timedelta(microseconds=1)
    # By way of seconds as a double: that is how PostgreSQL has them.
    return round(microseconds / 1e6 * 1e6) & 0xFFFFFFFF


_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_INTEGER = r"[0-9]{1,18}"
_EVENT = rf"{_INTEGER}-{_INTEGER}-{_INTEGER}"
_SNAPSHOT = rf"s{_INTEGER}\.{_INTEGER}(?:\.{_INTEGER}){{0,1000}}"
_PAGE = rf"p(?P<start>{_EVENT}|{_SNAPSHOT})_(?P<upto>{_SNAPSHOT})_(?P<past>{_INTEGER})"
_CURSOR = re.compile(
    rf"(?P<epoch>[0-9a-f]{{8}})-(?:(?P<event>{_EVENT})|(?:(?P<snapshot>{_SNAPSHOT})|{_PAGE})(?:~(?P<witness>{_EVENT}))?)"
)


def _parse_snapshot(text: str) -> Snapshot:
    xmin, xmax, *xip = map(int, text[1:].split("."))
    # PostgreSQL rejects any other order, which would look like a failure of the database instead of a bad request.
    if xmin < 1 or any(before >= after for before, after in pairwise((xmin - 1, *xip, xmax))):
        raise BadCursor("not a snapshot")
    return Snapshot(xmin, xmax, tuple(xip))


def _parse_event(text: str) -> EventId:
    txid, tag, event_id = map(int, text.split("-"))
    return EventId(txid, event_id, tag)


def _format_after(after: EventId | Snapshot) -> str:
    if isinstance(after, Snapshot):
        return "s" + ".".join(map(str, (after.xmin, after.xmax, *after.xip)))
    return f"{after.txid}-{after.tag}-{after.id}"


class Event(NamedTuple):
    """One recorded change of an order, or of a row of a stream: a row of the journal.

    A tuple, since making one takes a seventh of the time of a frozen dataclass.

    ``stream`` is None for an order. ``key`` identifies the row in its table, ``order_key`` the order that the event belongs to:
    the same as ``key`` for an order, and None for a stream's row that belongs to none. ``writer_snapshot`` is what its writer
    saw, ``at`` the time of the writer's statement by the database's clock. The deltas are what the change adds to the totals;
    ``previous_revenue`` and ``revenue`` are what the order counted before and counts after, each in its currency (None where
    the table has no currency). ``payload`` is the JSON message for clients, as the database built it.

    The last three are for a change of customer alone: who the customer was before (empty: no customer), and what the new and
    the former customer get in place of ``payload``.
    """

    txid: int
    id: int
    stream: str | None
    key: str
    order_key: str | None
    customer_id: str | None
    writer_snapshot: Snapshot
    at: datetime
    orders_delta: int
    pending_delta: int
    previous_revenue: Decimal
    revenue: Decimal
    previous_currency: str | None
    currency: str | None
    payload: bytes
    previous_customer_id: str | None = None
    customer_payload: bytes | None = None
    previous_customer_payload: bytes | None = None

    @property
    def event_id(self) -> EventId:
        return EventId(self.txid, self.id, event_tag(self.at))


@dataclass(frozen=True, slots=True)
class JournalIdentity:
    """The epoch of the journal, and the newest transaction of which rows may have been trimmed (0: none).

    ``version`` is another one whenever the database's record of this has been written anew, for instance by a restored dump.
    """

    epoch: str
    trimmed_txid: int
    version: int


@dataclass(frozen=True, slots=True)
class Page:
    """Events that a position misses and ``upto`` sees, by ascending id.

    ``more``: others follow before ``upto``. ``identity`` is of the same moment. ``placeholders``: how many of the events could
    not be read and have only their type, id, key and time. ``exact`` is False if what such an event adds to the totals is not
    known.
    """

    events: Sequence[Event]
    upto: Snapshot
    more: bool
    identity: JournalIdentity
    placeholders: int = 0
    exact: bool = True
