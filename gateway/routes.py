"""The HTTP routes."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.assets import asset, client_script, dashboard
from gateway.door import for_roles
from gateway.errors import unavailable
from gateway.keys import HISTORY, HUB, METRICS, ORDERS, RELAY
from gateway.query import one_of, whole
from gateway.shell import refuse_before_start
from gateway.sse import sse
from gateway.websocket import websocket
from push.access import Grant, Role
from push.errors import BadCursor
from push.history import GapError

__all__ = ["routes"]

STATUSES = ("pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled")
MOST_ORDERS = 1000
MOST_EVENTS = 1000


async def orders(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/orders?limit=N&status=S&before=ID``: newest first; to a customer, their own."""
    limit = whole(request.query, "limit", 1, MOST_ORDERS)
    status = one_of(request.query, "status", STATUSES)
    before = whole(request.query, "before", 1, 2**63 - 1)
    limit = 100 if limit is None else limit
    table = request.app[ORDERS]
    if grant.role is Role.CUSTOMER:
        found = await table.orders_of(grant.subject, grant.orders, limit, status, before)
    else:
        found = await table.latest_orders(limit, status, before)
    return json_response('{"orders":[' + ",".join(found) + "]}")


async def events(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/events?after=CURSOR&limit=N``: history, oldest first; of a page, what the asker may see."""
    limit = whole(request.query, "limit", 1, MOST_EVENTS)
    try:
        page = await request.app[HISTORY].page(request.query.get("after"), 100 if limit is None else limit)
    except BadCursor:
        raise web.HTTPBadRequest(text="after: expected the id of an event, or the next of an earlier page") from None
    except GapError as error:
        raise web.HTTPGone(text=f"cannot go on from there ({error}): fetch anew") from None
    body = b",".join(event.frame for event in page.events if grant.may_see(event)).decode()
    return json_response(f'{{"events":[{body}],"next":"{page.next}","more":{"true" if page.more else "false"}}}')


async def analytics(request: web.Request, _grant: Grant) -> web.Response:
    """``GET /api/analytics``: the totals, as of the last event delivered."""
    refuse_before_start(request.app)
    await request.app[RELAY].fresh()
    return json_response(request.app[HUB].totals_batch().frames[0].decode())


async def healthz(_request: web.Request) -> web.Response:
    """200 while the process lives."""
    return json_response('{"status":"ok"}')


async def readyz(request: web.Request) -> web.Response:
    """200 only while events flow; else 503 with the reason."""
    trouble = request.app[RELAY].trouble
    return json_response('{"status":"ok"}') if trouble is None else unavailable(trouble)


async def metrics(request: web.Request, _grant: Grant) -> web.Response:
    """``GET /metrics``, in the text format of Prometheus: of all workers."""
    try:
        text = generate_latest(await request.app[METRICS].of_all())
    except TimeoutError:
        # Sums without the others would look like counters that begin anew.
        return unavailable("the other workers' metrics could not be had")
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})


async def root(_request: web.Request) -> web.Response:
    """``/`` leads to the page."""
    raise web.HTTPFound("/admin/dashboard")


def json_response(text: str) -> web.Response:
    """JSON that is ready made. Never cached: it is out of date the moment it is sent."""
    return web.Response(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})


routes = [
    web.get("/", root),
    web.get("/admin/dashboard", dashboard),
    web.get("/admin/assets/{name}", asset),
    web.get("/client/{name}", client_script),
    web.get("/api/ws", websocket),
    web.get("/api/sse", sse),
    web.get("/api/events", for_roles(events, Role.ADMIN, Role.CUSTOMER)),
    web.get("/api/orders", for_roles(orders, Role.ADMIN, Role.CUSTOMER)),
    web.get("/api/analytics", for_roles(analytics, Role.ADMIN, Role.VIEWER)),
    web.get("/metrics", for_roles(metrics, Role.ADMIN, Role.VIEWER)),
    web.get("/healthz", healthz),
    web.get("/readyz", readyz),
]
