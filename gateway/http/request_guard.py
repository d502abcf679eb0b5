"""The request guard: checks every request, on every path, before its handler runs.

It checks the limits of connections and rates, the size of the body, the address and the host name (where there is no login) and
the origin of the page; handlers ask it for the grant of the request's token. It is an aiohttp middleware; WebSocket handshakes
that gateway/inbound.py reads itself are checked by the same ``find_rejection``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Hashable
from typing import NamedTuple

from aiohttp import web

from gateway.http.errors import Handler, denied_response, error_response
from gateway.http.request_head import REQUEST_HEAD, WEBSOCKET_PATH, RequestHead
from gateway.net.client_address import Address, Peer, rate_limit_key
from gateway.net.connection_limits import TOO_MANY_REQUESTS, Connection, ConnectionCounter, ConnectionLimiter
from gateway.net.host_names import AllowedHosts
from gateway.net.rejections import RejectionNotices, report_rejection
from logs import connection_id
from push.metrics import Metrics
from push.protocol.access import ANONYMOUS_GRANT, AccessDenied, Authenticator, Grant, Role
from push.protocol.messages import CloseCode
from settings import Settings

__all__ = ["PUBLIC_PATHS", "REQUEST_GUARD", "ConnectionSlot", "Rejection", "RequestGuard", "client_of", "restrict_to_roles"]

# Answered without a token: monitoring has none, and the answers tell nothing about orders.
PUBLIC_PATHS = ("/healthz", "/readyz")
# Pages of every origin may load the client's script. To connect, their origin must be allowed.
CLIENT_PREFIX = "/client/"

# Of every response. Other sites cannot embed anything from here in a frame or as a resource.
RESPONSE_HEADERS = {
    "Server": "Orderwire",  # without it aiohttp sends its name and version
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}


def _no_op() -> None:
    """Release of a direct connection's slot: the connection is counted until it is closed, not the session."""


class ConnectionSlot(NamedTuple):
    """A session's place within the connection limits. ``release`` must be called when the session has ended."""

    within_limits: bool
    release: Callable[[], None] = _no_op


_SLOT_WITHIN_LIMITS, _SLOT_OVER_LIMITS = ConnectionSlot(True), ConnectionSlot(False)


class Rejection(NamedTuple):
    """``reason``: the label of ``Metrics.rejections``. ``close_connection``: accept no more requests on this connection.
    ``notifies_operator``: the message says which setting would change that, so it is logged.
    """

    reason: str
    status: int
    message: str
    close_connection: bool = False
    notifies_operator: bool = False


