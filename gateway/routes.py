"""The HTTP routes and their handlers. WebSocket, SSE and static files have theirs in modules of their own."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.app_keys import HUB, METRICS, ORDER_QUERIES, RELAY, REPLAY_PLANNER
from gateway.http.assets import asset, client_script, dashboard
from gateway.http.errors import Handler, unavailable_response
from gateway.http.expect import handle_expect
from gateway.http.query import parse_choice, parse_int
from gateway.http.request_guard import restrict_to_roles
from gateway.sessions.session_adapter import require_started
from gateway.sse import sse_handler
from gateway.websocket.endpoint import websocket_handler
from push.errors import BadCursor
from push.journal.replay import GapError
from push.protocol.access import Grant, Role

__all__ = ["mount_prefix", "routes"]

# Names of routes whose addresses are looked up: they have the prefix of a sub-application.
_ROOT, _DASHBOARD = "root", "dashboard"

ORDER_STATUSES = ("pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled")
MAX_ORDERS = 1000
MAX_EVENTS = 1000


async def orders(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/orders?limit=N&status=S&before=ID``: newest first. A customer gets only their own orders."""
    limit = parse_int(request.query, "limit", 1, MAX_ORDERS)
    status = parse_choice(request.query, "status", ORDER_STATUSES)
    before = parse_int(request.query, "before", 1, 2**63 - 1)
    limit = 100 if limit is None else limit
    queries = request.app[ORDER_QUERIES]
    if grant.role is Role.CUSTOMER:
        rows = await queries.customer_orders(grant.subject, grant.order_ids, limit, status, before)
    else:
        rows = await queries.latest_orders(limit, status, before)
    return json_text_response('{"orders":[' + ",".join(rows) + "]}")


async def events(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/events?after=CURSOR&limit=N``: the journal, oldest first, without events that the grant does not allow."""
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
    """``GET /api/analytics``: the totals, with every change that was committed before the request, unless the journal cannot be
    read in time (``wait_for_fresh_read``).
    """
    require_started(request.app)
    await request.app[RELAY].read_barrier.wait_for_fresh_read()
    return json_text_response(request.app[HUB].totals_batch().messages[0].decode())


async def healthz(_request: web.Request) -> web.Response:
    """``GET /healthz``: 200 while the event loop runs."""
    return json_text_response('{"status":"ok"}')


async def readyz(request: web.Request) -> web.Response:
    """``GET /readyz``: 200 while events flow; else 503 with the reason."""
    reason = request.app[RELAY].not_ready_reason
    return json_text_response('{"status":"ok"}') if reason is None else unavailable_response(reason)


async def metrics(request: web.Request, _grant: Grant) -> web.Response:
    """``GET /metrics``: the metrics of all workers, in the text format of Prometheus."""
    try:
        text = generate_latest(await request.app[METRICS].merged_collector())
    except TimeoutError:
        # Sums without some of the workers would look like counter resets.
        return unavailable_response("the other workers' metrics could not be had")
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST, "Cache-Control": "no-store"})


async def root(request: web.Request) -> web.Response:
    """``GET /``: redirects to the dashboard."""
    raise web.HTTPFound(request.app.router[_DASHBOARD].url_for())


def json_text_response(text: str) -> web.Response:
    """A response with text that is JSON already. It must not be cached, since it is outdated by the next event."""
    return web.Response(text=text, content_type="application/json", headers={"Cache-Control": "no-store"})


def _get(path: str, handler: Handler, name: str | None = None) -> web.RouteDef:
    return web.get(path, handler, name=name, expect_handler=handle_expect)


routes = [
    _get("/", root, name=_ROOT),
    _get("/admin/dashboard", dashboard, name=_DASHBOARD),
    _get("/admin/assets/{name}", asset),
    _get("/client/{name}", client_script),
    _get("/api/ws", websocket_handler),
    _get("/api/sse", sse_handler),
    _get("/api/events", restrict_to_roles(events, Role.ADMIN, Role.CUSTOMER)),
    _get("/api/orders", restrict_to_roles(orders, Role.ADMIN, Role.CUSTOMER)),
    _get("/api/analytics", restrict_to_roles(analytics, Role.ADMIN, Role.VIEWER)),
    _get("/metrics", restrict_to_roles(metrics, Role.ADMIN, Role.VIEWER)),
    _get("/healthz", healthz),
    _get("/readyz", readyz),
]


def mount_prefix(app: web.Application) -> str:
    """The path at which another application has mounted ``app`` (``web.Application.add_subapp``); empty if it is the root."""
    return app.router[_ROOT].url_for().path.rstrip("/")
