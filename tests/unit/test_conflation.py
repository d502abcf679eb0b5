"""A client that would rather fetch anew than get very many events: every event is told, one by one or as one of so many."""

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
from tests.unit.carried import Carried
from tests.unit.test_positions import an_event

ORDERS_IN_ALL = 6


def event(number: int, order_id: int) -> Event:
    frame = json.dumps({"type": "order_update", "id": f"c{number}", "order_id": order_id}).encode()
    return an_event(txid=number, id_=number, frame=frame, order_id=order_id)


class Reader:
    """Takes now and then, and follows what has been published to the one event from which on nothing has been told to it."""

    def __init__(self, hub: Hub, published: list[Event], *, most: int, own: frozenset[int], max_frames: int = 20) -> None:
        self._published = published
        self._at = len(published)
        self._skipped: list[Event] | None = None
        self.bulks = self.singles = 0
        self.totals: list[int] = []
        self.own = own
        self.session = Session(SendQueue(max_frames, 10_000), Carried(), conflate_above=most)
        hub.add(self.session)
        self.follow(hub, own)
        self.session.send_initial_message(hub.totals_batch)
        hub.go_live(self.session)

    def follow(self, hub: Hub, own: frozenset[int]) -> None:
        topics = frozenset({ORDERS_TOPIC, ANALYTICS_TOPIC, *(f"order:{order_id}" for order_id in own)})
        if self.session.grant is None:
            self.session.apply_grant(ANONYMOUS_GRANT, topics)
        else:
            self.session.set_topics(topics)
            hub.topics_changed(self.session)
        self.own = own

    def take(self, about_bytes: int) -> None:
        for batch in self.session.take(about_bytes):
            for frame in batch.messages:
                self._read(json.loads(frame))

    def _read(self, frame: dict[str, Any]) -> None:
        match frame["type"]:
            case "analytics_update":
                assert self._skipped is None
                self.totals.append(frame["total_orders"])
            case "bulk":
                assert self._skipped is None
                assert "id" not in frame
                self.bulks += 1
                self._skipped = self._published[self._at : self._at + frame["events"]]
                assert len(self._skipped) == frame["events"]
                self._at += frame["events"]
            case "position":
                assert self._skipped is not None
                assert all(one.order_id not in self.own for one in self._skipped), "some of its own were left out"
                self._skipped = None
                assert frame["id"] == f"c{self._at}"
            case _ if self._skipped is None:
                self.singles += 1
                self._at += 1
                assert frame["id"] == f"c{self._at}"
            case _:
                # Of the skipped ones that of its own which comes next.
                while self._skipped[0].order_id not in self.own:
                    del self._skipped[0]
                assert frame["id"] == f"c{self._skipped.pop(0).id}"

    @property
    def all_told(self) -> bool:
        return self._at == len(self._published) and self._skipped is None


async def test_every_event_is_told_one_by_one_or_counted() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    hub = Hub(max_messages=20, max_bytes=3000)
    published: list[Event] = []
    readers = [
        Reader(hub, published, most=most, own=own, max_frames=100_000)
        for most in (1, 5, 15, 10_000)
        for own in (frozenset[int](), frozenset({1}), frozenset({2, 3}))
    ]
    for _ in range(3000):
        if choose.random() < 0.3:
            count = choose.choice([1, 1, 2, 7, 40])
            new = [event(len(published) + 1 + n, choose.randrange(ORDERS_IN_ALL)) for n in range(count)]
            published += new
            hub.publish(new, Totals(len(published)))
        if choose.random() < 0.3:
            await asyncio.sleep(0)
        reader = choose.choice(readers)
        reader.take(choose.choice([1, 100, 10_000]))
        if choose.random() < 0.02:
            # What was published until now comes by what it followed until now.
            while reader.session.has_pending:
                reader.take(10_000)
            reader.follow(hub, frozenset(choose.sample(range(ORDERS_IN_ALL), choose.randrange(3))))
    await hub.drain(0)
    for reader in readers:
        while reader.session.has_pending:
            reader.take(10_000)
        assert reader.session.close_code is CloseCode.DRAIN
        assert reader.all_told
        assert reader.totals[-1] == len(published)
        assert reader.bulks
        assert reader.singles


async def test_what_waits_when_the_session_ends_is_told_too() -> None:
    hub = Hub()
    published = [event(n + 1, n % ORDERS_IN_ALL) for n in range(100)]
    reader = Reader(hub, published, most=10, own=frozenset({2}))
    reader._at = 0
    hub.publish(published, Totals(100))
    reader.session.close(CloseCode.DRAIN)
    while reader.session.has_pending:
        reader.take(10_000)
    assert reader.all_told
    assert reader.bulks == 1


async def test_too_many_of_its_own_make_it_a_slow_consumer() -> None:
    hub = Hub()
    reader = Reader(hub, [], most=10, own=frozenset({1}), max_frames=20)
    for n in range(20):
        hub.publish([event(n, 1)], Totals())
        await asyncio.sleep(0)
    assert reader.session.close_code is None
    for n in range(20, 22):
        hub.publish([event(n, 1)], Totals())
    assert reader.session.close_code is CloseCode.SLOW_CONSUMER


async def test_nobody_waits_for_a_client_that_may_be_told_less() -> None:
    hub = Hub(max_messages=20)
    reader = Reader(hub, [], most=10, own=frozenset())
    hub.publish([event(n + 1, 1) for n in range(100)], Totals())
    async with asyncio.timeout(30):
        await hub.wait_writable()
    assert not reader.session.is_congested


async def test_without_any_event_there_is_nothing_to_stand_for() -> None:
    hub = Hub()
    reader = Reader(hub, [], most=1, own=frozenset())
    reader.take(10_000)
    for _ in range(3):
        hub.announce_gap()
    frames = [frame for batch in reader.session.take(10_000) for frame in batch.messages]
    assert [json.loads(frame)["type"] for frame in frames] == ["resumed"] * 3
