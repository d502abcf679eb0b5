"""Facts: true statements about the journal, which the relay sends to the edges. The format and the rule of use; no I/O.

A fact says: the rows that ``after`` does not see and ``upto`` sees, with an id above ``past_id`` (and, where more follow, up to
that of the last event), are exactly these. Both snapshots hold after a crash of the database (``Relay.crash_safe``), so within
its epoch a fact is true for ever: who repeats it, how often and in which order does not matter. The proof is in
docs/explanation/facts.md.

The format: a header (magic, version, lengths of two parts), the head (JSON), the rows (JSON, a list per event), and the
payloads one after the other, as PostgreSQL built them. ``decode`` reads the header and the head; rows and payloads are read
when ``events`` is used for the first time.

Rolling upgrades: a reader ignores fields of the head that it does not know, and raises UnknownFactVersion for a version above
its own. Its edge then reads PostgreSQL until it is upgraded itself. So edges are upgraded before the processes that can become
the relay. A change that an old reader would misread needs a new version; every reader reads the version before its own too.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from push.errors import BadFact, UnknownFactVersion
from push.journal.events import Event, EventId, JournalIdentity, Snapshot
from push.journal.totals import Totals

__all__ = ["VERSION", "Fact", "FactHead", "ReadAnswer", "Term", "decode", "decode_answer", "encode", "encode_answer"]

VERSION = 1
# Magic, version, bytes of the head, bytes of the rows.
_HEADER = struct.Struct("!3sBII")
_MAGIC = b"OWF"
_UNIX_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Term(NamedTuple):
    """One connection of one relay to the database. After another one the database may have crashed or been put back.

    ``started_at`` is a Unix time, ``node`` the process that is the relay, ``nonce`` tells its terms apart.
    """

    started_at: float
    node: str
    nonce: str


class FactHead(NamedTuple):
    """What is known of a fact without reading its rows.

    ``seq`` counts the facts of the term, by 1. ``newest_before``: an event of the newest transaction that has one and that
    ``after`` sees; None if the journal has none. ``last_id`` is the id of the last event where more follow, else None.
    ``totals`` are those after the last event; ``verified``: an audit has compared them with the table. ``read_began_at``: Unix
    time by the relay's clock. ``state``: results of what the relay alone asks the database, an opaque text; None: as before.
    """

    term: Term
    seq: int
    identity: JournalIdentity
    after: Snapshot
    upto: Snapshot
    past_id: int
    last_id: int | None
    newest_before: EventId | None
    totals: Totals
    verified: bool
    read_began_at: float
    event_count: int
    byte_count: int
    state: str | None = None

    @property
    def more(self) -> bool:
        """Whether further pages of the same read follow."""
        return self.last_id is not None

    def is_old(self, watermark: Snapshot) -> bool:
        """Whether a reader that has everything in ``watermark`` learns nothing new."""
        return watermark.covers(self.upto)

    def begins_at(self, watermark: Snapshot) -> bool:
        """The rule: a fact may be used by a reader that has everything in ``after``, and only by such a one.

        What ``watermark`` sees beyond ``after``, the reader has already, and skips. A row that ``after`` sees and the reader
        lacks is in no later fact: that is a gap.
        """
        return watermark.covers(self.after)

    def continues(self, watermark: Snapshot, upto: Snapshot, past_id: int) -> bool:
        """Whether it has the rows that follow ``past_id`` in the read of several pages that ends in ``upto``."""
        return (
            self.upto == upto
            and self.past_id <= past_id
            and (self.last_id is None or self.last_id > past_id)
            and self.begins_at(watermark)
        )


class Fact:
    """A head and its events. Events of a decoded fact are read from the message when they are first asked for."""

    def __init__(self, head: FactHead, events: Sequence[Event] | Callable[[], Sequence[Event]]) -> None:
        self.head = head
        self._events = events

    @property
    def events(self) -> Sequence[Event]:
        """Raises BadFact."""
        if callable(self._events):
            self._events = self._events()
        return self._events

    @property
    def totals_before(self) -> Totals:
        """The totals before the first event. Raises BadFact."""
        return self.head.totals.minus(self.events)


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """The relay's answer to a request for a read: everything committed before the request is visible in ``upto``."""

    term: Term
    epoch: str
    upto: Snapshot


def encode(fact: Fact) -> bytes:
    """Make the message of a fact."""
    head, events = fact.head, fact.events
    writers: dict[Snapshot, int] = {}
    payloads: list[bytes] = []
    rows = [_encode_row(event, writers.setdefault(event.writer_snapshot, len(writers)), payloads) for event in events]
    head_json = _to_json(
        {
            "term": head.term,
            "seq": head.seq,
            "journal": [head.identity.epoch, head.identity.trimmed_txid, head.identity.version],
            "after": _encode_snapshot(head.after),
            "upto": _encode_snapshot(head.upto),
            "past": head.past_id,
            "last": head.last_id,
            "newest": head.newest_before,
            "totals": _encode_totals(head.totals),
            "verified": head.verified,
            "began": head.read_began_at,
            "events": len(events),
            "bytes": sum(map(len, payloads)),
            **({} if head.state is None else {"state": head.state}),
        }
    )
    rows_json = _to_json([[_encode_snapshot(snapshot) for snapshot in writers], rows]) if rows else b""
    return b"".join((_HEADER.pack(_MAGIC, VERSION, len(head_json), len(rows_json)), head_json, rows_json, *payloads))


