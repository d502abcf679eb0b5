"""The application runs in any aiohttp server: as its root application, or as a sub-application of another one."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from pytest_aiohttp import AiohttpClient

from db.database import Database
from gateway.app_keys import HUB, METRICS
from service import create_app
from settings import Settings
from tests.gateway.conftest import App, StartApp
from tests.helpers.tokens import SECRET, token
from tests.support import Connect, within

INSERT = "insert into orders (customer_name, total) values ('Anna', 5)"
PREFIX = "/shop/orderwire"


def as_root(app: web.Application) -> tuple[web.Application, str]:
    return app, ""


def as_subapp(app: web.Application) -> tuple[web.Application, str]:
    async def home(_request: web.Request) -> web.Response:
        return web.Response(text="the shop")

    host = web.Application()
    host.router.add_get("/", home)
    host.add_subapp(PREFIX, app)
    return host, PREFIX


async def first_sse_event(app: App, started: asyncio.Event) -> str:
    async with aiohttp.ClientSession() as session, session.get(app.http_url + "/api/sse") as response:
        assert response.status == 200
        async for line in response.content:
            if line.startswith(b"event: analytics_update"):
                started.set()
            if line.startswith(b"event: new_order"):
                return line.decode()
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("websocket_io", ["auto", "transport"])
@pytest.mark.parametrize("mount", [as_root, as_subapp])
async def test_events_reach_a_websocket_and_an_sse_client(
    start_app: StartApp, connect: Connect, db: Any, mount: Any, websocket_io: str
) -> None:
    app = await start_app(mount=mount, WEBSOCKET_IO=websocket_io)
    client = await connect(app.ws_url)
    subscribed = asyncio.Event()
    sse = asyncio.create_task(first_sse_event(app, subscribed))
    await within(10, subscribed.wait(), "the totals over SSE")
    await db.execute(INSERT)
    await client.wait_until(lambda c: [event["type"] for event in c.events] == ["new_order"], "the event over WebSocket")
    await within(10, asyncio.wait([sse]), "the event over SSE")
    assert sse.result() == "event: new_order\n"


async def test_paths_of_a_sub_application_have_its_prefix(start_app: StartApp) -> None:
    """What depends on the path: public paths, cross-origin headers, the redirect to the dashboard."""
    app = await start_app(mount=as_subapp, JWT_SECRET=SECRET, ALLOWED_ORIGINS="https://shop.example")
    origin = {"Origin": "https://elsewhere.example"}
    assert (await app.http.get(PREFIX + "/healthz", headers=origin)).status == 200
    assert (await app.http.get(PREFIX + "/api/orders", headers=origin)).status == 403
    assert (await app.http.get(PREFIX + "/client/none.js", headers=origin)).status == 404
    bearer = {"Authorization": f"Bearer {token('admin')}", "Origin": "https://shop.example"}
    answer = await app.http.get(PREFIX + "/api/orders", headers=bearer)
    assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, "https://shop.example")
    redirect = await app.http.get(PREFIX + "/", allow_redirects=False)
    assert (redirect.status, redirect.headers["Location"]) == (302, PREFIX + "/admin/dashboard")
    missing = await app.http.get(PREFIX + "/nothing")
    assert (missing.status, (await missing.json())["error"]["code"]) == (404, "not_found")
    assert await (await app.http.get("/")).text() == "the shop"


async def test_clean_up_drains_the_sessions(start_app: StartApp, connect: Connect) -> None:
    app = await start_app()
    clients = [await connect(app.ws_url) for _ in range(3)]
    for client in clients:
        await client.wait_until(lambda c: bool(c.messages), "the totals")
    async with aiohttp.ClientSession() as http, http.get(app.http_url + "/api/sse") as stream:
        await within(10, stream.content.readuntil(b"\nid: "), "the cursor from which the stream is live")
        await app.close()
        await within(10, stream.read(), "the end of the stream, which raises ClientPayloadError without the last chunk")
    assert [await client.wait_closed() for client in clients] == [3001] * 3
    assert len(app.app[HUB]) == 0


async def test_a_session_counts_as_a_connection_until_it_ends(start_app: StartApp, connect: Connect) -> None:
    """aiohttp accepts the connections: the limits count requests that are not answered yet, and sessions."""
    app = await start_app(MAX_CONNECTIONS_PER_ADDRESS="2")
    clients = [await connect(app.ws_url) for _ in range(2)]
    rejected = await connect(app.ws_url)
    assert await rejected.wait_closed() == 3504
    assert (await app.http.get("/healthz")).status == 429
    for client in clients:
        await client.disconnect()
    await within(10, until_no_connection_is_left(app), "the connections are released")
    assert (await app.http.get("/healthz")).status == 200


async def test_a_stream_counts_as_a_connection_until_its_client_leaves(start_app: StartApp) -> None:
    app = await start_app(MAX_CONNECTIONS_PER_ADDRESS="2")
    async with aiohttp.ClientSession() as http, http.get(app.http_url + "/api/sse"), http.get(app.http_url + "/api/sse"):
        assert (await app.http.get("/healthz")).status == 429
    await within(10, until_no_connection_is_left(app), "the connections are released")
    assert (await app.http.get("/healthz")).status == 200


async def until_no_connection_is_left(app: App) -> None:
    while app.app[METRICS].registry.get_sample_value("orderwire_tcp_connections"):
        await asyncio.sleep(0.01)


async def test_the_rate_of_handshakes_is_limited(start_app: StartApp) -> None:
    """A bucket holds two seconds' worth, at least one request: the second request within ten seconds is one too many."""
    app = await start_app(HANDSHAKES_PER_SECOND="0.1")
    assert [(await app.http.get("/healthz")).status for _ in range(2)] == [200, 429]


async def test_a_background_task_that_fails_is_reported(
    aiohttp_client: AiohttpClient, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """To ``on_failure``; by default as a critical log line. The application goes on answering."""

    async def fail(*_: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Database, "maintain_partitions", fail)
    settings = Settings.from_environment({"DATABASE_URL": database_url})
    failures: asyncio.Queue[tuple[str, BaseException]] = asyncio.Queue()
    await aiohttp_client(create_app(settings, lambda name, error: failures.put_nowait((name, error))))
    name, error = await within(10, failures.get(), "a failure")
    assert (name, str(error)) == ("retention", "a bug")

    http = await aiohttp_client(create_app(settings))

    async def logged() -> None:
        while not any(record.levelname == "CRITICAL" for record in caplog.records):
            await asyncio.sleep(0.01)

    await within(10, logged(), "a critical log line")
    assert [record.getMessage() for record in caplog.records if record.levelname == "CRITICAL"] == [
        "background task 'retention' has failed: events may not arrive any more"
    ]
    assert (await http.get("/healthz")).status == 200


async def test_an_application_starts_while_its_database_is_away(start_app: StartApp) -> None:
    app = await start_app("postgresql://unused@127.0.0.1:1/none", wait=False)
    assert (await app.http.get("/healthz")).status == 200
    assert (await app.http.get("/readyz")).status == 503


async def test_an_unknown_expectation_is_417(start_app: StartApp) -> None:
    """Also where the bytes are not UTF-8, which aiohttp's own handler answers with 500."""
    app = await start_app()
    for expectation in (b"nonsense", b"\xff"):
        reader, writer = await asyncio.open_connection(app.http.host, app.http.port)
        writer.write(
            b"GET /api/orders HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nExpect: " + expectation + b"\r\n\r\n"
        )
        assert (await within(10, reader.readline(), "an answer")).startswith(b"HTTP/1.1 417 ")
        writer.close()
        await writer.wait_closed()
