"""The server behind the proxies of docs/ops, each with its configuration there. Skipped for those that are not installed."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.conftest import needs_one_worker
from tests.helpers.reverse_proxies import PROXIES, needs, run_proxy
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, free_port, within

pytestmark = needs_one_worker

each_proxy = pytest.mark.parametrize("proxy", [pytest.param(name, marks=needs(name)) for name in PROXIES])


def address_of(server: Server) -> str:
    return urlsplit(server.http_url).netloc


async def connect_through(connect: Connect, address: str, ssl_context: ssl.SSLContext, query: str = "") -> Client:
    """As a page does that was loaded through the proxy: with its origin, and the token in a subprotocol."""
    client: Client = await connect(
        f"wss://{address}/api/ws{query}",
        ssl=ssl_context,
        protocols=["orderwire", f"bearer.{token('admin')}"],
        headers={"Origin": f"https://{address}"},
    )
    return client


@asynccontextmanager
async def event_stream(address: str, ssl_context: ssl.SSLContext) -> AsyncIterator[aiohttp.StreamReader]:
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {token('admin')}"}) as http,
        http.get(f"https://{address}/api/sse", ssl=ssl_context) as response,
    ):
        assert response.status == 200
        yield response.content


async def read_until(stream: aiohttp.StreamReader, text: str, times: int = 1) -> None:
    async def read() -> None:
        received = ""
        while received.count(text) < times:
            data = await stream.readany()
            assert data, f"the stream has ended: {received}"
            received += data.decode()

    await within(TIMEOUT_SECONDS, read(), f"{text!r}, {times} times")


@each_proxy
async def test_websocket_and_event_stream_over_tls(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, tmp_path: Path, proxy: str
) -> None:
    """The proxy passes on the host that was asked for, so the page's origin is accepted; and it does not buffer the stream."""
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1")
    async with run_proxy(proxy, address_of(server), tmp_path) as (address, ssl_context):
        client = await connect_through(connect, address, ssl_context)
        await client.wait_until(lambda c: len(c.messages) >= 2, "the first frames")
        async with event_stream(address, ssl_context) as stream:
            await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
            await client.wait_until(lambda c: len(c.events) == 1, "an event")
            await read_until(stream, "event: new_order")


@each_proxy
async def test_limits_and_log_have_the_client_s_address_and_not_what_it_claims(
    start_server: StartServer, database_url: str, tmp_path: Path, proxy: str
) -> None:
    server: Server = await start_server(
        database_url,
        JWT_SECRET=SECRET,
        TRUSTED_PROXIES="127.0.0.1",
        MAX_CONNECTIONS_PER_ADDRESS="2",
        LOG_LEVEL="DEBUG",
    )
    async with run_proxy(proxy, address_of(server), tmp_path) as (address, ssl_context):
        headers = {"Authorization": f"Bearer {token('admin')}", "X-Forwarded-For": "203.0.113.9"}

        def session_from(source: str) -> aiohttp.ClientSession:
            return aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(source, 0)), headers=headers)

        url = f"wss://{address}/api/ws"
        async with session_from("127.0.0.2") as there, session_from("127.0.0.3") as elsewhere:
            kept = [await there.ws_connect(url, ssl=ssl_context) for _ in range(2)]
            for socket in kept:
                assert (await socket.receive()).type is aiohttp.WSMsgType.TEXT
            await server.wait_for_line("address=127.0.0.2")
            third = await there.ws_connect(url, ssl=ssl_context)
            assert (await third.receive()).type is aiohttp.WSMsgType.CLOSE
            assert third.close_code == 3504
            other = await elsewhere.ws_connect(url, ssl=ssl_context)
            assert (await other.receive()).type is aiohttp.WSMsgType.TEXT
    assert "203.0.113.9" not in server.output


@each_proxy
async def test_heartbeats_keep_idle_sessions_open_longer_than_the_proxy_s_time_outs(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, tmp_path: Path, proxy: str
) -> None:
    """Time-outs of 2 s and a heartbeat of 0.5 s, in place of 75 s and 30 s."""
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1", HEARTBEAT_SECONDS="0.5")
    changes = PROXIES[proxy].short_timeouts
    async with run_proxy(proxy, address_of(server), tmp_path, changes) as (address, ssl_context):
        client = await connect_through(connect, address, ssl_context)
        async with event_stream(address, ssl_context) as stream:
            for count in range(1, 9):
                await client.wait_until(lambda c, n=count: len(c.of_type("ping")) >= n, "a heartbeat")  # type: ignore[misc]
                await client.send('{"type":"pong"}')
            await read_until(stream, ": ping", 8)
            await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
            await client.wait_until(lambda c: len(c.events) == 1, "an event")
            await read_until(stream, "event: new_order")


