"""Databases in which nothing is attached yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate
from tests.conftest import new_database, url_with_database

_TEMPLATE = "orderwire_unattached"


@pytest.fixture(scope="session")
def unattached_template(postgres: EmbeddedPostgres) -> str:
    """The name of a database that has the schema alone."""

    async def prepare() -> None:
        connection = await asyncpg.connect(postgres.url)
        await connection.execute(f"create database {_TEMPLATE} template template0")
        await connection.close()
        await migrate(url_with_database(postgres.url, _TEMPLATE))

    asyncio.run(prepare())
    return _TEMPLATE


@pytest.fixture
async def database_url(postgres: EmbeddedPostgres, unattached_template: str) -> AsyncIterator[str]:
    """An own database: migrated, without a table."""
    async for url in new_database(postgres, unattached_template):
        yield url
