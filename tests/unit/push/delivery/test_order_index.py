"""Which sessions are found for the order of an event."""

from __future__ import annotations

from push.delivery.order_index import OrderIndex
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from tests.helpers.builders import make_event
from tests.helpers.fake_transport import FakeTransport


def session_with(*topics: str, conflate_above: int | None = None) -> Session:
    session = Session(SendQueue(10, 1000), FakeTransport(), conflate_above=conflate_above)
    session.set_topics(frozenset(topics))
    return session


def test_sessions_are_found_by_the_orders_that_they_subscribe_to() -> None:
    index = OrderIndex()
    first, both = session_with("order:1"), session_with("order:1", "order:2")
    index.update(first)
    index.update(both)
    events = {order_id: make_event(order_id=order_id) for order_id in (1, 2, 3)}
    assert index.sessions_for([events[1]]) == {first, both}
    assert index.sessions_for([events[2]]) == {both}
    assert index.sessions_for([events[3]]) == set()
    assert index.sessions_for(events.values()) == {first, both}


def test_sessions_that_read_every_event_from_the_log_are_not_indexed() -> None:
    index = OrderIndex()
    conflated = session_with("orders", "order:1", conflate_above=10)
    index.update(session_with("orders", "order:1"))
    index.update(conflated)
    assert index.sessions_for([make_event(order_id=1)]) == {conflated}


def test_update_replaces_and_remove_leaves_nothing() -> None:
    index = OrderIndex()
    session = session_with("order:1", "order:2")
    index.update(session)
    session.set_topics(frozenset({"order:2", "order:3"}))
    index.update(session)
    found = [index.sessions_for([make_event(order_id=order_id)]) for order_id in (1, 2, 3)]
    assert found == [set(), {session}, {session}]
    index.remove(session)
    index.remove(session)
    assert index.sessions_for([make_event(order_id=order_id) for order_id in (1, 2, 3)]) == set()
    assert not index._sessions_by_order
    assert not index._orders_by_session
