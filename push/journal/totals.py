"""The totals of all orders, kept up to date by adding up events."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from push.journal.events import Event

__all__ = ["Totals"]


@dataclass(frozen=True, slots=True)
class Totals:
    """What the view ``order_analytics`` would return at the moment of the last event added.

    ``orders`` and ``pending`` are numbers of orders. ``revenue`` is in the shop's currency.
    """

    orders: int = 0
    revenue: Decimal = Decimal(0)
    pending: int = 0

    def plus(self, events: Iterable[Event]) -> Totals:
        """Return the totals after these events. How much each event counts has been decided in SQL."""
        orders, revenue, pending = self.orders, self.revenue, self.pending
        for event in events:
            orders += event.orders_delta
            revenue += event.revenue_delta
            pending += event.pending_delta
        return Totals(orders, revenue, pending)
