"""Frames between server and client: small typed records with a literal ``type``, and the close codes.

The frames of events come ready-made from the database (``orderwire.event_json``), so they have no record here.
``docs/reference/protocol.md`` is normative.
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
    *["AnalyticsUpdate", "Authenticated", "ErrorFrame", "Ping", "Pong", "Resumed", "ServerFrame", "Subscribed"],
    *["Auth", "Bulk", "Command", "Reached", "Subscribe", "Unsubscribe"],
    *["Close", "encode"],
]


@dataclass(frozen=True, slots=True)
class AnalyticsUpdate:
    """The totals. First after connecting, then after changes, always the newest."""

    totals: Totals
    type: Literal["analytics_update"] = "analytics_update"

    def fields(self) -> dict[str, Any]:
        """Money is a decimal string: JSON numbers are binary floating point in most clients."""
        revenue = self.totals.revenue
        return {
            "total_orders": self.totals.orders,
            "total_revenue": format(revenue, "f") if revenue else "0",
            "pending_orders": self.totals.pending,
        }


@dataclass(frozen=True, slots=True)
class Ping:
    """Are you there? The other side answers with Pong."""

    type: Literal["ping"] = "ping"

    def fields(self) -> dict[str, Any]:
        """No fields."""
        return {}


@dataclass(frozen=True, slots=True)
class Pong:
    """I am here."""

    type: Literal["pong"] = "pong"

    def fields(self) -> dict[str, Any]:
        """No fields."""
        return {}


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """A frame was not understood; nothing else happened."""

    code: str
    message: str
    type: Literal["error"] = "error"

    def fields(self) -> dict[str, Any]:
        """What was wrong, for programs and for people."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Resumed:
    """Answers a resume, before the replayed events. Not recovered: nothing is replayed, fetch anew."""

    recovered: bool
    replayed: int = 0
    type: Literal["resumed"] = "resumed"

    def fields(self) -> dict[str, Any]:
        """How it went."""
        return {"recovered": self.recovered, "replayed": self.replayed}


@dataclass(frozen=True, slots=True)
class Subscribed:
    """All topics that the session has now: answers ``subscribe`` and ``unsubscribe``."""

    topics: Collection[str]
    type: Literal["subscribed"] = "subscribed"

    def fields(self) -> dict[str, Any]:
        """In an order that does not change by itself."""
        return {"topics": sorted(self.topics)}


@dataclass(frozen=True, slots=True)
class Authenticated:
    """A token was accepted. ``expires_at``: Unix seconds, infinite where no token is needed."""

    role: str
    expires_at: float
    type: Literal["authenticated"] = "authenticated"

    def fields(self) -> dict[str, Any]:
        """When to come with the next token; null for never."""
        if self.expires_at == math.inf:
            return {"role": self.role, "expires": None}
        expires = datetime.fromtimestamp(self.expires_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return {"role": self.role, "expires": expires}


@dataclass(frozen=True, slots=True)
class Bulk:
    """So many events are not told one by one: fetch anew."""

    events: int
    type: Literal["bulk"] = "bulk"

    def fields(self) -> dict[str, Any]:
        """How many."""
        return {"events": self.events}


@dataclass(frozen=True, slots=True)
class PositionMessage:
    """Everything up to this cursor has been told."""

    cursor: str
    type: Literal["position"] = "position"

    def fields(self) -> dict[str, Any]:
        """Where a client finds every cursor."""
        return {"id": self.cursor}


ServerMessage = AnalyticsUpdate | Ping | Pong | ErrorMessage | Resumed | Subscribed | Authenticated | Bulk | PositionMessage


@dataclass(frozen=True, slots=True)
class Auth:
    """The client shows a token: the first one, or a fresh one."""

    token: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """The client wants these topics too."""

    topics: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The client has had enough of these topics."""

    topics: frozenset[str]


# What a client asks for that takes more than the session itself to answer.
Command = Auth | Subscribe | Unsubscribe


def encode(message: ServerMessage) -> bytes:
    """One compact JSON object, UTF-8."""
    text = json.dumps({"type": message.type, **message.fields()}, ensure_ascii=False, separators=(",", ":"))
    return text.encode(errors="replace")  # half a surrogate pair, which a client can send as \ud800, is no character


class CloseCode(IntEnum):
    """Why a session ends. 3000-3499 and 4000-4499: come back; 3500-3999: do not (docs/reference/protocol.md, "Closing").

    Codes below 3000 are the protocol's own (RFC 6455 section 7.4.1).
    """

    NORMAL = 1000, "bye"
    PROTOCOL_ERROR = 1002, "protocol error"
    UNSUPPORTED = 1003, "text frames only"
    INVALID_TEXT = 1007, "text is not UTF-8"
    TOO_BIG = 1009, "frame too big"
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

    def __new__(cls, code: int, reason: str) -> CloseCode:
        """An int with a reason in words."""
        member = int.__new__(cls, code)
        member._value_ = code
        member.reason = reason
        return member
