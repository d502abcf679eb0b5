"""Who may see what: topics, roles, and the one rule that live, replayed and historical events go by."""

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
# One object for all who have these.
_ALL_TOPICS, _ANALYTICS_ONLY = frozenset((ORDERS_TOPIC, ANALYTICS_TOPIC)), frozenset((ANALYTICS_TOPIC,))
_NO_ORDERS: frozenset[int] = frozenset()
_ORDER_TOPIC_PATTERN = re.compile(r"order:(0|-?[1-9][0-9]{0,18})")


class AccessDenied(PushError):
    """Not let in, or not any more; ``close_code`` is what a WebSocket is closed with."""

    def __init__(self, close_code: CloseCode, message: str) -> None:
        super().__init__(message)
        self.close_code = close_code


class Role(StrEnum):
    """What a token is for."""

    ADMIN = "admin"
    VIEWER = "viewer"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a token says of its bearer. ``orders``: ids a customer may follow beside those with ``subject`` as customer_id.

    Times are Unix seconds. ``key_id``: which key signed it, None where there is only one.
    """

    role: Role
    subject: str | None = None
    order_ids: frozenset[int] = frozenset()
    expires_at: float = math.inf
    issued_at: float | None = None
    key_id: str | None = None

    def expired(self, now: float) -> bool:
        """Whether its time is over; ``now`` in Unix seconds."""
        return now >= self.expires_at

    def may_see(self, event: Event) -> bool:
        """The rule. Nothing about an order is told to anybody without asking this, or ``may_follow`` before it."""
        match self.role:
            case Role.ADMIN:
                return True
            case Role.CUSTOMER:
                return event.order_id in self.order_ids or (self.subject is not None and event.customer_id == self.subject)
            case Role.VIEWER:
                return False

    def may_subscribe(self, topic: str) -> bool:
        """Whether the role has such topics at all; whose order it is, is another question (``SessionManager.select``)."""
        match self.role:
            case Role.ADMIN:
                return True
            case Role.CUSTOMER:
                return topic.startswith("order:")
            case Role.VIEWER:
                return topic == ANALYTICS_TOPIC

    def default_topics(self) -> frozenset[str]:
        """What it gets when it names no topics."""
        match self.role:
            case Role.ADMIN:
                return _ALL_TOPICS
            case Role.CUSTOMER:
                return frozenset(f"order:{order_id}" for order_id in self.order_ids)
            case Role.VIEWER:
                return _ANALYTICS_ONLY


# Where no login is configured.
ANONYMOUS_GRANT = Grant(Role.ADMIN)


class Authenticator(Protocol):
    """Checks tokens."""

    @property
    def login_required(self) -> bool:
        """Whether a token is needed at all."""

    async def verify(self, token: str) -> Grant:
        """What the token grants. Raises Refused."""

    def is_valid(self, grant: Grant) -> bool:
        """Whether what was granted has not been taken back."""


class OrderOwnership(Protocol):
    """Whose order is whose. Raises StoreError."""

    async def owned_by(self, subject: str, ids: Collection[int]) -> set[int]:
        """Those of the orders that have ``subject`` as customer_id."""


def parse_topics(names: Iterable[object]) -> frozenset[str]:
    """Checked names of topics. Raises ValueError with the first that is none."""
    topics = []
    for name in names:
        match = _ORDER_TOPIC_PATTERN.fullmatch(name) if isinstance(name, str) else None
        if name not in (ORDERS_TOPIC, ANALYTICS_TOPIC) and (match is None or not -(2**63) <= int(match[1]) < 2**63):
            raise ValueError(str(name)[:40])
        topics.append(str(name))
    return frozenset(topics)


def order_ids(topics: Iterable[str]) -> frozenset[int]:
    """The orders that are followed one by one."""
    ids = [int(match[1]) for topic in topics if (match := _ORDER_TOPIC_PATTERN.fullmatch(topic))]
    return frozenset(ids) if ids else _NO_ORDERS
