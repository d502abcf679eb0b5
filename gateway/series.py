"""``GET /api/series``: orders and revenue by status, over all orders and by the time of creation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any

from aiohttp import web

from gateway.app_keys import SERIES_COUNTER, SETTINGS
from push.journal.series import OrderCounts, Period, StatusSums, bucket_bounds, compared_days
from push.protocol.access import Grant

__all__ = ["series"]


async def series(request: web.Request, _grant: Grant) -> web.Response:
    """``GET /api/series?period=1h|24h|7d``: with every change from before the request; or incomplete, without any sums."""
    try:
        period = Period(request.query.get("period", Period.DAY))
    except ValueError:
        raise web.HTTPBadRequest(text=f"period: expected one of {', '.join(Period)}") from None
    counter = request.app[SERIES_COUNTER]
    counts = await counter.counts()
    now = counter.now()
    bounds = bucket_bounds(period, counter.zone, now if counts is None else counts.shown_at(now))
    days = compared_days(counter.zone, now if counts is None else counts.now)
    fields = {
        "period": period,
        "time_zone": request.app[SETTINGS].time_zone,
        "buckets": _buckets(bounds, counts),
        "statuses": {} if counts is None else _statuses(counts.by_status()),
        "compare": {name: {} if counts is None else _statuses(counts.in_interval(day)) for name, day in days.items()},
        "position": None if counts is None else str(counts.position),
        "complete": counts is not None,
    }
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return web.Response(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})


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
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
