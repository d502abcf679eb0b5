"""What each route of the API does, for /openapi.json. openapi.py makes the document, and misses no route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from push.journal.series import Period
from push.protocol.access import Role
from push.protocol.schema import Schema

__all__ = ["OPERATIONS", "PAGES", "Answer", "Operation", "Parameter"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the query, or (``where``: "path", "header") of the path or the head. ``example``: a value that works."""

    name: str
    description: str
    example: Any
    schema: Schema
    where: str = "query"


@dataclass(frozen=True, slots=True)
class Answer:
    """A body of an answer with status ``status``: the name of its schema if it is JSON, and an example of it."""

    description: str
    schema: str | None = None
    example: Any = None
    content_type: str = "application/json"
    status: int = 200


@dataclass(frozen=True, slots=True)
class Operation:
    """What one method of one path does.

    ``roles``: those that are permitted; empty if no token is needed. ``errors``: the statuses of its error answers, beside
    those that every path may have. ``body``: the name of the schema of the request's body, and an example.
    """

    name: str
    summary: str
    answer: Answer
    roles: tuple[Role, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    body: tuple[str, Mapping[str, Any]] | None = None
    tag: str = "orders"


# Routes that are no part of the API: the dashboard and its files, the browser client's script, and the descriptions themselves.
PAGES = frozenset(
    (
        "/",
        "/admin/dashboard",
        "/admin/dashboard/{view}",
        "/admin/dashboard/orders/{key}",
        "/admin/assets/{name}",
        "/admin/{name}",
        "/client/{name}",
        "/api/docs",
        "/openapi.json",
        "/asyncapi.json",
    )
)

_ALL, _READERS, _COUNTERS = tuple(Role), (Role.ADMIN, Role.CUSTOMER), (Role.ADMIN, Role.VIEWER)

_EVENT_ID = "5f0c12ab-761-2731524096-1"
_SNAPSHOT = "5f0c12ab-s762.762~761-2731524096-1"
_LIST_CURSOR = "WyIyMDI0LTA1LTAxVDEyOjAwOjAwWiIsIjEyMyJd"
_CREATED = "2024-05-01T12:00:00.000000Z"

_TEXT: Schema = {"type": "string"}
_CURSOR: Schema = {"type": "string", "format": "cursor"}
_LIMIT = Parameter("limit", "How many at most; 100 when left out.", 20, {"type": "integer", "minimum": 1, "maximum": 1000})
_KEY = Parameter("key", "The key of the order, percent-encoded.", "1", {"type": "string", "minLength": 1}, "path")
_FILTERS = (
    Parameter("q", "A part of the number or the customer's name; or the customer's id, the key or the total.", "Иван", _TEXT),
    Parameter(
        "status",
        "Orders with one of these statuses; repeated, up to 50 times.",
        ["pending"],
        {"type": "array", "items": {"type": "string", "maxLength": 100}, "maxItems": 50},
    ),
    Parameter("from", "Created from then on: RFC 3339, or a date in TIME_ZONE.", "2024-01-01", _TEXT),
    Parameter("to", "Created before: RFC 3339, or a date in TIME_ZONE.", "2100-01-01T00:00:00Z", _TEXT),
)
_TOPICS = Parameter("topics", "Topics, separated by commas. By default those of the role.", "orders,order:1", _TEXT)
_LAST_EVENT_ID = Parameter("last_event_id", "Resume after this cursor.", _EVENT_ID, _CURSOR)
_CONFLATE = Parameter(
    "conflate",
    "Rather fetch anew than get more than so many events at once.",
    100,
    {"type": "integer", "minimum": 1, "maximum": 10_000},
)

_ORDER = {
    "id": 1,
    "key": "1",
    "order_number": "ORD-2024-001",
    "customer_name": "Иван Иванов",
    "customer_id": None,
    "total": "150.50",
    "status": "pending",
    "created_at": _CREATED,
}
_NEW_ORDER = {
    "type": "new_order",
    "id": _EVENT_ID,
    "order_id": 1,
    "key": "1",
    "order_number": "ORD-2024-001",
    "customer_name": "Иван Иванов",
    "total": "150.50",
    "status": "pending",
    "created_at": _CREATED,
    "at": _CREATED,
}
_SUMS = {"pending": {"orders": 1, "revenue": {"": "150.50"}}}

OPERATIONS: Mapping[tuple[str, str], Operation] = {
    ("GET", "/api/events"): Operation(
        "listEvents",
        "The history: events, oldest first",
        Answer("A page of the journal.", "EventPage", {"events": [_NEW_ORDER], "next": _SNAPSHOT, "more": False}),
        _READERS,
        (Parameter("after", "Begin after this event, or where the page before ended.", _EVENT_ID, _CURSOR), _LIMIT),
        (400, 410, 503),
        tag="events",
    ),
    ("GET", "/api/orders"): Operation(
        "listOrders",
        "The newest orders, or those that a filter finds",
        Answer("A page of orders.", "OrderPage", {"orders": [_ORDER], "next": None, "complete": True, "position": _SNAPSHOT}),
        _READERS,
        (*_FILTERS, Parameter("after", "The `next` of the page before.", _LIST_CURSOR, _CURSOR), _LIMIT),
        (400, 503),
    ),
    ("GET", "/api/orders.csv"): Operation(
        "exportOrders",
        "All orders of the same filters, as CSV",
        Answer("RFC 4180 in UTF-8, with a byte order mark and a head line.", content_type="text/csv"),
        _READERS,
        _FILTERS,
        (400, 429, 503),
    ),
    ("GET", "/api/orders/{key}"): Operation(
        "getOrder", "One order, whole", Answer("The order.", "Order", _ORDER), _READERS, (_KEY,), (404, 503)
    ),
    ("PATCH", "/api/orders/{key}"): Operation(
        "changeStatus",
        "Change the status of an order, where the map of the table allows it",
        Answer(
            "The change was made.",
            "StatusChanged",
            {"id": "5f0c12ab-762-2732524096-2", "order": {**_ORDER, "status": "preparing"}},
        ),
        (Role.ADMIN,),
        (_KEY,),
        (400, 404, 408, 409, 503),
        ("StatusChange", {"status": "preparing", "from": "pending"}),
    ),
    ("GET", "/api/orders/{key}/events"): Operation(
        "listOrderEvents",
        "The history of one order",
        Answer("Its newest events, newest first.", "OrderEvents", {"events": [_NEW_ORDER]}),
        _READERS,
        (_KEY, _LIMIT),
        (400, 404, 503),
        tag="events",
    ),
    ("POST", "/api/test-order"): Operation(
        "createTestOrder",
        "Insert an order into the starter table of the embedded database",
        Answer("The order was inserted.", "TestOrder", {"id": _EVENT_ID, "key": "2"}, status=201),
        (Role.ADMIN,),
        errors=(400, 408, 503),
        body=("Empty", {}),
    ),
    ("GET", "/api/meta"): Operation(
        "getMeta",
        "Statuses, currency, version, and what the bearer may do",
        Answer(
            "What a page needs to know.",
            "Meta",
            {
                "role": "admin",
                "statuses": ["pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled"],
                "pending": ["pending"],
                "cancelled": ["cancelled"],
                "currency": "PLN",
                "time_zone": "UTC",
                "search_indexed": False,
                "version": "0.1.0",
                "write": {"status": True, "reason": None, "transitions": None},
                "test_order": False,
                "table": "public.orders",
                "streams": [],
            },
        ),
        _ALL,
        errors=(503,),
        tag="shop",
    ),
    ("GET", "/api/series"): Operation(
        "getSeries",
        "Orders and revenue by status, over all orders and by the time of creation",
        Answer(
            "The sums. There are 60, 96 or 84 buckets.",
            "Series",
            {
                "period": "24h",
                "time_zone": "UTC",
                "buckets": [{"from": "2024-05-01T12:00:00Z", "to": "2024-05-01T12:15:00Z", "statuses": _SUMS}],
                "statuses": _SUMS,
                "compare": {"today": _SUMS, "yesterday": {}, "last_week": {}},
                "position": _SNAPSHOT,
                "complete": True,
            },
        ),
        _COUNTERS,
        (Parameter("period", "24h when left out.", "24h", {"type": "string", "enum": [period.value for period in Period]}),),
        (400, 503),
        tag="shop",
    ),
    ("GET", "/api/analytics"): Operation(
        "getTotals",
        "The totals",
        Answer(
            "As of the last event delivered.",
            "Totals",
            {
                "type": "analytics_update",
                "total_orders": 1,
                "total_revenue": "150.50",
                "pending_orders": 1,
                "as_of": "2024-05-01T12:00:01.000Z",
            },
        ),
        _COUNTERS,
        errors=(503,),
        tag="shop",
    ),
    ("GET", "/api/ws"): Operation(
        "openWebSocket",
        "Open a WebSocket, whose messages /asyncapi.json describes",
        Answer("The connection is a WebSocket from here on.", status=101, content_type=""),
        _ALL,
        (_TOPICS, _LAST_EVENT_ID, _CONFLATE),
        (400, 426, 503),
        tag="events",
    ),
    ("GET", "/api/sse"): Operation(
        "openEventStream",
        "The same messages as Server-Sent Events, without commands",
        Answer(
            "An endless stream. `event` is the type, `data` the message, `id` the cursor.", content_type="text/event-stream"
        ),
        _ALL,
        (
            _TOPICS,
            _LAST_EVENT_ID,
            Parameter("Last-Event-ID", "The same, as browsers send it.", _EVENT_ID, _CURSOR, "header"),
            _CONFLATE,
        ),
        (400, 503),
        tag="events",
    ),
    ("GET", "/metrics"): Operation(
        "getMetrics",
        "The metrics of all workers",
        Answer("The text format of Prometheus.", content_type="text/plain"),
        _COUNTERS,
        errors=(503,),
        tag="monitoring",
    ),
    ("GET", "/healthz"): Operation(
        "getHealth", "200 while the process lives", Answer("It lives.", "Health", {"status": "ok"}), tag="monitoring"
    ),
    ("GET", "/readyz"): Operation(
        "getReadiness",
        "200 while events flow",
        Answer("Events flow.", "Health", {"status": "ok"}),
        errors=(503,),
        tag="monitoring",
    ),
}