def decode(message: bytes) -> Fact:
    """Read the head of a message. Raises BadFact, and UnknownFactVersion if the message is of a newer version."""
    try:
        magic, version, head_bytes, row_bytes = _HEADER.unpack_from(message)
        if magic != _MAGIC:
            raise BadFact("a message of the broker is not a fact")
        if version > VERSION:
            raise UnknownFactVersion(
                f"the relay sends facts of version {version}, and this server reads up to {VERSION}: upgrade this server. "
                "Until then it reads PostgreSQL itself"
            )
        rows_at = _HEADER.size + head_bytes
        payloads_at = rows_at + row_bytes
        head = _decode_head(json.loads(message[_HEADER.size : rows_at]))
    except (struct.error, ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise BadFact(f"a message of the broker is not a fact: {error}") from error
    if len(message) != payloads_at + head.byte_count:
        raise BadFact(f"a fact of {payloads_at + head.byte_count} bytes has {len(message)}")
    if not head.event_count:
        return Fact(head, ())
    return Fact(head, lambda: _decode_rows(message, rows_at, payloads_at))


def encode_answer(answer: ReadAnswer) -> bytes:
    """The message for an answer to a request for a read."""
    return _to_json({"term": answer.term, "epoch": answer.epoch, "upto": _encode_snapshot(answer.upto)})


def decode_answer(message: bytes) -> ReadAnswer:
    """Raises BadFact."""
    try:
        found = json.loads(message)
        return ReadAnswer(_decode_term(found["term"]), found["epoch"], _decode_snapshot(found["upto"]))
    except (ValueError, TypeError, LookupError) as error:
        raise BadFact(f"the relay's answer cannot be read: {error}") from error


# ---------------------------------------------------------------- parts of a message


def _to_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _encode_snapshot(snapshot: Snapshot) -> list[int]:
    return [snapshot.xmin, snapshot.xmax, *snapshot.xip]


def _decode_snapshot(numbers: Sequence[int]) -> Snapshot:
    return Snapshot(numbers[0], numbers[1], tuple(numbers[2:]))


def _decode_term(fields: Sequence[Any]) -> Term:
    started_at, node, nonce = fields
    return Term(float(started_at), str(node), str(nonce))


def _encode_totals(totals: Totals) -> list[Any]:
    by_currency = totals.revenue_by_currency
    return [
        totals.orders,
        str(totals.revenue),
        totals.pending,
        None if by_currency is None else {name: str(revenue) for name, revenue in by_currency.items()},
    ]


def _decode_totals(fields: Sequence[Any]) -> Totals:
    orders, revenue, pending, by_currency = fields
    revenues: Mapping[str, Decimal] | None = None
    if by_currency is not None:
        revenues = {name: Decimal(text) for name, text in by_currency.items()}
    return Totals(orders, Decimal(revenue), pending, revenues)


def _decode_head(found: dict[str, Any]) -> FactHead:
    newest = found["newest"]
    return FactHead(
        term=_decode_term(found["term"]),
        seq=found["seq"],
        identity=JournalIdentity(*found["journal"]),
        after=_decode_snapshot(found["after"]),
        upto=_decode_snapshot(found["upto"]),
        past_id=found["past"],
        last_id=found["last"],
        newest_before=None if newest is None else EventId(*newest),
        totals=_decode_totals(found["totals"]),
        verified=found["verified"],
        read_began_at=found["began"],
        event_count=found["events"],
        byte_count=found["bytes"],
        state=found.get("state"),
    )


def _encode_row(event: Event, writer: int, payloads: list[bytes]) -> list[Any]:
    """The numbers and names of an event; its payloads go to the end of ``payloads``. Most events have no third part."""
    payloads.append(event.payload)
    # The same key twice is sent once: an order belongs to itself.
    order_key = 0 if event.order_key == event.key else event.order_key
    at = (event.at - _UNIX_EPOCH) // _MICROSECOND
    row = [event.txid, event.id, writer, event.stream, event.key, order_key, event.customer_id, at]
    row += [event.orders_delta, event.pending_delta, str(event.previous_revenue), str(event.revenue)]
    row += [event.previous_currency, event.currency, len(event.payload)]
    others = (event.customer_payload, event.previous_customer_payload)
    if event.previous_customer_id is not None or others != (None, None):
        payloads += [payload for payload in others if payload is not None]
        row += [event.previous_customer_id, *(None if payload is None else len(payload) for payload in others)]
    return row


def _decode_rows(message: bytes, rows_at: int, payloads_at: int) -> list[Event]:
    """Raises BadFact."""
    try:
        return _decode_events(message, rows_at, payloads_at)
    except (ValueError, TypeError, LookupError, ArithmeticError) as error:
        raise BadFact(f"the rows of a fact cannot be read: {error}") from error


def _decode_events(message: bytes, rows_at: int, payloads_at: int) -> list[Event]:
    snapshots, rows = json.loads(message[rows_at:payloads_at])
    writers = [_decode_snapshot(numbers) for numbers in snapshots]
    at = payloads_at
    events = []
    for row in rows:
        key, order_key, size = row[4], row[5], row[14]
        payload, at = message[at : at + size], at + size
        more: tuple[Any, ...] = ()
        if len(row) > 15:
            others: list[bytes | None] = []
            for length in row[16:18]:
                others.append(None if length is None else message[at : at + length])
                at += length or 0
            more = (row[15], *others)
        events.append(
            Event(
                row[0],
                row[1],
                row[3],
                key,
                key if order_key == 0 else order_key,
                row[6],
                writers[row[2]],
                _UNIX_EPOCH + timedelta(microseconds=row[7]),
                row[8],
                row[9],
                Decimal(row[10]),
                Decimal(row[11]),
                row[12],
                row[13],
                payload,
                *more,
            )
        )
    return events
