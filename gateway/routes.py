"""The HTTP routes."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.app_keys import HUB, METRICS, ORDER_QUERIES, RELAY, REPLAY_PLANNER
from gateway.http.assets import asset, client_script, dashboard
from gateway.http.errors import unavailable_response
from gateway.http.query import parse_choice, parse_int
from gateway.http.request_guard import restrict_to_roles
from gateway.sessions.session_adapter import require_started
from gateway.sse import sse_handler
from gateway.websocket.endpoint import websocket_handler
from push.errors import BadCursor
from push.journal.replay import GapError
from push.protocol.access import Grant, Role

__all__ = ["routes"]

ORDER_STATUSES = ("pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled")
MAX_ORDERS = 1000
MAX_EVENTS = 1000


async def orders(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/orders?limit=N&status=S&before=ID``: newest first; to a customer, their own."""
    limit = parse_int(request.query, "limit", 1, MAX_ORDERS)
    status = parse_choice(request.query, "status", ORDER_STATUSES)
    before = parse_int(request.query, "before", 1, 2**63 - 1)
    limit = 100 if limit is None else limit
    table = request.app[ORDER_QUERIES]
    if grant.role is Role.CUSTOMER:
        found = await table.customer_orders(grant.subject, grant.order_ids, limit, status, before)
    else:
        found = await table.latest_orders(limit, status, before)
    return json_text_response('{"orders":[' + ",".join(found) + "]}")


async def events(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/events?after=CURSOR&limit=N``: history, oldest first; of a page, what the asker may see."""
    limit = parse_int(request.query, "limit", 1, MAX_EVENTS)
    try:
        page = await request.app[REPLAY_PLANNER].history_page(request.query.get("after"), 100 if limit is None else limit)
    except BadCursor:
        raise web.HTTPBadRequest(text="after: expected the id of an event, or the next of an earlier page") from None
    except GapError as error:
        raise web.HTTPGone(text=f"cannot go on from there ({error}): fetch anew") from None
    body = b",".join(event.payload for event in page.events if grant.may_see(event)).decode()
    return json_text_response(f'{{"events":[{body}],"next":"{page.next_cursor}","more":{"true" if page.more else "false"}}}')


async def analytics(request: web.Request, _grant: Grant) -> web.Response:
    """``GET /api/analytics``: the totals, as of the last event delivered."""
    require_started(request.app)
    await request.app[RELAY].read_barrier.wait_for_fresh_read()
    return json_text_response(request.app[HUB].totals_batch().messages[0].decode())


async def healthz(_request: web.Request) -> web.Response:
    """200 while the process lives."""
    return json_text_response('{"status":"ok"}')


async def readyz(request: web.Request) -> web.Response:
    """200 only while events flow; else 503 with the reason."""
    trouble = request.app[RELAY].not_ready_reason
    return json_text_response('{"status":"ok"}') if trouble is None else unavailable_response(trouble)


async def metrics(request: web.Request, _grant: Grant) -> web.Response:
    """``GET /metrics``, in the text format of Prometheus: of all workers."""
    try:
        text = generate_latest(await request.app[METRICS].merged_collector())
    except TimeoutError:
        # Sums without the others would look like counters that begin anew.
        return unavailable_response("the other workers' metrics could not be had")
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})


async def root(_request: web.Request) -> web.Response:
    """``/`` leads to the page."""
    raise web.HTTPFound("/admin/dashboard")


def json_text_response(text: str) -> web.Response:
    """JSON that is ready made. Never cached: it is out of date the moment it is sent."""
    return web.Response(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})


routes = [
    web.get("/", root),
    web.get("/admin/dashboard", dashboard),
    web.get("/admin/assets/{name}", asset),
    web.get("/client/{name}", client_script),
    web.get("/api/ws", websocket_handler),
    web.get("/api/sse", sse_handler),
    web.get("/api/events", restrict_to_roles(events, Role.ADMIN, Role.CUSTOMER)),
    web.get("/api/orders", restrict_to_roles(orders, Role.ADMIN, Role.CUSTOMER)),
    web.get("/api/analytics", restrict_to_roles(analytics, Role.ADMIN, Role.VIEWER)),
    web.get("/metrics", restrict_to_roles(metrics, Role.ADMIN, Role.VIEWER)),
    web.get("/healthz", healthz),
    web.get("/readyz", readyz),
]
