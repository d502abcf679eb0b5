"""What the client yields, and the parser of what the server sends: docs/reference/protocol.md of Orderwire is normative.

Amounts of money are Decimal, times are datetime in UTC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

__all__ = [
    "Actor",
    "Authenticated",
    "CommandError",
    "Connected",
    "Disconnected",
    "Event",
    "FeedStatus",
    "Gap",
    "Message",
    "OrderEvent",
    "Ping",
    "Resumed",
    "ServerMessage",
    "StreamEvent",
    "Subscribed",
    "Totals",
    "is_newer",
    "parse_event",
    "parse_message",
]

OrderEventType = Literal["new_order", "order_status_update", "order_update", "order_delete"]
StreamEventType = Literal["row_insert", "row_update", "row_delete"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who made a change: the database role, and the application_name of its connection."""

    role: str
    application_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderEvent:
    """One recorded change of one order.

    A field is None if the event does not have it, or has null: ``"customer_name" in event.raw`` tells the one from the other.
    An update leaves out what it has not changed. ``raw`` is the JSON object, with fields of later versions too.
    """

    type: OrderEventType
    id: str
    key: str
    order_id: int | str
    at: datetime
    order_number: str | None = None
    customer_name: str | None = None
    total: Decimal | None = None
    currency: str | None = None
    status: str | None = None
    created_at: datetime | None = None
    previous_status: str | None = None
    previous_total: Decimal | None = None
    previous_currency: str | None = None
    previous_created_at: datetime | None = None
    data: Mapping[str, Any] | None = None
    actor: Actor | None = None
    truncated: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamEvent:
    """A change of a row of a further attached table. ``order_id``: the order that the row belongs to, if the table says so."""

    type: StreamEventType
    id: str
    stream: str
    key: str
    at: datetime
    order_id: int | str | None = None
    data: Mapping[str, Any] | None = None
    actor: Actor | None = None
    truncated: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(repr=False, compare=False)


Event = OrderEvent | StreamEvent


@dataclass(frozen=True, slots=True)
class Totals:
    """The totals as of the last event. ``revenue`` is that of the server's CURRENCY if the table has currencies."""

    orders: int
    revenue: Decimal
    pending: int
    revenue_by_currency: Mapping[str, Decimal] | None = None


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """Whether the server gets events. Not ``live``: everything up to ``since`` has been delivered; ``reason`` is for people."""

    live: bool
    since: datetime
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Subscribed:
    """All topics that the session has now."""

    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class CommandError:
    """The server did not carry a command out. ``code`` is for programs, ``message`` for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Events were missed that cannot be replayed: fetch the state anew."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The server's first message has come. Events flow, unless a FeedStatus says otherwise."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """A connection that was open has ended. The client comes back by itself."""

    code: int
    reason: str


# What the client yields.
Message = Event | Totals | FeedStatus | Subscribed | CommandError | Gap | Connected | Disconnected


@dataclass(frozen=True, slots=True)
class Resumed:
    """The answer to a resume; the client makes a Gap of it if it is not ``recovered``."""

    recovered: bool


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A token was accepted; None if it does not expire."""

    expires: datetime | None


@dataclass(frozen=True, slots=True)
class Ping:
    """The server's heartbeat."""


ServerMessage = Event | Totals | FeedStatus | Subscribed | CommandError | Resumed | Authenticated | Ping

_ORDER_EVENTS = ("new_order", "order_status_update", "order_update", "order_delete")
_STREAM_EVENTS = ("row_insert", "row_update", "row_delete")
_MONEY = ("total", "previous_total")
_TIMES = ("at", "created_at", "previous_created_at")
_ORDER_FIELDS = frozenset(OrderEvent.__dataclass_fields__)
_STREAM_FIELDS = frozenset(StreamEvent.__dataclass_fields__)


def parse_message(text: str) -> ServerMessage | None:
    """None for what is no message, and for types that this version does not know: versions evolve by addition."""
    try:
        message = json.loads(text)
        return _parse(message) if isinstance(message, dict) else None
    except (ValueError, KeyError, TypeError, ArithmeticError):
        return None


def _parse(message: dict[str, Any]) -> ServerMessage | None:
    match message.get("type"):
        case str(name) if name in _ORDER_EVENTS or name in _STREAM_EVENTS:
            return parse_event(message)
        case "analytics_update":
            by_currency = message.get("revenue_by_currency")
            return Totals(
                message["total_orders"],
                Decimal(message["total_revenue"]),
                message["pending_orders"],
                None if by_currency is None else {name: Decimal(amount) for name, amount in by_currency.items()},
            )
        case "feed_status":
            return FeedStatus(message["live"], datetime.fromisoformat(message["since"]), message.get("reason"))
        case "subscribed":
            return Subscribed(frozenset(message["topics"]))
        case "error":
            return CommandError(message["code"], message["message"])
        case "resumed":
            return Resumed(message["recovered"])
        case "authenticated":
            expires = message["expires"]
            return Authenticated(None if expires is None else datetime.fromisoformat(expires))
        case "ping":
            return Ping()
    return None


def parse_event(message: Mapping[str, Any]) -> Event:
    """An event, as messages and /api/events have it. Raises KeyError, TypeError, ValueError or ArithmeticError."""
    if message["type"] in _STREAM_EVENTS:
        return StreamEvent(**_event_fields(message, _STREAM_FIELDS))
    return OrderEvent(**_event_fields(message, _ORDER_FIELDS))


def _event_fields(message: Mapping[str, Any], known: frozenset[str]) -> dict[str, Any]:
    fields = {name: value for name, value in message.items() if name in known}
    for name in _MONEY:
        if fields.get(name) is not None:
            fields[name] = Decimal(fields[name])
    for name in _TIMES:
        if fields.get(name) is not None:
            fields[name] = datetime.fromisoformat(fields[name])
    if actor := fields.get("actor"):
        fields["actor"] = Actor(actor["role"], actor["application_name"])
    fields["truncated"] = tuple(fields.get("truncated", ()))
    return {**fields, "raw": message}


def is_newer(id: str, last_applied: str | None) -> bool:  # noqa: A002
    """Whether the event ``id`` is newer than ``last_applied``, the last event that was applied to the same order.

    An application that keeps the state of orders skips older events: a resume may replay events from before that state. Numbers
    begin again in a new epoch, so an event of another epoch counts as newer.
    """
    if last_applied is None:
        return True
    return _epoch(id) != _epoch(last_applied) or _sequence(id) > _sequence(last_applied)


def _epoch(id: str) -> str:  # noqa: A002
    return id.partition("-")[0]


def _sequence(id: str) -> int:  # noqa: A002
    return int(id.rpartition("-")[2])
