"""The arithmetic of the comparison of two checkouts. `make bench-compare` runs it."""

from __future__ import annotations

import math
import random

from bench.compare import Measures, median_interval, ratio, table


def test_ratio_above_one_is_better_for_throughput_and_for_latency() -> None:
    assert ratio("deliveries per CPU-second, batches of one", 110, 100) == 1.1
    assert ratio("ms to the last client, p50", 100, 110) == 1.1
    assert ratio("commits/s", 110, 100) == 1.1
    assert math.isnan(ratio("ms to the last client, p99", math.inf, 3))


def test_interval_covers_the_median_at_its_confidence_level() -> None:
    rng = random.Random(1)
    covered = 0
    for _ in range(1000):
        low, high = median_interval([rng.lognormvariate(0, 1) for _ in range(20)])
        covered += low <= 1 <= high  # the median of that distribution is 1
    assert 950 <= covered <= 985  # 20 values: 95.9 % is the nearest above 95 %


def test_interval_of_one_pair_is_that_pair() -> None:
    assert median_interval([1.5]) == (1.5, 1.5)


def test_row_ends_with_worse_only_if_this_checkout_is_worse() -> None:
    def measured(value: float) -> Measures:
        return {("fan-out", "deliveries per CPU-second, batches of one"): value}

    rng = random.Random(2)
    worse = [(measured(0.9 * rng.uniform(0.99, 1.01)), measured(1.0)) for _ in range(20)]
    assert table(worse).endswith("worse")
    same = [(measured(1.0), measured(rng.uniform(0.99, 1.01))) for _ in range(20)]
    assert not table(same).endswith(("worse", "not shown"))
