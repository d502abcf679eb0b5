"""Totals as a fold over events."""

from __future__ import annotations

from decimal import Decimal

from push.journal.totals import Totals
from tests.helpers.builders import make_event


def test_events_add_to_the_totals() -> None:
    events = [make_event(orders=1, revenue="10.10", pending=1), make_event(revenue="-0.10", pending=-1), make_event(orders=-1)]
    assert Totals(5, Decimal(1), 2).plus(events) == Totals(5, Decimal("11.00"), 2)
    assert Totals(1, Decimal(1), 1).plus([]) == Totals(1, Decimal(1), 1)
