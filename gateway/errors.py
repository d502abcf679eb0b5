"""Errors as JSON: ``{"error":{"code":"…","message":"…"}}``."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web

from push.errors import StoreError

__all__ = ["errors_as_json", "unavailable"]

log = logging.getLogger("orderwire.http")

_CODES = {
    400: "bad_request",
    404: "not_found",
    410: "gone",
    405: "method_not_allowed",
    413: "too_large",
    503: "unavailable",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error_response(status: int, message: str, **headers: str) -> web.Response:
    """The one form that an error has."""
    code = _CODES.get(status, "error")
    body = json.dumps({"error": {"code": code, "message": message}}, ensure_ascii=False)
    return web.Response(status=status, text=body, content_type="application/json", headers=headers)


def unavailable(reason: str) -> web.Response:
    """503: not now."""
    return error_response(503, reason, **{"Retry-After": "1"})


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turns whatever a handler raises into that form; only the unexpected is logged."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        message = f"no such path: {request.path}" if error.status == 404 else error.text or error.reason
        kept = {name: error.headers[name] for name in ("Allow", "Retry-After") if name in error.headers}
        return error_response(error.status, message, **kept)
    except StoreError as error:
        log.warning("%s: %s", request.path, error)
        return unavailable("the database cannot be reached")
    except ConnectionError:
        raise  # the client left before it had its answer: aiohttp knows what to do
    except Exception:
        log.exception("unexpected error at %s", request.path)
        return error_response(500, "internal error")
