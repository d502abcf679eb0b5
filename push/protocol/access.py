"""Access control: topics, roles and grants, and who may see an event. docs/explanation/access-control.md lists all checks."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from push.errors import PushError
from push.journal.events import Event
from push.protocol.messages import CloseCode

__all__ = [
    "ANALYTICS_TOPIC",
    "ANONYMOUS_GRANT",
    "ORDERS_TOPIC",
    "AccessDenied",
    "Authenticator",
    "Grant",
    "OrderOwnership",
    "Role",
    "order_ids",
    "parse_topics",
]

ORDERS_TOPIC = "orders"
ANALYTICS_TOPIC = "analytics"
# Shared by all sessions that have these, to save memory.
_ALL_TOPICS, _ANALYTICS_ONLY = frozenset((ORDERS_TOPIC, ANALYTICS_TOPIC)), frozenset((ANALYTICS_TOPIC,))
_NO_ORDERS: frozenset[int] = frozenset()
_ORDER_TOPIC_PATTERN = re.compile(r"order:(0|-?[1-9][0-9]{0,18})")


class AccessDenied(PushError):
    """A client is rejected, or may not stay. ``close_code`` is that of the WebSocket; gateway/http/errors.py has the
    HTTP status of each."""

    def __init__(self, close_code: CloseCode, message: str) -> None:
        super().__init__(message)
        self.close_code = close_code


class Role(StrEnum):
    """ADMIN sees everything, VIEWER the totals only, CUSTOMER the events of its own orders only."""

    ADMIN = "admin"
    VIEWER = "viewer"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token permits its bearer, after verification.

    A customer's own orders are those with ``subject`` as their customer_id, and those of ``order_ids``. Times are Unix
    seconds. ``key_id`` is that of the key that signed the token, None if there is only one key.
    """

    role: Role
    subject: str | None = None
    order_ids: frozenset[int] = frozenset()
    expires_at: float = math.inf
    issued_at: float | None = None
    key_id: str | None = None

    def expired(self, now: float) -> bool:
        """Whether the token has expired at ``now``, in Unix seconds."""
        return now >= self.expires_at

    def may_see(self, event: Event) -> bool:
        """Whether the bearer may get this event. Checked for each event that is sent to one session alone, replays and
        ``GET /api/events``. The topic ``orders`` is checked once, when it is granted (``may_subscribe``).
        """
        match self.role:
            case Role.ADMIN:
                return True
            case Role.CUSTOMER:
                return event.order_id in self.order_ids or (self.subject is not None and event.customer_id == self.subject)
            case Role.VIEWER:
                return False

    def may_subscribe(self, topic: str) -> bool:
        """Whether the role has this kind of topic. Whether an order is a customer's own is checked by ``SessionManager``."""
        match self.role:
            case Role.ADMIN:
                return True
            case Role.CUSTOMER:
                return topic.startswith("order:")
            case Role.VIEWER:
                return topic == ANALYTICS_TOPIC

    def default_topics(self) -> frozenset[str]:
        """The topics of a client that names none."""
        match self.role:
            case Role.ADMIN:
                return _ALL_TOPICS
            case Role.CUSTOMER:
                return frozenset(f"order:{order_id}" for order_id in self.order_ids)
            case Role.VIEWER:
                return _ANALYTICS_ONLY


# The grant of every session while no login is configured.
ANONYMOUS_GRANT = Grant(Role.ADMIN)


class Authenticator(Protocol):
    """Verifies tokens. Implemented by the gateway."""

    @property
    def login_required(self) -> bool:
        """Whether clients need a token."""

    async def verify(self, token: str) -> Grant:
        """Return what the token permits. Raises AccessDenied, with UNAVAILABLE if its key cannot be fetched right now."""

    def is_valid(self, grant: Grant) -> bool:
        """Whether the token of ``grant`` is not revoked and the key that signed it is still trusted."""


class OrderOwnership(Protocol):
    """Knows the customers of orders."""

    async def owned_by(self, subject: str, ids: Collection[int]) -> set[int]:
        """Return those of the orders that have ``subject`` as customer_id. Raises StoreError."""


def parse_topics(names: Iterable[object]) -> frozenset[str]:
    """Return the names as a set. Raises ValueError with the first that is not a topic, cut to 40 characters."""
    topics = []
    for name in names:
        match = _ORDER_TOPIC_PATTERN.fullmatch(name) if isinstance(name, str) else None
        if name not in (ORDERS_TOPIC, ANALYTICS_TOPIC) and (match is None or not -(2**63) <= int(match[1]) < 2**63):
            raise ValueError(str(name)[:40])
        topics.append(str(name))
    return frozenset(topics)


def order_ids(topics: Iterable[str]) -> frozenset[int]:
    """Return the ids of the topics ``order:<id>``."""
    ids = [int(match[1]) for topic in topics if (match := _ORDER_TOPIC_PATTERN.fullmatch(topic))]
    return frozenset(ids) if ids else _NO_ORDERS
