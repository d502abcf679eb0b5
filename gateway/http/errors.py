"""Error responses, as JSON: ``{"error":{"code":"…","message":"…"}}``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from gateway.net.error_body import error_body
from push.errors import StoreError
from push.protocol.access import AccessDenied
from push.protocol.messages import CloseCode

__all__ = ["ERROR_CODES", "Handler", "denied_response", "error_middleware", "error_response", "unavailable_response"]

log = logging.getLogger("orderwire.http")

# Headers of an HTTPException that the error response keeps.
_PRESERVED_HEADERS = ("Allow", "Retry-After", "Sec-WebSocket-Version", "Upgrade")

# The code of each status, in the body of the response.
ERROR_CODES = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    410: "gone",
    405: "method_not_allowed",
    408: "request_timeout",
    409: "conflict",
    413: "too_large",
    426: "bad_version",
    429: "too_many_requests",
    503: "unavailable",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


# The HTTP status that corresponds to a close code.
_HTTP_STATUS = {
    CloseCode.BAD_REQUEST: 400,
    CloseCode.NOT_AUTHENTICATED: 401,
    CloseCode.INVALID_TOKEN: 401,
    CloseCode.TOKEN_EXPIRED: 401,
    CloseCode.NOT_PERMITTED: 403,
    CloseCode.TOO_MANY_CONNECTIONS: 429,
    CloseCode.UNAVAILABLE: 503,
}


def _http_status(close_code: CloseCode) -> int:
    """Without an entry: 403 for "do not come back" (3500-3999: docs/reference/protocol.md, "Closing"), else 503."""
    return _HTTP_STATUS.get(close_code, 403 if 3500 <= close_code < 4000 else 503)


def denied_response(denied: AccessDenied, login_url: str | None = None) -> web.Response:
    """The response for a request that is not admitted. 401 carries a challenge and, if a token was sent, what is wrong with it
    (RFC 6750 section 3); and ``login_url``, where a token can be had (LOGIN_URL).
    """
    status = _http_status(denied.close_code)
    if status == 401:
        without_token = denied.close_code is CloseCode.NOT_AUTHENTICATED
        error = "" if without_token else ', error="invalid_token"'
        code = "unauthorized" if without_token else denied.close_code.name.lower()
        members = {} if login_url is None else {"login_url": login_url}
        return error_response(status, str(denied), code, members, **{"WWW-Authenticate": f'Bearer realm="orderwire"{error}'})
    return error_response(status, str(denied), **({"Retry-After": "1"} if status in (429, 503) else {}))


def error_response(
    status: int, message: str, code: str | None = None, members: Mapping[str, object] | None = None, /, **headers: str
) -> web.Response:
    """``code``: a name for programs; by default that of the status. ``members``: further ones of ``error``."""
    body = error_body(code or ERROR_CODES.get(status, "error"), message, **(members or {}))
    return web.Response(status=status, body=body, content_type="application/json", charset="utf-8", headers=headers)


def unavailable_response(reason: str) -> web.Response:
    """503 with Retry-After."""
    return error_response(503, reason, **{"Retry-After": "1"})


@web.middleware
async def error_middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every exception of a handler into an error response. Unexpected exceptions are logged with a traceback."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        message = f"no such path: {request.path}" if error.status == 404 else error.text or error.reason
        preserved = {name: error.headers[name] for name in _PRESERVED_HEADERS if name in error.headers}
        response = error_response(error.status, message, **preserved)
        if error.status == 408:
            response.force_close()  # what comes of the body later would be read as a request (RFC 9110 section 15.5.9)
        return response
    except ConnectionError:
        raise  # the client has disconnected
    except StoreError as error:
        log.warning("%s: %s", request.path, error)
        return unavailable_response(error.public_text)
    except Exception:
        log.exception("unexpected error at %s", request.path)
        return error_response(500, "internal error")
