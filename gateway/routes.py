"""The HTTP routes."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

from gateway.errors import unavailable
from gateway.keys import HUB, ORDERS, RELAY
from gateway.query import one_of, whole
from gateway.websocket import websocket

__all__ = ["routes"]

STATUSES = ("pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled")
MOST_ORDERS = 1000
DASHBOARD = Path(__file__).with_name("dashboard.html")


async def orders(request: web.Request) -> web.Response:
    """``GET /api/orders?limit=N&status=S&before=ID``: newest first."""
    limit = whole(request.query, "limit", 1, MOST_ORDERS)
    status = one_of(request.query, "status", STATUSES)
    before = whole(request.query, "before", 1, 2**63 - 1)
    found = await request.app[ORDERS].latest_orders(100 if limit is None else limit, status, before)
    return json_response('{"orders":[' + ",".join(found) + "]}")


async def analytics(request: web.Request) -> web.Response:
    """``GET /api/analytics``: the totals, as of the last event delivered."""
    relay = request.app[RELAY]
    if not relay.started:
        return unavailable(relay.trouble or "starting")
    return json_response(request.app[HUB].totals_frame().decode())


async def healthz(_request: web.Request) -> web.Response:
    """200 while the process lives."""
    return json_response('{"status":"ok"}')


async def readyz(request: web.Request) -> web.Response:
    """200 only while events flow; else 503 with the reason."""
    trouble = request.app[RELAY].trouble
    return json_response('{"status":"ok"}') if trouble is None else unavailable(trouble)


async def dashboard(_request: web.Request) -> web.FileResponse:
    """The page."""
    return web.FileResponse(DASHBOARD, headers={"Cache-Control": "no-cache"})


async def root(_request: web.Request) -> web.Response:
    """``/`` leads to the page."""
    raise web.HTTPFound("/admin/dashboard")


def json_response(text: str) -> web.Response:
    """JSON that is ready made. Never cached: it is out of date the moment it is sent."""
    return web.Response(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})


routes = [
    web.get("/", root),
    web.get("/admin/dashboard", dashboard),
    web.get("/api/ws", websocket),
    web.get("/api/orders", orders),
    web.get("/api/analytics", analytics),
    web.get("/healthz", healthz),
    web.get("/readyz", readyz),
]
