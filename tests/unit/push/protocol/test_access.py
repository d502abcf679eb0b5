"""Grants and the rule by which events are filtered; names of topics."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.protocol.access import (
    ANONYMOUS_GRANT,
    Grant,
    Role,
    RowSelector,
    is_key,
    order_keys,
    parse_topics,
    selector_of,
    stream_names,
    topic_of,
)
from tests.helpers.builders import make_event
from tests.helpers.strategies import JSON

ANNAS_ORDER = make_event(order_key="1", customer_id="anna")
BOS_ORDER = make_event(order_key="2", customer_id="bo")
ORDER_WITHOUT_CUSTOMER = make_event(order_key="3")
ALL = [ANNAS_ORDER, BOS_ORDER, ORDER_WITHOUT_CUSTOMER]


def visible_orders(grant: Grant) -> list[int]:
    return [int(event.key) for event in ALL if grant.view(event) is not None]


def test_events_that_each_role_may_see() -> None:
    assert visible_orders(Grant(Role.ADMIN)) == [1, 2, 3]
    assert visible_orders(Grant(Role.VIEWER, "anna", frozenset({"1"}))) == []
    assert visible_orders(Grant(Role.CUSTOMER, "anna")) == [1]
    assert visible_orders(Grant(Role.CUSTOMER, "anna", frozenset({"3"}))) == [1, 3]
    assert visible_orders(Grant(Role.CUSTOMER, None, frozenset({"2"}))) == [2]
    # An order without a customer is not one of a token without a subject.
    assert visible_orders(Grant(Role.CUSTOMER, None, frozenset({"7"}))) == []
    # The journal holds 201 characters of a customer_id, and this might be the beginning of another's.
    assert Grant(Role.CUSTOMER, "a" * 201).view(make_event(order_key="4", customer_id="a" * 201)) is None
    assert Grant(Role.CUSTOMER, "a" * 200).view(make_event(order_key="4", customer_id="a" * 200)) is not None
    # Nor is one with an empty customer one of an empty subject.
    assert Grant(Role.CUSTOMER, "").subject is None
    assert Grant(Role.CUSTOMER, "").view(make_event(order_key="4", customer_id="")) is None


def test_an_order_that_changes_hands_is_new_to_one_customer_and_deleted_to_the_other() -> None:
    event = make_event(order_key="5", customer_id="bo", payload=b"update")._replace(
        previous_customer_id="anna",
        customer_payload=b"new",
        previous_customer_payload=b"delete",
    )

    def payload(grant: Grant) -> bytes | None:
        seen = grant.view(event)
        return None if seen is None else seen.payload

    assert payload(Grant(Role.ADMIN)) == payload(Grant(Role.CUSTOMER, "anna", frozenset({"5"}))) == b"update"
    assert payload(Grant(Role.CUSTOMER, "bo")) == b"new"
    assert payload(Grant(Role.CUSTOMER, "anna")) == b"delete"
    assert payload(Grant(Role.CUSTOMER, "cy")) is None
    # From nobody: an empty customer is nobody's.
    event = event._replace(previous_customer_id="")
    assert payload(Grant(Role.CUSTOMER, "")) is None
    assert payload(Grant(Role.CUSTOMER, "bo")) == b"new"


@pytest.mark.parametrize(
    ("name", "selector"),
    [
        ("orders", None),
        ("analytics", None),
        ("order:1", "1"),
        ("order:-5", "-5"),
        (f"order:{2**63}", str(2**63)),
        ("order:01HZX.a_b~c", "01HZX.a_b~c"),
        ("order:a%2Fb%25%2C%20%0A", "a/b%, \n"),
        ("order:caf%C3%A9", "café"),
        ("order:stock", "stock"),
        ("order:" + "k" * 200, "k" * 200),
        ("stock", ("stock", None)),
        ("stock:orders", ("stock", "orders")),
        ("orders_2:%3A", ("orders_2", ":")),
    ],
)
def test_names_of_topics(name: str, selector: RowSelector | None) -> None:
    assert parse_topics([name]) == {name}
    assert selector_of(name) == selector
    assert selector is None or topic_of(selector) == name
    assert order_keys([name]) == ({selector} if isinstance(selector, str) else set())
    assert stream_names([name]) == ({selector[0]} if isinstance(selector, tuple) else set())


@pytest.mark.parametrize(
    ("name", "topic"),
    [("order:%31", "order:1"), ("order:caf%c3%a9", "order:caf%C3%A9"), ("order:café", "order:caf%C3%A9"), ("s:a/b", "s:a%2Fb")],
)
def test_each_topic_has_one_spelling(name: str, topic: str) -> None:
    assert parse_topics([name]) == {topic}


@pytest.mark.parametrize(
    "name",
    [
        *("", "order", "order:", "order:1 ", "order:\t", "order:a,b", "order:%", "order:%4", "order:%zz", "order:%00"),
        *("order:%FF", "order:%ED%A0%80", "order:\ud800", "order:" + "k" * 201, "order:" + "é" * 101),
        *("ORDERS", "orders:1", "analytics:1", "Stock", "1stock", "stock:", "a-b", "s" * 41, 1, None, ["orders"]),
    ],
)
def test_other_names_are_rejected(name: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        parse_topics(["orders", name])


def test_error_names_the_first_wrong_topic_cut_short() -> None:
    with pytest.raises(ValueError, match=r"^X{40}$"):
        parse_topics(["orders", "X" * 100, "other"])


def test_order_keys_of_topics() -> None:
    assert order_keys(["orders", "order:5", "analytics", "order:%2F", "stock:1"]) == {"5", "/"}
    assert order_keys(["orders"]) is order_keys([]), "one object for all sessions without single orders"


@pytest.mark.parametrize(
    ("text", "is_one"),
    [("1", True), ("é" * 100, True), ("é" * 101, False), ("", False), ("a\0", False), ("\ud800", False), (" ", True)],
)
def test_a_key_is_a_text_of_up_to_200_bytes(text: str, is_one: bool) -> None:
    assert is_key(text) == is_one


@pytest.mark.parametrize(
    ("grant", "permitted", "default"),
    [
        (Grant(Role.ADMIN), {"orders", "analytics", "order:1", "stock", "stock:1"}, {"orders", "analytics"}),
        (Grant(Role.VIEWER), {"analytics"}, {"analytics"}),
        (Grant(Role.CUSTOMER, "anna", frozenset({"1", "2"})), {"orders", "order:1"}, {"orders"}),
        (Grant(Role.CUSTOMER, None, frozenset({"a/b"})), {"orders", "order:1"}, {"orders"}),
    ],
)
def test_topics_of_each_role(grant: Grant, permitted: set[str], default: set[str]) -> None:
    """Whether an order is the customer's own is checked elsewhere."""
    assert {
        topic for topic in ("orders", "analytics", "order:1", "stock", "stock:1") if grant.may_subscribe(topic)
    } == permitted
    assert grant.default_topics() == default


