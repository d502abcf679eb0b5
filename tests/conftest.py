"""Fixtures: one PostgreSQL per process that runs tests, a database per test, servers and clients that are cleaned up.

`make test` runs the tests in several processes (pytest-xdist). Each has its own PostgreSQL: snapshots and the notification
queue are shared by all databases of one PostgreSQL, so a transaction that one test holds open would delay another's events.
"""

from __future__ import annotations

import asyncio
import fcntl
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import asyncpg
import hypothesis
import pytest

from bus.local.nodes import BrokerNodes
from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.support import FORWARDED_SETTINGS, WORKERS, Client, Connect, Server, StartServer
from web.build import build, install_for_tests

if TYPE_CHECKING:
    from tests.helpers.command_line import CommandLine

# A process that was started in the background of a script ignores SIGINT, and the commands that it starts inherit that: `make`
# would not stop at Ctrl-C. A signal that has a handler is reset to its default action in a new program (execve(2)).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, lambda *_: None)

# The time that hypothesis measures is that of the machine, on which five other processes run tests.
hypothesis.settings.register_profile("orderwire", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("orderwire")

Connection = asyncpg.Connection

# For tests of what each worker does by itself (docs/how-to/workers.md): limits of an address, polling for revoked tokens.
needs_one_worker = pytest.mark.skipif(
    WORKERS > 1, reason="needs all clients with one worker, and a client cannot choose its worker"
)

# For tests of how a server reads the journal: with TEST_BROKER=1 the second server of a database follows the first.
needs_own_reader = pytest.mark.skipif(
    bool(os.environ.get("TEST_BROKER")), reason="needs a server that reads the journal itself"
)

# What a fixture needs, directly or through others, its tests need: they get this mark. `make check` leaves both marks out.
NEEDS = {
    "postgres": "postgres",
    "new_checkout": "postgres",
    "built": "npm",
    "browser": "npm",
    "chromium": "npm",
    "wscat_command": "npm",
    "node_packages": "npm",
    "asyncapi_schema": "npm",
}

TEMPLATE_DATABASE = "orderwire_template"
_database_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests by what they need, and move those that must be alone to the end, and those of web/ to the beginning.

    These build pages and run vitest: at the end, nothing would be left to run beside them.
    """
    for item in items:
        for fixture in getattr(item, "fixturenames", ()):
            if fixture in NEEDS:
                item.add_marker(NEEDS[fixture])
    items.sort(key=lambda item: (item.get_closest_marker("alone") is not None, not item.nodeid.startswith("tests/web/")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test marked ``alone`` while no other process of the run is in a test.

    Each test holds the lock, ``alone`` exclusively. They come last, so that they do not wait for one another for long.
    """
    if not hasattr(item.config, "workerinput"):  # not started by pytest-xdist: there is one process
        return (yield)
    how = fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH
    # The parent of the directories of pytest-xdist's workers.
    with (Path(item.config.getoption("basetemp")).parent / "alone.lock").open("a") as lock:
        fcntl.flock(lock, how)
        return (yield)


@pytest.fixture(autouse=True)
def _postgres_is_marked(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that starts a PostgreSQL of its own without the mark for it: `make check` must be able to leave it out."""

    def refuse(*_: object) -> NoReturn:
        pytest.fail("this test starts PostgreSQL: it needs @pytest.mark.postgres")

    if request.node.get_closest_marker("postgres") is None:
        monkeypatch.setattr(EmbeddedPostgres, "start", refuse)


def url_with_database(url: str, name: str) -> str:
    return url.rsplit("/", 1)[0] + "/" + name


@pytest.fixture(scope="session")
def run_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A temporary directory that all processes of the run share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL with a template database: migrated, with the starter table attached."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data", report=lambda line: None)
    url = server.start()

    async def prepare() -> None:
        connection = await asyncpg.connect(url)
        # Nothing here has to survive a crash of the machine: 70 ms instead of 210 to create and drop a database.
        await connection.execute("alter system set fsync = off")
        await connection.execute("select pg_reload_conf()")
        await connection.execute(f"create database {TEMPLATE_DATABASE}")
        await connection.close()
        template_url = url_with_database(url, TEMPLATE_DATABASE)
        await migrate(template_url)
        await create_starter(template_url)
        # Attaching has notified: for 200 ms after that a writer without a server would not.
        connection = await asyncpg.connect(template_url)
        await connection.execute("select setval('orderwire.notify_lease', 64)")
        await connection.close()

    asyncio.run(prepare())
    yield server
    server.release()


async def new_database(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
    name = f"test_{next(_database_numbers)}"
    admin = await asyncpg.connect(postgres.url)
    # file_copy: 30 ms instead of 100 (createdb, "STRATEGY"); version 14 knows no other.
    strategy = "strategy file_copy" if admin.get_server_version().major >= 15 else ""
    await admin.execute(f"create database {name} template {template} {strategy}")
    yield url_with_database(postgres.url, name)
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """An own database: migrated, with the starter table attached."""
    async for url in new_database(postgres, TEMPLATE_DATABASE):
        yield url


@pytest.fixture
async def empty_database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """An own database in which nothing has been done."""
    async for url in new_database(postgres, "template0"):
        yield url


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Any]:
    """A connection to the test's database, as a writer or a DBA has it."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def empty_db(empty_database_url: str) -> AsyncIterator[Any]:
    """The same to the one in which nothing has been done."""
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


@pytest.fixture(scope="session", autouse=True)
def broker_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], None]]:
    """TEST_BROKER=1: every server of the tests is one of several, at a node of NATS of this process. The function that is
    yielded makes the node forget everything.
    """
    if not os.environ.get("TEST_BROKER"):
        yield lambda: None
        return
    directory = tmp_path_factory.mktemp("broker")
    # Reserved, not used: each test has a database of its own, and each database a stream.
    nodes = BrokerNodes(directory, count=1, jetstream_bytes=1 << 40)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(nodes.command(0), stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)

    def stop(process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()

    def restart() -> None:
        stop(running.pop())
        shutil.rmtree(directory / "nats1", ignore_errors=True)
        running.append(start())

    running = [start()]
    FORWARDED_SETTINGS["BROKER_URL"] = nodes.urls
    yield restart
    stop(running.pop())


@pytest.fixture
def broker_without_memory(broker_for_all: Callable[[], None]) -> None:
    """For copies of one database: NATS would take a new copy for an old primary of the database of the test before."""
    broker_for_all()


@pytest.fixture(scope="session")
def built() -> None:
    """The dashboard and the client as their sources are now, and the packages of their tests."""
    install_for_tests()
    build()


@pytest.fixture
async def start_server() -> AsyncIterator[StartServer]:
    """Starts servers: ``await start_server(url, SETTING="…")`` returns when the server is ready.

    With ``wait=False`` it returns at once, and the server is not forked: those tests are of its start.
    """
    servers: list[Server] = []

    async def start(url: str | None, *, wait: bool = True, **settings: str) -> Server:
        server = await (Server.fork if wait else Server.serve)(url, **settings)
        servers.append(server)
        return await server.wait_until_ready() if wait else server

    yield start
    for server in servers:
        await server.kill()
        assert "Traceback" not in server.output, server.output


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Connects clients: ``await connect(server.ws_url)``."""
    clients: list[Client] = []

    async def open_one(url: str, **options: Any) -> Client:
        client = await Client.connect(url, **options)
        clients.append(client)
        return client

    yield open_one
    for client in clients:
        await client.disconnect()


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """Runs `server.py` in the test's process."""
    from tests.helpers.command_line import CommandLine  # imports the whole server, which other tests do not need

    return CommandLine(monkeypatch, capsys)


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent
