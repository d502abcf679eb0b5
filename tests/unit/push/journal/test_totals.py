"""The totals are the sum of what the events add."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from push.journal.totals import Totals
from tests.helpers.builders import make_event


def test_events_add_to_the_totals() -> None:
    events = [make_event(orders=1, revenue="10.10", pending=1), make_event(revenue="-0.10", pending=-1), make_event(orders=-1)]
    assert Totals(5, Decimal(1), 2).plus(events) == Totals(5, Decimal("11.00"), 2)


def test_no_events_change_nothing() -> None:
    assert Totals(1, Decimal(1), 1).plus([]) == Totals(1, Decimal(1), 1)


@given(
    st.lists(st.tuples(st.integers(-1, 1), st.decimals(-999, 999, places=2), st.integers(-1, 1)), max_size=8), st.integers(0, 8)
)
def test_totals_do_not_depend_on_how_the_events_are_divided(deltas: list[tuple[int, Decimal, int]], cut: int) -> None:
    events = [make_event(orders=orders, revenue=str(revenue), pending=pending) for orders, revenue, pending in deltas]
    assert Totals().plus(events[:cut]).plus(events[cut:]) == Totals().plus(events)


def test_decimals_are_exact() -> None:
    assert Totals().plus([make_event(revenue="0.10")] * 3).revenue == Decimal("0.30")
