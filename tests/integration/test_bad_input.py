"""What is wrong at the start of a command is reported in one line, with the right exit code."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest

from db.embedded.postgres import EmbeddedPostgres
from tests.conftest import url_with_database
from tests.helpers.command_line import CommandLine
from tests.support import ROOT, WORKERS, Client, Connect, Process, Server, StartServer, copy_checkout, url_with_role

FAILURE, USAGE = 1, 2
SECRET = "sEcReT"


async def failure_of_process(env: dict[str, str], command: str = "serve", cwd: Path = ROOT) -> tuple[int, str]:
    """The exit code and the only line of a command that fails to start."""
    process = await Process.start(sys.executable, "server.py", command, cwd=cwd, env={"PORT": "0", **env})
    try:
        code = await process.wait_for_exit()
    finally:
        await process.kill()
    assert len(process.lines) == 1, process.output
    assert process.lines[0].startswith("server.py: ")
    assert SECRET not in process.output
    return code, process.lines[0]


def failure(done: subprocess.CompletedProcess[str]) -> tuple[int, str]:
    """The same of a command that was run in the test's process."""
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("server.py: ")
    assert SECRET not in line
    return done.returncode, line


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOST", "a b"),
        ("PORT", "eighty"),
        ("HEARTBEAT_SECONDS", "nan"),
        ("SEND_QUEUE_FRAMES", "0"),
        ("SEND_QUEUE_BYTES", "1 apple"),
        ("LOG_LEVEL", "loud"),
    ],
)
async def test_a_bad_setting_is_named(command_line: CommandLine, name: str, value: str) -> None:
    code, line = (
        await failure_of_process({name: value}) if name == "LOG_LEVEL" else failure(command_line("serve", **{name: value}))
    )
    assert code == USAGE
    assert line.startswith(f"server.py: {name}={value} is not usable: expected ")


@pytest.mark.parametrize("command", ["serve", "migrate", "watch", "demo", "psql"])
async def test_every_command_refuses_a_malformed_database_url(command_line: CommandLine, command: str) -> None:
    settings = {"DATABASE_URL": f"mysql://user:{SECRET}@host/shop"}
    code, line = (
        await failure_of_process(settings, command) if command == "serve" else failure(command_line(command, **settings))
    )
    assert code == USAGE
    assert "DATABASE_URL is not usable" in line


async def test_a_database_url_that_the_driver_refuses_is_not_waited_for() -> None:
    code, line = await failure_of_process({"DATABASE_URL": f"postgresql://user:{SECRET}@127.0.0.1:1/shop?sslmode=nope"})
    assert code == USAGE
    assert "DATABASE_URL is not usable" in line
    assert "sslmode" in line


# ---------------------------------------------------------------- the database


def address(url: str) -> str:
    return f"{urlsplit(url).hostname}:{urlsplit(url).port}"


@pytest.mark.parametrize("command", ["serve", "migrate", "watch", "doctor", "demo"])
async def test_a_wrong_password(postgres: EmbeddedPostgres, command: str) -> None:
    password = urlsplit(postgres.url).password
    assert password is not None
    code, line = await failure_of_process({"DATABASE_URL": postgres.url.replace(password, SECRET)}, command)
    assert code == FAILURE
    assert line == (
        f"server.py: PostgreSQL at {address(postgres.url)} (DATABASE_URL) refuses the connection: "
        'password authentication failed for user "postgres"'
    )


@pytest.mark.parametrize("command", ["doctor", "migrate"])
async def test_an_unknown_database(postgres: EmbeddedPostgres, command: str) -> None:
    code, line = await failure_of_process({"DATABASE_URL": url_with_database(postgres.url, "nowhere")}, command)
    assert code == FAILURE
    assert line == (
        f"server.py: PostgreSQL at {address(postgres.url)} (DATABASE_URL) refuses the connection: "
        'database "nowhere" does not exist'
    )


@pytest.mark.parametrize("command", ["migrate", "doctor", "demo"])
async def test_an_unreachable_database(command: str) -> None:
    """By the commands that do not wait for it."""
    code, line = await failure_of_process({"DATABASE_URL": f"postgresql://user:{SECRET}@127.0.0.1:1/shop"}, command)
    assert code == FAILURE
    assert line == "server.py: PostgreSQL at 127.0.0.1:1 (DATABASE_URL) cannot be reached: Connection refused"


@pytest.mark.parametrize("command", ["serve", "migrate"])
async def test_an_error_of_the_migrations_names_their_own_setting(postgres: EmbeddedPostgres, command: str) -> None:
    settings = {"DATABASE_URL": postgres.url, "MIGRATE_DATABASE_URL": url_with_role(postgres.url, "nobody", SECRET)}
    code, line = await failure_of_process(settings, command)
    assert code == FAILURE
    assert line.startswith(f"server.py: PostgreSQL at {address(postgres.url)} (MIGRATE_DATABASE_URL) refuses the connection: ")


async def test_the_server_never_prints_the_password(start_server: StartServer, database_url: str) -> None:
    password = urlsplit(database_url).password
    assert password is not None
    server: Server = await start_server(database_url, LOG_LEVEL="DEBUG")
    await server.stop()
    assert password not in server.output


