"""How a page that is too large for a message is divided. All else is in tests/model/test_facts_model.py."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from push.journal.events import Event, Snapshot
from push.journal.fact_publisher import MAX_FACT_BYTES, _divided, _encoded_size
from push.journal.fact_queue import FactQueue
from push.journal.facts import Fact, decode, encode
from push.journal.page_observer import PublishedPage
from push.journal.totals import Totals
from tests.helpers.builders import make_event
from tests.helpers.facts import make_fact, up_to

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
