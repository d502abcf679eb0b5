from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from push.errors import BadFact, UnknownFactVersion
from push.journal.events import Event, EventId, Snapshot
from push.journal.facts import (
    VERSION,
    ReadAnswer,
    decode,
    decode_answer,
    encode,
    encode_answer,
)
from push.journal.totals import Totals
from tests.helpers.builders import make_event
from tests.helpers.facts import TERM, make_fact

texts = st.text(max_size=20)
amounts = st.decimals(allow_nan=False, allow_infinity=False, places=2)
numbers = st.integers(1, 2**53)
snapshots = st.lists(numbers, min_size=2, max_size=6, unique=True).map(
    lambda ids: Snapshot(min(ids), max(ids), tuple(sorted(ids)[1:-1]))
)
times = st.datetimes(datetime(1971, 1, 1), datetime(2900, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
events = st.builds(
    Event,
    txid=numbers,
    id=numbers,
    stream=st.none() | texts,
    key=texts,
    order_key=st.none() | texts,
    customer_id=st.none() | texts,
    writer_snapshot=snapshots,
    at=times,
    orders_delta=st.integers(-1, 1),
    pending_delta=st.integers(-1, 1),
    previous_revenue=amounts,
    revenue=amounts,
    previous_currency=st.none() | texts,
    currency=st.none() | texts,
    payload=st.binary(max_size=50),
    previous_customer_id=st.none() | texts,
    customer_payload=st.none() | st.binary(max_size=50),
    previous_customer_payload=st.none() | st.binary(max_size=50),
)


@given(st.lists(events, max_size=5), snapshots, snapshots, st.none() | numbers, st.none() | texts)
def test_a_fact_is_decoded_as_it_was_encoded(
    found: list[Event], after: Snapshot, upto: Snapshot, last_id: int | None, state: str | None
) -> None:
    totals = Totals(3, Decimal(0), 1, {"EUR": Decimal("12.50")})
    newest = EventId(7, 8, 9)
    fact = make_fact(*found, after=after, upto=upto, last_id=last_id, state=state, totals=totals, newest_before=newest)
    decoded = decode(encode(fact))
    assert decoded.head._replace(byte_count=0) == fact.head._replace(byte_count=0)
    assert list(decoded.events) == found
    assert [type(event) for event in decoded.events] == [Event] * len(found)
    assert decoded.events is decoded.events


def test_payloads_are_sent_as_they_are() -> None:
    payload = '{"customer_name":"Zoë"}'.encode()
    assert encode(make_fact(make_event(payload=payload))).endswith(payload)


def test_totals_before_the_events() -> None:
    fact = make_fact(make_event(orders=1, revenue="5", pending=1), totals=Totals(4, Decimal(15), 2))
    assert decode(encode(fact)).totals_before == Totals(3, Decimal(10), 1)
    event = make_event(orders=1, revenue="5", currency="EUR")
    fact = make_fact(event, totals=Totals(1, Decimal(0), 0, {"EUR": Decimal(5)}))
    assert fact.totals_before == Totals(0, Decimal(0), 0, {})


def test_a_reader_ignores_what_a_later_minor_version_adds() -> None:
    message = encode(make_fact())
    head = json.loads(message[12:])
    head["added later"] = 1
    changed = json.dumps(head).encode()
    assert decode(struct.pack("!3sBII", b"OWF", VERSION, len(changed), 0) + changed).head == make_fact().head


def test_a_newer_version_says_what_to_upgrade() -> None:
    message = bytearray(encode(make_fact()))
    message[3] = VERSION + 1
    with pytest.raises(UnknownFactVersion, match=f"version {VERSION + 1}.*upgrade this server"):
        decode(bytes(message))


@pytest.mark.parametrize("length", [0, 3, 11, 12, 40, -1])
def test_a_message_that_is_cut_is_no_fact(length: int) -> None:
    message = encode(make_fact(make_event()))
    with pytest.raises(BadFact):
        decode(message[:length])


def test_other_messages_are_no_facts() -> None:
    for message in (
        b'{"type":"ping"}' * 5,
        b"OWF\x01\x00\x00\x00\x02\x00\x00\x00\x00[]",
        b"OWF\x01\x00\x00\x00\x02\x00\x00\x00\x00{}",
    ):
        with pytest.raises(BadFact):
            decode(message)
    with pytest.raises(BadFact):
        decode_answer(b"[]")


def test_rows_that_cannot_be_read_are_found_when_they_are_needed() -> None:
    message = encode(make_fact(make_event(customer_id="c")))
    broken = decode(message.replace(b'"c"', b'"c\x00'))
    with pytest.raises(BadFact):
        len(broken.events)


def test_an_answer_is_decoded_as_it_was_encoded() -> None:
    answer = ReadAnswer(TERM, "0a0b0c0d", Snapshot(4, 9, (5, 7)))
    assert decode_answer(encode_answer(answer)) == answer


def test_rule_of_use() -> None:
    head = make_fact(after=Snapshot(5, 8, (5,)), upto=Snapshot(9, 12, (10,))).head
    # A reader that lacks what transaction 6 has written cannot use it; one that has more than ``after`` can.
    assert not head.begins_at(Snapshot(5, 8, (5, 6)))
    assert head.begins_at(Snapshot(5, 8, (5,)))
    assert head.begins_at(Snapshot(9, 9))
    assert not head.is_old(Snapshot(9, 9))
    assert not head.is_old(Snapshot(9, 12, (10, 11)))
    assert head.is_old(Snapshot(9, 12, (10,)))
    assert head.is_old(Snapshot(20, 20))
