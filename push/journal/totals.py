"""The totals: a fold over the events, never a scan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from push.journal.events import Event

__all__ = ["Totals"]


@dataclass(frozen=True, slots=True)
class Totals:
    """What `order_analytics` would answer at the moment of the last event folded in."""

    orders: int = 0
    revenue: Decimal = Decimal(0)
    pending: int = 0

    def plus(self, events: Iterable[Event]) -> Totals:
        """The totals after these events. What each one counts for was decided in SQL."""
        orders, revenue, pending = self.orders, self.revenue, self.pending
        for event in events:
            orders += event.orders_delta
            revenue += event.revenue_delta
            pending += event.pending_delta
        return Totals(orders, revenue, pending)
