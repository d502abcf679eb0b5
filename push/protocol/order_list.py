"""Lists of orders: what a client asks for, and a page of the answer. Values only: ``db`` fills them, ``gateway`` sends them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from push.errors import BadCursor
from push.journal.events import Cursor

__all__ = ["ListCursor", "OrderFilter", "OrderOwner", "OrderPage", "OrderPageRequest", "ShopInfo"]

MAX_CURSOR_LENGTH = 1000


class ListCursor(NamedTuple):
    """Where a page of a list of orders ends: the key of its last order, and the value that the list is sorted by before the key
    (None where that is null, or where the list is sorted by the key alone). A text that is opaque to clients.
    """

    sort_value: str | None
    key: str

    @classmethod
    def parse(cls, text: str) -> ListCursor:
        """Raises BadCursor if ``text`` does not have the form of a cursor."""
        try:
            if len(text) > MAX_CURSOR_LENGTH:
                raise ValueError
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            sort_value, key = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if not isinstance(key, str) or not isinstance(sort_value, str | None):
                raise TypeError
            # PostgreSQL's type text can hold neither NUL nor a lone surrogate.
            if b"\0" in f"{sort_value}{key}".encode():
                raise ValueError
        except (ValueError, TypeError, RecursionError, binascii.Error):
            raise BadCursor("not a cursor") from None
        return cls(sort_value, key)

    def __str__(self) -> str:
        text = json.dumps(tuple(self), ensure_ascii=False, separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True)
class OrderOwner:
    """The customer whose orders are asked for: those with ``subject`` as customer_id, and those with one of ``keys``."""

    subject: str | None
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class OrderFilter:
    """Which orders are asked for: those that have one of ``statuses`` (empty: any), were created from ``created_from`` on and
    before ``created_to`` (None: no bound), and in which ``search`` is found (None: any).

    A search finds an order by a part of its number (with or without # in front) or of the customer's name, by the whole
    customer_id or key, and by its total, like 150, 150.5 or 150,50.
    """

    statuses: Sequence[str] = ()
    search: str | None = None
    created_from: datetime | None = None
    created_to: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether all orders are asked for."""
        return not self.statuses and self.search is None and self.created_from is None and self.created_to is None


@dataclass(frozen=True, slots=True)
class OrderPageRequest:
    """At most ``limit`` orders of ``filter``, those that come after the cursor ``after``. ``owner``: None for those of all."""

    limit: int
    filter: OrderFilter = OrderFilter()
    after: ListCursor | None = None
    owner: OrderOwner | None = None


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Orders as JSON objects, newest first; what a search names exactly comes before.

    ``next_cursor`` leads to the next page; None on the last. ``complete``: False if the search stopped at its time limit. Then
    it has looked at the orders that were created since ``searched_to`` (RFC 3339; None if the list is not sorted by that), and
    the next page goes on from there. ``position``: the page has every change up to there, and none after it.
    """

    orders: Sequence[str]
    next_cursor: ListCursor | None
    complete: bool
    position: Cursor
    searched_to: str | None = None


@dataclass(frozen=True, slots=True)
class ShopInfo:
    """What the map of the attached table says about statuses, the names of the streams, and the table's name.

    ``table`` is None, and the lists are empty, where no table is attached. ``is_writable``: whether the map allows changes of
    the status; ``transitions``: which ones, by the status before, None for all. ``is_starter``: it is the starter table.
    """

    statuses: Sequence[str]
    pending: Sequence[str]
    cancelled: Sequence[str]
    table: str | None
    streams: Sequence[str]
    is_writable: bool = False
    transitions: Mapping[str, Sequence[str]] | None = None
    is_starter: bool = False

    @classmethod
    def from_map(cls, order_map: Mapping[str, Any], table: str | None, streams: Sequence[str]) -> ShopInfo:
        """``order_map``: the map as JSON. A status of one of the two other lists that ``statuses`` lacks comes last."""
        pending, cancelled = list(order_map.get("pending") or ()), list(order_map.get("cancelled") or ())
        statuses = list(dict.fromkeys([*(order_map.get("statuses") or ()), *pending, *cancelled]))
        write = order_map.get("write") or {}
        is_writable = bool(write.get("status"))
        return cls(statuses, pending, cancelled, table, streams, is_writable, write.get("transitions") if is_writable else None)
