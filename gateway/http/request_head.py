"""The opening handshake (RFC 6455 section 4): what is known of a request that may open a session, and what answers it.

It is read by aiohttp, as any request is, or here, from the first bytes of a connection, and then with aiohttp's own parser: so
what is accepted is the same.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
import re
from dataclasses import dataclass

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion, RawRequestMessage
from multidict import CIMultiDictProxy, MultiMapping
from yarl import URL

from gateway.net.client_address import FORWARDING_HEADERS, Peer, resolve_peer
from gateway.net.connection_limits import Connection
from settings import Settings

__all__ = [
    "MAX_HEADERS",
    "REQUEST_HEAD",
    "SUBPROTOCOL",
    "WEBSOCKET_PATH",
    "RequestHead",
    "parse_upgrade_head",
    "sec_websocket_accept",
    "switching_protocols",
]

# Where a WebSocket is opened.
WEBSOCKET_PATH = "/api/ws"
MAX_HEADERS = 64
_REQUEST_LINE_PREFIXES = (f"GET {WEBSOCKET_PATH} ".encode(), f"GET {WEBSOCKET_PATH}?".encode())
_HEAD_TERMINATOR = b"\r\n\r\n"
# RFC 6455 section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16

# Browsers can give a WebSocket no header, but subprotocols. The first is chosen, so that the token does not travel back.
SUBPROTOCOL = "orderwire"
_BEARER_PREFIX = "bearer."
_BEARER_PATTERN = rf"{re.escape(_BEARER_PREFIX)}[A-Za-z0-9._~+/=-]*"


@dataclass(slots=True)
class RequestHead:
    """The head of a request, whence it came, and by which connection."""

    method: str
    version: HttpVersion
    url: URL
    headers: CIMultiDictProxy[str]
    # Its body, in bytes; None when it does not tell.
    body_length: int | None
    peer: Peer
    connection: Connection

    @classmethod
    def from_request(cls, request: web.Request, settings: Settings, connection: Connection) -> RequestHead:
        """As aiohttp has read it."""
        headers, length = request.headers, request.content_length
        return cls(
            request.method,
            request.version,
            request.rel_url,
            headers,
            None if length is None and request.can_read_body else length or 0,
            _peer_from_headers(headers, request.remote, settings, secure=request.secure),
            connection,
        )

    @classmethod
    def from_message(
        cls, message: RawRequestMessage, remote: str | None, settings: Settings, connection: Connection, *, secure: bool
    ) -> RequestHead:
        """As it was read here: it has no body."""
        headers = message.headers
        peer = _peer_from_headers(headers, remote, settings, secure=secure)
        return cls(message.method, message.version, message.url, headers, 0, peer, connection)

    @property
    def path(self) -> str:
        """What is asked for."""
        return self.url.path

    @property
    def query(self) -> MultiMapping[str]:
        """The parameters, none of which is a secret."""
        return self.url.query

    @property
    def token(self) -> str | None:
        """From the header (RFC 6750 section 2.1), or among the subprotocols. Never from the query: that gets into logs."""
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return token.strip()
        return next(
            (name.removeprefix(_BEARER_PREFIX) for name in self._offered_subprotocols() if name.startswith(_BEARER_PREFIX)),
            None,
        )

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol to answer with: a browser gives up when it has offered some and none is chosen."""
        offered = self._offered_subprotocols()
        if SUBPROTOCOL in offered:
            return SUBPROTOCOL
        # (A token is letters, digits and a few signs; what else a client made up does not get into a header.)
        return next((name for name in offered if re.fullmatch(_BEARER_PATTERN, name)), None)

    def _offered_subprotocols(self) -> list[str]:
        lines = self.headers.getall("Sec-WebSocket-Protocol", ())
        return [name.strip() for name in ",".join(lines).split(",")] if lines else []


REQUEST_HEAD = web.RequestKey("REQUEST_HEAD", RequestHead)


def _peer_from_headers(headers: CIMultiDictProxy[str], remote: str | None, settings: Settings, *, secure: bool) -> Peer:
    return resolve_peer(
        remote,
        secure=secure,
        host=headers.get("Host", ""),
        # A header that comes more than once is one list (RFC 9110 section 5.3): some proxies add a line of their own.
        headers={name: ",".join(headers.getall(name)) for name in FORWARDING_HEADERS if name in headers},
        trusted=settings.trusted_proxies,
    )


def parse_upgrade_head(data: bytes, max_header_bytes: int) -> tuple[RawRequestMessage, int] | None:
    """What the first bytes of a connection ask for, and how many bytes that is, when they begin with the whole head of an
    opening. None for all that is, or may be, something else: there is nothing that only aiohttp could answer.
    """
    if not data.startswith(_REQUEST_LINE_PREFIXES) or (size := data.find(_HEAD_TERMINATOR)) < 0:
        return None
    size += len(_HEAD_TERMINATOR)
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(
        BaseProtocol(loop), loop, 0, max_line_size=max_header_bytes, max_field_size=max_header_bytes, max_headers=MAX_HEADERS
    )
    try:
        messages, upgraded, _ = parser.feed_data(data[:size])
    except Exception:  # aiohttp will find the same, and say so
        return None
    # An Expect header is answered before all else; what has a body is not at its end here.
    if not upgraded or len(messages) != 1 or "Expect" in messages[0][0].headers:
        return None
    return messages[0][0], size


def sec_websocket_accept(head: RequestHead) -> str | None:
    """What answers the key of the client's handshake; None when it is none (section 4.2.1)."""
    headers = head.headers
    connection = ",".join(headers.getall("Connection", ())).lower().split(",")
    if head.method != "GET" or head.version < (1, 1) or "upgrade" not in map(str.strip, connection):
        return None
    if headers.get("Upgrade", "").strip().lower() != "websocket" or headers.get("Sec-WebSocket-Version", "").strip() != "13":
        return None
    try:
        key = headers.get("Sec-WebSocket-Key", "").strip().encode("ascii")
        if len(binascii.a2b_base64(key, strict_mode=True)) != _KEY_BYTES:
            return None
    except (UnicodeEncodeError, binascii.Error):
        return None
    return binascii.b2a_base64(hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False).decode()


def switching_protocols(accept_value: str, subprotocol: str | None, extension: str | None = None) -> bytes:
    """What goes first on a connection that is a WebSocket's now: the client may go on in frames (section 4.2.2)."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept_value}",
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    if extension is not None:
        lines.append(f"Sec-WebSocket-Extensions: {extension}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
