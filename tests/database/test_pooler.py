"""A pooler in transaction mode is recognized and named: PgBouncer where it is installed, one of the tests' own everywhere."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from db.connect import connect
from db.database import Database
from db.doctor import diagnose
from db.errors import PoolerInTransactionMode
from tests.helpers.tcp_proxy import TcpProxy, url_via_proxy
from tests.helpers.transaction_pooler import TransactionPooler
from tests.support import TIMEOUT_SECONDS, Process, free_port

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
# Opens a way to the database: the name of the mode, and the URL to connect to.
OpenPooler = Callable[[str, str], Coroutine[Any, Any, str]]
IS_TRANSACTION_POOLER = "is behind a connection pooler in transaction mode (such as PgBouncer)"


@asynccontextmanager
async def own_pooler(url: str, size: int) -> AsyncIterator[str]:
    pooler = TransactionPooler(url, size)
    port = await pooler.start()
    try:
        yield url_via_proxy(url, port)
    finally:
        await pooler.stop()


@asynccontextmanager
async def tcp_proxy(url: str) -> AsyncIterator[str]:
    proxy = TcpProxy(int(url.rsplit(":", 1)[1].split("/")[0]))
    port = await proxy.start()
    try:
        yield url_via_proxy(url, port)
    finally:
        await proxy.stop()


@asynccontextmanager
async def pgbouncer(url: str, mode: str, directory: Path) -> AsyncIterator[str]:
    assert PGBOUNCER is not None
    port = free_port()
    user, password = url.split("//")[1].split("@")[0].split(":")
    server_port = url.rsplit(":", 1)[1].split("/")[0]
    config = directory / "pgbouncer.ini"
    config.write_text(
        f"[databases]\n* = host=127.0.0.1 port={server_port} user={user} password={password}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
        "user = nobody\n"
    )
    for path in (config, directory, *directory.parents):  # it does not run as root
        if path.owner() == Path(__file__).owner() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055 if path.is_dir() else 0o644)
    process = await Process.start(PGBOUNCER, str(config))
    try:
        await process.wait_for_line("process up")
        yield url_via_proxy(url, int(port))
    finally:
        await process.stop()


@pytest.fixture
async def open_pooler(tmp_path: Path) -> AsyncIterator[OpenPooler]:
    """``await open_pooler(name, url)`` returns the URL that leads through it. Skips the test without PgBouncer."""
    async with AsyncExitStack() as stack:

        async def open_one(name: str, url: str) -> str:
            match name.split():
                case ["direct"]:
                    return url
                case ["TCP", "proxy"]:
                    return await stack.enter_async_context(tcp_proxy(url))
                case ["own", size]:
                    return await stack.enter_async_context(own_pooler(url, int(size)))
                case ["PgBouncer", _] if PGBOUNCER is None:
                    pytest.skip("PgBouncer is not installed")
                case ["PgBouncer", mode]:
                    return await stack.enter_async_context(pgbouncer(url, mode, tmp_path))
            raise AssertionError(name)

        yield open_one


@pytest.mark.parametrize("name", ["own 1", "own 2", "own 5", "PgBouncer transaction", "PgBouncer statement"])
async def test_pooler_in_transaction_mode_is_recognized(open_pooler: OpenPooler, database_url: str, name: str) -> None:
    url = await open_pooler(name, database_url)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(PoolerInTransactionMode, match="transaction mode"):
            await connect(url)
        [(problem, fix)] = await diagnose(url)
    assert IS_TRANSACTION_POOLER in problem
    assert fix == "point DATABASE_URL at PostgreSQL itself, or at a pooler in session mode"


@pytest.mark.parametrize("name", ["direct", "TCP proxy", "PgBouncer session"])
async def test_a_session_of_ones_own_is_not_mistaken_for_it(open_pooler: OpenPooler, database_url: str, name: str) -> None:
    url = await open_pooler(name, database_url)
    async with asyncio.timeout(TIMEOUT_SECONDS):
        connection = await connect(url)
        assert await connection.fetchval("select current_setting('application_name')") == "orderwire"
        await connection.close()
        assert await diagnose(url) == []


async def test_pooler_is_recognized_while_others_use_it(open_pooler: OpenPooler, database_url: str) -> None:
    """Two of three sessions are held by transactions of others."""
    url = await open_pooler("own 3", database_url)
    others = [await connect(url, check_pooler=False) for _ in range(2)]
    for other in others:
        await other.execute("begin")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        with pytest.raises(PoolerInTransactionMode):
            await connect(url)
    for other in others:
        other.terminate()


async def test_a_self_notification_comes_back_through_a_pooler(open_pooler: OpenPooler, database_url: str) -> None:
    """So it is no proof of a session of one's own."""
    connection = await connect(await open_pooler("own 2", database_url), check_pooler=False)
    arrived = asyncio.Event()
    await connection.add_listener("test", lambda *_: arrived.set())
    await connection.execute("notify test")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await arrived.wait()
    connection.terminate()


@pytest.mark.parametrize("name", ["own 2", "PgBouncer transaction"])
@pytest.mark.parametrize("command", ["serve", "migrate", "watch", "attach"])
async def test_every_command_names_it_in_one_line(
    open_pooler: OpenPooler, empty_database_url: str, empty_db: Any, name: str, command: str
) -> None:
    """And touches nothing: a setting of ours would reach the other programs that use the pooler."""
    url = await open_pooler(name, empty_database_url)
    process = await Process.start(sys.executable, "server.py", command, env={"DATABASE_URL": url, "PORT": "0"})
    assert await process.wait_for_exit() == 2
    address = url.split("@")[1].split("/")[0]
    [line] = process.lines
    assert line == (
        f"server.py: PostgreSQL at {address} (DATABASE_URL) {IS_TRANSACTION_POOLER}, which loses notifications and lets other "
        "programs have our sessions: use the address of PostgreSQL itself, or of a pooler in session mode"
    )
    assert await empty_db.fetchval("select to_regnamespace('orderwire')") is None


async def test_the_pool_of_connections_does_not_test_again(open_pooler: OpenPooler, database_url: str) -> None:
    """The listener has the same address, and has tested it."""
    async with Database(await open_pooler("own 2", database_url)).open() as database:
        assert not (await database.poll_state())[1]
