"""Which sessions are found for the order or the stream of an event."""

from __future__ import annotations

from push.delivery.order_index import OrderIndex
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.protocol.access import Grant, Role
from tests.helpers.builders import make_event
from tests.helpers.fake_transport import FakeTransport

ANNA = Grant(Role.CUSTOMER, "anna")
LISTED = Grant(Role.CUSTOMER, None, frozenset({"7"}))


def session_of(grant: Grant) -> Session:
    session = Session(SendQueue(10, 1000), FakeTransport())
    session.grant = grant
    session.set_topics(grant.default_topics())
    return session


def session_with(*topics: str, conflate_above: int | None = None) -> Session:
    session = Session(SendQueue(10, 1000), FakeTransport(), conflate_above=conflate_above)
    session.set_topics(frozenset(topics))
    return session


def test_sessions_are_found_by_the_orders_that_they_subscribe_to() -> None:
    index = OrderIndex()
    first, both = session_with("order:1"), session_with("order:1", "order:2")
    index.update(first)
    index.update(both)
    events = {key: make_event(order_key=key) for key in ("1", "2", "3")}
    assert index.sessions_for([events["1"]]) == {first, both}
    assert index.sessions_for([events["2"]]) == {both}
    assert index.sessions_for([events["3"]]) == set()
    assert index.sessions_for(events.values()) == {first, both}


def test_sessions_are_found_by_the_streams_and_rows_that_they_subscribe_to() -> None:
    index = OrderIndex()
    stream, row, order, broadcast = (session_with(topic) for topic in ("stock", "stock:a%2Fb", "order:7", "orders"))
    for session in (stream, row, order, broadcast):
        index.update(session)
    assert index.sessions_for([make_event(stream="stock", key="a/b", order_key=None)]) == {stream, row}
    assert index.sessions_for([make_event(stream="stock", key="c", order_key="7")]) == {stream, order}
    assert index.sessions_for([make_event(stream="stocks", key="a/b", order_key=None)]) == set()
    assert index.sessions_for([make_event(order_key="a/b")]) == set(), "an order with the key of a row"
    assert index.sessions_for([make_event(order_key="stock")]) == set(), "an order with the name of a stream"


def test_customers_are_found_by_the_events_of_their_orders() -> None:
    index = OrderIndex()
    anna, bo, claimant = (session_of(grant) for grant in (ANNA, Grant(Role.CUSTOMER, "bo"), LISTED))
    for session in (anna, bo, claimant):
        index.update(session)
    assert index.sessions_for([make_event(order_key="1", customer_id="anna")]) == {anna}
    assert index.sessions_for([make_event(order_key="7", customer_id="bo")]) == {bo, claimant}
    assert index.sessions_for([make_event(order_key="anna", customer_id=None)]) == set(), "an order with the name of a customer"
    assert index.sessions_for([make_event(order_key="2", customer_id="7")]) == set(), "a customer with the key of an order"
    index.remove(anna)
    assert index.sessions_for([make_event(order_key="1", customer_id="anna")]) == set()


def test_update_replaces_and_remove_leaves_nothing() -> None:
    index = OrderIndex()
    session = session_with("order:1", "order:2")
    index.update(session)
    session.set_topics(frozenset({"order:2", "order:3"}))
    index.update(session)
    found = [index.sessions_for([make_event(order_key=key)]) for key in "123"]
    assert found == [set(), {session}, {session}]
    index.remove(session)
    index.remove(session)
    assert index.sessions_for([make_event(order_key=key) for key in "123"]) == set()
    assert not index._sessions_by_selector
    assert not index._selectors_by_session
