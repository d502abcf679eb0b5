"""The HTTP routes and their handlers. WebSocket, SSE and static files have theirs in modules of their own."""

from __future__ import annotations

import json

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from gateway.app_keys import HUB, LIFECYCLE, METRICS, ORDER_QUERIES, RELAY, REPLAY_PLANNER, SETTINGS, VERSION
from gateway.description.handlers import asyncapi_json, docs_page, openapi_json
from gateway.http.assets import asset, client_script, dashboard, page_file
from gateway.http.errors import Handler, error_response, unavailable_response
from gateway.http.expect import handle_expect
from gateway.http.json_response import json_text_response
from gateway.http.order_changes import change_status, create_test_order, write_fields
from gateway.http.order_lists import order_owner, orders, orders_csv
from gateway.http.query import parse_int
from gateway.http.request_guard import client_of, restrict_to_roles
from gateway.series import series
from gateway.sessions.session_adapter import require_started
from gateway.sse import sse_handler
from gateway.websocket.endpoint import websocket_handler
from push.errors import BadCursor
from push.journal.queries import EventOwner
from push.journal.replay import GapError
from push.protocol.access import Grant, Role, is_key, without_actor
from push.protocol.messages import rfc3339

__all__ = ["mount_prefix", "prefixed_routes", "routes"]

# Names of routes whose addresses are looked up: they have the prefix of a sub-application.
_ROOT, _DASHBOARD = "root", "dashboard"

MAX_EVENTS = 1000


