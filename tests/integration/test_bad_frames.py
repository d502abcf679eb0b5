"""Malformed messages, frames and requests: only their client gets an error, and the log stays empty."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.helpers.raw_websocket import open_raw_websocket, server_address
from tests.helpers.websocket_frames import CLOSE, COMPRESSED, FINAL, PING, TEXT, frame
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, within

MAX_FRAME_BYTES = 64 * 1024


@pytest.fixture
async def server(start_server: StartServer, connect: Connect, database_url: str, db: Any) -> AsyncIterator[Server]:
    """A server with another client. At the end that client has got nothing unexpected, and the log no line."""
    server: Server = await start_server(database_url)
    other: Client = await connect(server.ws_url)
    await other.wait_until(lambda c: len(c.messages) == 1, "the first message")
    line_count = len(server.lines)
    yield server
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await other.wait_until(lambda c: c.totals["total_orders"] == 1, "an order")
    assert [message["type"] for message in other.messages] == ["analytics_update", "new_order", "analytics_update"]
    assert await server.stop() == 0
    assert server.lines[line_count:] == []


async def close_code(reader: asyncio.StreamReader) -> int:
    """The code of the close frame that the server sends; frames before it are skipped."""
    while True:
        first_byte, length = await within(TIMEOUT_SECONDS, reader.readexactly(2), "a frame")
        if length == 126:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
        payload = await reader.readexactly(length)
        if first_byte == FINAL | CLOSE:
            return int(struct.unpack("!H", payload[:2])[0])


BAD_MESSAGES = [
    ("", "bad_json"),
    ("nonsense", "bad_json"),
    ('{"type":"ping"', "bad_json"),
    ('{"type":"ping"}{"type":"ping"}', "bad_json"),
    ("[" * MAX_FRAME_BYTES, "bad_json"),
    ('{"type":' * (MAX_FRAME_BYTES // 8), "bad_json"),
    ("9" * MAX_FRAME_BYTES, "bad_json"),
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
    """Send the text and a ping; the answer to the text has arrived before the pong."""
    pongs = len(client.of_type("pong"))
    await client.send(text)
    await client.send('{"type":"ping"}')
    await client.wait_until(lambda c: len(c.of_type("pong")) > pongs, f"pong after {text[:40]}")


async def test_bad_message_is_answered_by_an_error_and_the_session_goes_on(server: Server, connect: Connect) -> None:
    client: Client = await connect(server.ws_url)
    for text, _ in BAD_MESSAGES:
        await send_and_ping(client, text)
    assert [message["type"] for message in client.messages] == ["analytics_update"] + ["error", "pong"] * len(BAD_MESSAGES)
    for (text, code), error in zip(BAD_MESSAGES, client.of_type("error"), strict=True):
        assert set(error) == {"type", "code", "message"}
        assert error["code"] == code, text[:40]
        assert 0 < len(error["message"]) < 100


async def test_binary_frame_closes_with_1003(server: Server, connect: Connect) -> None:
    client: Client = await connect(server.ws_url)
    await client.ws.send_bytes(b'{"type":"ping"}')
    assert await client.wait_closed() == 1003
    assert client.of_type("pong") == []


async def test_frame_of_64_kib_is_accepted_and_one_byte_more_closes_with_1009(server: Server, connect: Connect) -> None:
    client: Client = await connect(server.ws_url)
    ping = '{"type":"ping"}'
    await client.send(ping.ljust(MAX_FRAME_BYTES))
    await client.wait_until(lambda c: len(c.of_type("pong")) == 1, "pong")
    await client.send(ping.ljust(MAX_FRAME_BYTES + 1))
    assert await client.wait_closed() == 1009
    assert len(client.of_type("pong")) == 1


MALFORMED_FRAMES = {
    "header announces too much": (frame(FINAL | TEXT, b"", length=MAX_FRAME_BYTES + 1), 1009),
    "header announces far too much": (frame(FINAL | TEXT, b"", length=2**62), 1009),
    "fragments too big together": (frame(TEXT, b"x" * 40000) + frame(FINAL, b"x" * 40000), 1009),
    "invalid UTF-8": (frame(FINAL | TEXT, b'"\xff\xfe"'), 1007),
    "incomplete character": (frame(FINAL | TEXT, "Зоё".encode()[:-1]), 1007),
    "unknown opcode": (frame(FINAL | 0x3, b""), 1002),
    "reserved bit": (frame(FINAL | COMPRESSED | TEXT, b"{}"), 1002),
    "continuation without a message": (frame(FINAL, b"{}"), 1002),
    "message within another": (frame(TEXT, b"{") + frame(FINAL | TEXT, b"}"), 1002),
    "long ping": (frame(FINAL | PING, b"x" * 126), 1002),
    "fragmented ping": (frame(PING, b"x"), 1002),
    "close code of one byte": (frame(FINAL | CLOSE, b"x"), 1002),
}


async def test_malformed_frame_closes_with_its_code(server: Server) -> None:
    for name, (sent, code) in MALFORMED_FRAMES.items():
        reader, writer = await open_raw_websocket(server)
        writer.write(sent)
        assert await close_code(reader) == code, name
        writer.close()


async def test_disconnect_within_a_frame(server: Server) -> None:
    for size in (1, 3, 7, 500):
        reader, writer = await open_raw_websocket(server)
        await within(TIMEOUT_SECONDS, reader.readuntil(b"}"), "the first message")
        writer.write(frame(FINAL | TEXT, b"x" * 1000)[:size])
        writer.close()
        await writer.wait_closed()


async def test_plain_get_of_the_websocket_path_is_400(server: Server) -> None:
    for headers in ({}, {"Upgrade": "websocket"}, {"Upgrade": "h2c", "Connection": "Upgrade"}):
        async with aiohttp.request("GET", server.http_url + "/api/ws", headers=headers) as response:
            assert response.status == 400
            error = (await response.json())["error"]
            assert error["code"] == "bad_request"
            assert "Upgrade: websocket" in error["message"]


async def test_bytes_that_are_not_http_get_400_and_no_log_line(server: Server) -> None:
    for sent in (
        b"nonsense\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a TLS ClientHello
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nCookie: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection(*server_address(server))
        writer.write(sent)
        assert (await within(TIMEOUT_SECONDS, reader.readline(), "a response")).split()[1] == b"400", sent[:40]
        writer.close()
