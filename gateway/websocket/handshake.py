"""The opening handshake of the server (RFC 6455 section 4.2): parse the request, validate it, build the 101 response.

Two callers read upgrade requests: aiohttp (``gateway.websocket.endpoint.websocket_handler``) and ``gateway.inbound``, which
parses the first bytes of a connection itself. Both use aiohttp's parser and ``negotiate``, so that both accept the same
requests.
"""

from __future__ import annotations

import asyncio
import binascii
import hashlib
from dataclasses import dataclass

from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage

from gateway.app_keys import SETTINGS
from gateway.http.request_head import MAX_HEADERS, WEBSOCKET_PATH, RequestHead
from gateway.sessions.session_adapter import require_started
from gateway.websocket.permessage_deflate import (
    Agreement,
    BadExtensions,
    WindowBudget,
    negotiate_extension,
    parse_extension_offers,
)

__all__ = [
    "WEBSOCKET_VERSION",
    "WINDOW_BUDGET",
    "Handshake",
    "negotiate",
    "parse_upgrade_head",
    "request_line_prefixes",
    "sec_websocket_accept",
    "switching_protocols",
]

WINDOW_BUDGET = web.AppKey("WINDOW_BUDGET", WindowBudget)

WEBSOCKET_VERSION = "13"
_HEAD_TERMINATOR = b"\r\n\r\n"
# RFC 6455 section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_KEY_BYTES = 16


@dataclass(frozen=True, slots=True)
class Handshake:
    """The negotiated values of one accepted handshake."""

    accept_value: str
    subprotocol: str | None
    extension: Agreement | None

    @property
    def response(self) -> bytes:
        """The 101 response, the first bytes that the server sends."""
        response = self.extension.response if self.extension is not None else None
        return switching_protocols(self.accept_value, self.subprotocol, response)


def request_line_prefixes(base_path: str = "") -> tuple[bytes, ...]:
    """The beginnings of a request for WEBSOCKET_PATH, also below the path of a proxy that does not take that away."""
    return tuple(f"GET {prefix}{WEBSOCKET_PATH}{end}".encode() for prefix in {"", base_path} for end in (" ", "?"))


def parse_upgrade_head(
    data: bytes, max_header_bytes: int, prefixes: tuple[bytes, ...] = request_line_prefixes()
) -> tuple[RawRequestMessage, int] | None:
    """Parse an upgrade request that begins with one of the prefixes; return it with its size in bytes.

    Returns None unless ``data`` starts with one complete, valid upgrade request without a body; the caller then hands the
    connection to aiohttp, which answers everything else.
    """
    if not data.startswith(prefixes) or (size := data.find(_HEAD_TERMINATOR)) < 0:
        return None
    size += len(_HEAD_TERMINATOR)
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(
        BaseProtocol(loop), loop, 0, max_line_size=max_header_bytes, max_field_size=max_header_bytes, max_headers=MAX_HEADERS
    )
    try:
        messages, upgraded, _ = parser.feed_data(data[:size])
    except Exception:  # aiohttp's server raises the same error and sends the response
        return None
    # A request with Expect needs a 100 response first; a request with a body is not complete here.
    if not upgraded or len(messages) != 1 or "Expect" in messages[0][0].headers:
        return None
    return messages[0][0], size


def negotiate(app: web.Application, head: RequestHead) -> Handshake:
    """Validate an upgrade request and choose subprotocol and extension. Raises web.HTTPException with the error response."""
    headers = head.headers
    if headers.get("Sec-WebSocket-Version", WEBSOCKET_VERSION).strip() != WEBSOCKET_VERSION and "Upgrade" in headers:
        # RFC 6455 section 4.2.2: the response names the supported version.
        required = {"Sec-WebSocket-Version": WEBSOCKET_VERSION, "Upgrade": "websocket"}
        raise web.HTTPUpgradeRequired(text="only version 13 of the WebSocket protocol is spoken here", headers=required)
    accept_value = sec_websocket_accept(head)
    if accept_value is None:
        raise web.HTTPBadRequest(text="this is a WebSocket endpoint: connect with Upgrade: websocket")
    lines = headers.getall("Sec-WebSocket-Extensions", ())
    try:
        offers = list(parse_extension_offers(lines)) if lines else []
    except BadExtensions:  # RFC 6455 section 9.1: the handshake fails, even if compression is switched off
        raise web.HTTPBadRequest(text="Sec-WebSocket-Extensions cannot be understood") from None
    extension = negotiate_extension(offers) if offers and app[SETTINGS].compression else None
    if extension is not None and not app[WINDOW_BUDGET].has_room(extension):
        extension = None
    require_started(app)
    return Handshake(accept_value, head.subprotocol, extension)


def sec_websocket_accept(head: RequestHead) -> str | None:
    """The Sec-WebSocket-Accept value for the request; None if it is not a valid upgrade request (section 4.2.1)."""
    headers = head.headers
    connection = ",".join(headers.getall("Connection", ())).lower().split(",")
    if head.method != "GET" or head.version < (1, 1) or "upgrade" not in map(str.strip, connection):
        return None
    if headers.get("Upgrade", "").strip().lower() != "websocket":
        return None
    if headers.get("Sec-WebSocket-Version", "").strip() != WEBSOCKET_VERSION:
        return None
    try:
        key = headers.get("Sec-WebSocket-Key", "").strip().encode("ascii")
        if len(binascii.a2b_base64(key, strict_mode=True)) != _KEY_BYTES:
            return None
    except (UnicodeEncodeError, binascii.Error):
        return None
    return binascii.b2a_base64(hashlib.sha1(key + _GUID, usedforsecurity=False).digest(), newline=False).decode()


def switching_protocols(accept_value: str, subprotocol: str | None, extension: str | None = None) -> bytes:
    """The bytes of the 101 response (section 4.2.2)."""
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
