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


def test_sums_are_exact_beyond_the_digits_of_the_default_context() -> None:
    large, small = "123456789012345678901234.5", "0.00000000000000000001"
    added = Totals().plus([make_event(revenue=large), make_event(revenue=small)])
    assert str(added.revenue) == "123456789012345678901234.50000000000000000001"
    assert (added - Totals(0, Decimal(large))).revenue == Decimal(small)


def test_revenue_is_counted_by_currency() -> None:
    totals = Totals(revenue_by_currency={"PLN": Decimal(1)}).plus(
        [
            make_event(revenue="2.50", currency="EUR"),
            make_event(previous_revenue="2.50", previous_currency="EUR", revenue="3", currency="EUR"),
            make_event(previous_revenue="1", previous_currency="PLN", revenue="1", currency="USD"),
            make_event(revenue="9"),
        ]
    )
    # A currency without revenue has no entry, and an order without a currency is in none.
    assert totals.revenue_by_currency == {"EUR": Decimal("3.00"), "USD": Decimal(1)}
    assert [totals.revenue_in(currency) for currency in ("EUR", "PLN")] == [3, 0]
    assert Totals(revenue_by_currency={"eur": Decimal(1), "EUR": Decimal("0.5")}).revenue_in("EUR") == Decimal("1.5")
    assert totals.revenue == 0
    assert Totals(revenue=Decimal(5)).revenue_in("EUR") == 5


def test_totals_are_added_and_subtracted() -> None:
    before = Totals(1, Decimal(0), 2, {"EUR": Decimal(5), "PLN": Decimal(1)})
    after = Totals(3, Decimal(0), 1, {"EUR": Decimal(4), "USD": Decimal(2)})
    drift = after - before
    assert drift == Totals(2, Decimal(0), -1, {"EUR": Decimal(-1), "PLN": Decimal(-1), "USD": Decimal(2)})
    assert before + drift == after
    assert drift.describe_revenue("+f") == "-1 EUR, -1 PLN, +2 USD"
    assert bool(drift)
    assert not after - after
    assert Totals(1, Decimal("1.50")) - Totals(0, Decimal(1)) == Totals(1, Decimal("0.50"))
    assert Totals(revenue=Decimal("1.50")).describe_revenue() == "1.50"
    assert Totals(revenue_by_currency={}).describe_revenue() == "0"
