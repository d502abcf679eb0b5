"""The server behind nginx with the configuration of docs/ops/nginx.conf. Skipped if nginx is not installed."""

from __future__ import annotations

import re
import shutil
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import needs_one_worker
from tests.helpers.certificates import issue_certificate
from tests.helpers.tokens import SECRET, token
from tests.support import ROOT, Client, Connect, Process, Server, StartServer, free_port

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


@needs_one_worker
@pytest.mark.skipif(NGINX is None, reason="nginx is not installed")
async def test_websocket_and_sse_through_nginx(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, tmp_path: Path
) -> None:
    assert NGINX is not None
    server: Server = await start_server(
        database_url, JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1", MAX_CONNECTIONS_PER_ADDRESS="2"
    )
    cert_file, key_file = issue_certificate(tmp_path, "shop.example")
    port = free_port()
    config = (ROOT / "docs" / "ops" / "nginx.conf").read_text(encoding="utf-8")
    for pattern, replacement in {
        r"server 127\.0\.0\.1:8000;": f"server {server.http_url.removeprefix('http://')};",
        r"listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        r"(ssl_certificate) .*;": rf"\1 {cert_file};",
        r"(ssl_certificate_key) .*;": rf"\1 {key_file};",
    }.items():
        config, count = re.subn(pattern, replacement, config)
        assert count == 1, pattern
    temp_paths = "".join(
        f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr notice; events {{}}\n"
        f"http {{ access_log {tmp_path}/access.log;\n{temp_paths}{config}}}\n"
    )
    nginx = await Process.start(NGINX, "-c", str(tmp_path / "nginx.conf"), "-e", "stderr")
    try:
        await nginx.wait_for_line("start worker process")
        ssl_context = ssl.create_default_context(cafile=str(cert_file))
        address = f"127.0.0.1:{port}"
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
    finally:
        await nginx.stop()
