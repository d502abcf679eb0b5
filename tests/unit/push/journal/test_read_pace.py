"""The pauses between reads, and the interval of polling."""

from __future__ import annotations

import pytest

from push.journal.read_pace import BUSY_PAUSE_RATIO, COALESCE_DELAY, MAX_POLL_INTERVAL, MIN_POLL_INTERVAL, ReadPace


@pytest.mark.parametrize(
    ("read_seconds", "notified", "polling"),
    [
        (0.0005, 0.0005, BUSY_PAUSE_RATIO * 0.0005),
        (0.003, COALESCE_DELAY, BUSY_PAUSE_RATIO * 0.003),
        (0.009, COALESCE_DELAY, BUSY_PAUSE_RATIO * 0.009),
        (0.1, COALESCE_DELAY, BUSY_PAUSE_RATIO * 0.1),
    ],
)
def test_pause_is_a_share_of_the_read(read_seconds: float, notified: float, polling: float) -> None:
    assert ReadPace().pause(read_seconds, polls=False) == pytest.approx(notified)
    assert ReadPace().pause(read_seconds, polls=True) == pytest.approx(polling)


def test_polling_is_quick_while_events_come_and_slows_down_when_none_do() -> None:
    pace = ReadPace()
    assert pace.poll_interval(0) == MAX_POLL_INTERVAL
    assert pace.poll_interval(3) == MIN_POLL_INTERVAL
    intervals = [pace.poll_interval(0) for _ in range(5)]
    assert intervals == sorted(intervals)
    assert intervals[0] == 2 * MIN_POLL_INTERVAL
    assert intervals[-1] == MAX_POLL_INTERVAL
    assert pace.poll_interval(1) == MIN_POLL_INTERVAL
