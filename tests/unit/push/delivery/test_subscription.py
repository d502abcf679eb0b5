"""Which events a subscription and a grant let through, and the topics it stands for."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.delivery.subscription import Subscription
from push.protocol.access import ANONYMOUS_GRANT, CustomerId, Grant, Role, order_topic, parse_topics
from tests.helpers.builders import make_event
from tests.helpers.fake_transport import FakeTransport

ANNAS = make_event(order_key="1", customer_id="anna")
BOS = make_event(order_key="2", customer_id="bo")
WITHOUT_CUSTOMER = make_event(order_key="3")
ALL = [ANNAS, BOS, WITHOUT_CUSTOMER]
EVERYTHING = ANONYMOUS_GRANT.default_topics()

TOPICS = st.sets(
    st.sampled_from(["orders", "analytics", "stock", "stock:1", "order_2"])
    | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=50).map(order_topic),
    max_size=10,
).map(parse_topics)


def session_with(grant: Grant | None, topics: frozenset[str]) -> Session:
    session = Session(SendQueue(10, 1000), FakeTransport())
    session.grant = grant
    session.set_topics(topics)
    return session


def test_session_receives_the_events_that_it_subscribes_to_and_may_see() -> None:
    assert session_with(ANONYMOUS_GRANT, EVERYTHING).visible(ALL) == ALL
    assert session_with(ANONYMOUS_GRANT, frozenset({"order:2"})).visible(ALL) == [BOS]
    assert session_with(ANONYMOUS_GRANT, frozenset({"analytics"})).visible(ALL) == []
    # A customer's topic "orders" is that of their own orders.
    assert session_with(Grant(Role.CUSTOMER, "anna"), frozenset({"orders"})).visible(ALL) == [ANNAS]
    assert session_with(Grant(Role.CUSTOMER, "anna", frozenset({"3"})), frozenset({"orders"})).visible(ALL) == [
        ANNAS,
        WITHOUT_CUSTOMER,
    ]
    # The grant decides even if a topic that is not permitted was accepted.
    assert session_with(Grant(Role.CUSTOMER, "anna"), frozenset({"orders", "order:2"})).visible(ALL) == [ANNAS]
    assert session_with(Grant(Role.VIEWER), EVERYTHING).visible(ALL) == []
    assert session_with(Grant(Role.ADMIN, expires_at=time.time() - 1), EVERYTHING).visible(ALL) == []
    assert session_with(None, EVERYTHING).visible(ALL) == []


def test_events_of_streams_come_by_their_own_topics_and_by_that_of_their_order() -> None:
    row = make_event(stream="stock", key="a", order_key="2")
    apart = make_event(stream="stock", key="b", order_key=None)
    events = [ANNAS, row, apart]
    for topics, expected in (
        ({"orders"}, [ANNAS]),
        ({"stock"}, [row, apart]),
        ({"stock:b"}, [apart]),
        ({"order:2"}, [row]),
        ({"order:a", "other", "stock:2"}, []),
        ({"orders", "stock:a"}, [ANNAS, row]),
    ):
        assert session_with(ANONYMOUS_GRANT, frozenset(topics)).visible(events) == expected, topics
    # A customer by the claim `orders`; a stream's row does not name the customer.
    assert session_with(Grant(Role.CUSTOMER, None, frozenset({"2"})), frozenset({"order:2"})).visible(events) == [row]
    assert session_with(Grant(Role.CUSTOMER, "bo"), frozenset({"order:2"})).visible([*events, BOS]) == [BOS]
    assert session_with(Grant(Role.CUSTOMER, None, frozenset({"2"})), frozenset({"orders"})).visible(events) == [row]


def test_expired_grant_sees_nothing() -> None:
    subscription, grant = Subscription.of(EVERYTHING, ANONYMOUS_GRANT), Grant(Role.ADMIN, expires_at=1000.0)
    assert subscription.visible(ALL, grant, 999.9) == ALL
    assert subscription.visible(ALL, grant, 1000.0) == []


@given(TOPICS)
def test_topics_survive_the_conversion(topics: frozenset[str]) -> None:
    subscription = Subscription.of(topics, ANONYMOUS_GRANT)
    assert subscription.topics == topics
    assert subscription.receives_all_orders == ("orders" in topics)
    assert subscription.receives_totals == ("analytics" in topics)
    assert subscription.receives_everything == ({"orders", "analytics"} <= topics)
    assert len(subscription.selected) == len(topics - {"orders", "analytics"})


def test_a_customers_topic_orders_selects_their_own_and_is_never_the_broadcast() -> None:
    grant = Grant(Role.CUSTOMER, "anna", frozenset({"1", "a/b"}))
    subscription = session_with(grant, frozenset({"orders", "order:7", "analytics"})).subscription
    assert subscription.topics == {"orders", "order:7", "analytics"}
    assert subscription.selected == {CustomerId("anna"), "1", "a/b", "7"}
    assert not subscription.receives_all_orders
    assert not subscription.receives_everything
    # Without the topic, the claims select nothing.
    assert session_with(grant, frozenset({"order:7"})).subscription.selected == {"7"}
    # The claims alone: the grant's set is kept, not a second one.
    grant = Grant(Role.CUSTOMER, None, frozenset({"1", "a/b"}))
    assert session_with(grant, grant.default_topics()).subscription.selected is grant.order_keys


@pytest.mark.parametrize("topics", [set(), {"orders"}, {"analytics"}, {"orders", "analytics"}])
def test_subscriptions_without_single_orders_are_shared(topics: set[str]) -> None:
    first, second = (Subscription.of(frozenset(topics), ANONYMOUS_GRANT) for _ in range(2))
    assert first is second
