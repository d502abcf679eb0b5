"""The events and messages as JSON Schema: the source of /asyncapi.json, /openapi.json and the browser client's types.

``SCHEMAS`` has one schema for each name. They use what JSON Schema draft 07 and draft 2020-12 have in common, since AsyncAPI
3.0 reads the one and OpenAPI 3.1 the other. A reference is ``{"$ref": REFERENCE + name}``, as in both documents.

``SERVER_MESSAGES`` and ``CLIENT_MESSAGES`` name the schema of each class of push/protocol/messages.py. Events have no class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from push.protocol.access import Role
from push.protocol.messages import (
    AnalyticsUpdate,
    Auth,
    Authenticated,
    Bulk,
    ErrorMessage,
    FeedStatus,
    Ping,
    Pong,
    PositionMessage,
    Resumed,
    Subscribe,
    Subscribed,
    Unsubscribe,
)

__all__ = ["CLIENT_MESSAGES", "EVENTS", "REFERENCE", "SCHEMAS", "SERVER_MESSAGES", "Schema", "array_of", "object_of", "ref"]

Schema = Mapping[str, Any]

REFERENCE = "#/components/schemas/"


def ref(name: str) -> Schema:
    """A reference to a schema of the same document."""
    return {"$ref": REFERENCE + name}


def array_of(items: Schema, description: str) -> Schema:
    """A list of any length."""
    return {"type": "array", "items": items, "description": description}


def object_of(description: str, required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """An object with these members. It may have further ones: versions of the protocol evolve by addition."""
    return {
        "type": "object",
        "description": description,
        "required": list(required),
        "properties": {**required, **(optional or {})},
    }


def _text(description: str, example: str | None = None) -> Schema:
    return {"type": "string", "description": description, **({} if example is None else {"examples": [example]})}


def _text_or_null(description: str) -> Schema:
    return {"type": ["string", "null"], "description": description}


def _type(name: str) -> Schema:
    return {"type": "string", "const": name}


def _money(description: str) -> Schema:
    return {"type": ["string", "null"], "pattern": "^-?[0-9]+(\\.[0-9]+)?$", "description": description}


def _amount(description: str) -> Schema:
    return {"type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$", "description": description}


def _time(description: str) -> Schema:
    return {"type": "string", "format": "date-time", "description": description}


def _time_or_null(description: str) -> Schema:
    return {"type": ["string", "null"], "format": "date-time", "description": description}


_COUNT: Schema = {"type": "integer", "minimum": 0}

# ---------------------------------------------------------------- events

_ID = _text("The cursor. Equal ids denote the same event.", "5f0c12ab-761-2731524096-1")
_ORDER_ID: Schema = {
    "type": ["integer", "string"],
    "description": "The key as a number if it is one that JavaScript can hold exactly, otherwise the same text as `key`.",
}
_AT = _time("The time of the writer's statement.")
_ORDER_NUMBER = _text_or_null("Null or missing where the row has none.")
_STATUS = _text_or_null("Any text: the table decides which there are.")
_TOTAL = _money("A decimal string.")
_CUSTOMER_NAME = _text_or_null("Missing if it has not changed.")

_COMMON: Mapping[str, Schema] = {
    "data": {
        "type": "object",
        "description": "Columns that the map of the table adds. Left out of an update that does not change them.",
        "additionalProperties": True,
    },
    "truncated": array_of({"type": "string"}, "The fields that are cut, or left out. GET /api/orders/<key> has them whole."),
    "actor": ref("Actor"),
}
_OF_ORDERS: Mapping[str, Schema] = {
    **_COMMON,
    "order_number": _ORDER_NUMBER,
    "currency": _text_or_null("The currency of `total`, if the table has one; of a deleted order, the one that it had."),
    "created_at": _time_or_null("When the shop created the order, if the table says so."),
}
# What an update has changed: missing is as before.
_PREVIOUS: Mapping[str, Schema] = {
    "previous_total": _money("The total before, if it has changed."),
    "previous_currency": _text_or_null("The currency before, if it has changed."),
    "previous_created_at": _time_or_null("`created_at` before, if it has changed."),
}


def _order_event(
    name: str, description: str, required: Mapping[str, Schema], optional: Mapping[str, Schema], example: Mapping[str, Any]
) -> Schema:
    key = _text("The key of the order, as a text.")
    always = {"type": _type(name), "id": _ID, "order_id": _ORDER_ID, "key": key, **required, "at": _AT}
    head = {"type": name, "id": "5f0c12ab-762-2732524096-2", "order_id": 123, "key": "123", "order_number": "ORD-2024-123"}
    times = {"created_at": "2024-05-01T12:00:00.000000Z", "at": "2024-05-01T12:00:01.000000Z"}
    return {**object_of(description, always, {**_OF_ORDERS, **optional}), "examples": [{**head, **example, **times}]}


def _row_event(name: str, description: str, example: Mapping[str, Any]) -> Schema:
    key = _text("The key of the row, as a text.")
    always = {"type": _type(name), "id": _ID, "stream": _text("The name of the stream."), "key": key, "at": _AT}
    order_id = {**_ORDER_ID, "description": "The order that the row belongs to, if the table says so."}
    head = {"type": name, "id": "5f0c12ab-763-2733524096-3", "stream": "stock", "key": "7"}
    shown = {**head, **example, "at": "2024-05-01T12:00:02.000000Z"}
    return {**object_of(description, always, {**_COMMON, "order_id": order_id}), "examples": [shown]}


_EVENTS: Mapping[str, Schema] = {
    "NewOrder": _order_event(
        "new_order",
        "A row became an order.",
        {"customer_name": _text_or_null("Null where the row has none."), "total": _TOTAL, "status": _STATUS},
        {},
        {"customer_name": "Иван Иванов", "total": "150.50", "status": "pending"},
    ),
    "OrderStatusUpdate": _order_event(
        "order_status_update",
        "The status of an order changed.",
        {"status": _STATUS, "previous_status": _text_or_null("The status before.")},
        {"customer_name": _CUSTOMER_NAME, "total": _TOTAL, **_PREVIOUS},
        {"total": "150.50", "status": "preparing", "previous_status": "pending"},
    ),
    "OrderUpdate": _order_event(
        "order_update",
        "Something else of an order changed that the map mentions.",
        {},
        {"customer_name": _CUSTOMER_NAME, "total": _TOTAL, "status": _STATUS, **_PREVIOUS},
        {"total": "99.00", "status": "preparing", "previous_total": "150.50"},
    ),
    "OrderDelete": _order_event(
        "order_delete",
        "It is no order any more. `currency` and `created_at` are those that it had.",
        {},
        {"previous_status": _text_or_null("The status that it had."), "previous_total": _money("The total that it had.")},
        {"previous_status": "preparing", "previous_total": "99.00"},
    ),
    "RowInsert": _row_event("row_insert", "A row of a stream was inserted.", {"data": {"remaining": 5}}),
    "RowUpdate": _row_event("row_update", "A row of a stream was changed.", {"data": {"remaining": 4}}),
    "RowDelete": _row_event("row_delete", "A row of a stream was deleted.", {}),
}
# The name of the schema of each event, by its type.
EVENTS: Mapping[str, str] = {schema["properties"]["type"]["const"]: name for name, schema in _EVENTS.items()}

_ACTOR = object_of(
    "Who made a change. Customers are not told.",
    {
        "role": _text("The database role."),
        "application_name": _text("The `application_name` of its connection."),
    },
)

# ---------------------------------------------------------------- messages


def _message(
    name: str,
    description: str,
    required: Mapping[str, Schema] | None = None,
    optional: Mapping[str, Schema] | None = None,
    *,
    examples: tuple[Mapping[str, Any], ...] = ({},),
) -> Schema:
    shown = [{"type": name, **example} for example in examples]
    return {**object_of(description, {"type": _type(name), **(required or {})}, optional), "examples": shown}


_TOPICS = array_of({"type": "string"}, "`orders`, `analytics`, `order:<key>`, `<stream>`, `<stream>:<key>`.")

_SERVER_MESSAGES: Mapping[str, Schema] = {
    "AnalyticsUpdate": _message(
        "analytics_update",
        "The totals: the first message of a session with topic `analytics`; then after changes, always the newest.",
        {
            "total_orders": {**_COUNT, "description": "The number of orders."},
            "total_revenue": _amount("Of the server's setting CURRENCY if the table has currencies."),
            "pending_orders": {**_COUNT, "description": "The number of pending orders."},
        },
        {
            "revenue_by_currency": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "The revenue of each currency, if the table has currencies.",
            }
        },
        examples=({"total_orders": 1, "total_revenue": "150.50", "pending_orders": 1},),
    ),
    "FeedStatus": _message(
        "feed_status",
        "Whether events flow. Sent when that changes, and next after the first message while they do not.",
        {
            "live": {"type": "boolean"},
            "since": _time("Since when. Not live: everything up to then has been delivered."),
        },
        {"reason": _text("Why they do not flow, for people.")},
        examples=(
            {"live": False, "since": "2026-01-01T12:00:00.000Z", "reason": "the database cannot be reached"},
            {"live": True, "since": "2026-01-01T12:00:10.000Z"},
        ),
    ),
    "Resumed": _message(
        "resumed",
        "Answers a resume. Not recovered: the gap cannot be closed, and everything has to be fetched anew.",
        {"recovered": {"type": "boolean"}, "replayed": {**_COUNT, "description": "The number of events that follow."}},
        examples=({"recovered": True, "replayed": 7}, {"recovered": False, "replayed": 0}),
    ),
    "Subscribed": _message(
        "subscribed", "All topics that the session has now.", {"topics": _TOPICS}, examples=({"topics": ["order:5"]},)
    ),
    "Authenticated": _message(
        "authenticated",
        "A token was accepted.",
        {
            "role": {"type": "string", "enum": [role.value for role in Role]},
            "expires": _time_or_null("When the session ends unless a fresh token is sent; null if the server needs no token."),
        },
        examples=({"role": "admin", "expires": "2026-01-01T12:00:00Z"},),
    ),
    "Bulk": _message(
        "bulk",
        "So many events are not sent one by one to a client that conflates: it has to fetch anew.",
        {"events": _COUNT},
        examples=({"events": 100_000},),
    ),
    "Position": _message(
        "position",
        "Everything up to this cursor has been accounted for; sent to a client that conflates.",
        {"id": _text("The cursor.")},
        examples=({"id": "5f0c12ab-762-2732524096-2"},),
    ),
    "ErrorMessage": _message(
        "error",
        "The command was not carried out, and nothing else happened.",
        {
            "code": _text(
                "For programs: `bad_json`, `bad_frame`, `unknown_type`, `bad_topic`, `not_permitted`, `too_many_topics`,"
                " `not_authenticated`, or one of a later version."
            ),
            "message": _text("For people."),
        },
        examples=({"code": "bad_topic", "message": "no such topic: order"},),
    ),
    "Ping": _message("ping", "The heartbeat, from either side. The receiver answers with `pong`."),
    "Pong": _message("pong", "The answer to `ping`."),
}

_CLIENT_MESSAGES: Mapping[str, Schema] = {
    "Auth": _message(
        "auth",
        "The first token, or a fresh one before the old one expires.",
        {"token": _text("A JSON Web Token.")},
        examples=({"token": "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoiYWRtaW4ifQ.c2lnbmF0dXJl"},),
    ),
    "Subscribe": _message(
        "subscribe",
        "Subscribe to these topics too: to all of them or, with an `error`, to none.",
        {"topics": _TOPICS},
        examples=({"topics": ["order:5"]},),
    ),
    "Unsubscribe": _message(
        "unsubscribe", "Unsubscribe from these topics.", {"topics": _TOPICS}, examples=({"topics": ["orders"]},)
    ),
}

SCHEMAS: Mapping[str, Schema] = {"Actor": _ACTOR, **_EVENTS, **_SERVER_MESSAGES, **_CLIENT_MESSAGES}

SERVER_MESSAGES: Mapping[type, str] = {
    AnalyticsUpdate: "AnalyticsUpdate",
    FeedStatus: "FeedStatus",
    Resumed: "Resumed",
    Subscribed: "Subscribed",
    Authenticated: "Authenticated",
    Bulk: "Bulk",
    PositionMessage: "Position",
    ErrorMessage: "ErrorMessage",
    Ping: "Ping",
    Pong: "Pong",
}
CLIENT_MESSAGES: Mapping[type, str] = {
    Ping: "Ping",
    Pong: "Pong",
    Auth: "Auth",
    Subscribe: "Subscribe",
    Unsubscribe: "Unsubscribe",
}
