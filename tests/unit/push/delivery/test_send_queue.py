"""The bounded outbound buffer of one session."""

from __future__ import annotations

import pytest

from push.delivery.batch import Batch
from push.delivery.send_queue import SendQueue
from tests.helpers.builders import messages_of


def test_take_returns_about_the_requested_bytes_and_at_least_one_batch() -> None:
    queue = SendQueue(10, 1000)
    assert queue.offer(Batch([b"aaaa"]), Batch([b"bbbb"]), Batch([b"cccc"]))
    assert messages_of(queue.take(1)) == [b"aaaa"]
    assert messages_of(queue.take(5)) == [b"bbbb", b"cccc"]
    assert queue.take(5) == []


@pytest.mark.parametrize("messages", [[b"x"] * 11, [b"x" * 1001]])
def test_bounds_apply_to_what_is_left_over_not_to_one_batch(messages: list[bytes]) -> None:
    queue = SendQueue(10, 1000)
    assert queue.offer(Batch(messages))
    assert not queue.offer(Batch([b"y"]))
    assert len(queue) == len(messages)
    while queue.is_full:
        queue.take(1)
    assert queue.offer(Batch([b"y"]))
    queue.clear()
    assert (len(queue), queue.is_full, queue.is_congested) == (0, False, False)


@pytest.mark.parametrize(("below", "above"), [([b"x"] * 5, [b"x"] * 6), ([b"x" * 500], [b"x" * 501])])
def test_queue_is_congested_above_half_of_its_bounds(below: list[bytes], above: list[bytes]) -> None:
    for messages, congested in ((below, False), (above, True)):
        queue = SendQueue(10, 1000)
        queue.extend([Batch(messages)])
        assert queue.is_congested == congested


def test_messages_that_wait_elsewhere_are_held_to_the_same_limit() -> None:
    queue = SendQueue(10, 1000)
    assert not queue.exceeds_max_messages(10)
    assert queue.exceeds_max_messages(11)
