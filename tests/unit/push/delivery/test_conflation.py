"""Conflation: each event reaches the client by itself or counted in ``bulk``; events of its own orders always by themselves."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.journal.events import Event
from push.journal.totals import Totals
from push.protocol.access import ANALYTICS_TOPIC, ANONYMOUS_GRANT, ORDERS_TOPIC
from push.protocol.messages import CloseCode
from tests.helpers.builders import make_event
from tests.helpers.fake_transport import FakeTransport

ORDER_COUNT = 6


def event(number: int, order_id: int) -> Event:
    payload = json.dumps({"type": "order_update", "id": f"c{number}", "order_id": order_id}).encode()
    return make_event(txid=number, id_=number, payload=payload, order_key=str(order_id))


class ConflatedReader:
    """A client with conflation. Checks each message that it takes against the list of published events."""

    def __init__(
        self, hub: Hub, published: list[Event], *, conflate_above: int, own: frozenset[int], max_messages: int = 20
    ) -> None:
        self._published = published
        # Index of the next event that the client has not been told of.
        self._next = len(published)
        # Between ``bulk`` and ``position``: the events that ``bulk`` stands for, without those of its own already received.
        self._skipped: list[Event] | None = None
        self.bulk_count = self.single_count = 0
        self.totals: list[int] = []
        self.own = own
        self.session = Session(SendQueue(max_messages, 10_000), FakeTransport(), conflate_above=conflate_above)
        hub.add(self.session)
        self.subscribe(hub, own)
        self.session.send_initial_message(hub.totals_batch)
        hub.go_live(self.session)

    def subscribe(self, hub: Hub, own: frozenset[int]) -> None:
        topics = frozenset({ORDERS_TOPIC, ANALYTICS_TOPIC, *(f"order:{order_id}" for order_id in own)})
        if self.session.grant is None:
            self.session.apply_grant(ANONYMOUS_GRANT, topics)
        else:
            self.session.set_topics(topics)
            hub.topics_changed(self.session)
        self.own = own

    def take(self, about_bytes: int) -> None:
        for batch in self.session.take(about_bytes):
            for message in batch.messages:
                self._read(json.loads(message))

    def _read(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "analytics_update":
                assert self._skipped is None
                self.totals.append(message["total_orders"])
            case "bulk":
                assert self._skipped is None
                assert "id" not in message
                self.bulk_count += 1
                self._skipped = self._published[self._next : self._next + message["events"]]
                assert len(self._skipped) == message["events"]
                self._next += message["events"]
            case "position":
                assert self._skipped is not None
                assert all(int(one.key) not in self.own for one in self._skipped), "events of its own orders were left out"
                self._skipped = None
                assert message["id"] == f"c{self._next}"
            case _ if self._skipped is None:
                self.single_count += 1
                self._next += 1
                assert message["id"] == f"c{self._next}"
            case _:
                # The next one of the skipped events that belongs to an order of its own.
                while int(self._skipped[0].key) not in self.own:
                    del self._skipped[0]
                assert message["id"] == f"c{self._skipped.pop(0).id}"

    @property
    def is_complete(self) -> bool:
        """Whether every published event has been received or counted."""
        return self._next == len(self._published) and self._skipped is None


async def test_every_event_is_received_or_counted() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    hub = Hub(max_messages=20, max_bytes=3000)
    published: list[Event] = []
    readers = [
        ConflatedReader(hub, published, conflate_above=conflate_above, own=own, max_messages=100_000)
        for conflate_above in (1, 5, 15, 10_000)
        for own in (frozenset[int](), frozenset({1}), frozenset({2, 3}))
    ]
    for _ in range(3000):
        if choose.random() < 0.3:
            count = choose.choice([1, 1, 2, 7, 40])
            new = [event(len(published) + 1 + n, choose.randrange(ORDER_COUNT)) for n in range(count)]
            published += new
            hub.publish(new, Totals(len(published)))
        if choose.random() < 0.3:
            await asyncio.sleep(0)
        reader = choose.choice(readers)
        reader.take(choose.choice([1, 100, 10_000]))
        if choose.random() < 0.02:
            # What was published before a change is delivered by the old subscription.
            while reader.session.has_output:
                reader.take(10_000)
            reader.subscribe(hub, frozenset(choose.sample(range(ORDER_COUNT), choose.randrange(3))))
    await hub.drain(0)
    for reader in readers:
        while reader.session.has_output:
            reader.take(10_000)
        assert reader.session.close_code is CloseCode.DRAIN
        assert reader.is_complete
        assert reader.totals[-1] == len(published)
        assert reader.bulk_count
        assert reader.single_count


async def test_close_with_flush_conflates_what_waits() -> None:
    hub = Hub()
    published = [event(n + 1, n % ORDER_COUNT) for n in range(100)]
    reader = ConflatedReader(hub, published, conflate_above=10, own=frozenset({2}))
    reader._next = 0
    hub.publish(published, Totals(100))
    reader.session.close(CloseCode.DRAIN)
    while reader.session.has_output:
        reader.take(10_000)
    assert reader.is_complete
    assert reader.bulk_count == 1


async def test_too_many_events_of_its_own_orders_make_a_slow_consumer() -> None:
    hub = Hub()
    reader = ConflatedReader(hub, [], conflate_above=10, own=frozenset({1}), max_messages=20)
    for n in range(20):
        hub.publish([event(n, 1)], Totals())
        await asyncio.sleep(0)
    assert reader.session.close_code is None
    for n in range(20, 22):
        hub.publish([event(n, 1)], Totals())
    assert reader.session.close_code is CloseCode.SLOW_CONSUMER


async def test_publishing_does_not_wait_for_a_client_with_conflation() -> None:
    hub = Hub(max_messages=20)
    reader = ConflatedReader(hub, [], conflate_above=10, own=frozenset())
    hub.publish([event(n + 1, 1) for n in range(100)], Totals())
    async with asyncio.timeout(30):
        await hub.wait_writable()
    assert not reader.session.is_congested


async def test_nothing_is_replaced_before_the_first_event() -> None:
    hub = Hub()
    reader = ConflatedReader(hub, [], conflate_above=1, own=frozenset())
    reader.take(10_000)
    for _ in range(3):
        hub.announce_gap()
    messages = [message for batch in reader.session.take(10_000) for message in batch.messages]
    assert [json.loads(message)["type"] for message in messages] == ["resumed"] * 3
