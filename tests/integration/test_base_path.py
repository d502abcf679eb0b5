"""BASE_PATH: a server process behind a proxy that serves it below a prefix, which the proxy takes away or not."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urljoin

import aiohttp
import pytest
from yarl import URL

from tests.helpers.prefix_proxy import prefix_proxy
from tests.support import Connect, Server, StartServer

PREFIX = "/shop/orderwire"

pytestmark = pytest.mark.usefixtures("built")


@pytest.fixture
async def server(start_server: StartServer, database_url: str) -> Server:
    return await start_server(database_url, BASE_PATH=PREFIX + "/")


@pytest.fixture(params=["strips", "keeps", "none"])
async def site(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[str]:
    """The address of the server with its prefix, by way of a proxy or without one."""
    if request.param == "none":
        yield server.http_url
        return
    async with prefix_proxy(server.http_url, PREFIX, strips=request.param == "strips") as url:
        yield url


async def test_the_printed_addresses_have_the_prefix(server: Server) -> None:
    assert re.fullmatch(rf"http://127\.0\.0\.1:\d+{PREFIX}", server.http_url)
    assert any(line.endswith(f"{PREFIX}/admin/dashboard") for line in server.lines)


async def test_the_page_its_assets_and_the_api_are_below_the_prefix(site: str, db: Any) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Anna', 5)")
    async with aiohttp.ClientSession() as http:
        for path in ("", "/"):
            async with http.get(site + path, allow_redirects=False) as response:
                assert (response.status, response.headers["Location"]) == (302, f"{PREFIX}/admin/dashboard")
        async with http.get(site + "/") as response:
            assert response.status == 200
            page_url, page = str(response.url), await response.text()
        assert page_url == f"{site}/admin/dashboard"
        names = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert len(names) >= 3
        for name in names:
            async with http.get(urljoin(page_url, name)) as response:
                assert response.status == 200, name
        async with http.get(site + "/client/orderwire.js") as response:
            script = await response.text()
        assert script.count(f"{PREFIX}/api/ws") == script.count("/api/ws") == 1
        async with http.get(site + "/api/orders?limit=1") as response:
            assert [order["customer_name"] for order in (await response.json())["orders"]] == ["Anna"]
        for path in ("/healthz", "/readyz", "/metrics"):
            async with http.get(site + path) as response:
                assert response.status == 200, path
        async with http.get(f"{site}{PREFIX}{PREFIX}/healthz") as response:
            assert response.status == 404


async def test_sessions_are_below_the_prefix(site: str, db: Any, connect: Connect) -> None:
    client = await connect(site.replace("http", "ws", 1) + "/api/ws?topics=orders")
    await client.wait_until(lambda c: bool(c.messages), "the totals")
    async with aiohttp.ClientSession() as http, http.get(site + "/api/sse") as stream:
        await db.execute("insert into orders (customer_name, total) values ('Anna', 5)")
        await client.wait_until(lambda c: len(c.events) == 1, "the event")
        async for line in stream.content:
            if line.startswith(b"data: ") and json.loads(line[6:])["type"] == "new_order":
                break
        else:
            raise AssertionError("the stream ended")


async def test_a_prefix_does_not_change_who_may_connect(site: str) -> None:
    """Not even one that looks like paths for which other rules hold."""
    evil = {"Origin": "https://evil.example"}
    async with aiohttp.ClientSession() as http:
        for path, status in (
            *(("/api/orders", 403), ("/client/orderwire.js", 200), ("/healthz", 200), ("/metrics", 403)),
            *(("/client/../api/orders", 404), ("/healthz/../api/orders", 403), ("/client/..%2fapi/orders", 404)),
        ):
            async with http.get(URL(site + path, encoded=True), headers=evil) as response:
                assert response.status == status, path
            headers = {**evil, "Host": "evil.example"}
            async with http.get(URL(site + path, encoded=True), headers=headers) as response:
                assert response.status == (200 if path == "/healthz" else 403), path  # without login: the host
        async with http.ws_connect(site.replace("http", "ws", 1) + "/api/ws", headers=evil) as ws:
            await ws.receive()
            assert ws.close_code == 3507
