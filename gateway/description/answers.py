"""The bodies of HTTP requests and answers as JSON Schema, in the form of push/protocol/schema.py."""

from __future__ import annotations

from collections.abc import Mapping

from push.journal.series import Period
from push.protocol.access import Role
from push.protocol.schema import EVENTS, SCHEMAS, Schema, array_of, object_of, ref

__all__ = ["ANSWERS"]

_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_TIME: Schema = {"type": "string", "format": "date-time"}
_TIME_OR_NULL: Schema = {"type": ["string", "null"], "format": "date-time"}
_BOOLEAN: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_KEY: Schema = {"type": ["integer", "string"]}
_CURSOR: Schema = {"type": "string", "description": "A cursor: opaque."}
_EVENT: Schema = {"oneOf": [ref(name) for name in EVENTS.values()]}
_STATUSES = array_of(_TEXT, "Statuses, in the order in which to show them.")
_BY_STATUS: Schema = {
    "type": "object",
    "additionalProperties": ref("OrderSums"),
    "description": "By status; the empty text stands for none.",
}

_TOTALS = SCHEMAS["AnalyticsUpdate"]

_ORDER = object_of(
    "An order as it is now.",
    {
        "id": {
            **_KEY,
            "description": "The key as a number if it is one that JavaScript can hold exactly, otherwise as a text.",
        },
        "key": _TEXT,
        "order_number": _TEXT_OR_NULL,
        "customer_name": _TEXT_OR_NULL,
        "customer_id": _TEXT_OR_NULL,
        "total": {**_TEXT_OR_NULL, "description": "A decimal string."},
        "status": _TEXT_OR_NULL,
        "created_at": _TIME_OR_NULL,
    },
    {
        "currency": _TEXT,
        "data": {"type": "object", "additionalProperties": True},
        "truncated": array_of(_TEXT, "The fields that are cut, or left out."),
    },
)

ANSWERS: Mapping[str, Schema] = {
    "Order": _ORDER,
    "OrderPage": object_of(
        "A page of orders, newest first.",
        {
            "orders": array_of(ref("Order"), "At most `limit`."),
            "next": {**_TEXT_OR_NULL, "description": "The cursor of the next page; null on the last one."},
            "complete": {**_BOOLEAN, "description": "False if a search has stopped at its time limit."},
            "position": {**_CURSOR, "description": "The event cursor that the page is as of."},
        },
        {"searched_to": {**_TIME_OR_NULL, "description": "Of a search that stopped: how far it came."}},
    ),
    "EventPage": object_of(
        "A page of the journal, oldest first.",
        {
            "events": array_of(_EVENT, "At most `limit`."),
            "next": {**_CURSOR, "description": "The cursor that goes on from here."},
            "more": {**_BOOLEAN, "description": "Whether more events follow."},
        },
    ),
    "OrderEvents": object_of("The events of one order.", {"events": array_of(_EVENT, "Newest first, at most `limit`.")}),
    "Totals": object_of(
        "The totals, and the moment that they are as of.",
        {
            **{name: _TOTALS["properties"][name] for name in _TOTALS["required"]},
            "as_of": {**_TIME, "description": "Every earlier change is in them."},
        },
        {"revenue_by_currency": _TOTALS["properties"]["revenue_by_currency"]},
    ),
    "Meta": object_of(
        "What a page needs to know to show orders.",
        {
            "role": {"type": "string", "enum": [role.value for role in Role]},
            "statuses": _STATUSES,
            "pending": array_of(_TEXT, "Orders with these count as pending."),
            "cancelled": array_of(_TEXT, "Orders with these are no revenue."),
            "currency": _TEXT,
            "time_zone": _TEXT,
            "search_indexed": _BOOLEAN,
            "version": _TEXT,
            "write": ref("WriteAccess"),
            "test_order": {**_BOOLEAN, "description": "Whether POST /api/test-order inserts an order."},
        },
        {
            "table": {**_TEXT_OR_NULL, "description": "For admins: the attached table of orders."},
            "streams": array_of(_TEXT, "For admins: the names of the attached streams."),
        },
    ),
    "WriteAccess": object_of(
        "Whether the bearer may change the status of orders.",
        {
            "status": _BOOLEAN,
            "reason": {"type": ["string", "null"], "description": "Why not: `no_login`, `role` or `not_in_map`."},
            "transitions": {
                "type": ["object", "null"],
                "additionalProperties": {"type": "array", "items": _TEXT},
                "description": "The statuses that may follow each status; null for all.",
            },
        },
    ),
    "OrderSums": object_of(
        "The number of orders, and their revenue.",
        {
            "orders": _COUNT,
            "revenue": {
                "type": "object",
                "additionalProperties": _TEXT,
                "description": "By currency; the empty text stands for none.",
            },
        },
    ),
    "SeriesBucket": object_of(
        "The orders that were created in an interval.", {"from": _TIME, "to": _TIME, "statuses": _BY_STATUS}
    ),
    "Series": object_of(
        "Orders and revenue by status, over all orders and by the time of creation.",
        {
            "period": {"type": "string", "enum": [period.value for period in Period]},
            "time_zone": _TEXT,
            "buckets": array_of(ref("SeriesBucket"), "Oldest first, without gaps."),
            "statuses": _BY_STATUS,
            "compare": object_of(
                "Today, and two earlier days until the same time of day.",
                {"today": _BY_STATUS, "yesterday": _BY_STATUS, "last_week": _BY_STATUS},
            ),
            "position": {**_TEXT_OR_NULL, "description": "The cursor that the sums are as of; null while they are counted."},
            "complete": {**_BOOLEAN, "description": "False while the orders are counted: ask again after a second."},
        },
    ),
    "StatusChange": {
        **object_of(
            "A change of the status, from what the user has seen to what it shall be.",
            {
                "status": {"type": "string", "minLength": 1, "maxLength": 100},
                "from": {"type": "string", "minLength": 1, "maxLength": 100},
            },
            {"undo": {**_CURSOR, "description": "The `id` of the answer to the change that this takes back."}},
        ),
        "additionalProperties": False,
    },
    "StatusChanged": object_of(
        "The change was made.",
        {
            "id": {**_TEXT_OR_NULL, "description": "That of the order's newest event by this change."},
            "order": {"oneOf": [ref("Order"), {"type": "null"}]},
        },
    ),
    "TestOrder": object_of(
        "The order that was inserted.", {"id": {**_TEXT_OR_NULL, "description": "That of its event."}, "key": _TEXT}
    ),
    "Empty": {"type": "object", "description": "No members.", "additionalProperties": False},
    "Health": object_of("All is well.", {"status": {"type": "string", "const": "ok"}}),
    "Error": object_of(
        "The request was not carried out.",
        {
            "error": object_of(
                "What went wrong.",
                {
                    "code": {**_TEXT, "description": "For programs."},
                    "message": {**_TEXT, "description": "For people."},
                },
                {
                    "login_url": {**_TEXT, "description": "Of 401: where people sign in, if LOGIN_URL is set."},
                    "reason": {**_TEXT, "description": "Of 403: why a change is forbidden."},
                    "status": {**_TEXT_OR_NULL, "description": "Of 409: the present status."},
                    "actor": {"oneOf": [ref("Actor"), {"type": "null"}], "description": "Of 409: who changed the order last."},
                },
            )
        },
    ),
}
