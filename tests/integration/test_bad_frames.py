"""Whatever a client sends: it alone gets the answer, and nobody else notices."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, within

LIMIT = 64 * 1024
MASKED = 0x80

TEXT, BINARY, CLOSE, PING, FINAL, RESERVED_BIT = 0x1, 0x2, 0x8, 0x9, 0x80, 0x40

HANDSHAKE = (
    b"GET /api/ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture
async def server(start_server: StartServer, connect: Connect, database_url: str, db: Any) -> AsyncIterator[Server]:
    """A server with another client, who must not notice anything; nor may the log."""
    server: Server = await start_server(database_url)
    other: Client = await connect(server.ws_url)
    await other.wait_until(lambda c: len(c.messages) == 1, "first frame")
    said = len(server.lines)
    yield server
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await other.wait_until(lambda c: c.totals["total_orders"] == 1, "an order")
    assert [frame["type"] for frame in other.messages] == ["analytics_update", "new_order", "analytics_update"]
    assert await server.stop() == 0
    assert server.lines[said:] == []


def frame(head: int, payload: bytes, length: int | None = None) -> bytes:
    """A client's frame; the mask of zeros leaves the payload as it is. ``length``: what it claims to be."""
    size = len(payload) if length is None else length
    if size < 126:
        return bytes([head, MASKED | size]) + bytes(4) + payload
    if size < 2**16:
        return bytes([head, MASKED | 126]) + struct.pack("!H", size) + bytes(4) + payload
    return bytes([head, MASKED | 127]) + struct.pack("!Q", size) + bytes(4) + payload


def address(server: Server) -> tuple[str, int]:
    host, port = server.http_url.removeprefix("http://").split(":")
    return host, int(port)


async def raw_connection(server: Server) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket on which a WebSocket is open, with the first frame still to be read."""
    reader, writer = await asyncio.open_connection(*address(server))
    writer.write(HANDSHAKE)
    answer = await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "handshake")
    assert answer.startswith(b"HTTP/1.1 101 ")
    return reader, writer


async def close_code(reader: asyncio.StreamReader) -> int:
    """Of the close frame that the server sends; whatever comes before is skipped. A server's frames are not masked."""
    while True:
        head, length = await within(TIMEOUT_SECONDS, reader.readexactly(2), "a frame")
        if length == 126:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
        payload = await reader.readexactly(length)
        if head == FINAL | CLOSE:
            return int(struct.unpack("!H", payload[:2])[0])


