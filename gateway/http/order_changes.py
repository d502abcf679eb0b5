"""The handlers that change orders: ``PATCH /api/orders/KEY`` and ``POST /api/test-order``; and what /api/meta says of them."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web

from gateway.app_keys import ORDER_WRITER, PLAYGROUND, SETTINGS
from gateway.http.errors import error_response
from gateway.http.json_body import parse_member, read_json_object
from gateway.http.json_response import json_text_response
from push.errors import BadCursor
from push.journal.events import Cursor, EventId
from push.protocol.access import Grant, Role, is_key
from push.protocol.order_changes import ChangeOutcome, ChangeResult, StatusChange, author_name
from push.protocol.order_list import ShopInfo

__all__ = ["change_status", "create_test_order", "write_fields"]

# Characters. No status of a map is longer.
MAX_STATUS_LENGTH = 100
MAX_EVENT_ID_LENGTH = 100

# Why a status may not be changed, for programs and for people.
_FORBIDDEN = {
    "no_login": "the server runs without login, so it changes no orders: set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL",
    "role": "only administrators may change orders",
    "not_in_map": "the map of the table does not allow changes of the status: see [write] in docs/how-to/attach.md",
    "transition": "the map does not allow this change of the status",
    "undo": "this change cannot be undone: its author alone can, for 10 s, to the status before",
    "refused": "the table has refused the change",
    "playground": "test orders are for the starter table on the embedded database",
}


async def change_status(request: web.Request, grant: Grant) -> web.Response:
    """``PATCH /api/orders/KEY`` ``{"status":"ready","from":"preparing"}``: change an order's status, in the name of the token's
    subject. With ``{"undo":ID}`` it takes back the change that made this event.
    """
    reason = _forbidden_reason(request, grant)
    if reason is not None:
        return _forbidden(reason)
    key, content = request.match_info["key"], await read_json_object(request, ("status", "from", "undo"))
    change = StatusChange(
        key,
        parse_member(content, "from", MAX_STATUS_LENGTH),
        parse_member(content, "status", MAX_STATUS_LENGTH),
        author_name(grant.subject),
        _parse_event_id(content) if "undo" in content else None,
    )
    if change.from_status == change.to_status:
        raise web.HTTPBadRequest(text="status: expected another one than from")
    result = await request.app[ORDER_WRITER].change_status(change) if is_key(key) else ChangeResult(ChangeOutcome.MISSING)
    return _response(result, key)


def _parse_event_id(content: dict[str, Any]) -> str:
    text = parse_member(content, "undo", MAX_EVENT_ID_LENGTH)
    try:
        is_event = isinstance(Cursor.parse(text).after, EventId) and text == str(Cursor.parse(text))
    except BadCursor:
        is_event = False
    if not is_event:
        raise web.HTTPBadRequest(text="undo: expected the id of an event")
    return text


def _response(result: ChangeResult, key: str) -> web.Response:
    match result.outcome:
        case ChangeOutcome.CHANGED:
            return json_text_response(f'{{"id":{json.dumps(result.event_id)},"order":{result.order or "null"}}}')
        case ChangeOutcome.MISSING:
            return error_response(404, f"no such order: {key[:200]}")
        case ChangeOutcome.CONFLICT:
            actor = None if result.actor is None else json.loads(result.actor)
            return error_response(409, "the order has changed meanwhile", None, {"status": result.status, "actor": actor})
    return _forbidden(result.outcome.value, result.detail)


async def create_test_order(request: web.Request, grant: Grant) -> web.Response:
    """``POST /api/test-order`` ``{}``: insert an order into the starter table of the embedded database."""
    if grant.role is not Role.ADMIN:
        return _forbidden("role")
    await read_json_object(request, ())
    created = await request.app[ORDER_WRITER].create_test_order() if request.app[PLAYGROUND] else None
    if created is None:
        return _forbidden("playground")
    text = json.dumps({"id": created.event_id, "key": created.key}, separators=(",", ":"))
    return json_text_response(text, status=201)


def write_fields(request: web.Request, grant: Grant, info: ShopInfo) -> dict[str, object]:
    """Members of /api/meta: whether the bearer may change the status of orders, or why not, and may make test orders."""
    reason = _forbidden_reason(request, grant) or (None if info.is_writable else "not_in_map")
    return {
        "write": {"status": reason is None, "reason": reason, "transitions": info.transitions if reason is None else None},
        "test_order": grant.role is Role.ADMIN and request.app[PLAYGROUND] and info.is_starter,
    }


def _forbidden_reason(request: web.Request, grant: Grant) -> str | None:
    """Why the bearer may change no order, whatever the map says."""
    if not request.app[SETTINGS].login_required:
        return "no_login"
    return None if grant.role is Role.ADMIN else "role"


def _forbidden(reason: str, detail: str = "") -> web.Response:
    """403 with the reason, for programs too."""
    message = f"{_FORBIDDEN[reason]}: {detail}" if detail else _FORBIDDEN[reason]
    return error_response(403, message, None, {"reason": reason})
