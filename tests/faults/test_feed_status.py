"""While events do not flow, every client is told so, and when they do again: `feed_status`, `as_of` and the metric."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

import push.feed_monitor
from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.conftest import needs_one_worker
from tests.helpers.tcp_proxy import TcpProxy, url_via_proxy
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, Client, Connect, Message, Process, Server, StartServer, wait_until, within

ADMIN = {"Authorization": f"Bearer {token('admin')}"}
INSERT = "insert into orders (customer_name, customer_id, total) values ('Anna', 'anna', 1)"


class SseClient:
    """The messages of an event stream."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.messages: list[Message] = []
        self._lines = response.content

    async def read_until(self, condition: Callable[[Message], bool]) -> Message:
        async def read() -> Message:
            async for line in self._lines:
                if line.startswith(b"data: "):
                    self.messages.append(json.loads(line[6:]))
                    if condition(self.messages[-1]):
                        return self.messages[-1]
            raise AssertionError(f"the stream has ended: {self.messages}")

        return await within(TIMEOUT_SECONDS, read(), f"a message after {self.messages}")


@pytest.fixture
async def own_postgres(tmp_path: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL that the test may stop, with the starter table."""
    server = EmbeddedPostgres(tmp_path / "data", report=lambda line: None)
    url = await asyncio.to_thread(server.start)
    await migrate(url)
    await create_starter(url)
    yield server
    await asyncio.to_thread(server.release)


@asynccontextmanager
async def writer(url: str) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


def is_live(client: Client) -> bool | None:
    """What the client was told last; None if nothing."""
    told = client.of_type("feed_status")
    return told[-1]["live"] if told else None


async def wait_until_told(client: Client, live: bool) -> Message:
    await client.wait_until(lambda c: is_live(c) is live, f"feed_status with live={live}")
    return client.of_type("feed_status")[-1]


async def get_json(server: Server, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(server.http_url + path, headers=ADMIN) as response:
        assert response.status == 200
        return await response.json()


async def feed_live(server: Server) -> float:
    async with aiohttp.ClientSession() as http, http.get(server.http_url + "/metrics", headers=ADMIN) as response:
        lines = (await response.text()).splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("orderwire_feed_live ")))


@needs_one_worker
@pytest.mark.postgres
async def test_every_client_is_told_while_the_database_is_away(
    start_server: StartServer, connect: Connect, own_postgres: EmbeddedPostgres
) -> None:
    url = own_postgres.url
    server: Server = await start_server(url, JWT_SECRET=SECRET, AUTH_SECONDS=str(TIMEOUT_SECONDS), LOG_LEVEL="INFO")

    def shown(role: str, **claims: Any) -> dict[str, Any]:
        return {"headers": {"Authorization": f"Bearer {token(role, **claims)}"}}

    clients: dict[str, Client] = {
        "admin": await connect(server.ws_url, headers=ADMIN),
        "admin of one order": await connect(f"{server.ws_url}?topics=order:1", headers=ADMIN),
        "admin who conflates": await connect(f"{server.ws_url}?conflate=1", headers=ADMIN),
        "viewer": await connect(server.ws_url, **shown("viewer")),
        "customer": await connect(server.ws_url, **shown("customer", sub="anna")),
    }
    stranger = await connect(server.ws_url)
    async with aiohttp.ClientSession(headers=ADMIN) as http, http.get(server.http_url + "/api/sse") as response:
        stream = SseClient(response)
        await stream.read_until(lambda m: m["type"] == "authenticated")
        for client in clients.values():
            await client.wait_until(lambda c: bool(c.of_type("authenticated")), "the first messages")
        async with writer(url) as db:
            await db.execute(INSERT)
        await clients["admin"].wait_until(lambda c: len(c.events) == 1, "the event before")

        async def metric_says_so() -> bool:  # looked at every quarter of a second
            return await feed_live(server) == 1

        await wait_until(metric_says_so, "the metric")
        before = await get_json(server, "/api/analytics")

        await asyncio.to_thread(own_postgres.release)
        told = [await wait_until_told(client, False) for client in clients.values()]
        told.append(await stream.read_until(lambda m: m["type"] == "feed_status"))
        # Nothing of the address, the role or the error: customers read it too.
        assert {message["reason"] for message in told} == {"the database cannot be reached"}
        since = datetime.fromisoformat(told[0]["since"])
        assert datetime.fromisoformat(before["as_of"]) <= since
        assert told[0]["since"].endswith("Z")
        assert await feed_live(server) == 0
        during = await get_json(server, "/api/analytics")
        assert datetime.fromisoformat(during["as_of"]) == since
        assert during["total_orders"] == 1

        # A client that comes now is let in, and told at once; one without a token is told nothing.
        late = await connect(server.ws_url, headers=ADMIN)
        await late.wait_until(lambda c: len(c.messages) >= 3, "the first messages")
        assert [message["type"] for message in late.messages[:3]] == ["analytics_update", "feed_status", "authenticated"]
        assert late.messages[1]["live"] is False
        async with http.get(server.http_url + "/api/sse") as second:
            late_stream = SseClient(second)
            await late_stream.read_until(lambda m: m["type"] == "authenticated")
            assert [message["type"] for message in late_stream.messages] == ["analytics_update", "feed_status", "authenticated"]
        assert stranger.messages == []
        await stranger.send(json.dumps({"type": "auth", "token": token("customer", sub="bo")}))
        await stranger.wait_until(lambda c: len(c.messages) >= 3, "the first messages")
        assert [message["type"] for message in stranger.messages[:3]] == ["subscribed", "feed_status", "authenticated"]

        assert await asyncio.to_thread(own_postgres.start) == url
        for client in (*clients.values(), late, stranger):
            message = await wait_until_told(client, True)
            assert "reason" not in message
            assert datetime.fromisoformat(message["since"]) > since
        assert (await stream.read_until(lambda m: m["type"] == "feed_status"))["live"] is True
        assert await feed_live(server) == 1
        async with writer(url) as db:
            await db.execute(INSERT)
        for name in ("admin", "customer", "admin who conflates"):
            await clients[name].wait_until(lambda c: len(c.events) >= 2, "the event after")
        assert datetime.fromisoformat((await get_json(server, "/api/analytics"))["as_of"]) > since
        # One message for each change, to each client.
        for client in clients.values():
            assert [message["live"] for message in client.of_type("feed_status")] == [False, True]
        await server.stop()


async def test_a_connection_that_does_not_answer_is_said_before_it_is_given_up(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, postgres: EmbeddedPostgres
) -> None:
    """Half-open: to the server it looks well until DATABASE_TIMEOUT_SECONDS."""
    between = TcpProxy(int(postgres.url.rsplit(":", 1)[1].split("/")[0]))
    try:
        url = url_via_proxy(database_url, await between.start())
        server: Server = await start_server(url, DATABASE_TIMEOUT_SECONDS=str(int(TIMEOUT_SECONDS)))
        client = await connect(server.ws_url)
        await client.wait_until(lambda c: bool(c.messages), "the first message")
        between.stalled = True
        assert (await wait_until_told(client, False))["reason"] == push.feed_monitor.NO_ANSWER
        await server.stop()
    finally:
        await between.stop()


@pytest.mark.postgres
async def test_the_clients_of_each_worker_are_told(
    start_server: StartServer, connect: Connect, own_postgres: EmbeddedPostgres
) -> None:
    server: Server = await start_server(own_postgres.url, WORKERS="2")
    clients = [await connect(server.ws_url) for _ in range(12)]
    for client in clients:
        await client.wait_until(lambda c: bool(c.messages), "the first message")
    await asyncio.to_thread(own_postgres.release)
    for client in clients:
        await wait_until_told(client, False)
    await asyncio.to_thread(own_postgres.start)
    for client in clients:
        await wait_until_told(client, True)
    await server.stop()


@pytest.mark.postgres
async def test_watch_says_it_too(own_postgres: EmbeddedPostgres, root: Path) -> None:
    watch = await Process.start(sys.executable, "server.py", "watch", env={"DATABASE_URL": own_postgres.url})
    try:
        await watch.wait_for_line("0 orders")
        await asyncio.to_thread(own_postgres.release)
        assert "the database cannot be reached" in await watch.wait_for_line("events do not flow since")
        await asyncio.to_thread(own_postgres.start)
        await watch.wait_for_line("events flow again")
        assert await watch.stop() == 0
    finally:
        await watch.kill()
