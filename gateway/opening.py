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

from gateway.connections import Connection
from gateway.peers import FORWARDED, Peer, identify
from settings import Settings

__all__ = ["APP_PROTOCOL", "MOST_HEADERS", "OPENING", "PATH", "Opening", "accept", "answer", "first_request"]

# Where a WebSocket is opened.
PATH = "/api/ws"
MOST_HEADERS = 64
_BEGINS = (f"GET {PATH} ".encode(), f"GET {PATH}?".encode())
_HEAD_ENDS = b"\r\n\r\n"
# RFC 6455 section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16

# Browsers can give a WebSocket no header, but subprotocols. The first is chosen, so that the token does not travel back.
APP_PROTOCOL = "orderwire"
_BEARER = "bearer."
_BEARER_NAME = rf"{re.escape(_BEARER)}[A-Za-z0-9._~+/=-]*"


@dataclass(slots=True)
class Opening:
    """The head of a request, whence it came, and by which connection."""

    method: str
    version: HttpVersion
    url: URL
    headers: CIMultiDictProxy[str]
    # Its body, in bytes; None when it does not tell.
    body: int | None
    peer: Peer
    connection: Connection

    @classmethod
    def of_request(cls, request: web.Request, settings: Settings, connection: Connection) -> Opening:
        """As aiohttp has read it."""
        headers, length = request.headers, request.content_length
        return cls(
            request.method,
            request.version,
            request.rel_url,
            headers,
            None if length is None and request.can_read_body else length or 0,
            _peer_of(headers, request.remote, settings, secure=request.secure),
            connection,
        )

    @classmethod
    def of_message(
        cls, message: RawRequestMessage, remote: str | None, settings: Settings, connection: Connection, *, secure: bool
    ) -> Opening:
        """As it was read here: it has no body."""
        headers = message.headers
        peer = _peer_of(headers, remote, settings, secure=secure)
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
        return next((name.removeprefix(_BEARER) for name in self._offered() if name.startswith(_BEARER)), None)

    @property
    def protocol(self) -> str | None:
        """The subprotocol to answer with: a browser gives up when it has offered some and none is chosen."""
        offered = self._offered()
        if APP_PROTOCOL in offered:
            return APP_PROTOCOL
        # (A token is letters, digits and a few signs; what else a client made up does not get into a header.)
        return next((name for name in offered if re.fullmatch(_BEARER_NAME, name)), None)

    def _offered(self) -> list[str]:
        lines = self.headers.getall("Sec-WebSocket-Protocol", ())
        return [name.strip() for name in ",".join(lines).split(",")] if lines else []


OPENING = web.RequestKey("OPENING", Opening)


def _peer_of(headers: CIMultiDictProxy[str], remote: str | None, settings: Settings, *, secure: bool) -> Peer:
    return identify(
        remote,
        secure=secure,
        host=headers.get("Host", ""),
        # A header that comes more than once is one list (RFC 9110 section 5.3): some proxies add a line of their own.
        headers={name: ",".join(headers.getall(name)) for name in FORWARDED if name in headers},
        trusted=settings.trusted_proxies,
    )


def first_request(data: bytes, most_bytes: int) -> tuple[RawRequestMessage, int] | None:
    """What the first bytes of a connection ask for, and how many bytes that is, when they begin with the whole head of an
    opening. None for all that is, or may be, something else: there is nothing that only aiohttp could answer.
    """
    if not data.startswith(_BEGINS) or (size := data.find(_HEAD_ENDS)) < 0:
        return None
    size += len(_HEAD_ENDS)
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(
        BaseProtocol(loop), loop, 0, max_line_size=most_bytes, max_field_size=most_bytes, max_headers=MOST_HEADERS
    )
    try:
        messages, upgraded, _ = parser.feed_data(data[:size])
    except Exception:  # aiohttp will find the same, and say so
        return None
    # An Expect header is answered before all else; what has a body is not at its end here.
    if not upgraded or len(messages) != 1 or "Expect" in messages[0][0].headers:
        return None
    return messages[0][0], size


def accept(opening: Opening) -> str | None:
    """What answers the key of the client's handshake; None when it is none (section 4.2.1)."""
    headers = opening.headers
    connection = ",".join(headers.getall("Connection", ())).lower().split(",")
    if opening.method != "GET" or opening.version < (1, 1) or "upgrade" not in map(str.strip, connection):
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


def answer(accepted: str, protocol: str | None, extension: str | None = None) -> bytes:
    """What goes first on a connection that is a WebSocket's now: the client may go on in frames (section 4.2.2)."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accepted}",
    ]
    if protocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    if extension is not None:
        lines.append(f"Sec-WebSocket-Extensions: {extension}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
