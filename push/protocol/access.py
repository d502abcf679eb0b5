"""Access control: topics, roles and grants, and who may see an event. docs/explanation/access-control.md lists all checks."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol
from urllib.parse import quote, unquote

from push.errors import PushError
from push.journal.events import Event
from push.protocol.messages import CloseCode

__all__ = [
    "ANALYTICS_TOPIC",
    "ANONYMOUS_GRANT",
    "MAX_KEY_BYTES",
    "ORDERS_TOPIC",
    "AccessDenied",
    "Authenticator",
    "CustomerId",
    "Grant",
    "Role",
    "RowSelector",
    "TopicLookup",
    "is_key",
    "order_keys",
    "order_topic",
    "parse_topics",
    "selector_of",
    "stream_names",
    "topic_of",
    "without_actor",
]

ORDERS_TOPIC = "orders"
ANALYTICS_TOPIC = "analytics"
# Shared by all sessions that have these, to save memory.
_ALL_TOPICS, _ANALYTICS_ONLY = frozenset((ORDERS_TOPIC, ANALYTICS_TOPIC)), frozenset((ANALYTICS_TOPIC,))
_ORDERS_ONLY = frozenset((ORDERS_TOPIC,))
_NO_ORDERS: frozenset[str] = frozenset()
# The key of a row of an attached table, in bytes of UTF-8: the journal has no longer ones (orderwire.bounded_key).
MAX_KEY_BYTES = 200
# In characters. The journal cuts a longer one (``orderwire.journal.customer_id``), so that two might look the same.
MAX_CUSTOMER_ID_LENGTH = 200
_STREAM_NAME = r"[a-z][a-z0-9_]{0,39}"
_TOPIC_PATTERN = re.compile(rf"(?P<name>{_STREAM_NAME})(?::(?P<key>(?:[^%,\s\x00-\x1f\x7f]|%[0-9A-Fa-f]{{2}})+))?")

# The member of an event that names its writer, as orderwire.rare_members_json makes it. Only there: in the text of a jsonb a
# space follows each colon, and inside of a string each quotation mark has a backslash before it.
_ACTOR = re.compile(rb',"actor":\{"role":"(?:[^"\\]|\\.)*","application_name":"(?:[^"\\]|\\.)*"\}')

# What a topic beside "orders" and "analytics" selects: one order by its key, one row of a stream by the stream's name and its
# key, or all rows of a stream by the name and None.
RowSelector = str | tuple[str, str | None]


@dataclass(frozen=True, slots=True)
class CustomerId:
    """Selects the orders of one customer. A type of its own, so that no key of an order is taken for one."""

    text: str


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

    A customer's own orders are those with ``subject`` as their customer_id, and those of ``order_keys``. An empty ``subject``
    becomes None: it must not match orders whose customer_id is empty. Times are Unix seconds. ``key_id`` is that of the key
    that signed the token, None if there is only one key.
    """

    role: Role
    subject: str | None = None
    order_keys: frozenset[str] = frozenset()
    expires_at: float = math.inf
    issued_at: float | None = None
    key_id: str | None = None

    def __post_init__(self) -> None:
        if not self.subject:
            object.__setattr__(self, "subject", None)

    def expired(self, now: float) -> bool:
        """Whether the token has expired at ``now``, in Unix seconds."""
        return now >= self.expires_at

    @property
    def customer_id(self) -> str | None:
        """The customer_id of events that are the bearer's by ``subject``. None also for one that is too long for events."""
        return None if self.subject is None or len(self.subject) > MAX_CUSTOMER_ID_LENGTH else self.subject

    def view(self, event: Event) -> Event | None:
        """The event as the bearer may see it; None if they may not. Asked for each event that is sent to one session alone, for
        replays and ``GET /api/events``. An admin's topic ``orders`` is checked once, when it is granted (``may_subscribe``).

        Of an order that changes hands the new customer gets a new order, and the former one that it is deleted. No customer is
        told who made the change.

        A stream's row does not say whose it is. So a customer gets those that belong to orders named in the token.
        """
        match self.role:
            case Role.ADMIN:
                return event
            case Role.CUSTOMER:
                payload = self._customer_payload(event)
                if payload is None:
                    return None
                shown = without_actor(payload)
                return event if shown is event.payload else event._replace(payload=shown)
            case Role.VIEWER:
                return None

    def _customer_payload(self, event: Event) -> bytes | None:
        if event.order_key in self.order_keys:
            return event.payload
        customer_id = self.customer_id
        if customer_id is None:
            return None
        if event.customer_id == customer_id:
            return event.payload if event.customer_payload is None else event.customer_payload
        return event.previous_customer_payload if event.previous_customer_id == customer_id else None

    def may_subscribe(self, topic: str) -> bool:
        """Whether the role has this kind of topic. Whether an order is a customer's own is checked by ``SessionManager``.

        ``orders`` is for a customer the topic of their own orders (``own_orders``).
        """
        match self.role:
            case Role.ADMIN:
                return True
            case Role.CUSTOMER:
                return topic == ORDERS_TOPIC or topic.startswith("order:")
            case Role.VIEWER:
                return topic == ANALYTICS_TOPIC

    def default_topics(self) -> frozenset[str]:
        """The topics of a client that names none."""
        match self.role:
            case Role.ADMIN:
                return _ALL_TOPICS
            case Role.CUSTOMER:
                return _ORDERS_ONLY
            case Role.VIEWER:
                return _ANALYTICS_ONLY

    @property
    def own_orders(self) -> frozenset[RowSelector | CustomerId]:
        """What a customer's topic ``orders`` selects: by customer_id, also orders that are still to come, and by the claim."""
        if self.customer_id is None:
            return self.order_keys
        return self.order_keys | {CustomerId(self.customer_id)}


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