def test_grant_expires_at_its_time() -> None:
    grant = Grant(Role.ADMIN, expires_at=1000.0)
    assert not grant.expired(999.9)
    assert grant.expired(1000.0)
    assert not ANONYMOUS_GRANT.expired(1e18)


@given(st.lists(JSON | st.from_regex("[a-z]{1,6}:[0-9a-fA-F%é ]{1,6}", fullmatch=True)))
def test_any_json_list_is_parsed_or_rejected(names: list[Any]) -> None:
    try:
        topics = parse_topics(names)
    except ValueError:
        return
    assert parse_topics(topics) == topics, "the one spelling stays as it is"
    assert len(topics) <= len(names)


def test_customers_are_not_told_who_made_a_change() -> None:
    actor = b',"actor":{"role":"a\\"b","application_name":"dashboard: \\\\"}'
    # In data, as the text of a jsonb has it, and in a text.
    rest = b'{"type":"order_update","data":{"x": 1, "actor": {"role": "r", "application_name": "n"}},"note":"\\",\\"actor\\":{"'
    event = make_event(order_key="1", customer_id="anna", payload=rest + actor + b',"at":"now"}')
    assert Grant(Role.ADMIN).view(event) is event
    for grant in (Grant(Role.CUSTOMER, "anna"), Grant(Role.CUSTOMER, None, frozenset({"1"}))):
        seen = grant.view(event)
        assert seen is not None
        assert seen.payload == rest + b',"at":"now"}'
    moved = event._replace(customer_payload=b"{" + actor + b"}", previous_customer_id="bo", previous_customer_payload=b"{}")
    seen = Grant(Role.CUSTOMER, "anna").view(moved)
    assert seen is not None
    assert seen.payload == b"{}"
