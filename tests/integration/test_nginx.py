"""The server behind nginx with the configuration of docs/ops/nginx.conf. Skipped if nginx is not installed."""

from __future__ import annotations

import re
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from tests.conftest import needs_one_worker
from tests.helpers.certificates import issue_certificate
from tests.helpers.tokens import SECRET, token
from tests.support import ROOT, Client, Connect, Process, Server, StartServer, free_port

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


pytestmark = [needs_one_worker, pytest.mark.skipif(NGINX is None, reason="nginx is not installed")]


@asynccontextmanager
async def run_nginx(server: Server, directory: Path, **changes: str) -> AsyncIterator[tuple[str, ssl.SSLContext]]:
    """nginx before the server, with the configuration of the documentation; ``changes``: what replaces a text of it.

    Yields host:port, and the context for its certificate.
    """
    assert NGINX is not None
    cert_file, key_file = issue_certificate(directory, "shop.example")
    port = free_port()
    config = (ROOT / "docs" / "ops" / "nginx.conf").read_text(encoding="utf-8")
    for pattern, replacement in {
        r"server 127\.0\.0\.1:8000;": f"server {urlsplit(server.http_url).netloc};",
        r"listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        r"(ssl_certificate) .*;": rf"\1 {cert_file};",
        r"(ssl_certificate_key) .*;": rf"\1 {key_file};",
        **changes,
    }.items():
        config, count = re.subn(pattern, replacement, config)
        assert count, pattern
    temp_paths = "".join(
        f"{name}_temp_path {directory}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log stderr notice; events {{}}\n"
        f"http {{ access_log {directory}/access.log;\n{temp_paths}{config}}}\n"
    )
    nginx = await Process.start(NGINX, "-c", str(directory / "nginx.conf"), "-e", "stderr")
    try:
        await nginx.wait_for_line("start worker process")
        yield f"127.0.0.1:{port}", ssl.create_default_context(cafile=str(cert_file))
    finally:
        await nginx.stop()


async def test_websocket_and_sse_through_nginx(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, tmp_path: Path
) -> None:
    server: Server = await start_server(
        database_url, JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1", MAX_CONNECTIONS_PER_ADDRESS="2"
    )
    async with run_nginx(server, tmp_path) as (address, ssl_context):
        admin = token("admin")
        # nginx forwards the host that was requested, so the server accepts the origin of pages loaded through nginx.
        client: Client = await connect(
            f"wss://{address}/api/ws",
            ssl=ssl_context,
            protocols=["orderwire", f"bearer.{admin}"],
            headers={"Origin": f"https://{address}"},
        )
        await client.wait_until(lambda c: len(c.messages) >= 2, "the first frames")
        headers = {"Authorization": f"Bearer {admin}"}
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"https://{address}/api/sse", ssl=ssl_context, headers=headers) as response,
        ):
            await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
            await client.wait_until(lambda c: len(c.events) == 1, "an event")
            text = ""
            while "event: new_order" not in text:  # nginx must not buffer the response
                text += (await response.content.readany()).decode()
            # The server counts connections by the address that nginx forwards.
            third: Client = await connect(f"wss://{address}/api/ws", ssl=ssl_context, headers=headers)
            assert await third.wait_closed() == 3504
        assert admin not in (tmp_path / "access.log").read_text()


@pytest.mark.parametrize("upstream", ["http://orderwire", "http://orderwire/"], ids=["keeps", "strips"])
async def test_nginx_serves_it_below_a_path(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, tmp_path: Path, upstream: str
) -> None:
    """Passed on as it is, or with the path taken away."""
    server: Server = await start_server(
        database_url, JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1", BASE_PATH="/shop/orderwire"
    )
    changes = {"location /": "location /shop/orderwire/", "proxy_pass http://orderwire;": f"proxy_pass {upstream};"}
    async with run_nginx(server, tmp_path, **changes) as (address, ssl_context):
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


async def test_nginx_as_it_is_by_default_makes_no_visitor_local(
    start_server: StartServer, database_url: str, tmp_path: Path
) -> None:
    """It adds no header and speaks HTTP/1.0: without login its clients must not count as this machine."""
    server: Server = await start_server(database_url)
    changes = {r"(?m)^ +proxy_(set_header|http_version) .*\n": ""}
    async with (
        run_nginx(server, tmp_path, **changes) as (address, ssl_context),
        aiohttp.ClientSession() as http,
        http.get(f"https://{address}/api/orders", ssl=ssl_context) as response,
    ):
        assert response.status == 403
        assert "proxy" in await response.text()
