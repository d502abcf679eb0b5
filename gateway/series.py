"""``GET /api/series``: orders and revenue by status, over all orders and by the time of creation."""

from __future__ import annotations

from aiohttp import web

from gateway.app_keys import SERIES_COUNTER, SERIES_ENCODER
from push.journal.series import Period
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
    body = request.app[SERIES_ENCODER].encode(period, counts, counter.now())
    return web.Response(body=body, content_type="application/json", charset="utf-8", headers={"Cache-Control": "no-store"})
