"""The answer of ``GET /api/series``, encoded once for all requests that get the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, tzinfo
from itertools import pairwise
from typing import Any

from push.journal.series import OrderCounts, Period, StatusSums, bucket_bounds, compared_days
from push.protocol.messages import rfc3339

__all__ = ["SeriesEncoder"]


class SeriesEncoder:
    """Keeps the last answer for each period: requests that come together get the same counts, and encoding takes milliseconds.

    ``time_zone`` is the name of ``zone``.
    """

    def __init__(self, zone: tzinfo, time_zone: str) -> None:
        self._zone = zone
        self._time_zone = time_zone
        # By period: the counts (the object itself), the minute of the last bucket, and the answer.
        self._encoded: dict[Period, tuple[OrderCounts | None, int, bytes]] = {}

    def encode(self, period: Period, counts: OrderCounts | None, now: datetime) -> bytes:
        """The answer as JSON. ``now`` is the present time; without ``counts`` the answer is incomplete, and has no sums."""
        shown = now if counts is None else counts.shown_at(now)
        minute = int(shown.timestamp() // 60)  # buckets begin with a minute
        known = self._encoded.get(period)
        if known is not None and known[0] is counts and known[1] == minute:
            return known[2]
        bounds = bucket_bounds(period, self._zone, shown)
        days = compared_days(self._zone, now if counts is None else counts.now)
        fields = {
            "period": period,
            "time_zone": self._time_zone,
            "buckets": _buckets(bounds, counts),
            "statuses": {} if counts is None else _statuses(counts.by_status()),
            "compare": {name: {} if counts is None else _statuses(counts.in_interval(day)) for name, day in days.items()},
            "position": None if counts is None else str(counts.position),
            "complete": counts is not None,
        }
        body = json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
        self._encoded[period] = counts, minute, body
        return body


def _buckets(bounds: Sequence[datetime], counts: OrderCounts | None) -> list[dict[str, Any]]:
    sums: Sequence[Mapping[str, StatusSums]] = [{} for _ in pairwise(bounds)] if counts is None else counts.in_buckets(bounds)
    return [
        {"from": _rfc3339(start), "to": _rfc3339(end), "statuses": _statuses(found)}
        for (start, end), found in zip(pairwise(bounds), sums, strict=True)
    ]


def _statuses(sums: Mapping[str, StatusSums]) -> dict[str, Any]:
    return {
        status: {"orders": orders, "revenue": {name: format(amount, "f") for name, amount in revenue.items()}}
        for status, (orders, revenue) in sums.items()
    }


def _rfc3339(moment: datetime) -> str:
    return rfc3339(moment.timestamp(), "seconds")
