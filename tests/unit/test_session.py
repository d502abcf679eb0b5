"""One client's session and its queue, without any transport."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from push.delivery.batch import Batch
from push.delivery.send_queue import SendQueue
from push.delivery.session import PING_MESSAGE, Session
from push.protocol.access import ANONYMOUS_GRANT
from push.protocol.messages import CloseCode
from tests.unit.carried import Carried


def frames_of(batches: list[Batch]) -> list[bytes]:
    return [frame for batch in batches for frame in batch.messages]


class Outbox:
    """A session, and what a transport would have sent."""

    def __init__(self, max_frames: int = 10, max_bytes: int = 1000) -> None:
        self.totals = b"totals 0"
        self.wakes = 0
        self.session = Session(SendQueue(max_frames, max_bytes), Carried(self._wake))
        self.session.apply_grant(ANONYMOUS_GRANT, ANONYMOUS_GRANT.default_topics())
        self.session.send_initial_message(lambda: Batch([self.totals]))
        assert self.sent() == [b"totals 0"]

    def _wake(self) -> None:
        self.wakes += 1

    def sent(self, about_bytes: int = 10**6) -> list[bytes]:
        frames = []
        while taken := self.session.take(about_bytes):
            frames += frames_of(taken)
        return frames

    def closed_with(self) -> CloseCode | None:
        """A call, since a type checker takes an attribute for unchanged between two asserts."""
        return self.session.close_code

    def answers(self) -> list[Any]:
        return [json.loads(frame) for frame in self.sent()]


def test_ping_is_answered_and_pong_is_not() -> None:
    box = Outbox()
    box.session.receive_text('{"type":"ping"}')
    box.session.receive_text('{"type":"pong","more":1}')
    assert box.answers() == [{"type": "pong"}]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        *((text, "bad_json") for text in ("", "{", "ping", "[" * 60_000, '{"a":' * 10_000, "\x00")),
        *(
            (text, "bad_frame")
            for text in ("[]", "null", "1", '"ping"', "{}", '{"type":1}', '{"type":null}', '{"Type":"ping"}')
        ),
        *((text, "unknown_type") for text in ('{"type":"nonsense"}', '{"type":""}', '{"type":"PING"}')),
    ],
)
def test_what_is_not_understood_gets_an_error_and_nothing_else(text: str, code: str) -> None:
    box = Outbox()
    box.session.receive_text(text)
    (answer,) = box.answers()
    assert (answer["type"], answer["code"]) == ("error", code)
    assert box.closed_with() is None


def test_error_does_not_repeat_a_long_type() -> None:
    box = Outbox()
    box.session.receive_text(json.dumps({"type": "x" * 60_000}))
    assert len(box.sent()[0]) < 200


def test_binary_frame_closes() -> None:
    box = Outbox()
    box.session.receive_binary()
    assert box.closed_with() is CloseCode.UNSUPPORTED


def test_totals_come_after_all_events_and_are_the_newest() -> None:
    box = Outbox()
    box.session.send(Batch([b"event 1"]), Batch([b"event 2"]))
    box.session.schedule_totals()
    assert frames_of(box.session.take(1)) == [b"event 1"]
    box.session.send(Batch([b"event 3"]))
    box.session.schedule_totals()
    box.totals = b"totals 3"
    assert box.sent(1) == [b"event 2", b"event 3", b"totals 3"]


def test_totals_are_no_entry_of_the_queue() -> None:
    box = Outbox(max_frames=1)
    for _ in range(100):
        box.session.schedule_totals()
    assert box.sent() == [b"totals 0"]
    assert box.closed_with() is None


def test_two_unanswered_heartbeats_are_borne_the_third_ends_it() -> None:
    box = Outbox()
    box.session.ping()
    box.session.ping()
    assert box.sent() == [PING_MESSAGE, PING_MESSAGE]
    box.session.mark_alive()
    box.session.ping()
    box.session.ping()
    assert box.closed_with() is None
    box.session.ping()
    assert box.closed_with() is CloseCode.NO_PONG
    assert box.session.aborted


def test_slow_consumer_is_ended_without_its_queue_and_stays_so() -> None:
    box = Outbox(max_frames=2)
    box.session.send(Batch([b"1", b"2", b"3"]))
    assert box.closed_with() is None
    box.session.send(Batch([b"4"]))
    assert box.closed_with() is CloseCode.SLOW_CONSUMER
    box.session.close(CloseCode.DRAIN)
    box.session.send(Batch([b"5"]))
    assert box.closed_with() is CloseCode.SLOW_CONSUMER
    assert box.sent() == []


def test_drain_lets_out_what_is_queued() -> None:
    box = Outbox()
    box.session.send(Batch([b"last"]))
    box.session.close(CloseCode.DRAIN)
    box.session.send(Batch([b"too late"]))
    assert box.sent() == [b"last"]
    assert not box.session.aborted


def test_every_change_of_state_wakes_the_transport() -> None:
    box = Outbox()
    acts: list[Callable[[], None]] = [
        lambda: box.session.send(Batch([b"1"])),
        box.session.schedule_totals,
        lambda: box.session.close(CloseCode.DRAIN),
    ]
    for act in acts:
        before = box.wakes
        act()
        assert box.wakes > before


def test_queue_takes_about_what_was_asked_and_at_least_one() -> None:
    queue = SendQueue(10, 1000)
    assert queue.offer(Batch([b"aaaa"]), Batch([b"bbbb"]), Batch([b"cccc"]))
    assert frames_of(queue.take(1)) == [b"aaaa"]
    assert frames_of(queue.take(5)) == [b"bbbb", b"cccc"]
    assert queue.take(5) == []


@pytest.mark.parametrize("frames", [[b"x"] * 11, [b"x" * 1001]])
def test_queue_bounds_what_is_left_over_not_a_batch(frames: list[bytes]) -> None:
    queue = SendQueue(10, 1000)
    assert queue.offer(Batch(frames))
    assert not queue.offer(Batch([b"y"]))
    assert len(queue) == len(frames)
    while queue.is_full:
        queue.take(1)
    assert queue.offer(Batch([b"y"]))
    queue.clear()
    assert (len(queue), queue.is_full, queue.is_congested) == (0, False, False)
