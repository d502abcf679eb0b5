"""A WebSocket by hand: cheap enough for a million frames, and able to do what a good client never does."""

from __future__ import annotations

import asyncio
import json
import socket
import zlib
from collections.abc import Callable
from typing import Self
from urllib.parse import urlsplit

from tests.support import TIMEOUT_SECONDS, Message, within

TEXT, CLOSE, PING, PONG = 0x1, 0x8, 0x9, 0xA
COMPRESSED = 0x40
OFFER = {"Sec-WebSocket-Extensions": "permessage-deflate"}

HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)


class WireClient(asyncio.Protocol):
    """Reads as fast as it can, until ``stall``. Answers protocol pings, unless ``answers`` is False."""

    def __init__(self, parsed: dict[bytes, Message], answers: bool) -> None:
        self._parsed = parsed
        self._answers = answers
        self._rest = b""
        self._upgraded = False
        self._changed = asyncio.Event()
        self.events: list[Message] = []
        self.totals: Message = {}
        self.others: list[Message] = []
        self._inflate = zlib.decompressobj(-15)
        self.bytes = self.compressed = 0
        self.protocol_pings = 0
        self.close_code: int | None = None
        self.cut = False
        self.last_event_at = 0.0
        self.transport: asyncio.Transport

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        parsed: dict[bytes, Message] | None = None,
        answers: bool = True,
        receive_buffer: int | None = None,
        headers: dict[str, str] | None = None,
    ) -> Self:
        """``parsed``: frames known already, so that clients who get the same frames share the work of reading them."""
        parts = urlsplit(url)
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(sock, (parts.hostname, parts.port))
        transport, client = await loop.create_connection(lambda: cls({} if parsed is None else parsed, answers), sock=sock)
        more = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        transport.write(HANDSHAKE.format(path=parts.path, host=parts.netloc, more=more).encode())
        await client.until(lambda c: bool(c.totals), "the first totals")
        return client

    # ---------------------------------------------------------------- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.cut = True
        self._changed.set()

    def data_received(self, data: bytes) -> None:
        known = len(self.events)
        self.bytes += len(data)
        data = self._rest + data
        start = 0
        if not self._upgraded:
            start = data.find(b"\r\n\r\n") + 4
            if start < 4:
                self._rest = data
                return
            assert data.startswith(b"HTTP/1.1 101 "), data
            self._upgraded = True
        while len(data) - start >= 4 or (len(data) - start >= 2 and data[start + 1] < 126):
            size, payload = data[start + 1], start + 2
            if size == 126:
                size, payload = int.from_bytes(data[start + 2 : start + 4], "big"), start + 4
            assert size < 65536, "no frame of this server is that long"
            if len(data) < payload + size:
                break
            self._frame(data[start], data[payload : payload + size])
            start = payload + size
        self._rest = data[start:]
        if len(self.events) > known:
            self.last_event_at = asyncio.get_running_loop().time()
        self._changed.set()

    def _frame(self, first: int, payload: bytes) -> None:
        if first == 0x80 | COMPRESSED | TEXT:  # RFC 7692 section 7.2.2
            self.compressed += 1
            payload = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
            first = 0x80 | TEXT
        if first == 0x80 | TEXT:
            frame = self._parsed.get(payload)
            if frame is None:
                frame = self._parsed[payload] = json.loads(payload)
            if "id" in frame:
                self.events.append(frame)
            elif frame["type"] == "analytics_update":
                self.totals = frame
            else:
                self.others.append(frame)
        elif first == 0x80 | PING:
            self.protocol_pings += 1
            if self._answers:
                self.send(PONG, payload)
        elif first == 0x80 | CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")
            if self._answers:
                self.send(CLOSE, payload[:2])
        else:
            raise AssertionError(f"unexpected first byte {first:#x}")

    # ---------------------------------------------------------------- what tests call

    def send(self, opcode: int, payload: bytes) -> None:
        """One short frame. A client masks; the mask 0 leaves the payload as it is."""
        assert len(payload) < 126
        self.transport.write(bytes([0x80 | opcode, 0x80 | len(payload), 0, 0, 0, 0]) + payload)

    def say(self, frame: Message) -> None:
        self.send(TEXT, json.dumps(frame).encode())

    async def until(self, condition: Callable[[WireClient], bool], what: str, seconds: float = TIMEOUT_SECONDS) -> None:
        """Return as soon as the condition holds; it is asked whenever something has arrived."""

        async def wait() -> None:
            while not condition(self):
                if self.cut:
                    raise AssertionError(f"ended with {self.close_code} before: {what}; {len(self.events)} events")
                self._changed.clear()
                await self._changed.wait()

        try:
            await within(seconds, wait(), what)
        except AssertionError as error:
            raise AssertionError(f"{error}; {len(self.events)} events, totals {self.totals}, close {self.close_code}") from None

    async def disconnect(self) -> None:
        """Cut the connection and wait until that is done, so that no transport is left to the garbage collector."""
        self.transport.abort()
        await self.until(lambda c: c.cut, "the end of the connection")
