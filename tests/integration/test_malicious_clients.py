"""Input of malicious clients, each kind once. tests/fuzz sends random input, tests/attacks measures floods."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import asyncpg

from tests.conftest import needs_one_worker
from tests.helpers.raw_websocket import UPGRADE_REQUEST, open_raw_websocket, server_address
from tests.helpers.tokens import SECRET, token
from tests.helpers.websocket_frames import CLOSE, CONTINUATION, FINAL, TEXT, frame
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, within


async def get(server: Server, header_lines: str = "", path: str = "/api/orders") -> bytes:
    """The response to a GET request with these header lines, which are sent as Latin-1."""
    reader, writer = await asyncio.open_connection(*server_address(server))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{header_lines}\r\n".encode("latin-1"))
    try:
        return await within(TIMEOUT_SECONDS, reader.read(), "a response")
    finally:
        writer.close()


async def get_status_line(server: Server, header_lines: str = "", path: str = "/api/orders") -> bytes:
    return (await get(server, header_lines, path)).split(b"\r\n")[0]


async def read_close_frame(server: Server, path: str) -> tuple[int, bytes]:
    """Code and reason of the close frame that a new WebSocket gets as its first frame."""
    reader, writer = await open_raw_websocket(server, path)
    first_byte, size = await within(TIMEOUT_SECONDS, reader.readexactly(2), "a frame")
    payload = await reader.readexactly(size)
    writer.close()
    assert first_byte == FINAL | CLOSE
    return int.from_bytes(payload[:2], "big"), payload[2:]


async def test_invalid_utf8_in_requests_gets_a_regular_status(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    for header_lines, status in (
        ("Origin: http://\xff\xfe\r\n", b" 403 "),
        ("Host: \xff\r\n", b" 40"),
        ("Last-Event-ID: \xff\r\n", b" 200 "),
        ("X-Forwarded-For: \xff\r\n", b" 403 "),
        ("Authorization: Bearer \xff\r\n", b" 200 "),
        ("Expect: \xff\r\n", b" 417 "),
    ):
        assert status in await get_status_line(server, header_lines), header_lines
    assert b" 404 " in await get_status_line(server, "", "/%ed%a0%80%ff")
    assert b" 417 " in await get_status_line(server, "Expect: \xff\r\n", "/nowhere")
    assert b" 100 " in await get_status_line(server, "Expect: 100-Continue\r\n", "/nowhere")
    assert b" 400 " in await get_status_line(server, "", "/api/sse?topics=%ed%a0%80\xff")
    reader, writer = await asyncio.open_connection(*server_address(server))
    writer.write(UPGRADE_REQUEST.replace(b"Sec-WebSocket-Key: dGhl", b"Sec-WebSocket-Key: \xe9\xe9\xe9\xe9"))
    assert b" 400 " in await within(TIMEOUT_SECONDS, reader.readline(), "a status line")
    writer.close()
    await server.stop()
    assert "ERROR" not in server.output


async def test_close_reason_is_valid_utf8_for_any_topic(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    for topic in ("\U0001f600" * 40, "é" * 123, "\xff", "\0"):
        for quoted in (quote(topic), quote(topic.encode("latin-1", "replace"))):
            code, reason = await read_close_frame(server, f"/api/ws?topics={quoted}")
            assert code == 3501
            assert reason.decode().startswith("topics: no such topic: ")


async def test_forwarded_addresses_may_be_in_two_header_lines(start_server: StartServer, database_url: str) -> None:
    """HAProxy adds a header line of its own instead of appending to the one that the client has sent."""
    server: Server = await start_server(database_url, TRUSTED_PROXIES="127.0.0.1")
    from_client, from_proxy = "X-Forwarded-For: 127.0.0.1\r\n", "X-Forwarded-For: 203.0.113.9\r\n"
    assert b" 200 " in await get_status_line(server, from_client)
    assert b" 403 " in await get_status_line(server, from_client + from_proxy)


@needs_one_worker
async def test_token_revoked_during_admission_closes_the_session(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    await db.execute("insert into orders (customer_name, customer_id, total) values ('Anna', 'anna', 1)")
    anna = token(role="customer", sub="anna", iat=int(time.time()) - 60)
    headers = {"Authorization": f"Bearer {anna}"}
    connected: Client = await connect(server.ws_url, headers=headers)
    async with db.transaction():
        await db.execute("lock table orders in access exclusive mode")
        # The lock blocks the query for the order's customer, which the admission waits for.
        connecting = asyncio.create_task(connect(server.ws_url + "?topics=order:1", headers=headers))
        authenticating: Client = await connect(server.ws_url)
        await authenticating.send(json.dumps({"type": "auth", "token": anna}))
        revoker = await asyncpg.connect(database_url)
        await revoker.execute("insert into orderwire.revocations (subject) values ('anna')")
        await revoker.close()
        assert await connected.wait_closed() == 3500
    client: Client = await connecting
    assert await client.wait_closed() == 3500
    assert client.messages == []


async def test_fragments_of_a_message_count_as_frames(start_server: StartServer, connect: Connect, database_url: str) -> None:
    server: Server = await start_server(database_url, FRAMES_PER_SECOND="10")
    reader, writer = await asyncio.open_connection(*server_address(server))
    writer.write(UPGRADE_REQUEST)
    await within(TIMEOUT_SECONDS, reader.readuntil(b'"pending_orders":0}'), "the totals")
    writer.write(frame(TEXT, b"") + frame(CONTINUATION, b"") * 1000)
    received = await within(TIMEOUT_SECONDS, reader.read(), "the end")
    assert received[:4] == bytes((FINAL | CLOSE, received[1])) + (3013).to_bytes(2, "big")
    writer.close()


async def test_too_many_requests_end_the_connection_of_that_address_only(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="10")
    request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    reader, writer = await asyncio.open_connection(*server_address(server), local_addr=("127.0.0.9", 0))
    writer.write(request * 1000)
    received = b""
    with suppress(ConnectionError):  # the server closes the connection while requests are unread
        while data := await within(TIMEOUT_SECONDS, reader.read(65536), "responses or the end"):
            received += data
    assert received.count(b" 200 OK") >= 20
    assert received.count(b" 429 Too Many") == 1
    assert b"Retry-After: 1\r\n" in received
    writer.close()
    client: Client = await connect(server.ws_url)
    await client.wait_until(lambda c: len(c.messages) == 1, "a client of another address is admitted")


async def test_upgrade_and_frames_may_arrive_byte_by_byte(start_server: StartServer, database_url: str) -> None:
    """The server must parse every frame as soon as its last byte has arrived."""
    server: Server = await start_server(database_url)
    reader, writer = await asyncio.open_connection(*server_address(server))
    sent = UPGRADE_REQUEST
    sent += frame(FINAL | TEXT, b'{"type":"ping"}'.ljust(200), mask=b"abcd")
    sent += frame(FINAL | TEXT, b'{"type":"ping"}', mask=b"abcd")
    for byte in sent:
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0)
    await within(TIMEOUT_SECONDS, reader.readuntil(b'{"type":"pong"}'), "the first pong")
    await within(TIMEOUT_SECONDS, reader.readuntil(b'{"type":"pong"}'), "the second pong")
    writer.close()


async def test_soft_limit_of_open_files_is_raised_for_max_connections(database_url: str) -> None:
    command = f"ulimit -Sn 100; exec {sys.executable} server.py serve"
    server = await Server.start(
        "bash", "-c", command, env={"PORT": "0", "DATABASE_URL": database_url, "MAX_CONNECTIONS": "500"}
    )
    streams: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
    try:
        await server.wait_until_ready()
        streams = [await asyncio.open_connection(*server_address(server)) for _ in range(150)]
        assert b" 200 " in await get_status_line(server)
        assert "open files" not in server.output
        assert "ERROR" not in server.output
    finally:
        for _, writer in streams:
            writer.close()
        await server.kill()


async def test_hard_limit_of_open_files_below_max_connections_is_logged(database_url: str) -> None:
    command = f"ulimit -n 500; exec {sys.executable} server.py serve"
    server = await Server.start("bash", "-c", command, env={"PORT": "0", "DATABASE_URL": database_url})
    try:
        await server.wait_until_ready()
        assert "the system allows 500 open files, too few for MAX_CONNECTIONS=10000" in server.output
    finally:
        await server.kill()


async def test_close_codes_of_protocol_errors_are_counted(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    for sent, code in (
        (frame(FINAL | TEXT, b"\xff"), 1007),
        (frame(FINAL | TEXT, b"", length=2**20), 1009),
        (frame(FINAL | TEXT, b"{}", mask=None), 1002),
    ):
        reader, writer = await asyncio.open_connection(*server_address(server))
        writer.write(UPGRADE_REQUEST + sent)
        await within(TIMEOUT_SECONDS, reader.read(), "the end")
        writer.close()
        assert f'orderwire_sessions_closed_total{{code="{code}"}} 1.0'.encode() in await get(server, "", "/metrics")


@needs_one_worker
async def test_protocol_errors_reduce_the_handshakes_of_an_address(
    start_server: StartServer, connect: Connect, database_url: str
) -> None:
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="20")
    statuses = []
    for _ in range(6):
        reader, writer = await asyncio.open_connection(*server_address(server), local_addr=("127.0.0.9", 0))
        writer.write(UPGRADE_REQUEST + frame(FINAL | TEXT, b"{}", mask=None))
        statuses.append((await within(TIMEOUT_SECONDS, reader.read(), "the end")).split(b" ")[1])
        writer.close()
    # Without the penalty for protocol errors, the burst of 40 would admit all six.
    assert statuses[:3] == [b"101"] * 3
    assert b"429" in statuses
    client: Client = await connect(server.ws_url)
    await client.wait_until(lambda c: len(c.messages) == 1, "a client of another address is admitted")
