"""One client's session and its queue, without a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from push.delivery.batch import Batch
from push.delivery.broadcast_log import BroadcastLog
from push.delivery.rate_limit import BURST_SECONDS, RateLimits
from push.delivery.session import PING_MESSAGE
from push.protocol.access import ORDERS_TOPIC
from push.protocol.messages import CloseCode
from tests.helpers.builders import messages_of
from tests.helpers.fake_transport import RecordedSession


def test_totals_are_sent_after_all_events_in_their_newest_version() -> None:
    recorded = RecordedSession()
    recorded.session.send(Batch([b"event 1"]), Batch([b"event 2"]))
    recorded.session.schedule_totals()
    assert messages_of(recorded.session.take(1)) == [b"event 1"]
    recorded.session.send(Batch([b"event 3"]))
    recorded.session.schedule_totals()
    recorded.totals = b"totals 3"
    assert recorded.sent(1) == [b"event 2", b"event 3", b"totals 3"]


def test_totals_take_no_room_in_the_queue() -> None:
    recorded = RecordedSession(max_messages=1)
    for _ in range(100):
        recorded.session.schedule_totals()
    assert recorded.sent() == [b"totals 0"]
    assert recorded.closed_with() is None


def test_third_heartbeat_in_a_row_without_an_answer_closes_the_session() -> None:
    recorded = RecordedSession()
    recorded.session.ping()
    recorded.session.ping()
    assert recorded.sent() == [PING_MESSAGE, PING_MESSAGE]
    recorded.session.mark_alive()
    recorded.session.ping()
    recorded.session.ping()
    assert recorded.closed_with() is None
    recorded.session.ping()
    assert recorded.closed_with() is CloseCode.NO_PONG
    assert recorded.session.aborted


@pytest.mark.parametrize(("limits", "size"), [(RateLimits(frames_per_second=1), 0), (RateLimits(bytes_per_second=50), 50)])
def test_exceeding_a_rate_limit_closes_the_session(limits: RateLimits, size: int) -> None:
    recorded = RecordedSession(rate_limits=limits)
    assert all(recorded.session.charge_rate_limit(size) for _ in range(int(BURST_SECONDS)))
    assert recorded.closed_with() is None
    assert not recorded.session.charge_rate_limit(size)
    assert recorded.closed_with() == 3013


def test_slow_consumer_is_closed_without_a_flush_and_keeps_its_close_code() -> None:
    recorded = RecordedSession(max_messages=2)
    recorded.session.send(Batch([b"1", b"2", b"3"]))
    assert recorded.closed_with() is None
    recorded.session.send(Batch([b"4"]))
    assert recorded.closed_with() is CloseCode.SLOW_CONSUMER
    recorded.session.close(CloseCode.DRAIN)
    recorded.session.send(Batch([b"5"]))
    assert recorded.closed_with() is CloseCode.SLOW_CONSUMER
    assert recorded.sent() == []


@pytest.mark.parametrize("end", ["close with a flush", "another subscription"])
async def test_session_whose_unread_events_are_gone_is_closed_as_a_slow_consumer(end: str) -> None:
    broadcast_log = BroadcastLog(1, 1000)
    recorded = RecordedSession()
    recorded.session.go_live(broadcast_log)
    for payload in (b"1", b"2", b"3"):
        broadcast_log.append([Batch([payload])], payload)
    assert broadcast_log.first_offset > recorded.session.offset
    if end == "another subscription":
        recorded.session.set_topics(frozenset({ORDERS_TOPIC}))
    else:
        recorded.session.close(CloseCode.DRAIN)
    assert recorded.closed_with() is CloseCode.SLOW_CONSUMER
    assert recorded.sent() == []


def test_close_with_flush_sends_what_is_queued_and_nothing_later() -> None:
    recorded = RecordedSession()
    recorded.session.send(Batch([b"last"]))
    recorded.session.close(CloseCode.DRAIN)
    recorded.session.send(Batch([b"too late"]))
    assert recorded.sent() == [b"last"]
    assert not recorded.session.aborted


def test_every_change_of_state_notifies_the_transport() -> None:
    recorded = RecordedSession()
    actions: list[Callable[[], None]] = [
        lambda: recorded.session.send(Batch([b"1"])),
        recorded.session.schedule_totals,
        lambda: recorded.session.close(CloseCode.DRAIN),
    ]
    for action in actions:
        before = recorded.notifications
        action()
        assert recorded.notifications > before


def test_totals_of_a_session_that_is_closed_are_those_of_the_close() -> None:
    """The rest of its output is written in chunks, while more is published that it does not get."""
    recorded = RecordedSession()
    recorded.session.send(Batch([b"event 1"]), Batch([b"event 2"]))
    recorded.session.schedule_totals()
    recorded.session.close(CloseCode.DRAIN)
    recorded.totals = b"totals 3"
    assert recorded.sent(1) == [b"event 1", b"event 2", b"totals 0"]


@pytest.mark.parametrize("end", ["taken", "closed"])
async def test_a_replay_that_waits_goes_on_when_half_of_the_queue_is_taken_or_the_session_is_closed(end: str) -> None:
    recorded = RecordedSession(max_messages=4)
    recorded.session.send(*[Batch([payload]) for payload in (b"1", b"2", b"3", b"4")])
    waiting = asyncio.create_task(recorded.session.wait_writable(), name="waits for room")
    await asyncio.sleep(0)
    assert messages_of(recorded.session.take(1)) == [b"1"]
    await asyncio.sleep(0)
    assert not waiting.done()
    if end == "taken":
        assert messages_of(recorded.session.take(1)) == [b"2"]
    else:
        recorded.session.close(CloseCode.DRAIN, flush=False)
    await asyncio.wait([waiting], timeout=10)
    assert waiting.done()
