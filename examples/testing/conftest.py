"""The database of the tests has the application's table before Orderwire attaches it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest
import shop


@pytest.fixture(scope="session")
def orderwire_schema(orderwire_database_url: str) -> None:
    """Create the application's table."""

    async def create() -> None:
        db = await asyncpg.connect(orderwire_database_url)
        await db.execute(shop.SCHEMA)
        await db.close()

    asyncio.run(create())


@pytest.fixture
async def db(orderwire_server: object, orderwire_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the application."""
    connection = await asyncpg.connect(orderwire_database_url)
    yield connection
    await connection.close()
