"""Grants and the rule by which events are filtered; names of topics."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.protocol.access import ANONYMOUS_GRANT, Grant, Role, order_ids, parse_topics
from tests.helpers.builders import make_event
from tests.helpers.strategies import JSON

ANNAS_ORDER = make_event(order_id=1, customer_id="anna")
BOS_ORDER = make_event(order_id=2, customer_id="bo")
ORDER_WITHOUT_CUSTOMER = make_event(order_id=3)
ALL = [ANNAS_ORDER, BOS_ORDER, ORDER_WITHOUT_CUSTOMER]


def visible_orders(grant: Grant) -> list[int]:
    return [event.order_id for event in ALL if grant.may_see(event)]


def test_events_that_each_role_may_see() -> None:
    assert visible_orders(Grant(Role.ADMIN)) == [1, 2, 3]
    assert visible_orders(Grant(Role.VIEWER, "anna", frozenset({1}))) == []
    assert visible_orders(Grant(Role.CUSTOMER, "anna")) == [1]
    assert visible_orders(Grant(Role.CUSTOMER, "anna", frozenset({3}))) == [1, 3]
    assert visible_orders(Grant(Role.CUSTOMER, None, frozenset({2}))) == [2]
    # An order without a customer is not one of a token without a subject.
    assert visible_orders(Grant(Role.CUSTOMER, None, frozenset({7}))) == []


@pytest.mark.parametrize("name", ["orders", "analytics", "order:1", "order:0", "order:-5", f"order:{2**63 - 1}"])
def test_names_of_topics(name: str) -> None:
    assert parse_topics([name]) == {name}
    assert order_ids([name]) == ({int(name[6:])} if name.startswith("order:") else set())


@pytest.mark.parametrize(
    "name",
    ["", "order", "order:", "order:01", "order:+1", "order:1 ", "order:١", f"order:{2**63}", "ORDERS", 1, None, ["orders"]],
)
def test_other_names_are_rejected(name: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_topics(["orders", name])


def test_error_names_the_first_wrong_topic_cut_short() -> None:
    with pytest.raises(ValueError, match=r"^x{40}$"):
        parse_topics(["orders", "x" * 100, "other"])


def test_order_ids_of_topics() -> None:
    assert order_ids(["orders", "order:5", "analytics", "order:-1"]) == {5, -1}
    assert order_ids(["orders"]) is order_ids([]), "one object for all sessions without single orders"


@pytest.mark.parametrize(
    ("grant", "permitted", "default"),
    [
        (Grant(Role.ADMIN), {"orders", "analytics", "order:1"}, {"orders", "analytics"}),
        (Grant(Role.VIEWER), {"analytics"}, {"analytics"}),
        (Grant(Role.CUSTOMER, "anna", frozenset({1, 2})), {"order:1"}, {"order:1", "order:2"}),
        (Grant(Role.CUSTOMER, "anna"), {"order:1"}, set()),
    ],
)
def test_topics_of_each_role(grant: Grant, permitted: set[str], default: set[str]) -> None:
    """Whether an order is the customer's own is checked elsewhere."""
    assert {topic for topic in ("orders", "analytics", "order:1") if grant.may_subscribe(topic)} == permitted
    assert grant.default_topics() == default


def test_grant_expires_at_its_time() -> None:
    grant = Grant(Role.ADMIN, expires_at=1000.0)
    assert not grant.expired(999.9)
    assert grant.expired(1000.0)
    assert not ANONYMOUS_GRANT.expired(1e18)


@given(st.lists(JSON | st.from_regex("order:-?[0-9]{1,25}", fullmatch=True)))
def test_any_json_list_is_parsed_or_rejected(names: list[Any]) -> None:
    try:
        topics = parse_topics(names)
    except ValueError:
        return
    assert topics == set(names)