async def test_an_unreachable_database_is_waited_for_and_reported_once(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    await db.execute("insert into orders (customer_name, total) values ('before', 1)")
    target = urlsplit(database_url)
    assert target.hostname is not None
    up, attempts = asyncio.Event(), asyncio.Semaphore(0)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        attempts.release()
        if up.is_set():
            there, here = await asyncio.open_connection(target.hostname, target.port)
            await asyncio.gather(copy(reader, here), copy(there, writer))
        writer.close()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async with await asyncio.start_server(relay, "127.0.0.1") as proxy:
        port = proxy.sockets[0].getsockname()[1]
        server: Server = await start_server(database_url.replace(f":{target.port}/", f":{port}/"), wait=False)
        await server.wait_for_line_from_each_worker("waiting for it")
        for _ in range(6):
            await attempts.acquire()
        assert server.output.count("waiting for it") == WORKERS  # once by each worker
        up.set()
        await server.wait_until_ready()
        await server.wait_for_line_from_each_worker("connected to PostgreSQL")
        client: Client = await connect(server.ws_url)
        await db.execute("insert into orders (customer_name, total) values ('after', 1)")
        await client.wait_until(lambda c: len(c.events) == 1, "the event")
        assert client.messages[0]["total_orders"] == 1
        await server.stop()
    warnings = [line for line in server.lines if "WARNING" in line]
    assert len(warnings) == WORKERS + 1
    assert f"PostgreSQL at 127.0.0.1:{port} (DATABASE_URL) cannot be reached: " in warnings[0]
    assert "is a superuser" in warnings[-1]


async def test_requests_are_answered_by_503_while_the_database_is_unreachable(start_server: StartServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with socket.socket() as unreachable:
        unreachable.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"postgresql://user:{SECRET}@127.0.0.1:{unreachable.getsockname()[1]}/shop"
        server: Server = await start_server(url, wait=False, PORT=str(port))
        await server.wait_for_line_from_each_worker("waiting for it")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            for path, status in {"/healthz": 200, "/readyz": 503, "/api/analytics": 503, "/api/orders": 503}.items():
                async with session.get(path) as response:
                    assert response.status == status, path
                    if status == 503:
                        assert (await response.json())["error"]["code"] == "unavailable"
                        assert response.headers["Retry-After"]
            with pytest.raises(aiohttp.WSServerHandshakeError) as handshake:
                await session.ws_connect("/api/ws")
            assert handshake.value.status == 503
            # A browser's EventSource does not reconnect after a 503.
            async with session.get("/api/sse") as response:
                assert (response.status, response.content_type) == (200, "text/event-stream")
                assert await response.text() == ": the database cannot be reached\nretry: 1000\n\n"
        assert await server.stop(signal.SIGINT) == 0
        assert SECRET not in server.output


async def test_a_taken_port(database_url: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, line = await failure_of_process({"DATABASE_URL": database_url, "PORT": str(port)})
    assert code == FAILURE
    assert f"cannot listen on 127.0.0.1:{port}: " in line
    assert line.endswith("choose another with PORT=…")


async def test_a_read_only_standby(postgres: EmbeddedPostgres, database_url: str, tmp_path: Path) -> None:
    (tmp_path / "standby").mkdir()
    standby = EmbeddedPostgres(tmp_path / "standby", report=lambda line: None)
    data = str(tmp_path / "standby" / "postgres")
    # _run: the programs of PostgreSQL refuse to run as root.
    done = standby._run("pg_basebackup", "-d", postgres.url, "-D", data, "--write-recovery-conf", "--checkpoint=fast")
    assert done.returncode == 0, done.stderr
    # The primary's port is taken: the standby chooses another one.
    primary = urlsplit(postgres.url)
    (tmp_path / "standby" / "state.json").write_text(json.dumps({"port": primary.port, "password": primary.password}))
    (tmp_path / "standby" / "database-created").touch()
    try:
        url = url_with_database(standby.start(), database_url.rpartition("/")[2])
        for command in ("serve", "migrate", "watch"):
            code, line = await failure_of_process({"DATABASE_URL": url}, command)
            assert code == FAILURE
            assert line == "server.py: the database is a read-only standby: point DATABASE_URL at the primary"
    finally:
        standby.release()


# ---------------------------------------------------------------- the schema


async def test_an_edited_migration(database_url: str, db: Any, tmp_path: Path) -> None:
    checkout = copy_checkout(tmp_path / "checkout")
    with (checkout / "sql" / "migrations" / "001_journal.sql").open("a") as file:
        file.write("-- an afterthought\n")
    for command in ("serve", "migrate"):
        code, line = await failure_of_process({"DATABASE_URL": database_url}, command, cwd=checkout)
        assert code == FAILURE
        assert "sql/migrations/001_journal.sql was edited after it had been applied" in line
    await db.execute("insert into orders (customer_name, total) values ('still', 1)")


async def test_a_database_of_a_newer_version(database_url: str, db: Any) -> None:
    await db.execute("insert into orderwire.migrations (number, name, checksum) values (999, '999_later.sql', '')")
    code, line = await failure_of_process({"DATABASE_URL": database_url})
    assert code == FAILURE
    assert "999_later.sql" in line


async def test_an_orders_table_that_is_not_attached_is_left_alone(
    start_server: StartServer, empty_database_url: str, empty_db: Any
) -> None:
    await empty_db.execute(
        "create table orders (id bigint primary key, customer_name text); insert into orders values (1, 'x')"
    )
    server: Server = await start_server(empty_database_url)
    async with aiohttp.ClientSession(server.http_url) as http:
        for path, expected in {"/readyz": {"status": "ok"}, "/api/orders": []}.items():
            async with http.get(path) as response:
                answer = await response.json()
                assert answer.get("orders", answer) == expected
    assert not await empty_db.fetchval("select exists (select from pg_trigger where tgrelid = 'public.orders'::regclass)")
    assert await empty_db.fetchval("select count(*) from orders") == 1
