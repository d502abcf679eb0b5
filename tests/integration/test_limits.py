"""Limits of connections, requests and their sizes, which a server process enforces as it accepts connections."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from tests.conftest import needs_one_worker
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, Connect, Server, StartServer, within

# More than the burst that HANDSHAKES_PER_SECOND="5" allows.
CONCURRENT_REQUESTS = 20


async def status(server: Server, path: str = "/api/analytics", **options: Any) -> aiohttp.ClientResponse:
    # A new connection for each request.
    async with aiohttp.ClientSession() as http, http.get(server.http_url + path, **options) as response:
        await response.read()
        return response


def address(server: Server) -> tuple[str, int]:
    host, port = server.http_url.removeprefix("http://").split(":")
    return host, int(port)


@needs_one_worker
@pytest.mark.parametrize("limit", ["MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS"])
async def test_a_connection_over_the_limit_is_rejected(
    start_server: StartServer, database_url: str, connect: Connect, db: Any, limit: str
) -> None:
    server: Server = await start_server(database_url, **{limit: "3"})
    accepted = [await connect(server.ws_url) for _ in range(3)]
    rejected = await connect(server.ws_url)
    assert await rejected.wait_closed() == 3504
    assert rejected.messages == []
    for path in ("/api/sse", "/api/orders"):
        response = await status(server, path)
        assert response.status == 429
        assert response.headers["Retry-After"] == "1"
    await accepted.pop().disconnect()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await status(server)).status != 200:
            await asyncio.sleep(0.01)
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    for client in accepted:
        await client.wait_until(lambda c: len(c.events) == 1, "an event")


@needs_one_worker
async def test_requests_over_the_rate_of_an_address_are_rejected(
    start_server: StartServer, database_url: str, connect: Connect
) -> None:
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="5")
    async with aiohttp.ClientSession() as http:  # one connection, kept alive
        found = []
        for _ in range(30):
            async with http.get(server.http_url + "/api/analytics") as response:
                found.append(response.status)
                assert response.status == 200 or response.headers["Retry-After"] == "1"
        assert found[:9] == [200] * 9
        assert 429 in found
        # A connection counts as a request; one over the rate is answered without reading its request.
        # (Of several at once, since a busy machine may need so long for one that the next is within the rate.)
        responses = await asyncio.gather(*(status(server) for _ in range(CONCURRENT_REQUESTS)))
        codes = [(await response.json())["error"]["code"] for response in responses if response.status != 200]
        assert codes
        assert set(codes) == {"too_many_requests"}
        assert {response.status for response in responses} <= {200, 429}
        attempts = await asyncio.gather(
            *(http.ws_connect(server.ws_url) for _ in range(CONCURRENT_REQUESTS)), return_exceptions=True
        )
        for attempt in attempts:
            if isinstance(attempt, aiohttp.ClientWebSocketResponse):
                await attempt.close()
        rejected = [attempt for attempt in attempts if isinstance(attempt, BaseException)]
        assert rejected
        for error in rejected:
            assert isinstance(error, aiohttp.WSServerHandshakeError)
            assert error.status == 429
    async with asyncio.timeout(TIMEOUT_SECONDS):  # until the rate allows it again
        while (await status(server)).status != 200:
            await asyncio.sleep(0.1)


async def test_a_connection_without_a_complete_request_is_closed(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, IDLE_SECONDS="0.5", KEEP_ALIVE_SECONDS="0.5")
    silent, slow, kept = [await asyncio.open_connection(*address(server)) for _ in range(3)]
    slow[1].write(b"GET /api/analytics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    kept[1].write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    for reader, writer in (silent, slow, kept):
        await within(TIMEOUT_SECONDS, reader.read(), "the end")
        writer.close()


async def test_a_connection_with_a_request_is_kept_longer_than_one_without(
    start_server: StartServer, database_url: str
) -> None:
    """A load balancer keeps its connections open, and uses them until its own time-out, of a minute with most."""
    server: Server = await start_server(database_url, IDLE_SECONDS="0.5", KEEP_ALIVE_SECONDS="3600")
    kept, slow = [await asyncio.open_connection(*address(server)) for _ in range(2)]
    request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

    async def get_health() -> bytes:
        kept[1].write(request)
        head = await within(TIMEOUT_SECONDS, kept[0].readuntil(b"\r\n\r\n"), "an answer")
        await kept[0].readexactly(len(b'{"status":"ok"}'))
        return head

    assert await get_health()
    for part in (request[:10], request[10:20]):  # the second part is read by aiohttp
        slow[1].write(part)
        await slow[1].drain()
    assert await within(TIMEOUT_SECONDS, slow[0].read(), "the end of a connection without a request") == b""
    assert (await get_health()).startswith(b"HTTP/1.1 200 OK\r\n")
    for _, writer in (kept, slow):
        writer.close()


async def test_headers_and_bodies_over_the_size_limits_are_rejected(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, MAX_HEADER_BYTES="1000", MAX_BODY_BYTES="100")
    assert (await status(server, headers={"X-Long": "x" * 900})).status == 200
    assert (await status(server, headers={"X-Long": "x" * 1100})).status == 400
    assert (await status(server, "/api/analytics?x=" + "x" * 1100)).status == 400
    assert (await status(server, headers={f"X-{n}": "x" for n in range(100)})).status == 400
    assert (await status(server, data=b"x" * 100)).status == 200
    assert (await status(server, data=b"x" * 101)).status == 413

    async def chunks() -> Any:
        yield b"x"

    assert (await status(server, data=chunks())).status == 413


async def test_the_largest_token_of_a_customer_is_accepted(
    start_server: StartServer, database_url: str, connect: Connect
) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    orders = list(range(10**9, 10**9 + 400))
    client = await connect(server.ws_url, headers={"Authorization": f"Bearer {token('customer', orders=orders)}"})
    await client.wait_until(lambda c: len(c.messages) >= 1, "the first message")
    assert client.messages[0]["topics"] == ["orders"]
    larger = await connect(server.ws_url)
    await larger.send(json.dumps({"type": "auth", "token": token("customer", orders=list(range(10**9, 10**9 + 2000)))}))
    assert await larger.wait_closed() == 3500
