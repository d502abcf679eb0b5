"""Short queries beside the LISTEN connection: a small pool, opened on first use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from db.errors import typed_errors

__all__ = ["Database"]

MOST_CONNECTIONS = 4
QUERY_SECONDS = 10.0


class Database:
    """Queries for the HTTP routes. Raises DatabaseError."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[Database]:
        """For as long as the pool may be used. Opens no connection yet: the database may not be there."""
        self._pool = asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=MOST_CONNECTIONS,
            command_timeout=QUERY_SECONDS,
            timeout=5,
            server_settings={"application_name": "orderwire"},
        )
        await self._pool
        try:
            yield self
        finally:
            self._pool.terminate()

    async def latest_orders(self, limit: int, status: str | None, before: int | None) -> list[str]:
        """Newest orders first, each as a JSON object."""
        assert self._pool is not None
        with typed_errors():
            rows = await self._pool.fetch("select orderwire.latest_orders($1, $2, $3)", limit, status, before)
        return [row[0] for row in rows]