class RequestGuard:
    """One per application. Called from the event loop's thread only."""

    def __init__(self, settings: Settings, authenticator: Authenticator, limiter: ConnectionLimiter, metrics: Metrics) -> None:
        self._settings = settings
        self._authenticator = authenticator
        self._limiter = limiter
        self._metrics = metrics
        self._notices = RejectionNotices()
        self._allowed_hosts = AllowedHosts(settings.allowed_hosts, settings.allowed_origins)
        # Of the paths, where the application is a sub-application of another one ("/orderwire"). Set at start-up.
        self.mount_prefix = ""
        # Sessions that come through a trusted proxy; a direct session is counted by its connection.
        self._proxied_sessions = ConnectionCounter(settings.max_connections, settings.max_connections_per_address)
        # Connection bookkeeping for upgraded connections, which bypass the middleware.
        self.connection_lost, self.upgraded = limiter.connection_lost, limiter.upgraded

    # ---------------------------------------------------------------- every request

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        connection = self._limiter.find(request.transport)
        if connection is not None:
            return await self._handle(request, handler, connection)
        with self._limiter.count_request(request.transport, request.remote) as connection:
            if connection is None:
                rejection = Rejection("connections", 429, TOO_MANY_REQUESTS, close_connection=True)
                self.report_rejection(rejection.reason, request.remote)
                return _rejection_response(rejection)
            return await self._handle(request, handler, connection)

    async def _handle(self, request: web.Request, handler: Handler, connection: Connection) -> web.StreamResponse:
        connection_id.set(connection.id)
        connection.has_request = True
        head = request[REQUEST_HEAD] = RequestHead.from_request(request, self._settings, connection)
        rejection = self.find_rejection(head)
        connection.within_rate = False  # so that the next request on this connection is counted
        if rejection is not None:
            self._report(rejection, head)
            return _rejection_response(rejection)
        if request.method == "OPTIONS" and "Origin" in request.headers and "Access-Control-Request-Method" in request.headers:
            return _preflight_response()
        try:
            return await handler(request)
        except AccessDenied as denied:
            self.report_denied(denied, head)
            return denied_response(denied, self._settings.login_url)

    def _own_path(self, path: str) -> str:
        """The path below the prefixes at which the application is mounted, and at which a proxy serves it."""
        for prefix in (self.mount_prefix, self._settings.base_path):
            if prefix and path.startswith(f"{prefix}/"):
                path = path.removeprefix(prefix)
        return path

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Handler of ``web.Application.on_response_prepare``: called for every response, also for streams and errors."""
        response.headers.update(RESPONSE_HEADERS)
        path = self._own_path(request.path)
        if not path.startswith(("/api/", "/metrics")):
            response.headers["Cross-Origin-Resource-Policy"] = (
                "cross-origin" if path.startswith(CLIENT_PREFIX) else "same-origin"
            )
            return
        response.headers["Vary"] = "Origin"
        origin = request.headers.get("Origin")
        if origin in self._settings.allowed_origins:
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Expose-Headers"] = "Retry-After, WWW-Authenticate"
            response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        else:
            response.headers["Cross-Origin-Resource-Policy"] = "same-origin"

    def find_rejection(self, head: RequestHead) -> Rejection | None:
        """The rejection of the request; None if it may go on. It is not reported here.

        May be called again for the same request, which is counted once: gateway/inbound.py asks first and, if there is a
        reason, hands the request to aiohttp, whose middleware asks again. A request that was over the rate of its address,
        through a proxy, may then be within it.
        """
        connection, peer, path = head.connection, head.peer, self._own_path(head.path)
        if (
            not connection.within_limits and path != WEBSOCKET_PATH
        ):  # a WebSocket is rejected by a close code, after the upgrade
            return Rejection("connections", 429, TOO_MANY_REQUESTS)
        connection.within_rate = connection.within_rate or self._limiter.within_rate(rate_limit_key(peer.address))
        if not connection.within_rate:
            # On an open connection a client could repeat the request at once, at less cost than a new connection has.
            return Rejection("handshakes", 429, TOO_MANY_REQUESTS, close_connection=True)
        if path == WEBSOCKET_PATH and head.body_length != 0:
            # RFC 6455 section 4.1: after the opening come frames. Bytes of a body could be taken for them, or be dropped.
            return Rejection("body", 400, "a request that opens a WebSocket has no body", close_connection=True)
        if head.body_length is None or head.body_length > self._settings.max_body_bytes:
            return Rejection(
                "body", 413, "a request's body may not be that large, and must tell its length", close_connection=True
            )
        # A page cannot read the status of a failed upgrade: ``reject_page`` tells it by a close code.
        is_socket_of_page = (
            path == WEBSOCKET_PATH and head.method == "GET" and "Origin" in head.headers and "Upgrade" in head.headers
        )
        return None if path in PUBLIC_PATHS or is_socket_of_page else self._find_foreign(head, path)

    def reject_page(self, head: RequestHead) -> None:
        """Check the page that opens a WebSocket, which ``find_rejection`` lets through. Raises AccessDenied."""
        rejection = self._find_foreign(head, WEBSOCKET_PATH) if "Origin" in head.headers else None
        if rejection is not None:
            self._report(rejection, head)
            raise AccessDenied(CloseCode.NOT_PERMITTED, rejection.message)

    def _find_foreign(self, head: RequestHead, path: str) -> Rejection | None:
        """The rejection of a request for where it comes from: another machine, another name of this one, another page."""
        settings, peer = self._settings, head.peer
        if not self._authenticator.login_required:
            if not (peer.is_loopback or settings.allow_anonymous):
                return _foreign("not_loopback", f"{_reason_of_doubt(peer)}{_LOOPBACK_ONLY}")
            for host in peer.hosts:
                if not self._allowed_hosts.allows(host):
                    return _foreign("host", f"without login, the host name {_shown(host)} {_HOST_FIX}")
        origin = head.headers.get("Origin")
        if path.startswith(CLIENT_PREFIX) or origin is None or origin == peer.origin or origin in settings.allowed_origins:
            return None
        return _foreign("origin", f"pages of {_shown(origin)} may not connect: {_ORIGIN_FIX}")

    # ---------------------------------------------------------------- tokens

    async def authenticate(self, head: RequestHead) -> Grant | None:
        """The grant of the request's token; None if login is required and there is no token. Raises AccessDenied."""
        if not self._authenticator.login_required:
            return ANONYMOUS_GRANT
        token = head.token
        return None if token is None else await self._authenticator.verify(token)

    async def require_role(self, head: RequestHead, *roles: Role) -> Grant:
        """The grant of the request's token, which must have one of the roles. Raises AccessDenied."""
        grant = await self.authenticate(head)
        if grant is None:
            raise AccessDenied(CloseCode.NOT_AUTHENTICATED, "show a token: Authorization: Bearer …")
        if grant.role not in roles:
            raise AccessDenied(CloseCode.NOT_PERMITTED, f"not for the role {grant.role}")
        return grant

    # ---------------------------------------------------------------- sessions

    def reserve_slot(self, head: RequestHead) -> ConnectionSlot:
        """Count a session. The caller must call ``release`` of the slot, whether or not it is within the limits."""
        connection, peer = head.connection, head.peer
        if not peer.via_trusted_proxy:
            return _SLOT_WITHIN_LIMITS if connection.within_limits else _SLOT_OVER_LIMITS
        key = rate_limit_key(peer.address)
        within_limits = self._proxied_sessions.add(key) and connection.within_limits
        return ConnectionSlot(within_limits, lambda: self._proxied_sessions.remove(key))

    def penalize(self, address: Address | None) -> None:
        """Charge the address, since a session from it was closed for flooding or a protocol error."""
        self._limiter.penalize(rate_limit_key(address))

    # ---------------------------------------------------------------- reports

    def report_rejection(self, reason: str, address: object, *, counted: bool = True) -> None:
        """Count and log a request or handshake that is rejected: see ``gateway.net.rejections.report_rejection``."""
        report_rejection(self._metrics, reason, address, counted=counted)

    def _report(self, rejection: Rejection, head: RequestHead) -> None:
        self.report_rejection(rejection.reason, head.peer.address)
        if rejection.notifies_operator:
            self._notices.announce(rejection.message)

    def report_denied(self, denied: AccessDenied, head: RequestHead) -> None:
        """The same for a request whose token, topics or limits were rejected. The reason is the lower-case name of the code."""
        self.report_rejection(denied.close_code.name.lower(), head.peer.address)


