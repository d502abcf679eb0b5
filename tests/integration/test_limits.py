"""Limits: whoever goes over one is told so; nobody else notices."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import Any

import aiohttp
import pytest

from tests.conftest import needs_one_worker
from tests.support import TIMEOUT_SECONDS, Connect, Server, StartServer, within
from tests.tokens import SECRET, token


async def status(server: Server, path: str = "/api/analytics", **options: Any) -> aiohttp.ClientResponse:
    # A connection of its own for each.
    async with aiohttp.ClientSession() as http, http.get(server.http_url + path, **options) as response:
        await response.read()
        return response


def address(server: Server) -> tuple[str, int]:
    host, port = server.http_url.removeprefix("http://").split(":")
    return host, int(port)


@needs_one_worker
@pytest.mark.parametrize("limit", ["MAX_CONNECTIONS", "MAX_CONNECTIONS_PER_ADDRESS"])
async def test_one_connection_too_many(
    start_server: StartServer, database_url: str, connect: Connect, db: Any, limit: str
) -> None:
    server: Server = await start_server(database_url, **{limit: "3"})
    inside = [await connect(server.ws_url) for _ in range(3)]
    outside = await connect(server.ws_url)
    assert await outside.wait_closed() == 3504
    assert outside.messages == []
    for path in ("/api/sse", "/api/orders"):
        refused = await status(server, path)
        assert refused.status == 429
        assert refused.headers["Retry-After"] == "1"
    await inside.pop().disconnect()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (await status(server)).status != 200:
            await asyncio.sleep(0.01)
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    for client in inside:
        await client.wait_until(lambda c: len(c.events) == 1, "an event")


@needs_one_worker
async def test_clients_behind_a_proxy_are_counted_by_themselves(
    start_server: StartServer, database_url: str, connect: Connect
) -> None:
    server: Server = await start_server(
        database_url, JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1", MAX_CONNECTIONS_PER_ADDRESS="2", HANDSHAKES_PER_SECOND="2"
    )

    def headers(n: int) -> dict[str, str]:
        return {"X-Forwarded-For": f"198.51.100.{n}", "Authorization": f"Bearer {token()}"}

    for _ in range(2):
        client = await connect(server.ws_url, headers=headers(1))
        await client.wait_until(lambda c: len(c.messages) >= 1, "let in")
    assert await (await connect(server.ws_url, headers=headers(1))).wait_closed() == 3504
    for n in range(2, 12):
        client = await connect(server.ws_url, headers=headers(n))
        await client.wait_until(lambda c: len(c.messages) >= 1, "let in")
    answers = [(await status(server, headers=headers(20))).status for _ in range(5)]
    assert answers == [200, 200, 200, 200, 429]
    assert (await status(server, headers=headers(21))).status == 200


@needs_one_worker
async def test_requests_beyond_the_pace_of_an_address(start_server: StartServer, database_url: str, connect: Connect) -> None:
    server: Server = await start_server(database_url, HANDSHAKES_PER_SECOND="5")
    async with aiohttp.ClientSession() as http:  # one connection, kept alive
        found = []
        for _ in range(30):
            async with http.get(server.http_url + "/api/analytics") as response:
                found.append(response.status)
                assert response.status == 200 or response.headers["Retry-After"] == "1"
        assert found[:9] == [200] * 9
        assert 429 in found
        # Connections cost as much as requests; what is too much gets an answer without being looked at.
        refused = await status(server)
        assert refused.status == 429
        assert (await refused.json())["error"]["code"] == "too_many_requests"
        with pytest.raises(aiohttp.WSServerHandshakeError) as raised:
            await http.ws_connect(server.ws_url)
        assert raised.value.status == 429
    async with asyncio.timeout(TIMEOUT_SECONDS):  # after a while it is welcome again
        while (await status(server)).status != 200:
            await asyncio.sleep(0.1)


async def test_frames_and_bytes_beyond_a_clients_pace(start_server: StartServer, database_url: str, connect: Connect) -> None:
    server: Server = await start_server(database_url, FRAMES_PER_SECOND="10", BYTES_PER_SECOND="4KiB")
    other = await connect(server.ws_url)
    fast, fat, pinging = [await connect(server.ws_url) for _ in range(3)]
    with suppress(ConnectionError):  # it may be closed before all is sent
        for _ in range(200):
            await fast.ws.send_str("{}")
    with suppress(ConnectionError):
        for _ in range(200):
            await pinging.ws.ping()
    await fat.ws.send_str('{"type":"pong","x":"' + "x" * 9000 + '"}')
    for client in (fast, fat, pinging):
        assert await client.wait_closed() == 3013
    await other.send('{"type":"ping"}')
    await other.wait_until(lambda c: len(c.of_type("pong")) == 1, "pong")


async def test_a_connection_that_sends_no_request_is_cut(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url, IDLE_SECONDS="0.5")
    silent, slow, kept = [await asyncio.open_connection(*address(server)) for _ in range(3)]
    slow[1].write(b"GET /api/analytics HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ")
    kept[1].write(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    for reader, writer in (silent, slow, kept):
        await within(TIMEOUT_SECONDS, reader.read(), "the end")
        writer.close()


async def test_headers_and_bodies_have_a_size(start_server: StartServer, database_url: str) -> None:
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


async def test_a_customers_token_as_large_as_tokens_get(start_server: StartServer, database_url: str, connect: Connect) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    orders = list(range(10**9, 10**9 + 400))
    client = await connect(server.ws_url, headers={"Authorization": f"Bearer {token('customer', orders=orders)}"})
    await client.wait_until(lambda c: len(c.messages) >= 1, "first frame")
    assert len(client.messages[0]["topics"]) == 400
    larger = await connect(server.ws_url)
    await larger.send(json.dumps({"type": "auth", "token": token("customer", orders=list(range(10**9, 10**9 + 2000)))}))
    assert await larger.wait_closed() == 3500
