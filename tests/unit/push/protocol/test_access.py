"""What each role may see, and the names of topics."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.protocol.access import Grant, Role, order_ids, parse_topics
from tests.helpers.builders import make_event
from tests.helpers.strategies import JSON

ANNAS = make_event(order_id=1, customer_id="anna")
BOS = make_event(order_id=2, customer_id="bo")
WITHOUT_CUSTOMER = make_event(order_id=3)
ALL = [ANNAS, BOS, WITHOUT_CUSTOMER]


def visible_orders(grant: Grant) -> list[int]:
    return [event.order_id for event in ALL if grant.may_see(event)]


def test_what_each_role_may_see() -> None:
    assert visible_orders(Grant(Role.ADMIN)) == [1, 2, 3]
    assert visible_orders(Grant(Role.VIEWER, "anna", frozenset({1}))) == []
    assert visible_orders(Grant(Role.CUSTOMER, "anna")) == [1]
    assert visible_orders(Grant(Role.CUSTOMER, "anna", frozenset({3}))) == [1, 3]
    assert visible_orders(Grant(Role.CUSTOMER, None, frozenset({2}))) == [2]
    # A token without a subject does not own the orders without a customer.
    assert visible_orders(Grant(Role.CUSTOMER, None, frozenset({7}))) == []


@pytest.mark.parametrize("name", ["orders", "analytics", "order:1", "order:0", "order:-5", f"order:{2**63 - 1}"])
def test_valid_topics(name: str) -> None:
    assert parse_topics([name]) == {name}
    assert order_ids([name]) == ({int(name[6:])} if name.startswith("order:") else set())


@pytest.mark.parametrize(
    "name",
    ["", "order", "order:", "order:01", "order:+1", "order:1 ", "order:١", f"order:{2**63}", "ORDERS", 1, None, ["orders"]],
)
def test_invalid_topics(name: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_topics(["orders", name])


@given(st.lists(JSON | st.from_regex("order:-?[0-9]{1,25}", fullmatch=True)))
def test_any_json_list_is_parsed_or_refused(names: list[Any]) -> None:
    try:
        topics = parse_topics(names)
    except ValueError:
        return
    assert topics == set(names)
