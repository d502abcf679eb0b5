"""The messages between server and clients as typed values, and the close codes. docs/reference/protocol.md is normative.

Events have no class here: the database builds their JSON (``orderwire.event_json``), and the server passes it on as it is.
``type`` is the member of that name in the JSON object, ``fields`` returns the other members.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any, Literal

from push.journal.totals import Totals

__all__ = [
    "AnalyticsUpdate",
    "Auth",
    "Authenticated",
    "Bulk",
    "CloseCode",
    "Command",
    "ErrorMessage",
    "FeedStatus",
    "Ping",
    "Pong",
    "PositionMessage",
    "Resumed",
    "ServerMessage",
    "Subscribe",
    "Subscribed",
    "Unsubscribe",
    "encode",
    "rfc3339",
]


def rfc3339(moment: float, timespec: str = "milliseconds") -> str:
    """A Unix time as RFC 3339 in UTC."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class AnalyticsUpdate:
    """The totals: the first message of a session, and sent again after changes, always the newest.

    ``currency`` is that of ``total_revenue``, where orders have a currency.
    """

    totals: Totals
    currency: str
    type: Literal["analytics_update"] = "analytics_update"

    def fields(self) -> dict[str, Any]:
        # Sums of money are strings: most clients read a JSON number as binary floating point.
        revenue, by_currency = self.totals.revenue_in(self.currency), self.totals.revenue_by_currency
        fields: dict[str, Any] = {
            "total_orders": self.totals.orders,
            "total_revenue": format(revenue, "f") if revenue else "0",
            "pending_orders": self.totals.pending,
        }
        if by_currency is not None:
            fields["revenue_by_currency"] = {name: format(by_currency[name], "f") for name in sorted(by_currency)}
        return fields


@dataclass(frozen=True, slots=True)
class Ping:
    """Heartbeat, from either side. The receiver answers with ``Pong``."""

    type: Literal["ping"] = "ping"

    def fields(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to ``Ping``."""

    type: Literal["pong"] = "pong"

    def fields(self) -> dict[str, Any]:
        return {}


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """A message of the client was not understood or not carried out. ``code`` is for programs, ``message`` for people."""

    code: str
    message: str
    type: Literal["error"] = "error"

    def fields(self) -> dict[str, Any]:
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Resumed:
    """The answer to a resume, sent before the replayed events.

    ``replayed`` is their number. Not ``recovered``: nothing is replayed, and the client has to fetch anew; this is also sent
    to every live session when the cursors of before lose their meaning.
    """

    recovered: bool
    replayed: int = 0
    type: Literal["resumed"] = "resumed"

    def fields(self) -> dict[str, Any]:
        return {"recovered": self.recovered, "replayed": self.replayed}


@dataclass(frozen=True, slots=True)
class Subscribed:
    """All topics of the session: the answer to ``Subscribe`` and ``Unsubscribe``, also sent when a new grant permits less."""

    topics: Collection[str]
    type: Literal["subscribed"] = "subscribed"

    def fields(self) -> dict[str, Any]:
        return {"topics": sorted(self.topics)}


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A token was accepted. ``expires_at``: Unix seconds, infinite where no token is needed."""

    role: str
    expires_at: float
    type: Literal["authenticated"] = "authenticated"

    def fields(self) -> dict[str, Any]:
        if self.expires_at == math.inf:
            return {"role": self.role, "expires": None}
        return {"role": self.role, "expires": rfc3339(self.expires_at, "seconds")}


@dataclass(frozen=True, slots=True)
class Bulk:
    """Takes the place of ``events`` events for a client that asked for conflation: it has to fetch anew."""

    events: int
    type: Literal["bulk"] = "bulk"

    def fields(self) -> dict[str, Any]:
        return {"events": self.events}


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """Whether events flow. ``since``, a Unix time: not live, everything up to then has been delivered; live, since then.

    ``reason`` is a short text for people, None while they flow.
    """

    live: bool
    since: float
    reason: str | None = None
    type: Literal["feed_status"] = "feed_status"

    def fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"live": self.live, "since": rfc3339(self.since)}
        return fields if self.reason is None else {**fields, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class PositionMessage:
    """A cursor without an event (``type`` "position"): the client has everything up to there."""

    cursor: str
    type: Literal["position"] = "position"

    def fields(self) -> dict[str, Any]:
        return {"id": self.cursor}


ServerMessage = (
    AnalyticsUpdate | Ping | Pong | ErrorMessage | Resumed | Subscribed | Authenticated | Bulk | FeedStatus | PositionMessage
)


@dataclass(frozen=True, slots=True)
class Auth:
    """The client presents a token: its first one, or one to go on with before the first expires."""

    token: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Add ``topics`` to those of the session."""

    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """Remove ``topics`` from those of the session."""

    topics: frozenset[str]


# The messages of a client that SessionManager.handle_command carries out. Ping is answered by push.delivery.client_messages.
Command = Auth | Subscribe | Unsubscribe


def encode(message: ServerMessage) -> bytes:
    """Return the message as one compact JSON object in UTF-8."""
    text = json.dumps({"type": message.type, **message.fields()}, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace")  # a topic may contain a lone surrogate, sent as \ud800


class CloseCode(IntEnum):
    """The code and the reason with which a session is closed (docs/reference/protocol.md, "Closing").

    Codes below 3000 are those of RFC 6455 section 7.4.1, those from 3000 on are for applications (section 7.4.2). After 3000
    to 3499 the client should reconnect, after 3500 to 3999 it should not. SSE has no close codes: the stream just ends.
    ``reason`` is the text of the close frame. The lower-case name is the label of metrics; gateway/http/errors.py
    has the HTTP status and error code.
    """

    NORMAL = 1000, "bye"
    PROTOCOL_ERROR = 1002, "protocol error"
    UNSUPPORTED = 1003, "text frames only"
    INVALID_TEXT = 1007, "text is not UTF-8"
    TOO_BIG = 1009, "message too big"
    INTERNAL_ERROR = 1011, "internal error"
    DRAIN = 3001, "server is going away, come back"
    RESUME_AGAIN = 3002, "cannot finish the replay, come back and resume"
    UNAVAILABLE = 3003, "cannot answer right now, come back"
    TOKEN_EXPIRED = 3005, "token expired"
    SLOW_CONSUMER = 3008, "slow consumer"
    NO_PONG = 3012, "no pong"
    TOO_FAST = 3013, "too fast"
    INVALID_TOKEN = 3500, "invalid token"
    BAD_REQUEST = 3501, "bad request"
    NOT_AUTHENTICATED = 3502, "not authenticated in time"
    TOO_MANY_CONNECTIONS = 3504, "too many connections"
    NOT_PERMITTED = 3507, "not permitted"

    reason: str

    def __new__(cls, code: int, reason: str = "") -> CloseCode:
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        return member
