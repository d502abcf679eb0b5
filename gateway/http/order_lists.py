"""Lists of orders: ``GET /api/orders``, and ``GET /api/orders.csv``, an export of all of them."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from aiohttp import web

from gateway.app_keys import ORDER_QUERIES, SETTINGS
from gateway.http.json_response import json_text_response
from gateway.http.query import parse_int, parse_moment, parse_text, parse_texts
from gateway.http.request_guard import client_of
from push.errors import BadCursor, StoreError, TooManyExports, TooManySearches
from push.protocol.access import Grant, Role
from push.protocol.order_csv import ExportedOrder, OrderExport, csv_head, csv_rows
from push.protocol.order_list import ListCursor, OrderFilter, OrderOwner, OrderPageRequest

__all__ = ["order_owner", "orders", "orders_csv"]

log = logging.getLogger("orderwire.http")

MAX_ORDERS = 1000
MAX_STATUSES = 50
# Characters.
MAX_STATUS_LENGTH = 100
MAX_SEARCH_LENGTH = 200
# How long an export may take, which keeps its snapshot; and how long a client may take none of it.
MAX_EXPORT_SECONDS = 900.0
MAX_STALL_SECONDS = 30.0


async def orders(request: web.Request, grant: Grant) -> web.Response:
    """``GET /api/orders?q=TEXT&status=S&from=T&to=T&after=CURSOR&limit=N``: newest first. A customer gets only their own."""
    limit = parse_int(request.query, "limit", 1, MAX_ORDERS)
    after = request.query.get("after")
    try:
        cursor = None if after is None else ListCursor.parse(after)
    except BadCursor:
        raise web.HTTPBadRequest(text="after: expected the next of an earlier page") from None
    wanted = OrderPageRequest(100 if limit is None else limit, _filter(request), cursor, order_owner(grant))
    try:
        page = await request.app[ORDER_QUERIES].list_orders(wanted, client_of(request, grant))
    except TooManySearches as error:
        raise web.HTTPServiceUnavailable(text=str(error), headers={"Retry-After": "2"}) from None
    next_cursor = "null" if page.next_cursor is None else f'"{page.next_cursor}"'
    # Only where a search was cut.
    searched_to = "" if page.searched_to is None else f',"searched_to":"{page.searched_to}"'
    return json_text_response(
        f'{{"orders":[{",".join(page.orders)}],"next":{next_cursor},"complete":{"true" if page.complete else "false"}'
        f'{searched_to},"position":"{page.position}"}}'
    )


async def orders_csv(request: web.Request, grant: Grant) -> web.StreamResponse:
    """``GET /api/orders.csv``: all orders of the same filters. Where it ends early, the connection is aborted."""
    if request.version < (1, 1):
        # The end of its responses is that of the connection: a part would look like the whole.
        raise web.HTTPBadRequest(text="an export needs HTTP/1.1")
    try:
        wanted, client = _filter(request), client_of(request, grant)
        async with request.app[ORDER_QUERIES].export_orders(wanted, order_owner(grant), client) as export:
            return await _send_csv(request, export)
    except TooManyExports as error:
        raise web.HTTPTooManyRequests(text=str(error), headers={"Retry-After": "10"}) from None


async def _send_csv(request: web.Request, export: OrderExport) -> web.StreamResponse:
    zone = request.app[SETTINGS].zone
    first: list[ExportedOrder] = await anext(export.batches, [])  # before the response begins: an error here has a status
    headers = {
        "Content-Type": "text/csv; charset=utf-8; header=present",
        "Content-Disposition": f'attachment; filename="orders-{datetime.now(zone):%Y-%m-%d}.csv"',
        "Cache-Control": "no-store",
    }
    if request.method == "HEAD":
        return web.Response(headers=headers)
    response = web.StreamResponse(headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        async with asyncio.timeout(MAX_EXPORT_SECONDS) as limit:
            await _write(response, csv_head(export.members) + csv_rows(first, export.members, zone))
            async for batch in export.batches:
                await _write(response, csv_rows(batch, export.members, zone))
            await _write(response, b"", is_last=True)
    except (StoreError, TimeoutError) as error:
        reason = (
            f"it took longer than {MAX_EXPORT_SECONDS:g} s" if limit.expired() else str(error) or "the client does not read"
        )
        log.warning("%s: an export was aborted: %s", request.path, reason)
        _abort(request)
    except BaseException:
        _abort(request)
        raise
    return response


async def _write(response: web.StreamResponse, data: bytes, *, is_last: bool = False) -> None:
    """Returns when the client has taken enough of it. Raises TimeoutError and ConnectionError."""
    async with asyncio.timeout(MAX_STALL_SECONDS):
        await (response.write_eof() if is_last else response.write(data))


def _abort(request: web.Request) -> None:
    """Close the connection without the end of the response, so that the client knows that some is missing."""
    if request.transport is not None:
        request.transport.abort()


def _filter(request: web.Request) -> OrderFilter:
    """The filter that the query names. Raises HTTPBadRequest."""
    zone = request.app[SETTINGS].zone
    search = parse_text(request.query, "q", MAX_SEARCH_LENGTH)
    return OrderFilter(
        parse_texts(request.query, "status", MAX_STATUS_LENGTH, MAX_STATUSES),
        (search.strip() or None) if search else None,
        parse_moment(request.query, "from", zone),
        parse_moment(request.query, "to", zone),
    )


def order_owner(grant: Grant) -> OrderOwner | None:
    """Whose orders the bearer may see; None: all."""
    return OrderOwner(grant.subject, grant.order_keys) if grant.role is Role.CUSTOMER else None
