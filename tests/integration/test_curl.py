"""examples/follow.sh: curl prints the events, and resumes after a restart of the server."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from tests.support import Process, Server, StartServer, free_port


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_curl_resumes_after_a_restart(start_server: StartServer, database_url: str, db: Any) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    follow = await Process.start("examples/follow.sh", f"{server.http_url}/api/sse")
    await follow.wait_for_line("analytics_update")
    await db.execute("insert into orders (customer_name, total) values ('before', 1)")
    await follow.wait_for_line('"customer_name":"before"')

    await server.kill()
    await db.execute("insert into orders (customer_name, total) values ('while down', 1)")
    await start_server(database_url, PORT=port)
    await follow.wait_for_line('"customer_name":"while down"')
    await db.execute("insert into orders (customer_name, total) values ('after', 1)")
    await follow.wait_for_line('"customer_name":"after"')
    await follow.stop_group()
    assert follow.output.count("event: new_order") == 3


async def test_without_an_address_it_prints_its_usage() -> None:
    follow = await Process.start("examples/follow.sh")
    assert await follow.wait_for_exit() == 2
    assert follow.lines == ["usage: examples/follow.sh http://127.0.0.1:8000/api/sse"]