async def order(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/orders/KEY``: one order, whole. A customer's request for another's order is answered as if there was none."""
    key = request.match_info["key"]
    found = await request.app[ORDER_QUERIES].find_order(key, order_owner(grant)) if is_key(key) else None
    return _no_such_order(key) if found is None else json_text_response(found)


async def order_events(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/orders/KEY/events?limit=N``: the order's newest events, newest first, as far as the journal goes back."""
    limit = parse_int(request.query, "limit", 1, MAX_EVENTS)
    key, owner, queries = request.match_info["key"], order_owner(grant), request.app[ORDER_QUERIES]
    found = await queries.order_history(key, 100 if limit is None else limit, owner) if is_key(key) else []
    if not found and (not is_key(key) or await queries.find_order(key, owner) is None):
        return _no_such_order(key)
    if owner is not None:
        found = [without_actor(event.encode()).decode() for event in found]
    return json_text_response(f'{{"events":[{",".join(found)}]}}')


async def meta(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/meta``: what a page needs to know to show orders. Only an admin is told the names of tables."""
    info, app = await request.app[ORDER_QUERIES].shop_info(), request.app
    fields: dict[str, object] = {
        "role": grant.role,
        "statuses": info.statuses,
        "pending": info.pending,
        "cancelled": info.cancelled,
        "currency": app[SETTINGS].currency,
        "time_zone": app[SETTINGS].time_zone,
        "search_indexed": await app[ORDER_QUERIES].search_indexed(),
        "version": app[VERSION],
        **write_fields(request, grant, info),
    }
    if grant.role is Role.ADMIN:
        fields |= {"table": info.table, "streams": info.streams}
    return json_text_response(json.dumps(fields, ensure_ascii=False))


def _event_owner(grant: Grant) -> EventOwner | None:
    """Whose events the bearer may see; None: all."""
    return EventOwner(grant.subject, grant.order_keys) if grant.role is Role.CUSTOMER else None


def _no_such_order(key: str) -> web.Response:
    return error_response(404, f"no such order: {key[:200]}")


def _json_bool(value: bool) -> str:
    return "true" if value else "false"


async def events(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/events?after=CURSOR&limit=N``: the journal, oldest first, without events that the grant does not allow."""
    limit = parse_int(request.query, "limit", 1, MAX_EVENTS)
    try:
        page = await request.app[REPLAY_PLANNER].history_page(
            request.query.get("after"), 100 if limit is None else limit, client_of(request, grant), _event_owner(grant)
        )
    except BadCursor:
        raise web.HTTPBadRequest(text="after: expected the id of an event, or the next of an earlier page") from None
    except GapError as error:
        raise web.HTTPGone(text=f"cannot go on from there ({error}): fetch anew") from None
    body = b",".join(seen.payload for event in page.events if (seen := grant.view(event)) is not None).decode()
    return json_text_response(f'{{"events":[{body}],"next":"{page.next_cursor}","more":{_json_bool(page.more)}}}')


async def analytics(request: web.Request, _grant: Grant) -> web.Response:
    """``GET /api/analytics``: the totals, with every change that was committed before the request, unless the journal cannot be
    read in time (``wait_for_fresh_read``): ``as_of`` says.
    """
    require_started(request.app)
    relay = request.app[RELAY]
    await relay.read_barrier.wait_for_fresh_read()
    totals = request.app[HUB].totals_batch().messages[0].decode().removesuffix("}")
    return json_text_response(f'{totals},"as_of":"{rfc3339(relay.as_of)}"}}')


async def healthz(_request: web.Request) -> web.Response:
    """``GET /healthz``: 200 while the event loop runs."""
    return json_text_response('{"status":"ok"}')


async def readyz(request: web.Request) -> web.Response:
    """``GET /readyz``: 200 while events flow and the server is not about to end; else 503 with the reason."""
    reason = "the server is about to end" if request.app[LIFECYCLE].is_ending else request.app[RELAY].not_ready_reason
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
    """``GET /``: redirects to the dashboard, as the browser sees it."""
    raise web.HTTPFound(f"{request.app[SETTINGS].base_path}{request.app.router[_DASHBOARD].url_for()}")


def _get(path: str, handler: Handler, name: str | None = None) -> web.RouteDef:
    return web.get(path, handler, name=name, expect_handler=handle_expect)


def _route(method: str, path: str, handler: Handler) -> web.RouteDef:
    return web.route(method, path, handler, expect_handler=handle_expect)


routes = [
    _get("/", root, name=_ROOT),
    _get("/admin/dashboard", dashboard, name=_DASHBOARD),
    _get("/admin/dashboard/{view}", dashboard),
    _get("/admin/dashboard/orders/{key}", dashboard),
    _get("/admin/assets/{name}", asset),
    _get("/admin/{name}", page_file),
    _get("/client/{name}", client_script),
    _get("/openapi.json", openapi_json),
    _get("/asyncapi.json", asyncapi_json),
    _get("/api/docs", docs_page),
    _get("/api/ws", websocket_handler),
    _get("/api/sse", sse_handler),
    _get("/api/events", restrict_to_roles(events, Role.ADMIN, Role.CUSTOMER)),
    _get("/api/orders", restrict_to_roles(orders, Role.ADMIN, Role.CUSTOMER)),
    _get("/api/orders.csv", restrict_to_roles(orders_csv, Role.ADMIN, Role.CUSTOMER)),
    _get("/api/orders/{key}", restrict_to_roles(order, Role.ADMIN, Role.CUSTOMER)),
    _route("PATCH", "/api/orders/{key}", restrict_to_roles(change_status, *Role)),
    _get("/api/orders/{key}/events", restrict_to_roles(order_events, Role.ADMIN, Role.CUSTOMER)),
    _route("POST", "/api/test-order", restrict_to_roles(create_test_order, *Role)),
    _get("/api/meta", restrict_to_roles(meta, *Role)),
    _get("/api/series", restrict_to_roles(series, Role.ADMIN, Role.VIEWER)),
    _get("/api/analytics", restrict_to_roles(analytics, Role.ADMIN, Role.VIEWER)),
    _get("/metrics", restrict_to_roles(metrics, Role.ADMIN, Role.VIEWER)),
    _get("/healthz", healthz),
    _get("/readyz", readyz),
]


def prefixed_routes(base_path: str) -> list[web.RouteDef]:
    """The routes once more, below a path that a proxy does not take away."""
    copies = [
        _get(base_path + route.path, route.handler)
        if route.method == "GET"
        else _route(route.method, base_path + route.path, route.handler)
        for route in routes
    ]
    return [*copies, _get(base_path, root)]


def mount_prefix(app: web.Application) -> str:
    """The path at which another application has mounted ``app`` (``web.Application.add_subapp``); empty if it is the root."""
    return app.router[_ROOT].url_for().path.rstrip("/")
