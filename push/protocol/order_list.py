"""Lists of orders: what a client asks for, and a page of the answer. Values only: ``db`` fills them, ``gateway`` sends them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from push.errors import BadCursor
from push.journal.events import Cursor

__all__ = ["ListCursor", "OrderFilter", "OrderOwner", "OrderPage", "ShopInfo"]

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
    """Which orders a list has. ``search``: their number, customer or key contains it. ``owner``: None for those of all."""

    limit: int
    status: str | None = None
    search: str | None = None
    after: ListCursor | None = None
    owner: OrderOwner | None = None


@dataclass(frozen=True, slots=True)
class OrderPage:
    """Orders as JSON objects, newest first.

    ``next_cursor`` leads to the next page; None on the last. ``complete``: whether a search looked at all orders. ``position``:
    the page has every change up to there, and none after it.
    """

    orders: Sequence[str]
    next_cursor: ListCursor | None
    complete: bool
    position: Cursor


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
