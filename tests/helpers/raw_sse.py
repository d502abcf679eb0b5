"""An SSE client on a bare connection: checks the framing of the body, byte by byte, and reads only when it is told to."""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from typing import Any
from urllib.parse import urlsplit

from tests.support import TIMEOUT_SECONDS, within

__all__ = ["RawSse"]

_LAST_CHUNK = b"0\r\n\r\n"


class RawSse:
    """One stream. ``head`` is the head of the response; ``events`` the types of the events received so far."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer
        self.head = ""
        self._received = b""
        self.ended = False

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        version: str = "1.1",
        method: str = "GET",
        more: bytes = b"",
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
        headers: str = "",
    ) -> RawSse:
        """Connect to the server at ``url`` and read the head. ``more``: sent in one write with the request."""
        parts = urlsplit(url)
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, (parts.hostname, parts.port))
        reader, writer = await asyncio.open_connection(sock=sock, ssl=tls, server_hostname=parts.hostname if tls else None)
        stream = cls(reader, writer)
        request = f"{method} {parts.path}/api/sse HTTP/{version}\r\nHost: {parts.netloc}\r\n{headers}\r\n"
        writer.write(request.encode() + more)
        stream.head = (await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "the head")).decode()
        return stream

    @property
    def in_chunks(self) -> bool:
        return "Transfer-Encoding: chunked" in self.head

    @property
    def body(self) -> str:
        """The body so far. Raises AssertionError if its chunks are not as they should be (RFC 9112 section 7.1)."""
        if not self.in_chunks:
            return self._received.decode(errors="replace")
        body, left = b"", self._received
        while left and left != _LAST_CHUNK:
            size_line, found, rest = left.partition(b"\r\n")
            if not found:
                break
            assert re.fullmatch(b"[1-9a-f][0-9a-f]*", size_line), size_line
            size = int(size_line, 16)
            body += rest[:size]
            left = rest[size + 2 :]
            assert b"\r\n".startswith(rest[size : size + 2])
        return body.decode(errors="replace")

    @property
    def is_complete(self) -> bool:
        """Whether the body has its end: the last chunk, or the end of the connection."""
        return self._received.endswith(b"\r\n" + _LAST_CHUNK) if self.in_chunks else self.ended

    @property
    def events(self) -> list[str]:
        """The data of the events ``new_order``, whole ones only."""
        return re.findall(r"event: new_order\nid: [^\n]+\ndata: ([^\n]+)\n\n", self.body)

    async def read(self, goal: Any, what: str) -> None:
        """Read until ``goal(self)`` is true."""

        async def read() -> None:
            while not goal(self):
                data = await self._reader.read(2**16)
                self._received += data
                self.ended = not data
                assert data or goal(self), f"the stream has ended: {self._received[-300:]!r}"

        await within(TIMEOUT_SECONDS, read(), what)

    async def read_to_the_end(self) -> None:
        """Read until the server closes the connection."""
        await self.read(lambda stream: stream.ended, "the end of the stream")

    async def read_events(self, count: int) -> None:
        """Read until there are so many events."""
        needle = b"\nevent: new_order\n"
        await self.read(lambda stream: stream._received.count(needle) >= count, f"{count} events")
        await self.read(lambda stream: len(stream.events) >= count, f"{count} whole events")

    def close(self) -> None:
        self.writer.transport.abort()
