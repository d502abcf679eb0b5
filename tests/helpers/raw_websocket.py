"""WebSocket clients without a library: cheap enough for a million frames, and able to violate the protocol."""

from __future__ import annotations

import asyncio
import json
import socket
import zlib
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

from tests.support import TIMEOUT_SECONDS, Message, Server, within

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
COMPRESSED = 0x40
DEFLATE_OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate"}


def upgrade_request(path: str = "/api/ws", host: str = "127.0.0.1", headers: dict[str, str] | None = None) -> bytes:
    """A valid upgrade request (RFC 6455 section 4.1) with the key of section 1.3."""
    more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
    return (
        f"GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
    ).encode()


UPGRADE_REQUEST = upgrade_request()


def server_address(server: Server) -> tuple[str, int]:
    """Host and port of a server, for a raw TCP connection."""
    host, port = server.http_url.removeprefix("http://").split(":")
    return host, int(port)


async def open_raw_websocket(server: Server, path: str = "/api/ws") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TCP connection after the upgrade; the first frame is still to be read."""
    reader, writer = await asyncio.open_connection(*server_address(server))
    writer.write(upgrade_request(path))
    head = await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "the handshake")
    assert head.startswith(b"HTTP/1.1 101 ")
    return reader, writer


class RawWebSocket(asyncio.Protocol):
    """Reads as fast as it can, unless reading is paused on its transport. Answers pings and close frames if ``auto_reply``."""

    def __init__(self, parsed: dict[bytes, Message], auto_reply: bool) -> None:
        self._parsed = parsed
        self._auto_reply = auto_reply
        self._unparsed = b""
        self._upgraded = False
        self._changed = asyncio.Event()
        self.events: list[Message] = []
        self.totals: Message = {}
        self.other_messages: list[Message] = []
        self._inflate = zlib.decompressobj(-15)
        self.bytes = self.compressed = 0
        self.protocol_pings = 0
        self.close_code: int | None = None
        self.lost = False
        self.last_event_at = 0.0
        self.transport: asyncio.Transport

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        parsed: dict[bytes, Message] | None = None,
        auto_reply: bool = True,
        receive_buffer: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> Self:
        """``parsed``: JSON of payloads already seen; clients that share it parse each broadcast message once."""
        parts = urlsplit(url)
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (parts.hostname, parts.port))
        transport, client = await loop.create_connection(lambda: cls({} if parsed is None else parsed, auto_reply), sock=sock)
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        transport.write(upgrade_request(path, parts.netloc, headers))
        await client.wait_until(lambda c: bool(c.totals), "the first totals")
        return client

    # ---------------------------------------------------------------- called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self._changed.set()

    def data_received(self, data: bytes) -> None:
        event_count = len(self.events)
        self.bytes += len(data)
        data = self._unparsed + data
        start = 0
        if not self._upgraded:
            start = data.find(b"\r\n\r\n") + 4
            if start < 4:
                self._unparsed = data
                return
            assert data.startswith(b"HTTP/1.1 101 "), data
            self._upgraded = True
        while len(data) - start >= 4 or (len(data) - start >= 2 and data[start + 1] < 126):
            size, payload = data[start + 1], start + 2
            if size == 126:
                size, payload = int.from_bytes(data[start + 2 : start + 4], "big"), start + 4
            assert size < 65536, "the server sends no frame with a 64-bit length"
            if len(data) < payload + size:
                break
            self._receive_frame(data[start], data[payload : payload + size])
            start = payload + size
        self._unparsed = data[start:]
        if len(self.events) > event_count:
            self.last_event_at = asyncio.get_running_loop().time()
        self._changed.set()

    def _receive_frame(self, first_byte: int, payload: bytes) -> None:
        if first_byte == 0x80 | COMPRESSED | TEXT:  # RFC 7692 section 7.2.2
            self.compressed += 1
            payload = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
            first_byte = 0x80 | TEXT
        if first_byte == 0x80 | TEXT:
            message = self._parsed.get(payload)
            if message is None:
                message = self._parsed[payload] = json.loads(payload)
            if "id" in message:
                self.events.append(message)
            elif message["type"] == "analytics_update":
                self.totals = message
            else:
                self.other_messages.append(message)
        elif first_byte == 0x80 | PING:
            self.protocol_pings += 1
            if self._auto_reply:
                self.send_frame(PONG, payload)
        elif first_byte == 0x80 | CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")
            if self._auto_reply:
                self.send_frame(CLOSE, payload[:2])
        else:
            raise AssertionError(f"unexpected first byte {first_byte:#x}")

    # ---------------------------------------------------------------- called by tests

    def send_frame(self, opcode: int, payload: bytes) -> None:
        """Send one short frame. Its mask is 0, which leaves the payload unchanged."""
        assert len(payload) < 126
        self.transport.write(bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload)

    def send_json(self, message: Message) -> None:
        self.send_frame(TEXT, json.dumps(message).encode())

    async def wait_until(
        self, condition: Callable[[RawWebSocket], bool], description: str, seconds: float = TIMEOUT_SECONDS
    ) -> None:
        """Return as soon as the condition holds; it is checked whenever data has arrived."""

        async def wait() -> None:
            while not condition(self):
                if self.lost:
                    raise AssertionError(f"closed with {self.close_code} before: {description}; {len(self.events)} events")
                self._changed.clear()
                await self._changed.wait()

        try:
            await within(seconds, wait(), description)
        except AssertionError as error:
            raise AssertionError(f"{error}; {len(self.events)} events, totals {self.totals}, close {self.close_code}") from None

    async def disconnect(self) -> None:
        """Abort the connection and wait until it is lost, so that no transport is left to the garbage collector."""
        self.transport.abort()
        await self.wait_until(lambda c: c.lost, "the end of the connection")
