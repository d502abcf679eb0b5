"""The head of an HTTP request as the gateway uses it: method, URL, headers, token, subprotocol, and the client's address."""

from __future__ import annotations

import re
from dataclasses import dataclass

from aiohttp import web
from aiohttp.http import HttpVersion, HttpVersion11, RawRequestMessage
from multidict import CIMultiDictProxy, MultiMapping
from yarl import URL

from gateway.net.client_address import Peer, is_forwarding_header, resolve_peer
from gateway.net.connection_limits import Connection
from settings import Settings

__all__ = ["MAX_HEADERS", "REQUEST_HEAD", "SUBPROTOCOL", "WEBSOCKET_PATH", "RequestHead"]

# Here and not in gateway.websocket: the request guard treats this path differently.
WEBSOCKET_PATH = "/api/ws"
MAX_HEADERS = 64

# A page cannot set headers on a WebSocket, only subprotocols, so a browser sends its token as one. It offers SUBPROTOCOL too,
# which the server selects, so that the response does not repeat the token.
SUBPROTOCOL = "orderwire"
_BEARER_PREFIX = "bearer."
_BEARER_PATTERN = rf"{re.escape(_BEARER_PREFIX)}[A-Za-z0-9._~+/=-]*"


@dataclass(slots=True)
class RequestHead:
    """The head of one request, with the peer that sent it and the TCP connection that it came on."""

    method: str
    version: HttpVersion
    url: URL
    headers: CIMultiDictProxy[str]
    # In bytes; None if the request has a body of unknown length.
    body_length: int | None
    peer: Peer
    connection: Connection

    @classmethod
    def from_request(cls, request: web.Request, settings: Settings, connection: Connection) -> RequestHead:
        """For a request that aiohttp's server has parsed."""
        peer = _peer_from_headers(request.headers, request.version, request.remote, settings, secure=request.secure)
        return cls._from_headers(request.method, request.version, request.rel_url, request.headers, peer, connection)

    @classmethod
    def from_message(
        cls, message: RawRequestMessage, remote: str | None, settings: Settings, connection: Connection, *, secure: bool
    ) -> RequestHead:
        """For a request that ``gateway.websocket.handshake.parse_upgrade_head`` has parsed."""
        peer = _peer_from_headers(message.headers, message.version, remote, settings, secure=secure)
        return cls._from_headers(message.method, message.version, message.url, message.headers, peer, connection)

    @classmethod
    def _from_headers(
        cls, method: str, version: HttpVersion, url: URL, headers: CIMultiDictProxy[str], peer: Peer, connection: Connection
    ) -> RequestHead:
        """The length of the body follows from the headers (RFC 9112 section 6.3), which a parser has validated. aiohttp's
        payload does not tell it: after an upgrade request it is empty, whatever the headers say.
        """
        length = None if "Transfer-Encoding" in headers else int(headers.get("Content-Length", 0))
        return cls(method, version, url, headers, length, peer, connection)

    @property
    def path(self) -> str:
        """The decoded path of the URL."""
        return self.url.path

    @property
    def query(self) -> MultiMapping[str]:
        """The query parameters; none of them is a secret."""
        return self.url.query

    @property
    def token(self) -> str | None:
        """The bearer token of the Authorization header (RFC 6750 section 2.1) or of a subprotocol.

        Never from the query, which ends up in access logs.
        """
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
        return next(
            (name.removeprefix(_BEARER_PREFIX) for name in self._offered_subprotocols() if name.startswith(_BEARER_PREFIX)),
            None,
        )

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol to select: browsers fail the connection if they offered some and the server selects none."""
        offered = self._offered_subprotocols()
        if SUBPROTOCOL in offered:
            return SUBPROTOCOL
        # The pattern keeps arbitrary bytes of the client out of the response header.
        return next((name for name in offered if re.fullmatch(_BEARER_PATTERN, name)), None)

    def _offered_subprotocols(self) -> list[str]:
        lines = self.headers.getall("Sec-WebSocket-Protocol", ())
        return [name.strip() for name in ",".join(lines).split(",")] if lines else []


REQUEST_HEAD = web.RequestKey("REQUEST_HEAD", RequestHead)


def _peer_from_headers(
    headers: CIMultiDictProxy[str], version: HttpVersion, remote: str | None, settings: Settings, *, secure: bool
) -> Peer:
    names = {name for name in map(str.lower, headers) if is_forwarding_header(name)}
    return resolve_peer(
        remote,
        secure=secure,
        host=headers.get("Host", ""),
        # A repeated header is one list (RFC 9110 section 5.3): some proxies add a field line of their own.
        forwarding={name: ",".join(headers.getall(name)) for name in names},
        trusted=settings.trusted_proxies,
        # nginx speaks HTTP/1.0 to its upstream unless it is told otherwise; browsers and HTTP libraries have not for decades.
        may_be_forwarded=version < HttpVersion11,
    )