@each_proxy
async def test_clients_are_told_of_a_restart_and_resume_through_the_proxy(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, tmp_path: Path, proxy: str
) -> None:
    settings = {"JWT_SECRET": SECRET, "TRUSTED_PROXIES": "127.0.0.1", "PORT": free_port()}
    server: Server = await start_server(database_url, **settings)
    async with run_proxy(proxy, address_of(server), tmp_path) as (address, ssl_context):
        client = await connect_through(connect, address, ssl_context)
        await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
        await client.wait_until(lambda c: len(c.events) == 1, "an event")
        async with event_stream(address, ssl_context) as stream:
            server.process.send_signal(signal.SIGTERM)
            assert await client.wait_closed() == 3001
            await within(TIMEOUT_SECONDS, stream.read(), "the end of the stream")
        assert await server.wait_for_exit() == 0
        await db.execute("insert into orders (customer_name, total) values ('Bert', 1)")
        await start_server(database_url, **settings)

        async def come_back() -> Client:
            while True:
                try:
                    return await connect_through(connect, address, ssl_context, f"?last_event_id={client.events[0]['id']}")
                except aiohttp.WSServerHandshakeError as error:
                    if error.status not in (502, 503):  # those say that the proxy has not noticed yet that the server is back
                        raise
                    await asyncio.sleep(0.1)

        # Apache answers 503 for a minute after one refused connection, unless it is told otherwise.
        again = await within(30, come_back(), "a new session")
        await again.wait_until(lambda c: bool(c.events) and bool(c.of_type("resumed")), "what was missed")
        assert again.of_type("resumed")[0]["recovered"]
        assert [event["customer_name"] for event in again.events] == ["Bert"]


@needs("nginx")
async def test_nginx_logs_no_token(start_server: StartServer, connect: Connect, database_url: str, tmp_path: Path) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1")
    async with run_proxy("nginx", address_of(server), tmp_path) as (address, ssl_context):
        client = await connect_through(connect, address, ssl_context)
        await client.wait_until(lambda c: bool(c.messages), "the totals")
        await client.disconnect()
    log = (tmp_path / "access.log").read_text()
    assert "/api/ws" in log
    assert "bearer" not in log


@needs("nginx")
@pytest.mark.parametrize("upstream", ["http://orderwire", "http://orderwire/"], ids=["keeps", "strips"])
async def test_nginx_serves_it_below_a_path(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, tmp_path: Path, upstream: str
) -> None:
    """Passed on as it is, or with the path taken away."""
    server: Server = await start_server(
        database_url, JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1", BASE_PATH="/shop/orderwire"
    )
    changes = {"location /": "location /shop/orderwire/", "proxy_pass http://orderwire;": f"proxy_pass {upstream};"}
    async with run_proxy("nginx", address_of(server), tmp_path, changes) as (address, ssl_context):
        client: Client = await connect(
            f"wss://{address}/shop/orderwire/api/ws",
            ssl=ssl_context,
            protocols=["orderwire", f"bearer.{token()}"],
            headers={"Origin": f"https://{address}"},
        )
        await client.wait_until(lambda c: bool(c.messages), "the totals")
        headers = {"Authorization": f"Bearer {token()}"}
        async with aiohttp.ClientSession(headers=headers) as http:
            for path, landed in (("", "admin/dashboard"), ("/", "admin/dashboard"), ("/api/orders", "api/orders")):
                async with http.get(f"https://{address}/shop/orderwire{path}", ssl=ssl_context) as response:
                    assert (response.status, str(response.url)) == (200, f"https://{address}/shop/orderwire/{landed}")
            await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
            await client.wait_until(lambda c: len(c.events) == 1, "an event")


@needs("nginx")
async def test_nginx_as_it_is_by_default_makes_no_visitor_local(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """It adds no header and speaks HTTP/1.0: without login its clients must not count as this machine."""
    server: Server = await start_server(database_url)
    changes = {r"(?m)^ +proxy_(set_header|http_version) .*\n": ""}
    async with (
        run_proxy("nginx", address_of(server), tmp_path, changes) as (address, ssl_context),
        aiohttp.ClientSession() as http,
        http.get(f"https://{address}/api/orders", ssl=ssl_context) as response,
    ):
        assert response.status == 403
        assert "proxy" in await response.text()
