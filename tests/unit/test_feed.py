"""What is published to all: everybody gets all of it in order, and who is too far behind is ended."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import pytest

from push.delivery.batch import Batch
from push.delivery.broadcast_log import BroadcastLog
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.journal.totals import Totals
from push.protocol.access import ANONYMOUS_GRANT, ORDERS_TOPIC
from push.protocol.messages import CloseCode
from tests.unit.carried import Carried
from tests.unit.test_positions import an_event
from tests.unit.test_session import frames_of


def batch(*frames: bytes) -> Batch:
    return Batch(frames)


def test_what_comes_next_is_one_batch_and_the_same_for_all_who_stand_there() -> None:
    feed = BroadcastLog(100, 1000)
    feed.append([batch(b"one"), batch(b"two", b"three")])
    feed.append([batch(b"four")])
    got, place = feed.read(0, 1000)
    assert (list(got.messages), place) == ([b"one", b"two", b"three", b"four"], 3)
    assert feed.read(0, 1000)[0] is got
    assert (list(feed.read(1, 1)[0].messages), feed.read(1, 1)[1]) == ([b"two", b"three"], 2)
    assert frames_of(feed.since(1)) == [b"two", b"three", b"four"]


def test_random_readers_get_everything_in_order_or_have_overflowed() -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    feed = BroadcastLog(20, 300)
    published: list[bytes] = []
    readers = [[0, 0] for _ in range(10)]  # place, frames got
    for _ in range(2000):
        if choose.random() < 0.4:
            frames = [b"%d" % (len(published) + n) for n in range(choose.randint(1, 8))]
            waiting = {id(reader): published[reader[1] :] for reader in readers if reader[0] >= feed.first_offset}
            published += frames
            feed.append([batch(frame) for frame in frames])
            for reader in readers:
                if id(reader) in waiting:
                    left = waiting[id(reader)]
                    overflown = len(left) > 20 or sum(map(len, left)) > 300
                    assert (reader[0] < feed.first_offset) == overflown
        reader = choose.choice(readers)
        if reader[0] < feed.first_offset:
            reader[0], reader[1] = feed.end_offset, len(published)
        elif reader[0] < feed.end_offset:
            got, reader[0] = feed.read(reader[0], choose.choice([1, 10, 1000]))
            assert list(got.messages) == published[reader[1] : reader[1] + got.count]
            reader[1] += got.count
            assert feed.is_behind(reader[0]) == (len(published) - reader[1] > 10 or sum(map(len, published[reader[1] :])) > 150)


class Taking:
    """A client that takes what there is when it is its turn, or never."""

    def __init__(self, hub: Hub, *, slow: bool = False) -> None:
        self.turns = 0
        self.got: list[bytes] = []
        self.slow = slow
        self.session = Session(SendQueue(4, 1000), Carried(self.take))
        hub.add(self.session)
        self.session.apply_grant(ANONYMOUS_GRANT, frozenset({ORDERS_TOPIC}))
        hub.go_live(self.session)

    def take(self) -> None:
        self.turns += 1
        while not self.slow and (taken := self.session.take(1000)):
            self.got += frames_of(taken)


async def test_all_that_is_published_in_one_turn_is_one_round() -> None:
    hub = Hub()
    clients = [Taking(hub) for _ in range(3)]
    for n in range(5):
        hub.publish([an_event(frame=b"%d" % n)], Totals())
    assert [client.turns for client in clients] == [0, 0, 0]
    await asyncio.sleep(0)
    assert [client.got for client in clients] == [[b"0", b"1", b"2", b"3", b"4"]] * 3
    assert [client.turns for client in clients] == [1, 1, 1]


@pytest.mark.parametrize("clients", [2, 500, 1000])
async def test_it_is_not_always_the_same_one_that_comes_last(clients: int) -> None:
    hub = Hub()
    told: list[int] = []
    for number in range(clients):
        session = Session(SendQueue(4, 1000), Carried(flush_broadcast=partial(told.append, number)))
        hub.add(session)
        session.apply_grant(ANONYMOUS_GRANT, frozenset({ORDERS_TOPIC}))
        hub.go_live(session)
    last = set()
    for _ in range(4):
        hub.publish([an_event()], Totals())
        await asyncio.sleep(0)
        assert sorted(told) == list(range(clients))
        last.add(told[-1])
        told.clear()
    assert len(last) > 1


async def test_a_client_that_takes_nothing_is_ended_and_nobody_else() -> None:
    hub = Hub(max_messages=4)
    slow, quick = Taking(hub, slow=True), Taking(hub)
    for n in range(6):
        hub.publish([an_event(frame=b"%d" % n)], Totals())
        await asyncio.sleep(0)
    assert slow.session.close_code is CloseCode.SLOW_CONSUMER
    assert quick.session.close_code is None
    assert quick.got == [b"%d" % n for n in range(6)]


async def test_what_was_published_before_a_topic_was_left_comes_before_the_answer() -> None:
    hub = Hub()
    client = Taking(hub, slow=True)
    hub.publish([an_event(frame=b"before")], Totals())
    client.session.set_topics(frozenset())
    hub.topics_changed(client.session)
    client.session.send(Batch([b"answer"]))
    hub.publish([an_event(frame=b"after")], Totals())
    assert frames_of(client.session.take(1000)) == [b"before", b"answer"]
    assert not client.session.has_pending
    client.session.set_topics(frozenset({ORDERS_TOPIC}))
    hub.topics_changed(client.session)
    hub.publish([an_event(frame=b"again")], Totals())
    assert frames_of(client.session.take(1000)) == [b"again"]
