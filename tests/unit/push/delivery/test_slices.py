"""The order of successive passes."""

from __future__ import annotations

import pytest

from push.delivery.slices import rotation_start


@pytest.mark.parametrize("count", [1, 2, 3, 5, 10, 500, 1000])
def test_successive_passes_begin_at_different_clients(count: int) -> None:
    starts = [rotation_start(iteration, count) for iteration in range(1000)]
    assert all(0 <= start < count for start in starts)
    assert len({*starts[:4]}) > 1 or count == 1
    # Spread evenly: every tenth of the clients is first in about a tenth of the passes.
    tenths = [sum(start * 10 // count == tenth for start in starts) for tenth in range(10)]
    assert count < 10 or all(50 <= passes <= 150 for passes in tenths)


def test_no_clients() -> None:
    assert rotation_start(7, 0) == 0
