"""The door: every request, on whatever path, passes here first. Where it comes from, whose page sent it, how many there are,
and who it says it is.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from aiohttp import web

from gateway.connections import Connections, Headcount
from gateway.errors import error_response, refused
from gateway.opening import OPENING, PATH, Opening
from gateway.peers import Address, counted_as, has_loopback_name
from logs import connection_id
from push.access import ANYBODY, Authority, Grant, Refused, Role
from push.frames import Close
from push.metrics import Metrics
from settings import Settings

__all__ = ["DOOR", "OPEN", "Door", "Refusal", "Seat", "for_roles"]

# Answered to everybody: whoever watches over the process has no token, and learns nothing here.
OPEN = ("/healthz", "/readyz")
# Every page may load the client: it is code. Whether it may connect is another question.
CLIENT = "/client/"

# For every answer. There is nothing here that another site's page could have a use for, in a frame or as a resource.
HEADERS = {
    "Server": "Orderwire",  # instead of the library's name and version
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _nothing() -> None:
    """A direct connection is counted as long as it is open, whatever goes on there."""


class Seat(NamedTuple):
    """A session's place among those that are allowed; one too many if not ``within_limits``."""

    within_limits: bool
    give_back: Callable[[], None] = _nothing


_SEAT, _NO_SEAT = Seat(True), Seat(False)


class Refusal(NamedTuple):
    """Why a request goes no further, and what HTTP says to it; ``last``: and no more requests are wanted by that connection."""

    reason: str
    status: int
    message: str
    last: bool = False


class Door:
    """One for all requests."""

    def __init__(self, settings: Settings, authority: Authority, connections: Connections, metrics: Metrics) -> None:
        self._settings = settings
        self._authority = authority
        self._connections = connections
        self._metrics = metrics
        # Sessions behind proxies of ours; direct ones are counted by their connections.
        self._behind_proxies = Headcount(settings.max_connections, settings.max_connections_per_address)
        # For a protocol that has taken a connection over: the guard before it has been taken away.
        self.lost, self.moved = connections.lost, connections.moved

    # ---------------------------------------------------------------- every request

    @web.middleware
    async def pass_through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The middleware."""
        connection = self._connections.find(request.transport)
        connection_id.set(connection.id)
        opening = request[OPENING] = Opening.of_request(request, self._settings, connection)
        why = self.refusal(opening)
        connection.in_pace = False  # the next request is to be counted
        if why is not None:
            self.count(why.reason)
            return _answer(why)
        if request.method == "OPTIONS" and "Origin" in request.headers and "Access-Control-Request-Method" in request.headers:
            return _preflight()
        try:
            return await handler(request)
        except Refused as refusal:
            self.count(refusal.close.name.lower())
            return refused(refusal)

    async def add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """For every answer, streams and errors too (signal ``on_response_prepare``)."""
        response.headers.update(HEADERS)
        if not request.path.startswith(("/api/", "/metrics")):
            response.headers["Cross-Origin-Resource-Policy"] = (
                "cross-origin" if request.path.startswith(CLIENT) else "same-origin"
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

    def refusal(self, opening: Opening) -> Refusal | None:
        """Why the request goes no further; None when it does. It may be asked again of the same request, which is counted once.

        (One beyond the pace of its address, by a proxy, may go further then.)
        """
        connection, peer, path = opening.connection, opening.peer, opening.path
        if not connection.within_limits and path != PATH:  # which tells it by a close code
            return Refusal("connections", 429, _TOO_MANY)
        connection.in_pace = connection.in_pace or self._connections.in_pace(counted_as(peer.address))
        if not connection.in_pace:
            # A connection that stays open would let whoever does not wait be refused at the price of a request, over and over.
            return Refusal("handshakes", 429, _TOO_MANY, last=True)
        if opening.body is None or opening.body > self._settings.max_body_bytes:
            return Refusal("body", 413, "a request's body may not be that large, and must tell its length", last=True)
        if path in OPEN:
            return None
        if not (self._authority.login or self._settings.allow_anonymous):
            if not peer.is_loopback:
                return Refusal("not_loopback", 403, _PROXIED + _LOOPBACK_ONLY if peer.forwarded else _LOOPBACK_ONLY)
            if not has_loopback_name(opening.headers.get("Host", "")) and peer.origin not in self._settings.allowed_origins:
                return Refusal("host", 403, _LOOPBACK_NAMES)
        origin = opening.headers.get("Origin")
        if path.startswith(CLIENT) or origin is None or origin == peer.origin:
            return None
        if origin not in self._settings.allowed_origins:
            return Refusal("origin", 403, f"pages of {origin[:100]} may not connect: {_ORIGIN_MEND}")
        return None

    # ---------------------------------------------------------------- who it is

    async def grant(self, opening: Opening) -> Grant | None:
        """Of whoever sent the request; None when a token is needed and none was shown. Raises Refused."""
        if not self._authority.login:
            return ANYBODY
        token = opening.token
        return None if token is None else await self._authority.verify(token)

    async def admit(self, opening: Opening, *roles: Role) -> Grant:
        """The grant, which must have one of the roles. Raises Refused."""
        grant = await self.grant(opening)
        if grant is None:
            raise Refused(Close.NOT_AUTHENTICATED, "show a token: Authorization: Bearer …")
        if grant.role not in roles:
            raise Refused(Close.NOT_PERMITTED, f"not for the role {grant.role}")
        return grant

    # ---------------------------------------------------------------- sessions

    def seat(self, opening: Opening) -> Seat:
        """For a session; to be given back when that is over, in any case."""
        connection, peer = opening.connection, opening.peer
        if not peer.proxied:
            return _SEAT if connection.within_limits else _NO_SEAT
        name = counted_as(peer.address)
        within_limits = self._behind_proxies.enter(name) and connection.within_limits
        return Seat(within_limits, lambda: self._behind_proxies.leave(name))

    def fine(self, address: Address | None) -> None:
        """A session from there had to be ended for how it behaved."""
        self._connections.fine(counted_as(address))

    def count(self, reason: str) -> None:
        """Something was refused."""
        self._metrics.rejects.labels(reason).inc()


_TOO_MANY = "too many connections or requests: come back in a second"
_LOOPBACK_ONLY = (
    "no login is configured, so only this machine may connect: set JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL, "
    "or ALLOW_ANONYMOUS=1"
)
_PROXIED = "this came through a proxy that is not in TRUSTED_PROXIES, and "
_LOOPBACK_NAMES = "without login only names of this machine are answered: ask for 127.0.0.1 or localhost"
_ORIGIN_MEND = "add that to ALLOWED_ORIGINS or, if a proxy changes the server's own address, name the proxy in TRUSTED_PROXIES"

DOOR = web.AppKey("DOOR", Door)


def _answer(refusal: Refusal) -> web.Response:
    later = {"Retry-After": "1"} if refusal.status == 429 else {}
    response = error_response(refusal.status, refusal.message, **later)
    if refusal.last:
        response.force_close()
    return response


def _preflight() -> web.Response:
    """A page asks whether it may ask (Fetch standard, section 3.2.2); that its origin may has been looked at."""
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": "GET, HEAD",
            "Access-Control-Allow-Headers": "Authorization, Last-Event-ID",
            "Access-Control-Max-Age": "600",
        },
    )


def for_roles(handler: Callable[[web.Request, Grant], Awaitable[web.StreamResponse]], *roles: Role) -> Handler:
    """A handler that is given the grant of whoever asks, who must have one of the roles."""

    async def admitted(request: web.Request) -> web.StreamResponse:
        return await handler(request, await request.app[DOOR].admit(request[OPENING], *roles))

    return admitted
