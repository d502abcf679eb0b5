"""Openings of all kinds, by every way on which one can come: the first bytes of a connection, which are read before aiohttp;
bytes that come in pieces; and a request behind another one. What the client is told is the same.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import needs_one_worker
from tests.helpers.tokens import SECRET, token
from tests.helpers.websocket_frames import FINAL, TEXT, frame
from tests.integration.test_bad_frames import HANDSHAKE, address
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, within

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
PINGS = frame(FINAL | TEXT, b'{"type":"ping"}', mask=b"abcd")


def changed(old: bytes, new: bytes) -> bytes:
    assert old in HANDSHAKE
    return HANDSHAKE.replace(old, new)


def line(*more: bytes) -> bytes:
    """The usual opening with these header lines."""
    return HANDSHAKE[:-2] + b"".join(each + b"\r\n" for each in more) + b"\r\n"


# What is sent, and what comes of it: a status, or, after the handshake, a close code or the first frame's type.
OPENINGS: dict[str, tuple[bytes, object]] = {
    "plain": (HANDSHAKE, "analytics_update"),
    "with parameters": (changed(b"/api/ws", b"/api/ws?topics=analytics&x=%ff"), "analytics_update"),
    "a path in other letters": (changed(b"/api/ws", b"/api/%77s"), "analytics_update"),
    "a whole address": (changed(b"/api/ws", b"http://127.0.0.1/api/ws"), "analytics_update"),
    "headers in other letters": (HANDSHAKE[:9] + HANDSHAKE[9:].replace(b"Upgrade: w", b"upgrade: W"), "analytics_update"),
    "keep-alive, Upgrade": (line(b"Connection: keep-alive"), "analytics_update"),
    "with our protocol": (line(b"Sec-WebSocket-Protocol: x, orderwire"), "analytics_update"),
    "with a token that nobody needs": (line(b"Sec-WebSocket-Protocol: bearer.abc"), "analytics_update"),
    "with compression": (line(b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), "analytics_update"),
    "from a page of ours": (line(b"Origin: http://127.0.0.1"), "analytics_update"),
    "with an Expect header": (line(b"Expect: 100-continue"), 100),
    "no such topic": (changed(b"/api/ws", b"/api/ws?topics=x"), 3501),
    "no such conflation": (changed(b"/api/ws", b"/api/ws?conflate=0"), 3501),
    "no key": (changed(KEY, b""), 400),
    "a short key": (changed(b"ub25jZQ==", b""), 400),
    "two keys": (line(KEY.strip()), "analytics_update"),  # as aiohttp has always had it
    "no upgrade": (changed(b"Upgrade: websocket\r\n", b""), 400),
    "another upgrade": (changed(b"Upgrade: websocket", b"Upgrade: tcp"), 400),
    "no connection": (changed(b"Connection: Upgrade\r\n", b""), 400),
    "another version": (changed(b"Version: 13", b"Version: 8"), 426),
    "an extension that nobody understands": (line(b"Sec-WebSocket-Extensions: ;;"), 400),
    "HTTP/1.0": (changed(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "another method": (changed(b"GET", b"POST"), 405),
    "another path": (changed(b"/api/ws", b"/api/wss"), 404),
    "no host": (changed(b"Host: 127.0.0.1\r\n", b""), 400),
    "two hosts": (line(b"Host: 127.0.0.1"), 400),
    "a foreign host": (changed(b"Host: 127.0.0.1", b"Host: shop.example"), 403),
    "a foreign page": (line(b"Origin: http://shop.example"), 403),
    "a page with no name": (line(b"Origin: http://\xff\xfe"), 403),
    "through a proxy that nobody knows": (line(b"X-Forwarded-For: 127.0.0.1"), 403),
    "a body": (line(b"Content-Length: 5") + b"hello", "analytics_update"),
    "a large body": (line(b"Content-Length: 1000000000"), 413),
    "a body of unknown length": (line(b"Transfer-Encoding: chunked"), 413),
    "a header with a NUL": (line(b"X-Odd: a\0b"), 400),
    "a header with no colon": (line(b"X-Odd"), 400),
    "a long header": (line(b"X-Long: " + b"x" * 40_000), 400),
    "many headers": (line(*(b"X-%d: x" % n for n in range(100))), 400),
    "a long address": (changed(b"/api/ws", b"/api/ws?x=" + b"x" * 40_000), 400),
    "lines that end otherwise": (HANDSHAKE.replace(b"\r\n", b"\n"), 400),
}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """What a client is told."""

    status: int
    headers: frozenset[bytes]
    # The body of an HTTP answer; the first frame without its payload's numbers, or the close frame.
    rest: bytes

    @property
    def outcome(self) -> object:
        if self.status != 101:
            return self.status
        if self.rest[0] & 0x0F == 0x8:
            return int.from_bytes(self.rest[2:4], "big")
        return "analytics_update" if b"analytics_update" in self.rest or self.rest[0] & 0x40 else self.rest


async def read(reader: asyncio.StreamReader) -> Told:
    head = await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "an answer")
    first, *lines = head.split(b"\r\n")
    status = int(first.split()[1])
    kept = frozenset(each for each in lines if not each.startswith((b"Date:", b"Content-Length:")))
    if status == 101:
        start = await reader.readexactly(2)
        size = start[1] if start[1] < 126 else int.from_bytes(await reader.readexactly(2), "big")
        return Told(status, kept, start + await reader.readexactly(size))
    length = re.search(rb"Content-Length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    # What is no HTTP is told by aiohttp, in words that depend on where the bytes were cut.
    return Told(status, kept, body if b"application/json" in head else b"")


Way = Callable[[Server, bytes], Awaitable[Told]]


async def turns(server: Server) -> None:
    """The server has read what was sent before: somebody else has been answered since."""
    reader, writer = await asyncio.open_connection(*address(server))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "an answer")
    writer.close()


async def at_once(server: Server, opening: bytes) -> Told:
    reader, writer = await asyncio.open_connection(*address(server))
    writer.write(opening)
    told = await read(reader)
    writer.close()
    return told


async def in_two_pieces(server: Server, opening: bytes) -> Told:
    reader, writer = await asyncio.open_connection(*address(server))
    writer.write(opening[:40])
    await writer.drain()
    await turns(server)
    writer.write(opening[40:])
    told = await read(reader)
    writer.close()
    return told


async def as_second_request(server: Server, opening: bytes) -> Told:
    reader, writer = await asyncio.open_connection(*address(server))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "an answer")
    await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))  # type: ignore[index]
    writer.write(opening)
    told = await read(reader)
    writer.close()
    return told


@pytest.mark.parametrize("compression", ["0", "1"])
async def test_whoever_reads_an_opening_the_answer_is_the_same(
    start_server: StartServer, database_url: str, compression: str
) -> None:
    server: Server = await start_server(database_url, COMPRESSION=compression, HANDSHAKES_PER_SECOND="10000")
    wrong = {}
    for name, (opening, outcome) in OPENINGS.items():
        first, second, third = [await way(server, opening) for way in (at_once, in_two_pieces, as_second_request)]
        if not first == second == third or first.outcome != outcome:
            wrong[name] = (first, second, third)
    assert wrong == {}
    await server.stop()
    assert "ERROR" not in server.output


@needs_one_worker
async def test_a_refusal_is_counted_once(start_server: StartServer, database_url: str) -> None:
    """Although the opening is looked at before aiohttp, and again there."""
    server: Server = await start_server(
        database_url, TRUSTED_PROXIES="127.0.0.1", HANDSHAKES_PER_SECOND="2", ALLOW_ANONYMOUS="1"
    )
    foreign = line(b"X-Forwarded-For: 198.51.100.1", b"Origin: http://shop.example")
    # The burst is four.
    assert [(await at_once(server, foreign)).status for _ in range(5)] == [403, 403, 403, 403, 429]
    reader, writer = await asyncio.open_connection(*address(server))
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    metrics = await within(TIMEOUT_SECONDS, reader.read(), "the metrics")
    writer.close()
    for reason, count in (("origin", 4), ("handshakes", 1)):
        assert f'orderwire_rejections_total{{reason="{reason}"}} {count}.0'.encode() in metrics


@pytest.mark.parametrize("way", [at_once, in_two_pieces, as_second_request])
async def test_whoever_reads_an_opening_the_token_counts(start_server: StartServer, database_url: str, way: Way) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    viewer = token(role="viewer").encode()
    for lines, outcome in (
        ((b"Authorization: Bearer " + viewer,), "analytics_update"),
        ((b"Sec-WebSocket-Protocol: orderwire, bearer." + viewer,), "analytics_update"),
        ((b"Authorization: Bearer x",), 3500),
    ):
        assert (await way(server, line(*lines))).outcome == outcome
    refused = changed(b"/api/ws", b"/api/ws?topics=orders").replace(KEY, KEY + b"Authorization: Bearer " + viewer + b"\r\n")
    assert (await way(server, refused)).outcome == 3507


async def test_an_opening_may_be_cut_anywhere(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="10000")
    whole = await at_once(server, HANDSHAKE)
    sent = HANDSHAKE + PINGS
    streams = [await asyncio.open_connection(*address(server)) for _ in range(1, len(sent))]
    for at, (_, writer) in enumerate(streams, 1):
        writer.write(sent[:at])
    await turns(server)
    for at, (_, writer) in enumerate(streams, 1):
        writer.write(sent[at:])
    for reader, writer in streams:
        assert await read(reader) == whole
        await within(TIMEOUT_SECONDS, reader.readuntil(b'{"type":"pong"}'), "what was sent behind the opening is read")
        writer.close()


async def test_half_openings_hold_up_nobody(start_server: StartServer, connect: Connect, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="10000", IDLE_SECONDS="5")
    streams = [await asyncio.open_connection(*address(server)) for _ in range(500)]
    for number, (_, writer) in enumerate(streams):
        writer.write(HANDSHAKE[: number % 3 * 30])  # nothing, or a part
    client: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await client.wait_until(lambda c: len(c.events) == 1, "an event")
    for reader, writer in streams:
        assert await within(TIMEOUT_SECONDS, reader.read(), "the end") == b""
        writer.close()


async def test_whoever_waits_to_be_let_in_is_not_waited_for_at_the_end(
    start_server: StartServer, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    anna = token(role="customer", sub="anna").encode()
    asks = changed(b"/api/ws", b"/api/ws?topics=order:1").replace(KEY, KEY + b"Authorization: Bearer " + anna + b"\r\n")
    async with db.transaction():
        await db.execute("lock table orders in access exclusive mode")  # whose order it is cannot be looked up
        streams = [await asyncio.open_connection(*address(server)) for _ in range(20)]
        for number, (_, writer) in enumerate(streams):
            writer.write((asks, asks[:50], b"")[number % 3])
        await turns(server)
        assert await server.stop() == 0
    for reader, writer in streams:
        with suppress(ConnectionResetError):
            assert await within(TIMEOUT_SECONDS, reader.read(), "the end") == b""
        writer.close()
    assert "Traceback" not in server.output
