"""How pages become facts, and that a read is answered. All else is in tests/model/test_facts_model.py."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import pytest

from push.journal.bus import Bus
from push.journal.events import Event, Snapshot
from push.journal.fact_publisher import MAX_FACT_BYTES, FactPublisher, _divided, _encoded_size
from push.journal.fact_queue import FactQueue
from push.journal.facts import Fact, decode, decode_answer, encode
from push.journal.page_observer import PublishedPage
from push.journal.relay import Relay
from push.journal.totals import Totals
from tests.helpers.builders import make_event
from tests.helpers.facts import TERM, make_fact, up_to
from tests.helpers.following import RecordingSink, commit, read_again
from tests.model.database import ModelConnection, ModelDatabase
from tests.support import TIMEOUT_SECONDS, within

LARGE = make_event(5, 1, payload=b"x" * 16_384)._replace(
    previous_customer_id="\x01" * 200, customer_payload=b"y" * 16_384, previous_customer_payload=b"z" * 16_384
)
BUSY = make_event(5, 1, order_key="\x02" * 200)._replace(
    writer_snapshot=Snapshot(10**17, 10**17 + 5000, tuple(range(10**17, 10**17 + 5000)))
)


def page_of(events: Sequence[Event], *, more: bool) -> PublishedPage:
    head = make_fact().head
    totals = Totals(orders=7).plus(events)
    return PublishedPage(head.after, head.upto, 0, more, events, head.identity, None, totals, True, 1.5)


def fact_of(page: PublishedPage, seq: int) -> Fact:
    last_id = page.events[-1].id if page.more else None
    return make_fact(*page.events, seq=seq, past_id=page.past_id, last_id=last_id, totals=page.totals)


@pytest.mark.parametrize(
    "event", [LARGE, BUSY, make_event(5, 1), make_event(5, 1, key="Ж" * 100, stream="Ж" * 60, order_key=None)]
)
def test_the_estimate_of_an_event_is_not_below_the_truth(event: Event) -> None:
    events = [event._replace(id=10**15 + number) for number in range(20)]
    empty = len(encode(make_fact()))
    for event_count in (1, 20):
        size = len(encode(make_fact(*events[:event_count]))) - empty
        assert size <= sum(map(_encoded_size, events[:event_count]))


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("count", [1, 3, 100])
def test_a_large_page_is_divided_into_facts_of_the_same_read(count: int, more: bool) -> None:
    events = [LARGE._replace(id=number + 1, orders_delta=1) for number in range(count)]
    facts = [decode(encode(fact_of(page, seq))) for seq, (page, _) in enumerate(_divided(page_of(events, more=more)), 1)]
    assert all(fact.head.byte_count < MAX_FACT_BYTES for fact in facts)
    assert (len(facts) > 1) == (count == 100)
    assert facts[-1].head.more == more
    assert {fact.totals_before.orders - fact.events[0].id for fact in facts} == {6}
    queue = FactQueue()
    for fact in facts:
        queue.add(fact)
    found: list[Event] = []
    upto, past_id = None, 0
    head = None
    for _ in facts:
        taken = queue.take(up_to(4), upto, past_id, 10_000, 1 << 30)
        assert taken is not None
        found += taken.events
        head = taken.head
        upto, past_id = head.upto, taken.events[-1].id
    assert found == events
    assert head is not None
    assert head.totals.orders == 7 + count


class RecordingBus(Bus):
    """Keeps what is published."""

    def __init__(self) -> None:
        self.facts: asyncio.Queue[Fact] = asyncio.Queue()

    def subscribe(self, receive: Callable[[bytes], None]) -> None:
        """Nothing comes from others."""

    async def publish(self, message: bytes) -> None:
        fact = decode(message)
        assert fact is not None
        self.facts.put_nowait(fact)

    async def stored(self, count: int) -> Sequence[bytes]:
        return []

    def serve_reads(self, read: Callable[[], Awaitable[bytes]]) -> None:
        """The tests call ``answer_read``."""

    async def request_read(self) -> bytes:
        raise AssertionError


@pytest.mark.parametrize("other_epoch", [False, True])
async def test_pages_of_which_one_does_not_follow_on_the_other_are_not_joined(other_epoch: bool) -> None:
    """The relay may begin anew while a page waits to be sent: what is between them was in neither."""
    publisher = FactPublisher(RecordingBus(), Relay(RecordingSink()), "node")
    publisher._term = TERM
    first = page_of([make_event(5, 1)], more=False)
    identity = replace(first.identity, epoch="ffffffff") if other_epoch else first.identity
    begin = up_to(8 if other_epoch else 100)
    for page in (
        replace(first, after=up_to(4), upto=up_to(5)),
        replace(first, after=up_to(5), upto=up_to(8), events=[make_event(6, 2)]),
        replace(first, after=begin, upto=up_to(101), events=[make_event(101, 3)], identity=identity),
    ):
        publisher.page_published(page)
    sent = [publisher._next_page(), publisher._next_page()]
    assert [(page.after, page.upto, [event.id for event in page.events]) for page in sent if page] == [
        (up_to(4), up_to(8), [1, 2]),
        (begin, up_to(101), [3]),
    ]


async def test_a_read_that_finds_nothing_is_told_after_a_page_that_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.journal.fact_publisher.JOIN_INTERVAL", 0.05)
    monkeypatch.setattr("push.journal.fact_publisher.HEARTBEAT_INTERVAL", 1000.0)
    monkeypatch.setattr("push.journal.fact_publisher.READ_TIMEOUT", TIMEOUT_SECONDS)
    database, bus, relay = ModelDatabase(), RecordingBus(), Relay(RecordingSink())
    publisher = FactPublisher(bus, relay, "node")
    tasks = [
        asyncio.create_task(publisher.run()),
        asyncio.create_task(publisher.follow(ModelConnection(database))),
    ]
    try:
        await within(TIMEOUT_SECONDS, relay.started.wait(), "the first read")
        slow = database.begin(repeatable_read=False)
        database.write(slow, 1)
        commit(database, 2)
        while not (await within(TIMEOUT_SECONDS, bus.facts.get(), "the first fact")).events:
            pass
        commit(database, 3)
        await read_again(relay)  # the page waits: the publisher pauses after a fact
        database.rollback(slow)
        answer = decode_answer(await within(TIMEOUT_SECONDS, publisher.answer_read(), "the answer"))
        assert answer.upto == relay.watermark.snapshot
        told = [bus.facts.get_nowait() for _ in range(bus.facts.qsize())]
        assert [event.key for fact in told for event in fact.events] == ["3"]
        assert told[-1].head.upto.covers(answer.upto)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