NOT_UNDERSTOOD = [
    ("", "bad_json"),
    ("nonsense", "bad_json"),
    ('{"type":"ping"', "bad_json"),
    ('{"type":"ping"}{"type":"ping"}', "bad_json"),
    ("[" * LIMIT, "bad_json"),
    ('{"type":' * (LIMIT // 8), "bad_json"),
    ("9" * LIMIT, "bad_json"),
    ("null", "bad_frame"),
    ("42", "bad_frame"),
    ("NaN", "bad_frame"),
    ('"ping"', "bad_frame"),
    ('["type","ping"]', "bad_frame"),
    ("[" * 500 + "]" * 500, "bad_frame"),
    ("{}", "bad_frame"),
    ('{"type":null}', "bad_frame"),
    ('{"type":["ping"]}', "bad_frame"),
    ('{"type":"nonsense"}', "unknown_type"),
    ('{"type":"PING"}', "unknown_type"),
    ('{"type":"\\u0000"}', "unknown_type"),
    ('{"type":"\\ud800"}', "unknown_type"),
    ('{"type":"' + "x" * 60000 + '"}', "unknown_type"),
]


async def send_and_ping(client: Client, text: str) -> None:
    """Whatever answers the text comes before the pong."""
    pongs = len(client.of_type("pong"))
    await client.send(text)
    await client.send('{"type":"ping"}')
    await client.wait_until(lambda c: len(c.of_type("pong")) > pongs, f"pong after {text[:40]}")


async def test_a_frame_that_is_not_understood_gets_an_error_and_the_session_goes_on(server: Server, connect: Connect) -> None:
    client: Client = await connect(server.ws_url)
    for text, _ in NOT_UNDERSTOOD:
        await send_and_ping(client, text)
    assert [frame["type"] for frame in client.messages] == ["analytics_update"] + ["error", "pong"] * len(NOT_UNDERSTOOD)
    for (text, code), error in zip(NOT_UNDERSTOOD, client.of_type("error"), strict=True):
        assert set(error) == {"type", "code", "message"}
        assert error["code"] == code, text[:40]
        assert 0 < len(error["message"]) < 100


async def test_a_binary_frame_closes_with_1003(server: Server, connect: Connect) -> None:
    client: Client = await connect(server.ws_url)
    await client.ws.send_bytes(b'{"type":"ping"}')
    assert await client.wait_closed() == 1003
    assert client.of_type("pong") == []


async def test_64_kib_are_accepted_and_one_byte_more_closes_with_1009(server: Server, connect: Connect) -> None:
    client: Client = await connect(server.ws_url)
    ping = '{"type":"ping"}'
    await client.send(ping.ljust(LIMIT))
    await client.wait_until(lambda c: len(c.of_type("pong")) == 1, "pong")
    await client.send(ping.ljust(LIMIT + 1))
    assert await client.wait_closed() == 1009
    assert len(client.of_type("pong")) == 1


BREACHES = {
    "announces too much": (frame(FINAL | TEXT, b"", length=LIMIT + 1), 1009),
    "announces far too much": (frame(FINAL | TEXT, b"", length=2**62), 1009),
    "too much in parts": (frame(TEXT, b"x" * 40000) + frame(FINAL, b"x" * 40000), 1009),
    "no UTF-8": (frame(FINAL | TEXT, b'"\xff\xfe"'), 1007),
    "half a letter": (frame(FINAL | TEXT, "Зоё".encode()[:-1]), 1007),
    "unknown opcode": (frame(FINAL | 0x3, b""), 1002),
    "reserved bit": (frame(FINAL | RESERVED_BIT | TEXT, b"{}"), 1002),
    "continues nothing": (frame(FINAL, b"{}"), 1002),
    "interleaved messages": (frame(TEXT, b"{") + frame(FINAL | TEXT, b"}"), 1002),
    "long ping": (frame(FINAL | PING, b"x" * 126), 1002),
    "ping in parts": (frame(PING, b"x"), 1002),
    "half a close code": (frame(FINAL | CLOSE, b"x"), 1002),
}


async def test_a_breach_of_the_websocket_protocol_closes_with_its_code(server: Server) -> None:
    for name, (sent, code) in BREACHES.items():
        reader, writer = await raw_connection(server)
        writer.write(sent)
        assert await close_code(reader) == code, name
        writer.close()


async def test_half_a_frame_and_gone(server: Server) -> None:
    for cut in (1, 3, 7, 500):
        reader, writer = await raw_connection(server)
        await within(TIMEOUT_SECONDS, reader.readuntil(b"}"), "first frame")
        writer.write(frame(FINAL | TEXT, b"x" * 1000)[:cut])
        writer.close()
        await writer.wait_closed()


async def test_a_plain_get_of_the_websocket_is_told_how(server: Server) -> None:
    for headers in ({}, {"Upgrade": "websocket"}, {"Upgrade": "h2c", "Connection": "Upgrade"}):
        async with aiohttp.request("GET", server.http_url + "/api/ws", headers=headers) as response:
            assert response.status == 400
            error = (await response.json())["error"]
            assert error["code"] == "bad_request"
            assert "Upgrade: websocket" in error["message"]


async def test_what_is_no_http_gets_400_and_no_line_in_the_log(server: Server) -> None:
    for sent in (
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # the first bytes of TLS
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(sent)
        assert (await within(TIMEOUT_SECONDS, reader.readline(), "an answer")).split()[1] == b"400", sent[:40]
        writer.close()
