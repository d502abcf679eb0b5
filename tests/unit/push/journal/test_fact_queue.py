from __future__ import annotations

import pytest

from push.journal.events import Event, Snapshot
from push.journal.fact_queue import FactQueue, NextPage
from push.journal.facts import Fact
from tests.helpers.builders import make_event
from tests.helpers.facts import make_fact, up_to

LIMITS = 100, 10_000


def read(seq: int, first: int, last: int) -> Fact:
    """A fact of transactions ``first`` to ``last``, with one event each, which has the same number as id."""
    events = [make_event(txid, txid) for txid in range(first, last + 1)]
    return make_fact(*events, after=up_to(first - 1), upto=up_to(last), seq=seq)


def pages(seq: int, after: int, upto: int, *ids: list[int]) -> list[Fact]:
    """The facts of one read of several pages: each of these ids is an event of the transaction ``upto``."""
    facts = []
    past_id = 0
    for number, page in enumerate(ids):
        events = [make_event(upto, event_id) for event_id in page]
        last_id = page[-1] if number < len(ids) - 1 else None
        span = {"after": up_to(after), "upto": up_to(upto)}
        facts.append(make_fact(*events, seq=seq + number, past_id=past_id, last_id=last_id, **span))
        past_id = page[-1]
    return facts


def queue_of(*facts: Fact) -> FactQueue:
    queue = FactQueue()
    for fact in facts:
        queue.add(fact)
    return queue


def ids(events: object) -> list[int]:
    assert isinstance(events, (list, tuple))
    return [event.id for event in events if isinstance(event, Event)]


def taken(queue: FactQueue, watermark: Snapshot, *limits: int) -> NextPage | None:
    return queue.take(watermark, None, 0, *(limits or LIMITS))


def test_what_follows_is_joined_in_the_order_of_the_relay() -> None:
    queue = queue_of(read(3, 12, 14), read(1, 5, 8), read(2, 9, 11), read(1, 5, 8))
    found = taken(queue, up_to(4))
    assert found is not None
    assert ids(found.events) == list(range(5, 15))
    assert (found.head.upto, found.facts, len(queue), queue.old_count) == (up_to(14), 3, 0, 0)


def test_a_page_has_limits() -> None:
    queue = queue_of(read(1, 5, 8), read(2, 9, 11), read(3, 12, 14))
    found = taken(queue, up_to(4), 7, 10_000)
    assert found is not None
    assert found.head.upto == up_to(11)
    found = taken(queue, up_to(11), 1, 10_000)
    assert found is not None
    assert ids(found.events) == [12, 13, 14]
    queue = queue_of(read(1, 5, 8), read(2, 9, 11))
    found = taken(queue, up_to(4), 100, 2 * 4)
    assert found is not None
    assert found.head.upto == up_to(8)


def test_a_reader_skips_what_it_has() -> None:
    queue = queue_of(read(1, 5, 8))
    found = taken(queue, up_to(7, 6))
    assert found is not None
    assert ids(found.events) == [6, 8]


def test_a_fact_that_begins_beyond_the_reader_is_not_used() -> None:
    queue = queue_of(read(2, 9, 11))
    assert taken(queue, up_to(7)) is None
    assert taken(queue, up_to(8, 6)) is None
    assert queue.leads_beyond(up_to(7))
    assert taken(queue, up_to(8)) is not None


def test_what_tells_nothing_new_is_dropped() -> None:
    queue = queue_of(read(1, 5, 8), read(2, 9, 11), read(3, 12, 14))
    current = queue.drop_old(up_to(11))
    assert current is not None
    assert current.seq == 2, "the one that ends where the reader is"
    assert (len(queue), queue.old_count) == (1, 2)
    assert queue.drop_old(up_to(20)) is None
    assert not queue.leads_beyond(up_to(20))


def test_a_fact_without_events_moves_the_reader() -> None:
    """Transaction 6 was rolled back: the next fact begins behind it."""
    queue = queue_of(make_fact(after=up_to(8, 6), upto=up_to(8)))
    found = taken(queue, up_to(8, 6))
    assert found is not None
    assert (found.events, found.head.upto) == ([], up_to(8))


def test_pages_of_one_read() -> None:
    first, second, third = pages(1, 4, 8, [10, 11], [12], [13])
    queue = queue_of(third, read(4, 9, 9), first, second)
    found = taken(queue, up_to(4))
    assert found is not None
    assert (ids(found.events), found.head.more) == ([10, 11], True)
    found = queue.take(up_to(4), up_to(8), 11, *LIMITS)
    assert found is not None
    assert (ids(found.events), found.head.more) == ([12], True)
    # PostgreSQL was asked for a page of another size.
    found = queue.take(up_to(4), up_to(8), 12, *LIMITS)
    assert found is not None
    assert (ids(found.events), found.head.more) == ([13], False)


def test_a_page_in_the_middle_is_not_used_without_those_before() -> None:
    _, second, third = pages(1, 4, 8, [10, 11], [12, 13], [14])
    queue = queue_of(second, third)
    assert taken(queue, up_to(4)) is None
    assert queue.take(up_to(4), up_to(8), 10, *LIMITS) is None
    found = queue.take(up_to(4), up_to(8), 12, *LIMITS)
    assert found is not None
    assert ids(found.events) == [13]


def test_pages_that_the_reader_has_do_not_look_like_a_gap() -> None:
    first, _, _ = pages(1, 4, 8, [10, 11], [12], [13])
    queue = queue_of(first)
    assert queue.take(up_to(4), up_to(8), 12, *LIMITS) is None
    assert not queue.leads_beyond(up_to(4))


def test_complete_reads_are_not_joined_with_a_first_page() -> None:
    first, second = pages(2, 8, 11, [20, 21], [22])
    queue = queue_of(read(1, 5, 8), first, second)
    found = taken(queue, up_to(4))
    assert found is not None
    assert (found.head.upto, found.head.more) == (up_to(8), False)
    found = taken(queue, up_to(8))
    assert found is not None
    assert found.head.more


@pytest.mark.parametrize(("max_events", "start"), [(100, 2), (7, 3), (3, 4), (1, 4)])
def test_a_start_is_behind_the_last_gap(max_events: int, start: int) -> None:
    queue = queue_of(read(0, 1, 2), read(2, 5, 8), read(3, 9, 11), read(4, 12, 14))
    found = queue.start(max_events)
    assert found is not None
    assert found.head.seq == start


def test_a_start_is_not_in_the_middle_of_a_read() -> None:
    first, second = pages(5, 8, 11, [20, 21], [22])
    found = queue_of(first, second).start(100)
    assert found is not None
    assert found.head.past_id == 0
    assert queue_of(second).start(100) is None
    assert FactQueue().start(100) is None


def test_the_end_is_behind_all_complete_reads() -> None:
    first, _ = pages(3, 11, 14, [20, 21], [22])
    assert queue_of(read(1, 5, 8), read(2, 9, 11), first).end(up_to(4)) == up_to(11)
    assert queue_of(read(2, 9, 11)).end(up_to(4)) == up_to(4)


def test_the_oldest_facts_are_dropped_beyond_the_limits() -> None:
    queue = FactQueue(max_facts=2)
    for fact in (read(1, 5, 8), read(2, 9, 11), read(3, 12, 14)):
        queue.add(fact)
    assert taken(queue, up_to(4)) is None
    assert taken(queue, up_to(8)) is not None
    queue = FactQueue(max_bytes=3000)  # the payloads have two bytes each, the events themselves some hundreds
    for fact in (read(1, 5, 8), read(2, 9, 11)):
        queue.add(fact)
    assert len(queue) == 1
