"""Log lines: JSON on request, with the connection that they are about, and without secrets or customers."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from push.protocol.messages import CloseCode
from tests.helpers.tokens import SECRET, token
from tests.support import Client, Connect, Process, Server, StartServer, copy_checkout, free_port


async def test_json_lines_with_a_connection_and_no_secret(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, JWT_SECRET=SECRET, LOG_FORMAT="json", LOG_LEVEL="DEBUG")
    shown = [
        token("admin", sub="alice"),
        token("customer", sub="Иван Иванов"),
        token(key="wrong" * 10),
        "garbage0.garbage1.garbage2",
    ]
    order = await db.fetchval(
        "insert into orders (customer_name, customer_id, total) values ('Пётр', 'Иван Иванов', 77.77) returning id"
    )
    for one in shown:
        for options in ({"headers": {"Authorization": f"Bearer {one}"}}, {"protocols": ["orderwire", f"bearer.{one}"]}):
            client: Client = await connect(f"{server.ws_url}?topics=order:{order}", **options)
            await client.send('{"type":"ping"}')
            await client.disconnect()
        client = await connect(server.ws_url, protocols=["unknown", f"x{one}"])
        await client.send(json.dumps({"type": "auth", "token": one}))
        await client.disconnect()
        async with aiohttp.ClientSession() as http:
            await (await http.get(server.http_url + f"/api/orders?token={one}", headers={"Authorization": one})).release()
    await db.execute("update orders set status = 'ready'")
    await server.stop()
    lines = [json.loads(line) for line in server.lines]
    opened = [line for line in lines if line["message"] == "session opened"]
    closed = [line for line in lines if line["message"] == "session closed"]
    assert {line["role"] for line in opened} == {"admin", "customer"}
    assert {line["subject"] for line in opened if line["role"] == "admin"} == {"alice"}
    assert all("subject" not in line for line in opened if line["role"] == "customer")
    for line in opened + closed:
        assert line["connection_id"]
        assert line["level"] == "DEBUG"
        assert line["timestamp"].endswith("Z")
    for line in closed:
        assert line["close_reason"] == {int(code): code.reason for code in CloseCode}[line["close_code"]]
    assert {line["connection_id"] for line in opened} <= {line["connection_id"] for line in closed}
    assert len({line["connection_id"] for line in opened}) == len(opened)
    for secret in (SECRET, *(part for one in shown for part in one.split(".")[1:]), "Иван", "Пётр", "77.77"):
        assert secret not in server.output, secret


def messages(process: Process) -> list[str]:
    """The messages of all lines that it has printed, on either stream. Each line has to be JSON."""
    lines = [json.loads(line) for line in process.lines]
    assert all({"timestamp", "level", "logger", "message"} <= line.keys() for line in lines)
    return [line["message"] for line in lines]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_every_line_from_start_to_end_is_json(start_server: StartServer, database_url: str, workers: str) -> None:
    server: Server = await start_server(
        database_url, LOG_FORMAT="json", LOG_LEVEL="DEBUG", WORKERS=workers, ALLOW_ANONYMOUS="1"
    )
    if workers == "2":
        pid = server.worker_pids[1]
        os.kill(pid, signal.SIGKILL)
        await server.wait_for_line("starting another")
    await server.stop()
    found = messages(server)
    for start in ("dashboard  http", "websocket  ws", "psql", "login      none", "ready; Ctrl-C stops"):
        assert any(message.startswith(start) for message in found), start


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_the_error_that_ends_a_start_is_json(workers: str) -> None:
    """Of a setting, which is found before logging is configured; of an address, and of a worker."""
    port = free_port()
    with socket.create_server(("127.0.0.1", int(port))):
        for settings, expected in (
            ({"PORT": "x"}, "server.py: PORT=x is not usable"),
            ({"PORT": port, "DATABASE_URL": "postgresql://unused@127.0.0.1:1/none"}, f"cannot listen on 127.0.0.1:{port}"),
            ({"JWT_PUBLIC_KEY": "/no/such/file", "DATABASE_URL": "postgresql://unused@127.0.0.1:1/none"}, "JWT_PUBLIC_KEY"),
        ):
            env = {"LOG_FORMAT": "JSON", "WORKERS": workers, "PORT": "0", **settings}
            process = await Process.start(sys.executable, "server.py", env=env)
            assert await process.wait_for_exit() in (1, 2)
            assert expected in messages(process)[-1]


@pytest.mark.postgres
async def test_the_lines_of_an_embedded_postgresql_are_json(tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    env = {"PORT": "0", "LOG_FORMAT": "json"}
    server = await Server.start(sys.executable, "server.py", "serve", cwd=checkout, env=env)
    try:
        await server.wait_until_ready()
        await server.stop()
        assert any("creating a database" in message for message in messages(server))
    finally:
        await server.kill()


async def test_an_unexpected_error_is_one_line_of_json() -> None:
    script = "import logs, sys; sys.excepthook = logs.log_uncaught; logs.configure('INFO', 'json'); 1 / 0"
    process = await Process.start(sys.executable, "-c", script)
    assert await process.wait_for_exit() == 1
    assert messages(process) == ["unexpected error"]
    assert "ZeroDivisionError" in json.loads(process.lines[0])["exception"]
