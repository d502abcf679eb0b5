"""Upgrade requests of all kinds get the same answer, whether they are parsed before aiohttp (the first bytes of a connection)
or by aiohttp (bytes in two parts, and a second request on a connection).
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
from tests.helpers.raw_websocket import UPGRADE_REQUEST, server_address
from tests.helpers.tokens import SECRET, token
from tests.helpers.websocket_frames import FINAL, TEXT, frame
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, within

KEY = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
DEFLATE_OFFER = b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"
PING_MESSAGE = frame(FINAL | TEXT, b'{"type":"ping"}', mask=b"abcd")


def changed(old: bytes, new: bytes) -> bytes:
    assert old in UPGRADE_REQUEST
    return UPGRADE_REQUEST.replace(old, new)


def with_lines(*lines: bytes) -> bytes:
    """The upgrade request with these further header lines."""
    return UPGRADE_REQUEST[:-2] + b"".join(each + b"\r\n" for each in lines) + b"\r\n"


# Request, and outcome: an HTTP status, or after the upgrade a close code or the type of the first message.
REQUESTS: dict[str, tuple[bytes, object]] = {
    "plain": (UPGRADE_REQUEST, "analytics_update"),
    "with parameters": (changed(b"/api/ws", b"/api/ws?topics=analytics&x=%ff"), "analytics_update"),
    "percent-encoded path": (changed(b"/api/ws", b"/api/%77s"), "analytics_update"),
    "absolute URL": (changed(b"/api/ws", b"http://127.0.0.1/api/ws"), "analytics_update"),
    "headers in another case": (changed(b"Upgrade: w", b"upgrade: W"), "analytics_update"),
    "keep-alive, Upgrade": (with_lines(b"Connection: keep-alive"), "analytics_update"),
    "with our subprotocol": (with_lines(b"Sec-WebSocket-Protocol: x, orderwire"), "analytics_update"),
    "with a token that is not needed": (with_lines(b"Sec-WebSocket-Protocol: bearer.abc"), "analytics_update"),
    "with compression": (with_lines(DEFLATE_OFFER), "analytics_update"),
    "from a page of this server": (with_lines(b"Origin: http://127.0.0.1"), "analytics_update"),
    "with an Expect header": (with_lines(b"Expect: 100-continue"), 100),
    "unknown topic": (changed(b"/api/ws", b"/api/ws?topics=x"), 3501),
    "invalid conflation": (changed(b"/api/ws", b"/api/ws?conflate=0"), 3501),
    "no key": (changed(KEY, b""), 400),
    "a short key": (changed(b"ub25jZQ==", b""), 400),
    "two keys": (with_lines(KEY.strip()), "analytics_update"),  # the first one counts
    "no upgrade": (changed(b"Upgrade: websocket\r\n", b""), 400),
    "another upgrade": (changed(b"Upgrade: websocket", b"Upgrade: tcp"), 400),
    "no connection": (changed(b"Connection: Upgrade\r\n", b""), 400),
    "another version": (changed(b"Version: 13", b"Version: 8"), 426),
    "malformed extensions": (with_lines(b"Sec-WebSocket-Extensions: ;;"), 400),
    "HTTP/1.0": (changed(b"HTTP/1.1", b"HTTP/1.0"), 403),
    "another method": (changed(b"GET", b"POST"), 405),
    "another path": (changed(b"/api/ws", b"/api/wss"), 404),
    "no host": (changed(b"Host: 127.0.0.1\r\n", b""), 400),
    "two hosts": (with_lines(b"Host: 127.0.0.1"), 400),
    "page of another host": (
        changed(b"Host: 127.0.0.1", b"Host: shop.example\r\nOrigin: http://shop.example"),
        3507,
    ),
    "another host": (changed(b"Host: 127.0.0.1", b"Host: shop.example"), 403),
    "page of another origin": (with_lines(b"Origin: http://shop.example"), 3507),
    "page with an invalid origin": (with_lines(b"Origin: http://\xff\xfe"), 3507),
    "through a proxy that says nothing": (with_lines(b"Via:"), 403),
    "through an untrusted proxy": (with_lines(b"X-Forwarded-For: 127.0.0.1"), 403),
    "a body without bytes": (with_lines(b"Content-Length: 0"), "analytics_update"),
    "a body": (with_lines(b"Content-Length: 5") + b"hello", 400),
    "a body that is a frame": (with_lines(b"Content-Length: %d" % len(PING_MESSAGE)) + PING_MESSAGE, 400),
    "a body that never comes": (with_lines(b"Content-Length: 5"), 400),
    "a large body": (with_lines(b"Content-Length: 1000000000"), 400),
    "a body of unknown length": (with_lines(b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "a body of unknown length with frames": (with_lines(b"Transfer-Encoding: chunked") + PING_MESSAGE, 400),
    "two lengths": (with_lines(b"Content-Length: 0", b"Content-Length: 5") + b"hello", 400),
    "a length and an encoding": (with_lines(b"Content-Length: 0", b"Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "an encoding that is none": (with_lines(b"Transfer-Encoding: identity") + b"hello", 400),
    "a header with a NUL": (with_lines(b"X-Odd: a\0b"), 400),
    "a header without a colon": (with_lines(b"X-Odd"), 400),
    "a long header": (with_lines(b"X-Long: " + b"x" * 40_000), 400),
    "many headers": (with_lines(*(b"X-%d: x" % n for n in range(100))), 400),
    "a long URL": (changed(b"/api/ws", b"/api/ws?x=" + b"x" * 40_000), 400),
    "lines without CR": (UPGRADE_REQUEST.replace(b"\r\n", b"\n"), 400),
}  # fmt: skip


@dataclass(frozen=True)
class Response:
    """What a client receives."""

    status: int
    headers: frozenset[bytes]
    # The body of an HTTP response; after an upgrade the first frame.
    content: bytes

    @property
    def outcome(self) -> object:
        if self.status != 101:
            return self.status
        if self.content[0] & 0x0F == 0x8:
            return int.from_bytes(self.content[2:4], "big")
        return "analytics_update" if b"analytics_update" in self.content or self.content[0] & 0x40 else self.content


async def read_response(reader: asyncio.StreamReader) -> Response:
    head = await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "a response")
    status_line, *lines = head.split(b"\r\n")
    status = int(status_line.split()[1])
    kept = frozenset(each for each in lines if not each.startswith((b"Date:", b"Content-Length:")))
    if status == 101:
        start = await reader.readexactly(2)
        size = start[1] if start[1] < 126 else int.from_bytes(await reader.readexactly(2), "big")
        return Response(status, kept, start + await reader.readexactly(size))
    length = re.search(rb"Content-Length: (\d+)", head)
    body = await reader.readexactly(int(length[1])) if length else b""
    # The text of aiohttp's parser errors depends on where the bytes were split.
    return Response(status, kept, body if b"application/json" in head else b"")


SendRequest = Callable[[Server, bytes], Awaitable[Response]]


async def wait_until_read(server: Server) -> None:
    """Return when the server has read what was sent before: it has answered a later request of another connection."""
    reader, writer = await asyncio.open_connection(*server_address(server))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "a response")
    writer.close()


async def at_once(server: Server, request: bytes) -> Response:
    reader, writer = await asyncio.open_connection(*server_address(server))
    writer.write(request)
    response = await read_response(reader)
    writer.close()
    return response


async def in_two_parts(server: Server, request: bytes) -> Response:
    reader, writer = await asyncio.open_connection(*server_address(server))
    writer.write(request[:40])
    await writer.drain()
    await wait_until_read(server)
    writer.write(request[40:])
    response = await read_response(reader)
    writer.close()
    return response


async def as_second_request(server: Server, request: bytes) -> Response:
    reader, writer = await asyncio.open_connection(*server_address(server))
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    head = await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "a response")
    await reader.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1]))  # type: ignore[index]
    writer.write(request)
    response = await read_response(reader)
    writer.close()
    return response


@pytest.mark.parametrize("compression", ["0", "1"])
async def test_response_does_not_depend_on_the_parser_of_the_request(
    start_server: StartServer, database_url: str, compression: str
) -> None:
    server: Server = await start_server(database_url, COMPRESSION=compression, HANDSHAKES_PER_SECOND="10000")
    wrong = {}
    for name, (request, outcome) in REQUESTS.items():
        first, second, third = [await send(server, request) for send in (at_once, in_two_parts, as_second_request)]
        if not first == second == third or first.outcome != outcome:
            wrong[name] = (first, second, third)
    assert wrong == {}
    await server.stop()
    assert "ERROR" not in server.output


@needs_one_worker
async def test_rejection_is_counted_once(start_server: StartServer, database_url: str) -> None:
    """Although the request is checked before aiohttp and again by aiohttp."""
    server: Server = await start_server(
        database_url, TRUSTED_PROXIES="127.0.0.1", HANDSHAKES_PER_SECOND="2", ALLOW_ANONYMOUS="1"
    )
    cross_origin = with_lines(b"X-Forwarded-For: 198.51.100.1", b"Origin: http://shop.example")
    # The burst is four.
    assert [(await at_once(server, cross_origin)).outcome for _ in range(5)] == [3507, 3507, 3507, 3507, 429]
    reader, writer = await asyncio.open_connection(*server_address(server))
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
    metrics = await within(TIMEOUT_SECONDS, reader.read(), "the metrics")
    writer.close()
    for reason, count in (("origin", 4), ("handshakes", 1)):
        assert f'orderwire_rejections_total{{reason="{reason}"}} {count}.0'.encode() in metrics
    # The operator is told of a page that may be meant to connect: once.
    assert [line.count("ALLOWED_ORIGINS") for line in server.lines if "http://shop.example" in line] == [1]


@pytest.mark.parametrize("send", [at_once, in_two_parts, as_second_request])
async def test_token_is_checked_by_either_parser(start_server: StartServer, database_url: str, send: SendRequest) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    viewer = token(role="viewer").encode()
    for lines, outcome in (
        ((b"Authorization: Bearer " + viewer,), "analytics_update"),
        ((b"Sec-WebSocket-Protocol: orderwire, bearer." + viewer,), "analytics_update"),
        ((b"Authorization: Bearer x",), 3500),
    ):
        assert (await send(server, with_lines(*lines))).outcome == outcome
    denied = changed(b"/api/ws", b"/api/ws?topics=orders").replace(KEY, KEY + b"Authorization: Bearer " + viewer + b"\r\n")
    assert (await send(server, denied)).outcome == 3507


async def test_request_may_be_split_at_every_byte(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="10000")
    expected = await at_once(server, UPGRADE_REQUEST)
    sent = UPGRADE_REQUEST + PING_MESSAGE
    streams = [await asyncio.open_connection(*server_address(server)) for _ in range(1, len(sent))]
    for at, (_, writer) in enumerate(streams, 1):
        writer.write(sent[:at])
    await wait_until_read(server)
    for at, (_, writer) in enumerate(streams, 1):
        writer.write(sent[at:])
    for reader, writer in streams:
        assert await read_response(reader) == expected
        await within(TIMEOUT_SECONDS, reader.readuntil(b'{"type":"pong"}'), "the answer to the early bytes")
        writer.close()


async def read_until_reset(reader: asyncio.StreamReader) -> bytes:
    """All that was received, also if the end is a reset: the server closes a connection of which it has not read everything."""
    received = b""
    try:
        while data := await reader.read(65536):
            received += data
    except ConnectionResetError:
        received += bytes(reader._buffer)  # type: ignore[attr-defined]  # the reader raises before it returns what it has
    return received


async def test_a_body_is_not_executed_wherever_its_packets_end(start_server: StartServer, database_url: str) -> None:
    """The connection is closed after the answer, so that the rest is no second request either."""
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="10000")
    for line in (b"Content-Length: %d" % len(PING_MESSAGE), b"Transfer-Encoding: chunked"):
        sent = with_lines(line) + PING_MESSAGE + UPGRADE_REQUEST
        head_size = len(with_lines(line))
        cuts = [20, head_size - 1, head_size, head_size + 1, head_size + len(PING_MESSAGE), len(sent)]
        streams = [await asyncio.open_connection(*server_address(server)) for _ in cuts]
        for at, (_, writer) in zip(cuts, streams, strict=True):
            writer.write(sent[:at])
        await wait_until_read(server)
        for at, (_, writer) in zip(cuts, streams, strict=True):
            writer.write(sent[at:])
        for reader, writer in streams:
            received = await within(TIMEOUT_SECONDS, read_until_reset(reader), "the end")
            status_line, _, rest = received.partition(b"\r\n")
            assert status_line.split()[1] == b"400"
            assert b"HTTP/1." not in rest.replace(b"GET /api/ws HTTP/1.1", b"")  # an error may quote the request
            writer.close()


async def test_incomplete_requests_do_not_delay_other_clients(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="10000", IDLE_SECONDS="5")
    streams = [await asyncio.open_connection(*server_address(server)) for _ in range(500)]
    for number, (_, writer) in enumerate(streams):
        writer.write(UPGRADE_REQUEST[: number % 3 * 30])  # nothing, or a part of the request
    client: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await client.wait_until(lambda c: len(c.events) == 1, "an event")
    for reader, writer in streams:
        assert await within(TIMEOUT_SECONDS, reader.read(), "the end") == b""
        writer.close()


async def test_clients_that_wait_for_admission_do_not_delay_shutdown(
    start_server: StartServer, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    anna = token(role="customer", sub="anna").encode()
    request = changed(b"/api/ws", b"/api/ws?topics=order:1").replace(KEY, KEY + b"Authorization: Bearer " + anna + b"\r\n")
    async with db.transaction():
        await db.execute("lock table orders in access exclusive mode")  # blocks the query for the order's customer
        streams = [await asyncio.open_connection(*server_address(server)) for _ in range(20)]
        for number, (_, writer) in enumerate(streams):
            writer.write((request, request[:50], b"")[number % 3])
        await wait_until_read(server)
        assert await server.stop() == 0
    for reader, writer in streams:
        with suppress(ConnectionResetError):
            assert await within(TIMEOUT_SECONDS, reader.read(), "the end") == b""
        writer.close()
    assert "Traceback" not in server.output
