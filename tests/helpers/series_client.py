"""What a page does with /api/series: it keeps the sums of an answer up to date by events alone. Pure.

It follows "Sums that stay exact" in docs/reference/protocol.md, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

__all__ = ["SeriesClient", "Sums", "is_included", "sums_of"]

# By status: the number of orders, and the revenue by currency. What is nothing has no entry.
Sums = dict[str, tuple[int, dict[str, Decimal]]]


def sums_of(statuses: Mapping[str, Any]) -> Sums:
    """``statuses`` of an answer, with numbers."""
    return {
        status: (entry["orders"], {currency: Decimal(amount) for currency, amount in entry["revenue"].items()})
        for status, entry in statuses.items()
    }


def is_included(event_id: str, position: str) -> bool:
    """Whether an answer with this position includes the event."""
    match = re.fullmatch(r"(\w+)-s(\d+)\.(\d+)((?:\.\d+)*)(?:~.*)?", position)
    assert match is not None, position
    epoch, transaction = event_id.split("-")[:2]
    assert epoch == match[1]
    running = match[4].split(".")[1:]
    return int(transaction) < int(match[2]) or (int(transaction) < int(match[3]) and transaction not in running)


def _add(sums: Sums, status: str, currency: str, orders: int, revenue: Decimal) -> None:
    count, by_currency = sums.get(status, (0, {}))
    by_currency = {**by_currency, currency: by_currency.get(currency, Decimal(0)) + revenue}
    sums[status] = (count + orders, {name: amount for name, amount in by_currency.items() if amount})
    if sums[status] == (0, {}):
        del sums[status]


class SeriesClient:
    """The sums of one answer, over all orders and by bucket; buckets are named by their start."""

    def __init__(self, answer: Mapping[str, Any], cancelled: frozenset[str]) -> None:
        self.period: str = answer["period"]
        self.statuses = sums_of(answer["statuses"])
        self.buckets = {bucket["from"]: sums_of(bucket["statuses"]) for bucket in answer["buckets"]}
        self._bounds = [
            (datetime.fromisoformat(bucket["from"]), datetime.fromisoformat(bucket["to"]), bucket["from"])
            for bucket in answer["buckets"]
        ]
        self._position: str = answer["position"]
        self._cancelled = cancelled
        self._applied: set[str] = set()

    def apply(self, events: Iterable[Mapping[str, Any]]) -> int:
        """Apply those of the events that neither the answer nor the sums include. Returns how many these were."""
        new = [event for event in events if event["id"] not in self._applied and not is_included(event["id"], self._position)]
        for event in new:
            self._applied.add(event["id"])
            is_delete = event["type"] == "order_delete"
            before = {name: event.get(f"previous_{name}", event.get(name)) for name in ("currency", "created_at")}
            if event["type"] != "new_order":
                # A deleted order has no status and total now: what it had is all that the event has.
                total = event.get("previous_total", None if is_delete else event.get("total"))
                status = event.get("previous_status", None if is_delete else event.get("status"))
                self._change(-1, status, total, **before)
            if not is_delete:
                self._change(1, event.get("status"), event.get("total"), event.get("currency"), event.get("created_at"))
        return len(new)

    def _change(self, orders: int, status: str | None, total: str | None, currency: str | None, created_at: str | None) -> None:
        status, currency = status or "", currency or ""
        revenue = Decimal(0) if total is None or status in self._cancelled else orders * Decimal(total)
        _add(self.statuses, status, currency, orders, revenue)
        if created_at is not None:
            moment = datetime.fromisoformat(created_at)
            for start, end, name in self._bounds:
                if start <= moment < end:
                    _add(self.buckets[name], status, currency, orders, revenue)
