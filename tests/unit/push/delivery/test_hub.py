"""The fan-out: what the hub publishes, to which sessions, in which order, and how it drains."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from functools import partial

import pytest

from push.delivery.batch import Batch
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.delivery.slices import SLICE_SIZE
from push.delivery.totals_throttle import TOTALS_INTERVAL
from push.journal.events import Event
from push.journal.totals import Totals
from push.protocol.access import ANONYMOUS_GRANT, ORDERS_TOPIC, Grant, Role
from push.protocol.messages import CloseCode
from tests.helpers.builders import make_event, messages_of
from tests.helpers.fake_transport import FakeTransport
from tests.support import TIMEOUT_SECONDS


class Client:
    """A client of the hub that takes what waits whenever its transport is called; a slow one takes nothing."""

    def __init__(self, hub: Hub, *, slow: bool = False) -> None:
        self.flush_calls = 0
        self.received: list[bytes] = []
        self.slow = slow
        self.session = Session(SendQueue(4, 1000), FakeTransport(self.take))
        hub.add(self.session)
        self.session.apply_grant(ANONYMOUS_GRANT, frozenset({ORDERS_TOPIC}))
        hub.go_live(self.session)

    def take(self) -> None:
        self.flush_calls += 1
        while not self.slow and (batches := self.session.take(1000)):
            self.received += messages_of(batches)


async def test_everything_published_in_one_tick_is_delivered_in_one_pass() -> None:
    hub = Hub()
    clients = [Client(hub) for _ in range(3)]
    for n in range(5):
        hub.publish([make_event(payload=b"%d" % n)], Totals())
    assert [client.flush_calls for client in clients] == [0, 0, 0]
    await asyncio.sleep(0)
    assert [client.received for client in clients] == [[b"0", b"1", b"2", b"3", b"4"]] * 3
    assert [client.flush_calls for client in clients] == [1, 1, 1]


async def test_what_is_published_between_two_slices_of_a_pass_is_delivered_in_another_pass() -> None:
    hub = Hub()
    clients = [Client(hub) for _ in range(SLICE_SIZE + 1)]
    for n in range(3):
        hub.publish([make_event(payload=b"%d" % (2 * n))], Totals())
        await asyncio.sleep(0)  # the first slice
        hub.publish([make_event(payload=b"%d" % (2 * n + 1))], Totals())
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await hub.wait_writable()  # returns after the last pass
        assert {tuple(client.received) for client in clients} == {tuple(b"%d" % m for m in range(2 * n + 2))}


@pytest.mark.parametrize("clients", [2, 500, 1000])
async def test_no_session_is_always_the_last_of_a_pass(clients: int) -> None:
    hub = Hub()
    served: list[int] = []
    for number in range(clients):
        session = Session(SendQueue(4, 1000), FakeTransport(flush_broadcast=partial(served.append, number)))
        hub.add(session)
        session.apply_grant(ANONYMOUS_GRANT, frozenset({ORDERS_TOPIC}))
        hub.go_live(session)
    last = set()
    for _ in range(4):
        hub.publish([make_event()], Totals())
        await asyncio.sleep(0)
        assert sorted(served) == list(range(clients))
        last.add(served[-1])
        served.clear()
    assert len(last) > 1


async def test_only_the_client_that_takes_nothing_is_closed_as_a_slow_consumer() -> None:
    hub = Hub(max_messages=4)
    slow, quick = Client(hub, slow=True), Client(hub)
    for n in range(6):
        hub.publish([make_event(payload=b"%d" % n)], Totals())
        await asyncio.sleep(0)
    assert slow.session.close_code is CloseCode.SLOW_CONSUMER
    assert quick.session.close_code is None
    assert quick.received == [b"%d" % n for n in range(6)]


async def test_events_published_before_a_topic_change_are_delivered_before_the_answer() -> None:
    hub = Hub()
    client = Client(hub, slow=True)
    hub.publish([make_event(payload=b"before")], Totals())
    client.session.set_topics(frozenset())
    hub.topics_changed(client.session)
    client.session.send(Batch([b"answer"]))
    hub.publish([make_event(payload=b"after")], Totals())
    assert messages_of(client.session.take(1000)) == [b"before", b"answer"]
    assert not client.session.has_output
    client.session.set_topics(frozenset({ORDERS_TOPIC}))
    hub.topics_changed(client.session)
    hub.publish([make_event(payload=b"again")], Totals())
    assert messages_of(client.session.take(1000)) == [b"again"]


# ---------------------------------------------------------------- streams


def stream_event(number: int, stream: str = "stock", order_key: str | None = None) -> Event:
    return make_event(id_=number, stream=stream, key="a/b", order_key=order_key, payload=b"%d" % number)


def subscriber(hub: Hub, *topics: str, conflate_above: int | None = None, max_messages: int = 100) -> Session:
    session = Session(SendQueue(max_messages, 1 << 20), FakeTransport(), conflate_above=conflate_above)
    hub.add(session)
    session.apply_grant(ANONYMOUS_GRANT, frozenset(topics))
    hub.go_live(session)
    return session


async def test_events_of_streams_reach_their_subscribers_in_the_order_of_the_journal() -> None:
    hub = Hub()
    topics = {
        "orders": [1, 3, 5, 6],
        "stock": [2, 4],
        "stock:a%2Fb": [2, 4],
        "stock:a": [],
        "order:7": [4],
        "orders,stock": [1, 2, 3, 4, 5, 6],
        "orders,order:7": [1, 3, 4, 5, 6],
        "analytics": [],
    }
    sessions = {names: subscriber(hub, *names.split(",")) for names in topics}
    hub.publish([make_event(id_=1, payload=b"1")], Totals())  # waits in the log when the next publication comes
    hub.publish(
        [stream_event(2), make_event(id_=3, payload=b"3"), stream_event(4, order_key="7"), make_event(id_=5, payload=b"5")],
        Totals(),
    )
    hub.publish([make_event(id_=6, payload=b"6")], Totals())
    await hub.wait_writable()
    for names, session in sessions.items():
        assert [int(message) for message in messages_of(session.take(1 << 20))] == topics[names], names
        assert not session.has_output
    hub.publish([stream_event(7)], Totals())
    assert messages_of(sessions["orders"].take(1000)) == []
    assert messages_of(sessions["orders,stock"].take(1000)) == [b"7"]


async def test_a_publication_of_streams_alone_leaves_the_log_as_it_is() -> None:
    hub = Hub()
    reader = subscriber(hub, "orders", "stock")
    hub.publish([make_event(payload=b"order")], Totals())
    end = hub._broadcast_log.end_offset
    hub.publish([stream_event(1)], Totals())
    assert hub._broadcast_log.end_offset == end
    assert hub._broadcast_log.last_event_payload == b"order"
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await hub.wait_writable()
    assert messages_of(reader.take(1000)) == [b"order", b"1"]


async def test_totals_come_after_the_events_of_a_publication_with_streams() -> None:
    hub = Hub()
    session, _ = live_session(hub)
    session.set_topics(frozenset({"orders", "analytics", "stock"}))
    hub.topics_changed(session)
    hub.publish([make_event(payload=b"1"), stream_event(2), make_event(payload=b"3")], Totals(2))
    first, second, third, totals = messages_of(session.take(1 << 20))
    assert (first, second, third) == (b"1", b"2", b"3")
    assert json.loads(totals)["total_orders"] == 2
    await hub.drain(0)


async def test_what_waits_is_conflated_before_an_event_of_a_stream() -> None:
    hub = Hub()
    session = subscriber(hub, "orders", "stock", conflate_above=2)
    for number in range(1, 6):
        hub.publish([make_event(id_=number, payload=b'{"id":"c%d"}' % number)], Totals())
    hub.publish([stream_event(6), make_event(id_=7, payload=b"7")], Totals())
    bulk, position, stream, order = messages_of(session.take(1 << 20))
    assert (json.loads(bulk)["events"], json.loads(position)["id"]) == (5, "c5")
    assert (stream, order) == (b"6", b"7")


async def test_a_client_that_takes_no_events_of_streams_is_a_slow_consumer() -> None:
    hub = Hub(max_messages=4)
    session = subscriber(hub, "orders", "stock", max_messages=4)
    for number in range(4):
        assert session.close_code is None
        hub.publish([stream_event(number), make_event(payload=b"x")], Totals())
    assert session.close_code is CloseCode.SLOW_CONSUMER
    hub.publish([stream_event(7)], Totals())
    assert session.take(1000) == []


async def test_customers_cost_nothing_when_others_events_and_totals_are_published() -> None:
    """However many they are: neither a pass nor the wait for back-pressure visits them."""
    hub, visits = Hub(), Counter[str]()
    sessions = {}
    for name in ("anna", "bo", "cy"):
        session = Session(SendQueue(10, 1000), FakeTransport(lambda name=name: visits.update([name])))  # type: ignore[misc]
        hub.add(session)
        grant = Grant(Role.CUSTOMER, name)
        session.apply_grant(grant, grant.default_topics())
        session.send_initial_message(hub.totals_batch)
        hub.go_live(session)
        assert len(messages_of(session.take(1000))) == 1
        sessions[name] = session
    visits.clear()
    event = make_event(order_key="1", customer_id="anna", payload=b"hers")
    for n in range(3):
        hub.publish([event], Totals(n + 1))
        hub.set_totals(Totals(n + 10))
        await hub.wait_writable()
    assert set(visits) == {"anna"}
    assert messages_of(sessions["anna"].take(1000)) == [b"hers"] * 3
    assert [sessions[name].has_output for name in ("bo", "cy")] == [False, False]
    # They are told of a gap, and take part in what is published to all once they subscribe to it.
    hub.announce_gap()
    assert [json.loads(messages_of(session.take(1000))[0])["type"] for session in sessions.values()] == ["resumed"] * 3
    bo = sessions["bo"]
    bo.apply_grant(ANONYMOUS_GRANT, ANONYMOUS_GRANT.default_topics())
    hub.topics_changed(bo)
    hub.publish([event], Totals(20))
    await hub.wait_writable()
    assert messages_of(bo.take(1000))[0] == b"hers"
    assert messages_of(sessions["anna"].take(1000)) == [b"hers"]
    cy = sessions["cy"]
    hub.remove(cy)
    hub.publish([make_event(order_key="2", customer_id="cy", payload=b"x")], Totals(21))
    assert not cy.take(1000)


async def test_an_event_is_awaited_if_a_live_session_would_get_it_or_the_totals() -> None:
    hub = Hub()
    events = [make_event(order_key="1", customer_id="anna"), make_event(order_key="2")]
    assert not hub.is_awaited(events)
    customer = Session(SendQueue(4, 1000), FakeTransport())
    hub.add(customer)
    grant = Grant(Role.CUSTOMER, "anna")
    customer.apply_grant(grant, grant.default_topics())
    assert not hub.is_awaited(events)
    hub.go_live(customer)
    assert hub.is_awaited(events)
    assert not hub.is_awaited(events[1:])
    admin = Client(hub)
    assert hub.is_awaited(events[1:])
    hub.remove(admin.session)
    assert not hub.is_awaited(events[1:])


async def test_a_customer_that_does_not_read_holds_up_a_bulk_change_of_their_orders() -> None:
    hub = Hub(max_messages=4)
    session = Session(SendQueue(4, 1000), FakeTransport())
    hub.add(session)
    session.apply_grant(Grant(Role.CUSTOMER, "anna"), frozenset({"orders"}))
    hub.go_live(session)
    hub.publish([make_event(order_key="1", customer_id="anna", payload=b"hers")] * 4, Totals(1))
    waiting = asyncio.create_task(hub.wait_writable())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    assert len(messages_of(session.take(1000))) == 4
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await waiting


# ---------------------------------------------------------------- totals


def live_session(hub: Hub) -> tuple[Session, asyncio.Event]:
    """A session with all topics, and an event that is set when its transport is notified."""
    notified = asyncio.Event()
    session = Session(SendQueue(10, 1000), FakeTransport(notified.set))
    hub.add(session)
    session.apply_grant(ANONYMOUS_GRANT, ANONYMOUS_GRANT.default_topics())
    session.send_initial_message(hub.totals_batch)
    hub.go_live(session)
    assert json.loads(messages_of(session.take(1000))[0])["type"] == "analytics_update"
    notified.clear()
    return session, notified


async def test_totals_are_sent_at_once_and_then_throttled_the_newest_last() -> None:
    hub = Hub()
    session, notified = live_session(hub)
    start = asyncio.get_running_loop().time()
    hub.publish([make_event(payload=b"event")], Totals(1))
    first = messages_of(session.take(1000))
    assert first[0] == b"event"
    assert json.loads(first[1])["total_orders"] == 1
    notified.clear()
    for n in (2, 3, 4):
        hub.set_totals(Totals(n))
    assert session.take(1000) == []
    async with asyncio.timeout(30):
        await notified.wait()
    assert asyncio.get_running_loop().time() - start >= TOTALS_INTERVAL * 0.9
    assert [json.loads(message)["total_orders"] for message in messages_of(session.take(1000))] == [4]
    await hub.drain(0)


async def test_unchanged_totals_are_not_sent_again() -> None:
    hub = Hub()
    session, _ = live_session(hub)
    hub.set_totals(Totals())
    assert session.take(1000) == []


async def test_drain_sends_the_last_totals_and_waits_until_all_sessions_are_removed() -> None:
    hub = Hub()
    session, _ = live_session(hub)
    hub.set_totals(Totals(1))
    session.take(1000)
    hub.set_totals(Totals(2))
    draining = asyncio.create_task(hub.drain(30))
    await asyncio.sleep(0)
    assert [json.loads(message)["total_orders"] for message in messages_of(session.take(1000))] == [2]
    assert session.close_code is CloseCode.DRAIN
    assert not draining.done()
    hub.remove(session)
    await draining
    assert len(hub) == 0
