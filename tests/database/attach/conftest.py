"""Databases with the tables of real shop systems, from shapes/; and with the schema alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate
from tests.conftest import new_database, url_with_database

SHAPES = Path(__file__).parent / "shapes"
CreateShape = Callable[[str], Awaitable[Any]]

_UNATTACHED_TEMPLATE = "orderwire_unattached"


@pytest.fixture
async def create_shape(empty_database_url: str) -> AsyncIterator[CreateShape]:
    """``await create_shape("saleor")`` creates its tables with some 200 orders; returns a connection."""
    connections = []

    async def create(name: str) -> Any:
        connection = await asyncpg.connect(empty_database_url)
        connections.append(connection)
        await connection.execute((SHAPES / f"{name}.sql").read_text(encoding="utf-8"))
        await connection.execute("analyze")
        return connection

    yield create
    for connection in connections:
        await connection.close()


@pytest.fixture(scope="session")
def unattached_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database that has the schema alone."""

    async def prepare() -> None:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute(f"create database {_UNATTACHED_TEMPLATE} template template0")
        await connection.close()
        await migrate(url_with_database(postgres.url, _UNATTACHED_TEMPLATE))

    asyncio.run(prepare())
    return _UNATTACHED_TEMPLATE


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres, unattached_template: str) -> AsyncIterator[str]:
    """An own database: migrated, without a table."""
    async for url in new_database(postgres, unattached_template):
        yield url


@asynccontextmanager
async def migrated_database(postgres: EmbeddedPostgres, name: str, options: str = "") -> AsyncIterator[Any]:
    """A connection to a migrated database that is created with ``options``, and dropped afterwards."""
    admin = await asyncpg.connect(postgres.url)
    await admin.execute(f"create database {name} {options}")
    url = url_with_database(postgres.url, name)
    await migrate(url)
    db = await asyncpg.connect(url)
    yield db
    await db.close()
    await admin.execute(f"drop database {name} with (force)")
    await admin.close()
