"""Fixtures: one real PostgreSQL for the run, a database of its own for each test, servers and clients that are cleaned up."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate
from tests.support import WORKERS, Client, Connect, Server, StartServer

Connection = asyncpg.Connection

# For tests of what each worker does for itself: limits of an address (docs/how-to/workers.md), when it looks for revoked tokens.
needs_one_worker = pytest.mark.skipif(
    WORKERS > 1, reason="needs all clients with one worker, and a client cannot choose its worker"
)

TEMPLATE_DATABASE = "orderwire_template"
_database_numbers = itertools.count(1)


def url_with_database(url: str, name: str) -> str:
    return url.rsplit("/", 1)[0] + "/" + name


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A real PostgreSQL with a migrated template database."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres") / "data", report=lambda line: None)
    url = server.start()

    async def prepare() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(f"create database {TEMPLATE_DATABASE}")
        await connection.close()
        await migrate(url_with_database(url, TEMPLATE_DATABASE))

    asyncio.run(prepare())
    yield server
    server.release()


async def _new_database(postgres: EmbeddedPostgres, template: str) -> AsyncIterator[str]:
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
    """An own, migrated database."""
    async for url in _new_database(postgres, TEMPLATE_DATABASE):
        yield url


@pytest.fixture
async def empty_database_url(postgres: EmbeddedPostgres) -> AsyncIterator[str]:
    """An own database in which nothing has been done."""
    async for url in _new_database(postgres, "template0"):
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


@pytest.fixture
async def start_server() -> AsyncIterator[StartServer]:
    """Starts servers: ``await start_server(url, SETTING="…")`` returns when the server is ready."""
    servers: list[Server] = []

    async def start(url: str | None, *, wait: bool = True, **settings: str) -> Server:
        server = await Server.serve(url, **settings)
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
def root() -> Path:
    """The checkout."""
    return Path(__file__).resolve().parent.parent
