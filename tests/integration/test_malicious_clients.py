"""Things that only somebody hostile sends, each once; tests/fuzz sends a million of them, tests/attacks a flood."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

import asyncpg
import jwt

from tests.conftest import needs_one_worker
from tests.helpers.websocket_frames import CONTINUATION, FINAL, TEXT, frame
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, within

SECRET = "a secret of thirty-two bytes or more"
HANDSHAKE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def answer(server: Server, lines: str, path: str = "/api/orders") -> bytes:
    """To a request with these header lines, Latin-1."""
    address = urlsplit(server.http_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nConnection: close\r\n{lines}\r\n".encode("latin-1"))
    try:
        return await within(TIMEOUT_SECONDS, reader.read(), "the answer")
    finally:
        writer.close()


async def close_frame(server: Server, path: str) -> tuple[int, bytes]:
    """Code and reason with which a WebSocket is closed."""
    address = urlsplit(server.http_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\n{HANDSHAKE}\r\n".encode("latin-1"))
    head = await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "the handshake")
    assert head.startswith(b"HTTP/1.1 101 "), head
    first, size = await within(TIMEOUT_SECONDS, reader.readexactly(2), "a frame")
    payload = await reader.readexactly(size)
    writer.close()
    assert first == 0x88
    return int.from_bytes(payload[:2], "big"), payload[2:]


async def test_bytes_that_are_no_utf8_are_answered_like_any_other(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    for lines, status in (
        ("Origin: http://\xff\xfe\r\n", b" 403 "),
        ("Host: \xff\r\n", b" 40"),
        ("Last-Event-ID: \xff\r\n", b" 200 "),
        ("X-Forwarded-For: \xff\r\n", b" 403 "),
        ("Authorization: Bearer \xff\r\n", b" 200 "),
        ("Expect: \xff\r\n", b" 417 "),
    ):
        assert status in (await answer(server, lines)).split(b"\r\n")[0], lines
    assert b" 404 " in await answer(server, "", "/%ed%a0%80%ff")
    assert b" 417 " in await answer(server, "Expect: \xff\r\n", "/nowhere")
    assert b" 100 " in await answer(server, "Expect: 100-Continue\r\n", "/nowhere")
    assert b" 400 " in await answer(server, HANDSHAKE.replace("dGhl", "\xe9\xe9\xe9\xe9"), "/api/ws")
    assert b" 400 " in await answer(server, "", "/api/sse?topics=%ed%a0%80\xff")
    await server.stop()
    assert "ERROR" not in server.output


async def test_the_reason_of_a_refusal_is_always_utf8(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    for topic in ("\U0001f600" * 40, "é" * 123, "\xff", "\0"):
        for quoted in (quote(topic), quote(topic.encode("latin-1", "replace"))):
            code, reason = await close_frame(server, f"/api/ws?topics={quoted}")
            assert code == 3501
            assert reason.decode().startswith("topics: no such topic: ")


async def test_a_list_of_addresses_may_come_in_two_lines(start_server: StartServer, database_url: str) -> None:
    """HAProxy does not append to what the client claims to be, it adds a line."""
    server: Server = await start_server(database_url, TRUSTED_PROXIES="127.0.0.1")
    claimed, seen = "X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-For: 203.0.113.9\r\n"
    assert b" 200 " in (await answer(server, claimed)).split(b"\r\n")[0]
    assert b" 403 " in (await answer(server, claimed + seen)).split(b"\r\n")[0]


@needs_one_worker
async def test_a_token_that_is_taken_back_while_its_bearer_comes_in(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    await db.execute("insert into orders (customer_name, customer_id, total) values ('Anna', 'anna', 1)")
    now = int(time.time())
    token = jwt.encode({"role": "customer", "sub": "anna", "iat": now - 60, "exp": now + 600}, SECRET, "HS256")
    headers = {"Authorization": f"Bearer {token}"}
    present: Client = await connect(server.ws_url, headers=headers)
    async with db.transaction():
        await db.execute("lock table orders in access exclusive mode")
        # Whose order it is cannot be looked up now.
        coming = asyncio.create_task(connect(server.ws_url + "?topics=order:1", headers=headers))
        refreshing: Client = await connect(server.ws_url)
        await refreshing.send(json.dumps({"type": "auth", "token": token}))
        revoker = await asyncpg.connect(database_url)
        await revoker.execute("insert into orderwire.revocations (subject) values ('anna')")
        await revoker.close()
        assert await present.wait_closed() == 3500
    late: Client = await coming
    assert await late.wait_closed() == 3500
    assert late.messages == []


async def test_parts_of_a_message_count_as_frames(start_server: StartServer, connect: Connect, database_url: str) -> None:
    server: Server = await start_server(database_url, FRAMES_PER_SECOND="10")
    address = urlsplit(server.http_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(f"GET /api/ws HTTP/1.1\r\nHost: {address.netloc}\r\n{HANDSHAKE}\r\n".encode())
    await within(TIMEOUT_SECONDS, reader.readuntil(b'"pending_orders":0}'), "the totals")
    writer.write(frame(TEXT, b"") + frame(CONTINUATION, b"") * 1000)
    got = await within(TIMEOUT_SECONDS, reader.read(), "the end")
    assert got[:4] == bytes((0x80 | 0x8, got[1])) + (3013).to_bytes(2, "big")
    writer.close()


async def test_whoever_asks_too_often_is_cut_off_and_others_are_not(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="10")
    address = urlsplit(server.http_url)
    request = f"GET /healthz HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", address.port, local_addr=("127.0.0.9", 0))
    writer.write(request * 1000)
    got = b""
    with suppress(ConnectionError):  # it is cut while it talks
        while data := await within(TIMEOUT_SECONDS, reader.read(65536), "more or the end"):
            got += data
    assert got.count(b" 200 OK") >= 20
    assert got.count(b" 429 Too Many") == 1
    assert b"Retry-After: 1\r\n" in got
    writer.close()
    client: Client = await connect(server.ws_url)
    await client.wait_until(lambda c: len(c.messages) == 1, "somebody else is let in")


async def test_the_last_letter_of_the_last_frame(start_server: StartServer, connect: Connect, database_url: str) -> None:
    """The watch holds back half headers, and nothing else."""
    server: Server = await start_server(database_url)
    address = urlsplit(server.http_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    whole = f"GET /api/ws HTTP/1.1\r\nHost: {address.netloc}\r\n{HANDSHAKE}\r\n".encode()
    whole += frame(FINAL | TEXT, b'{"type":"ping"}'.ljust(200), mask=b"abcd")
    whole += frame(FINAL | TEXT, b'{"type":"ping"}', mask=b"abcd")
    for octet in whole:
        writer.write(bytes((octet,)))
        await writer.drain()
        await asyncio.sleep(0)
    await within(TIMEOUT_SECONDS, reader.readuntil(b'{"type":"pong"}'), "the first pong")
    await within(TIMEOUT_SECONDS, reader.readuntil(b'{"type":"pong"}'), "the second pong")
    writer.close()


async def test_the_open_files_are_enough_for_the_connections(database_url: str) -> None:
    """A soft limit is what a process gets unless it asks for more."""
    command = f"ulimit -Sn 100; exec {sys.executable} server.py serve"
    server = await Server.start(
        "bash", "-c", command, env={"PORT": "0", "DATABASE_URL": database_url, "MAX_CONNECTIONS": "500"}
    )
    sockets: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        await server.wait_until_ready()
        address = urlsplit(server.http_url)
        sockets = [await asyncio.open_connection(address.hostname, address.port) for _ in range(150)]
        assert b" 200 " in await answer(server, "")
        assert "open files" not in server.output
        assert "ERROR" not in server.output
    finally:
        for _, writer in sockets:
            writer.close()
        await server.kill()


async def test_too_few_open_files_are_said(database_url: str) -> None:
    command = f"ulimit -n 500; exec {sys.executable} server.py serve"
    server = await Server.start("bash", "-c", command, env={"PORT": "0", "DATABASE_URL": database_url})
    try:
        await server.wait_until_ready()
        assert "the system allows 500 open files, too few for MAX_CONNECTIONS=10000" in server.output
    finally:
        await server.kill()


async def test_how_a_session_broke_the_rules_is_counted(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    address = urlsplit(server.http_url)
    for sent, code in (
        (frame(FINAL | TEXT, b"\xff"), 1007),
        (frame(FINAL | TEXT, b"", length=2**20), 1009),
        (frame(FINAL | TEXT, b"{}", mask=None), 1002),
    ):
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        writer.write(f"GET /api/ws HTTP/1.1\r\nHost: {address.netloc}\r\n{HANDSHAKE}\r\n".encode() + sent)
        await within(TIMEOUT_SECONDS, reader.read(), "the end")
        writer.close()
        assert f'orderwire_sessions_closed_total{{code="{code}"}} 1.0'.encode() in await answer(server, "", "/metrics")


@needs_one_worker
async def test_whoever_breaks_the_rules_may_come_back_less_often(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="20")
    address = urlsplit(server.http_url)
    handshake = f"GET /api/ws HTTP/1.1\r\nHost: {address.netloc}\r\n{HANDSHAKE}\r\n".encode()
    statuses = []
    for _ in range(6):
        reader, writer = await asyncio.open_connection("127.0.0.1", address.port, local_addr=("127.0.0.9", 0))
        writer.write(handshake + frame(FINAL | TEXT, b"{}", mask=None))
        statuses.append((await within(TIMEOUT_SECONDS, reader.read(), "the end")).split(b" ")[1])
        writer.close()
    # The burst of 40 would be enough for all of them.
    assert statuses[:3] == [b"101"] * 3
    assert b"429" in statuses
    client: Client = await connect(server.ws_url)
    await client.wait_until(lambda c: len(c.messages) == 1, "somebody else is let in")