_LOOPBACK_ONLY = (
    "no login is configured, so only this machine may connect: set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL, "
    "or ALLOW_ANONYMOUS=1"
)
_HOST_FIX = "is not answered: add it to ALLOWED_HOSTS, or ask for localhost or the IP address"
_ORIGIN_FIX = "add that to ALLOWED_ORIGINS or, if a proxy changes the server's own address, name the proxy in TRUSTED_PROXIES"


def _foreign(reason: str, message: str) -> Rejection:
    return Rejection(reason, 403, message, notifies_operator=True)


def _reason_of_doubt(peer: Peer) -> str:
    """Why a client whose TCP peer may be on this machine is not taken for one of this machine; the start of a sentence."""
    if peer.via_untrusted_proxy:
        return "this came by HTTP/1.0, or through a proxy that is not in TRUSTED_PROXIES, and "
    if not peer.is_identified:
        return "the proxy in TRUSTED_PROXIES sends no X-Forwarded-For with the client's address, and "
    return ""


def _shown(text: str) -> str:
    """A host or an origin that a client has sent, for a log line and a close reason: short, and without control characters.

    In lower case, which is the same host: a token that a client sends there by mistake cannot be used any more.
    """
    return re.sub(r"[^!-~]", "?", text[:100]).lower()


REQUEST_GUARD = web.AppKey("REQUEST_GUARD", RequestGuard)


def _rejection_response(rejection: Rejection) -> web.Response:
    headers = {"Retry-After": "1"} if rejection.status == 429 else {}
    response = error_response(rejection.status, rejection.message, **headers)
    if rejection.close_connection:
        response.force_close()
    return response


def _preflight_response() -> web.Response:
    """The answer to a CORS preflight request (Fetch standard, section 3.2.2). Its origin was checked by ``find_rejection``."""
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD, PATCH, POST",
            "Access-Control-Allow-Headers": "Authorization, Content-Type, Last-Event-ID",
            "Access-Control-Max-Age": "600",
        },
    )


def client_of(request: web.Request, grant: Grant) -> Hashable:
    """Whom a request counts for where each client has its share: the token's subject or, without one, the address."""
    return grant.subject or rate_limit_key(request[REQUEST_HEAD].peer.address)


def restrict_to_roles(handler: Callable[[web.Request, Grant], Awaitable[web.StreamResponse]], *roles: Role) -> Handler:
    """Wrap a handler that takes the grant as its second argument. Other roles, and requests without a token, are denied."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return await handler(request, await request.app[REQUEST_GUARD].require_role(request[REQUEST_HEAD], *roles))

    return handle
