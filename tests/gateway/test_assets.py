"""The dashboard, its assets and the client script: caching, compression and headers."""

from __future__ import annotations

import gzip
import re
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.gateway.conftest import StartApp
from web.build import WEB

pytestmark = pytest.mark.usefixtures("built")


@pytest.fixture
async def session(start_app: StartApp) -> AsyncIterator[aiohttp.ClientSession]:
    app = await start_app(CURRENCY="chf")
    async with aiohttp.ClientSession(app.http_url, auto_decompress=False) as session:
        yield session


async def assets(session: aiohttp.ClientSession) -> list[str]:
    async with session.get("/admin/dashboard", headers={"Accept-Encoding": "identity"}) as response:
        # Relative to the page, which may be below a prefix.
        return ["/admin/" + name for name in re.findall(r'(?:src|href)="\./(assets/[^"]+)"', await response.text())]


async def test_the_dashboard_is_revalidated_and_has_a_content_security_policy(session: aiohttp.ClientSession) -> None:
    async with session.get("/admin/dashboard") as response:
        assert response.status == 200
        assert response.content_type == "text/html"
        assert response.headers["Cache-Control"] == "no-cache"
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "style-src 'self';" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert b'data-currency="CHF"' in gzip.decompress(await response.read())
        etag = response.headers["ETag"]
    async with session.get("/admin/dashboard", headers={"If-None-Match": etag}) as response:
        assert response.status == 304
        assert response.headers["ETag"] == etag
        assert await response.read() == b""


async def test_assets_are_immutable(session: aiohttp.ClientSession) -> None:
    names = await assets(session)
    assert {name.rsplit(".")[-1] for name in names} == {"js", "css", "svg"}
    for name in names:
        async with session.get(name) as response:
            assert response.status == 200
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("GZIP;q=0.5, br;q=0", "gzip"),
        ("identity", None),
        ("gzip;q=0.000", None),
        ("", None),
    ],
)
async def test_assets_are_sent_in_the_best_encoding_that_is_accepted(
    session: aiohttp.ClientSession, accepted: str, encoding: str | None
) -> None:
    [name] = [name for name in await assets(session) if name.endswith(".js")]
    original = (WEB / "dist" / name.removeprefix("/admin/")).read_bytes()
    async with session.get(name, headers={"Accept-Encoding": accepted}) as response:
        assert response.headers.get("Content-Encoding") == encoding
        assert response.headers["Vary"] == "Accept-Encoding"
        assert response.content_type == "text/javascript"
        body = await response.read()
    assert int(response.headers["Content-Length"]) == len(body)
    if encoding == "br":
        assert len(body) < len(original) / 3
    else:
        assert (gzip.decompress(body) if encoding else body) == original


async def test_the_client_script_can_be_loaded_from_other_origins(session: aiohttp.ClientSession) -> None:
    async with session.get("/client/orderwire.js", headers={"Accept-Encoding": "identity"}) as response:
        assert response.status == 200
        assert response.content_type == "text/javascript"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["Cache-Control"] == "no-cache"
        assert b"WebSocketService" in await response.read()


@pytest.mark.parametrize(
    "path",
    [
        "/admin/assets/none.js",
        "/admin/assets/..%2f..%2fserver.py",
        "/admin/assets/..%2findex.html",
        "/client/orderwire.d.ts",
        "/client/cjs/orderwire.js",
        "/client/",
    ],
)
async def test_other_files_are_not_found(session: aiohttp.ClientSession, path: str) -> None:
    async with session.get(path, headers={"Accept-Encoding": "identity"}) as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "not_found"
