"""The comparison of two checkouts: its arithmetic. The runs themselves are `make bench`."""

from __future__ import annotations

import math
import random

from bench.compare import Measures, median_interval, ratio, table


def test_a_ratio_above_one_is_better_in_either_direction() -> None:
    assert ratio("deliveries per CPU-second, batches of one", 110, 100) == 1.1
    assert ratio("ms to the last client, p50", 100, 110) == 1.1
    assert math.isnan(ratio("ms to the last client, p99", math.inf, 3))


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    draw = random.Random(1)
    covered = 0
    for _ in range(1000):
        low, high = median_interval([draw.lognormvariate(0, 1) for _ in range(20)])
        covered += low <= 1 <= high  # the median of that distribution is 1
    assert 950 <= covered <= 985  # 20 values: 95.9 % is the nearest above 95 %


def test_the_interval_of_one_pair_is_that_pair() -> None:
    assert median_interval([1.5]) == (1.5, 1.5)


def test_a_row_says_whether_this_checkout_is_worse() -> None:
    def measured(value: float) -> Measures:
        return {("fan-out", "deliveries per CPU-second, batches of one"): value}

    draw = random.Random(2)
    worse = [(measured(0.9 * draw.uniform(0.99, 1.01)), measured(1.0)) for _ in range(20)]
    assert table(worse).endswith("worse")
    same = [(measured(1.0), measured(draw.uniform(0.99, 1.01))) for _ in range(20)]
    assert not table(same).endswith(("worse", "not shown"))
