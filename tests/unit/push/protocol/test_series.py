"""The answer of ``GET /api/series`` is encoded once for the requests that get the same."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from unittest.mock import patch
from zoneinfo import ZoneInfo

from push.journal.events import Cursor, Snapshot
from push.journal.series import OrderCounts, OrderGroup, Period, bucket_bounds, count_bounds
from push.protocol.series import SeriesEncoder

ZONE = ZoneInfo("Europe/Warsaw")
NOW = datetime(2026, 3, 4, 12, 0, 10, tzinfo=UTC)


def counts_of(orders: int) -> OrderCounts:
    bounds = count_bounds(ZONE, NOW)
    return OrderCounts(NOW, bounds, [OrderGroup("ready", "EUR", 1, orders, Decimal(orders))], Cursor("e", Snapshot(1, 1, ())))


def test_an_answer_is_encoded_once_for_many_requests() -> None:
    encoder, counts = SeriesEncoder(ZONE, "Europe/Warsaw"), counts_of(3)
    with patch("push.protocol.series.bucket_bounds", wraps=bucket_bounds) as encodes:
        bodies = {encoder.encode(period, counts, NOW + timedelta(seconds=second)) for second in range(40) for period in Period}
    assert len(bodies) == encodes.call_count == len(Period)


def test_an_answer_is_that_of_its_counts_and_its_minute() -> None:
    """Whatever was asked for before, also of older counts."""
    encoder, first, second = SeriesEncoder(ZONE, "Europe/Warsaw"), counts_of(3), counts_of(4)
    for seconds in (0, 49, 50, 110, 200, 900):
        for counts in (first, second, None, first):
            for period in Period:
                now = NOW + timedelta(seconds=seconds)
                answer = encoder.encode(period, counts, now)
                assert answer == SeriesEncoder(ZONE, "Europe/Warsaw").encode(period, counts, now)
                assert json.loads(answer)["complete"] is (counts is not None)
