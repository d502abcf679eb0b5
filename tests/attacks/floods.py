"""Floods: attacks that the server rejects. ``Attack`` has what these and the loads (tests/attacks/loads.py) use."""

from __future__ import annotations

import asyncio
import json
import socket
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from tests.helpers.websocket_frames import CONTINUATION, FINAL, TEXT, frame

__all__ = ["ATTACKER_ADDRESS", "ATTACKS", "Attack"]

ATTACKER_ADDRESS = "127.0.0.66"
HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{more}"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


class Attack:
    """Connections and counters that all attacks use."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.token = token
        self.answers: Counter[str] = Counter()

    def record(self, answer: str, count: int = 1) -> None:
        """Count an answer of the server; print it the first time."""
        if count and not self.answers[answer]:
            print("received", answer, flush=True)
        self.answers[answer] += count

    async def connect(
        self, data: bytes = b"", address: str = ATTACKER_ADDRESS, receive_buffer: int | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect from ``address``, and send ``data``."""
        sock = socket.socket()
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        try:
            sock.bind((address, 0))
            await asyncio.get_running_loop().sock_connect(sock, (self.host, self.port))
        except BaseException:
            sock.close()
            raise
        reader, writer = await asyncio.open_connection(sock=sock)
        writer.write(data)
        return reader, writer

    def handshake(self, *, with_token: bool = True, more: str = "", path: str = "/api/ws", token: str | None = None) -> bytes:
        if with_token:
            more += f"Authorization: Bearer {token or self.token}\r\n"
        return HANDSHAKE.format(path=path, host=f"{self.host}:{self.port}", more=more).encode()

    def request(self, path: str, token: str | None = None) -> bytes:
        """A GET request."""
        return (
            f"GET {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nAuthorization: Bearer {token or self.token}\r\n\r\n"
        ).encode()

    async def get_json(self, path: str, token: str, address: str = ATTACKER_ADDRESS) -> Any:
        """The body of a GET request over a connection of its own. Raises OSError if it is not answered with 200."""
        reader, writer = await self.connect(self.request(path, token), address)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            if " 200 " not in head.split("\r\n")[0]:
                raise ConnectionError(head.split("\r\n")[0])
            length = next(line.split(":")[1] for line in head.split("\r\n") if line.lower().startswith("content-length:"))
            return json.loads(await reader.readexactly(int(length)))
        finally:
            writer.transport.abort()

    async def read_last_answer(self, reader: asyncio.StreamReader) -> str:
        """Read to the end; return the last answer: a close code or a status."""
        answer = "cut"
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            head = await reader.readuntil(b"\r\n\r\n")
            answer = head.split(b" ")[1].decode()
            while answer.startswith(("101", "open")):
                answer = "open, then cut"
                first, size = await reader.readexactly(2)
                if size == 126:
                    size = int.from_bytes(await reader.readexactly(2), "big")
                payload = await reader.readexactly(size)
                if first == 0x88:
                    return f"close {int.from_bytes(payload[:2], 'big')}"
        return answer

    async def flood_session(self, flood: bytes, *, more: str = "", with_token: bool = True, max_writes: int = 10**9) -> None:
        """Open a session and send ``flood`` repeatedly until it is closed."""
        reader, writer = await self.connect(self.handshake(more=more, with_token=with_token))
        listening = asyncio.create_task(self.read_last_answer(reader))
        try:
            with suppress(ConnectionError):
                for _ in range(max_writes):
                    if listening.done():
                        break
                    writer.write(flood)
                    await writer.drain()
                    await asyncio.sleep(0)
            self.record(await listening)
        finally:
            listening.cancel()
            writer.transport.abort()

    async def repeat_concurrently(self, concurrency: int, attempt: Callable[[], Awaitable[None]]) -> None:
        """Repeat ``attempt`` in ``concurrency`` tasks."""

        async def one() -> None:
            while True:
                try:
                    await attempt()
                except OSError as error:
                    self.record(type(error).__name__)
                    await asyncio.sleep(0.01)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(concurrency):
                tasks.create_task(one())


