"""push.backoff: the delays grow up to the maximum, are random, and start again after a success."""

from __future__ import annotations

import statistics

from push.backoff import Backoff


def test_delays_double_up_to_the_maximum_and_are_random() -> None:
    limits = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0]
    series = []
    for _ in range(200):
        backoff = Backoff(0.1, 5.0)
        series.append([backoff.next_delay() for _ in limits])
    for limit, delays in zip(limits, zip(*series, strict=True), strict=True):
        assert all(0 <= delay <= limit for delay in delays)
        assert limit / 4 < statistics.mean(delays) < limit * 3 / 4


def test_the_series_starts_again_after_a_success() -> None:
    backoff = Backoff(0.1, 5.0)
    for _ in range(10_000):
        assert backoff.next_delay() <= 5.0
    backoff.reset()
    assert backoff.next_delay() <= 0.1
