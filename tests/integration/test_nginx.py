"""Behind a real nginx, with the configuration that we hand out; skipped where there is none."""

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
async def test_websocket_and_stream_through_nginx(
    start_server: StartServer, connect: Connect, database_url: str, db: Any, tmp_path: Path
) -> None:
    assert NGINX is not None
    server: Server = await start_server(
        database_url, JWT_SECRET=SECRET, TRUSTED_PROXIES="127.0.0.1", MAX_CONNECTIONS_PER_ADDRESS="2"
    )
    cert_file, key_file = issue_certificate(tmp_path, "shop.example")
    port = free_port()
    ours = (ROOT / "docs" / "ops" / "nginx.conf").read_text(encoding="utf-8")
    for pattern, instead in {
        r"server 127\.0\.0\.1:8000;": f"server {server.http_url.removeprefix('http://')};",
        r"listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
        r"(ssl_certificate) .*;": rf"\1 {cert_file};",
        r"(ssl_certificate_key) .*;": rf"\1 {key_file};",
    }.items():
        ours, count = re.subn(pattern, instead, ours)
        assert count == 1, pattern
    logs = "".join(f"{name}_temp_path {tmp_path}/{name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr notice; events {{}}\n"
        f"http {{ access_log {tmp_path}/access.log;\n{logs}{ours}}}\n"
    )
    nginx = await Process.start(NGINX, "-c", str(tmp_path / "nginx.conf"), "-e", "stderr")
    try:
        await nginx.wait_for_line("start worker process")
        trusting = ssl.create_default_context(cafile=str(cert_file))
        outer = f"127.0.0.1:{port}"
        shown = token("admin")
        # The origin that a page from the proxy has is the server's own.
        client: Client = await connect(
            f"wss://{outer}/api/ws",
            ssl=trusting,
            protocols=["orderwire", f"bearer.{shown}"],
            headers={"Origin": f"https://{outer}"},
        )
        await client.wait_until(lambda c: len(c.messages) >= 2, "the first frames")
        headers = {"Authorization": f"Bearer {shown}"}
        async with (
            aiohttp.ClientSession() as http,
            http.get(f"https://{outer}/api/sse", ssl=trusting, headers=headers) as response,
        ):
            await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
            await client.wait_until(lambda c: len(c.events) == 1, "an event")
            text = ""
            while "event: new_order" not in text:  # not held back
                text += (await response.content.readany()).decode()
            # Counted by the address that the proxy tells.
            third: Client = await connect(f"wss://{outer}/api/ws", ssl=trusting, headers=headers)
            assert await third.wait_closed() == 3504
        assert shown not in (tmp_path / "access.log").read_text()
    finally:
        await nginx.stop()