async def connections(attack: Attack) -> None:
    """Connections with a handshake each, as fast as possible."""

    async def once() -> None:
        reader, writer = await attack.connect(attack.handshake(with_token=False))
        try:
            with suppress(ConnectionError):
                head = await reader.read(12)
                attack.record(head[9:].decode() or "cut")
        finally:
            writer.transport.abort()

    await attack.repeat_concurrently(64, once)


async def slow_loris(attack: Attack) -> None:
    """Headers that never end, on as many connections as possible."""

    async def once() -> None:
        reader, writer = await attack.connect(b"GET /api/ws HTTP/1.1\r\n")
        listening = asyncio.create_task(attack.read_last_answer(reader))
        try:
            with suppress(ConnectionError):
                while not listening.done():
                    writer.write(b"X-Slow: loris\r\n")
                    await writer.drain()
                    await asyncio.wait([listening], timeout=1)
            attack.record(await listening)
        finally:
            listening.cancel()
            writer.transport.abort()
        await asyncio.sleep(1)  # another attack floods with connections

    await attack.repeat_concurrently(1500, once)


async def frames(attack: Attack) -> None:
    """Valid frames, as fast as possible."""
    await attack.repeat_concurrently(4, lambda: attack.flood_session(frame(FINAL | TEXT, b'{"type":"ping"}') * 3000))


async def fragments(attack: Attack) -> None:
    """A message in empty fragments, without an end."""

    async def once() -> None:
        await attack.flood_session(frame(TEXT, b"") + frame(CONTINUATION, b"") * 10000)

    await attack.repeat_concurrently(4, once)


async def giant_frame(attack: Attack) -> None:
    """A frame of a gigabyte."""
    start = frame(FINAL | TEXT, b"", length=2**30)

    async def once() -> None:
        await attack.flood_session(start + bytes(2**18))

    await attack.repeat_concurrently(4, once)


async def compression_bomb(attack: Attack) -> None:
    """Compressed frames of 60 KB that inflate to 60 MB."""
    squeezer = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = squeezer.compress(bytes(60 * 2**20)) + squeezer.flush(zlib.Z_SYNC_FLUSH)
    sent = frame(FINAL | 0x40 | TEXT, payload[:-4])
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
    await attack.repeat_concurrently(4, lambda: attack.flood_session(sent, more=offer))


async def unauthenticated(attack: Attack) -> None:
    """Sessions that never send a token."""

    async def once() -> None:
        await attack.flood_session(b"", with_token=False, max_writes=0)
        await asyncio.sleep(1)

    await attack.repeat_concurrently(1500, once)


async def requests(attack: Attack) -> None:
    """Pipelined requests with a token, each of which costs a query."""
    address = f"{attack.host}:{attack.port}"
    one = f"GET /api/orders HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {attack.token}\r\n\r\n"
    flood = one.encode() * 50

    async def once() -> None:
        reader, writer = await attack.connect(flood)
        try:
            while data := await reader.read(2**18):
                attack.record("200", data.count(b"HTTP/1.1 200"))
                attack.record("429", data.count(b"HTTP/1.1 429"))
        finally:
            writer.transport.abort()

    await attack.repeat_concurrently(16, once)


# name → (attack, expected answer, reason under which the server counts the rejection)
ATTACKS: dict[str, tuple[Callable[[Attack], Awaitable[None]], str, str]] = {
    "connections": (connections, "429", "handshakes"),
    "slow-loris": (slow_loris, "429", "handshakes"),
    "frames": (frames, "close 3013", "too_fast"),
    "fragments": (fragments, "close 3013", "too_fast"),
    "giant-frame": (giant_frame, "close 1009", "too_big"),
    "compression-bomb": (compression_bomb, "close 1009", "too_big"),
    "unauthenticated": (unauthenticated, "close 3502", "not_authenticated"),
    "requests": (requests, "429", "handshakes"),
}