class TopicLookup(Protocol):
    """Knows the customers of orders, and which streams there are. Raises StoreError."""

    async def owned_keys(self, subject: str, keys: Collection[str]) -> set[str]:
        """Return those of the orders that have ``subject`` as customer_id."""

    async def known_streams(self, names: Collection[str]) -> set[str]:
        """Return those of the names that are attached streams."""


def without_actor(payload: bytes) -> bytes:
    """The JSON of an event without its member ``actor``."""
    return _ACTOR.sub(b"", payload, count=1) if b',"actor":{' in payload else payload


def is_key(text: str) -> bool:
    """Whether the text can be the key of a row: not empty, not too long, and a text that PostgreSQL can hold."""
    try:
        return 0 < len(text.encode()) <= MAX_KEY_BYTES and "\0" not in text
    except UnicodeEncodeError:  # a lone surrogate
        return False


def parse_topics(names: Iterable[object]) -> frozenset[str]:
    """Return the topics in their one spelling: keys percent-encoded but for RFC 3986's unreserved characters (section 2.3).

    Raises ValueError with the first name that is no topic, cut to 40 characters. Whether there is a stream of that name is not
    checked.
    """
    return frozenset(topic_of(selector) if (selector := _parse_topic(name)) else str(name) for name in names)


def _parse_topic(name: object) -> RowSelector | None:
    """None: ``orders`` or ``analytics``. Raises ValueError."""
    if name in (ORDERS_TOPIC, ANALYTICS_TOPIC):
        return None
    match = _TOPIC_PATTERN.fullmatch(name) if isinstance(name, str) else None
    if match is not None and match["name"] not in (ORDERS_TOPIC, ANALYTICS_TOPIC):
        if match["key"] is None and match["name"] != "order":
            return match["name"], None
        if match["key"] is not None and is_key(key := unquote(match["key"], errors="surrogateescape")):
            return key if match["name"] == "order" else (match["name"], key)
    raise ValueError(str(name)[:40])


def selector_of(topic: str) -> RowSelector | None:
    """What a topic of ``parse_topics`` selects; None for ``orders`` and ``analytics``."""
    return _parse_topic(topic)


def topic_of(selector: RowSelector) -> str:
    """The inverse of ``selector_of``."""
    if isinstance(selector, str):
        return order_topic(selector)
    stream, key = selector
    return stream if key is None else f"{stream}:{quote(key, safe='')}"


def order_topic(key: str) -> str:
    """The topic ``order:<key>``."""
    return f"order:{quote(key, safe='')}"


def order_keys(topics: Iterable[str]) -> frozenset[str]:
    """Return the keys of the topics ``order:<key>``."""
    keys = [selector for topic in topics if isinstance(selector := selector_of(topic), str)]
    return frozenset(keys) if keys else _NO_ORDERS


def stream_names(topics: Iterable[str]) -> set[str]:
    """Return the names of the streams among the topics."""
    return {selector[0] for topic in topics if isinstance(selector := selector_of(topic), tuple)}
