"""Each route answers, in a server process and in an application that is mounted below a prefix of another one.

These are also the two ways of a WebSocket: a server process reads the handshake itself (gateway/inbound.py), a mounted
application gets it from aiohttp (gateway/http/detach.py).
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from service.application import __version__, create_app
from settings import Settings
from tests.gateway.conftest import StartApp, Target
from tests.support import TIMEOUT_SECONDS, Client, Server, StartServer, within

pytestmark = pytest.mark.usefixtures("built")

PREFIX = "/shop/orderwire"
INSERT = "insert into orders (customer_name, total) values ('Anna', 5)"


@pytest.fixture(params=["process", "mounted"])
async def target(request: Any, start_server: StartServer, start_app: StartApp, database_url: str) -> Target:
    if request.param == "process":
        server: Server = await start_server(database_url)
        assert f"dashboard  {server.http_url}/admin/dashboard" in server.lines
        return server

    def mount(app: web.Application) -> tuple[web.Application, str]:
        host = web.Application()
        host.add_subapp(PREFIX, app)
        return host, PREFIX

    return await start_app(mount=mount)


async def get(target: Target, path: str, content_type: str) -> str:
    async with aiohttp.ClientSession() as http, http.get(target.http_url + path) as response:
        assert (response.status, response.content_type) == (200, content_type), path
        return await response.text()


async def get_json(target: Target, path: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(target.http_url + path) as response:
        assert response.status == 200, path
        return await response.json()


async def check_root(target: Target, _db: Any) -> None:
    async with aiohttp.ClientSession() as http, http.get(target.http_url + "/", allow_redirects=False) as response:
        assert response.status == 302
        assert target.http_url.endswith(response.headers["Location"].removesuffix("/admin/dashboard"))


async def check_dashboard(target: Target, _db: Any) -> None:
    assert "<title>Orderwire" in await get(target, "/admin/dashboard", "text/html")


async def check_view(target: Target, _db: Any) -> None:
    """The page, from which its assets are further up."""
    assert 'src="../assets/' in await get(target, "/admin/dashboard/board", "text/html")


async def check_order_page(target: Target, _db: Any) -> None:
    assert 'src="../../assets/' in await get(target, "/admin/dashboard/orders/a%2Fb", "text/html")


async def check_asset(target: Target, _db: Any) -> None:
    page = await get(target, "/admin/dashboard", "text/html")
    [name] = re.findall(r'src="[^"]*/assets/([^"]+\.js)"', page)
    assert await get(target, f"/admin/assets/{name}", "text/javascript")


async def check_page_file(target: Target, _db: Any) -> None:
    assert "skipWaiting" in await get(target, "/admin/worker.js", "text/javascript")
    assert "start_url" in await get(target, "/admin/manifest.webmanifest", "application/manifest+json")


async def check_client(target: Target, _db: Any) -> None:
    assert "WebSocketService" in await get(target, "/client/orderwire.js", "text/javascript")


async def check_openapi(target: Target, _db: Any) -> None:
    assert "/api/orders" in (await get_json(target, "/openapi.json"))["paths"]


async def check_asyncapi(target: Target, _db: Any) -> None:
    assert "websocket" in (await get_json(target, "/asyncapi.json"))["channels"]


async def check_docs(target: Target, _db: Any) -> None:
    """The page, whose assets are those of the dashboard."""
    page = await get(target, "/api/docs", "text/html")
    [name] = re.findall(r'src="\.\./admin/assets/([^"]+\.js)"', page)
    assert await get(target, f"/admin/assets/{name}", "text/javascript")


async def check_websocket(target: Target, db: Any) -> None:
    client = await Client.connect(target.ws_url)
    try:
        await client.wait_until(lambda c: c.messages[:1] == [c.totals] if c.messages else False, "the totals")
        await db.execute(INSERT)
        await client.wait_until(lambda c: [event["type"] for event in c.events] == ["new_order"], "the event")
        await client.send('{"type":"ping"}')
        await client.wait_until(lambda c: bool(c.of_type("pong")), "the answer to a command")
    finally:
        await client.disconnect()


async def check_sse(target: Target, db: Any) -> None:
    async def until(response: aiohttp.ClientResponse, line: bytes) -> None:
        async for received in response.content:
            if received == line:
                return
        raise AssertionError("the stream has ended")

    async with aiohttp.ClientSession() as http, http.get(target.http_url + "/api/sse") as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        await within(TIMEOUT_SECONDS, until(response, b"event: analytics_update\n"), "the totals")
        await db.execute(INSERT)
        await within(TIMEOUT_SECONDS, until(response, b"event: new_order\n"), "the event")


async def check_events(target: Target, db: Any) -> None:
    await db.execute(INSERT)
    events = (await get_json(target, "/api/events"))["events"]
    assert len(events) == await db.fetchval("select count(*) from orders")
    assert events[-1]["type"] == "new_order"


async def check_orders(target: Target, db: Any) -> None:
    order_id = await db.fetchval(INSERT + " returning id")
    assert (await get_json(target, "/api/orders"))["orders"][0]["id"] == order_id


async def check_orders_csv(target: Target, db: Any) -> None:
    order_id = await db.fetchval(INSERT + " returning id")
    assert (await get(target, "/api/orders.csv", "text/csv")).split("\r\n")[1].startswith(f"{order_id},")


async def check_order(target: Target, db: Any) -> None:
    order_id = await db.fetchval(INSERT + " returning id")
    assert (await get_json(target, f"/api/orders/{order_id}"))["key"] == str(order_id)


async def check_order_events(target: Target, db: Any) -> None:
    order_id = await db.fetchval(INSERT + " returning id")
    (event,) = (await get_json(target, f"/api/orders/{order_id}/events"))["events"]
    assert (event["type"], event["order_id"]) == ("new_order", order_id)


async def check_change(target: Target, db: Any) -> None:
    order_id = await db.fetchval(INSERT + " returning id")
    body = {"status": "ready", "from": "pending"}
    async with aiohttp.ClientSession() as http, http.patch(f"{target.http_url}/api/orders/{order_id}", json=body) as response:
        assert (response.status, (await response.json())["error"]["reason"]) == (403, "no_login")


async def check_order_path(target: Target, db: Any) -> None:
    await check_order(target, db)
    await check_change(target, db)


async def check_test_order(target: Target, _db: Any) -> None:
    async with aiohttp.ClientSession() as http, http.post(target.http_url + "/api/test-order", json={}) as response:
        assert (response.status, (await response.json())["error"]["reason"]) == (403, "playground")


async def check_meta(target: Target, _db: Any) -> None:
    assert (await get_json(target, "/api/meta"))["version"] == __version__


async def check_analytics(target: Target, db: Any) -> None:
    await db.execute(INSERT)
    assert (await get_json(target, "/api/analytics"))["total_orders"] == await db.fetchval("select count(*) from orders")


async def check_series(target: Target, db: Any) -> None:
    await db.execute(INSERT)
    statuses = (await get_json(target, "/api/series?period=1h"))["statuses"]
    assert sum(entry["orders"] for entry in statuses.values()) == await db.fetchval("select count(*) from orders")


async def check_metrics(target: Target, _db: Any) -> None:
    assert re.search(r"^orderwire_ready 1\.0$", await get(target, "/metrics", "text/plain"), re.MULTILINE)


async def check_health(target: Target, _db: Any) -> None:
    assert await get_json(target, "/healthz") == {"status": "ok"}


async def check_readiness(target: Target, _db: Any) -> None:
    assert await get_json(target, "/readyz") == {"status": "ok"}


CHECKS: dict[str, Callable[[Target, Any], Awaitable[None]]] = {
    "/": check_root,
    "/admin/dashboard": check_dashboard,
    "/admin/dashboard/{view}": check_view,
    "/admin/dashboard/orders/{key}": check_order_page,
    "/admin/assets/{name}": check_asset,
    "/admin/{name}": check_page_file,
    "/client/{name}": check_client,
    "/openapi.json": check_openapi,
    "/asyncapi.json": check_asyncapi,
    "/api/docs": check_docs,
    "/api/ws": check_websocket,
    "/api/sse": check_sse,
    "/api/events": check_events,
    "/api/orders": check_orders,
    "/api/orders.csv": check_orders_csv,
    "/api/orders/{key}": check_order_path,
    "/api/orders/{key}/events": check_order_events,
    "/api/test-order": check_test_order,
    "/api/meta": check_meta,
    "/api/analytics": check_analytics,
    "/api/series": check_series,
    "/metrics": check_metrics,
    "/healthz": check_health,
    "/readyz": check_readiness,
}


def test_every_route_of_the_application_is_checked() -> None:
    app = create_app(Settings.from_environment({"DATABASE_URL": "postgresql://127.0.0.1/database"}))
    assert {resource.canonical for resource in app.router.resources()} == set(CHECKS)


async def test_every_route_answers(target: Target, db: Any) -> None:
    for check in CHECKS.values():
        await check(target, db)
