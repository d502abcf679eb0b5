"""Short queries over a small pool of connections; the LISTEN connection (db/listener.py) is not part of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from db.errors import wrap_driver_errors
from db.journal import SESSION_SETTINGS_SQL, JournalReader

__all__ = ["Database"]

log = logging.getLogger("orderwire.database")

MAX_CONNECTIONS = 4


class Database:
    """Queries for the HTTP routes, for replays and the audit. One per process. Every method raises DatabaseError."""

    def __init__(self, url: str, timeout_seconds: float = 10.0) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        # For replays and the audit.
        self.journal = JournalReader(self._fetch_from_journal)
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._release_tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Database]:
        """Create the pool, and terminate it at the end. Opens no connection: the database may not be available yet."""
        self._pool = asyncpg.create_pool(
            self._url,
            min_size=0,
            max_size=MAX_CONNECTIONS,
            command_timeout=self._timeout_seconds,
            timeout=5,
            server_settings={"application_name": "orderwire"},
        )
        await self._pool
        try:
            yield self
        finally:
            self._pool.terminate()
            await asyncio.gather(*self._release_tasks, return_exceptions=True)

    async def expire_connections(self) -> None:
        """Called when the listener has lost its connection: those of the pool may be dead too, so replace them."""
        assert self._pool is not None
        await self._pool.expire_connections()

    @asynccontextmanager
    async def _acquire(self) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        assert self._pool is not None
        with wrap_driver_errors():
            connection = await self._pool.acquire(timeout=self._timeout_seconds)
            try:
                yield connection
            except asyncpg.PostgresError:
                raise  # PostgreSQL answered: the connection is good
            except BaseException:
                connection.terminate()  # its release would wait for a response, and the connection may be dead
                raise
            finally:
                self._release(connection)

    def _release(self, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
        """Return the connection to the pool in a task of its own, so that the caller does not wait for its reset.

        A caller that is cancelled while it waits would leave an error that is never retrieved, because asyncpg shields the
        release; this task is not cancelled with the caller. If the release fails, the pool opens another connection.
        """
        assert self._pool is not None
        task = asyncio.create_task(self._pool.release(connection), name="release of a database connection")
        self._release_tasks.add(task)
        task.add_done_callback(self._on_released)

    def _on_released(self, task: asyncio.Task[None]) -> None:
        self._release_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("release of a connection failed: %s", error)

    async def _fetch_from_journal(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        async with self._acquire() as connection:
            await connection.execute(SESSION_SETTINGS_SQL)  # the pool resets the settings when a connection is released
            return await connection.fetch(query, *args, timeout=timeout)

    async def latest_orders(self, limit: int, status: str | None, before: int | None) -> list[str]:
        """Newest orders first, each as a JSON object."""
        async with self._acquire() as connection:
            rows = await connection.fetch("select orderwire.latest_orders($1, $2, $3)", limit, status, before)
        return [row[0] for row in rows]

    async def customer_orders(
        self, subject: str | None, ids: Collection[int], limit: int, status: str | None, before: int | None
    ) -> list[str]:
        """The same, but only orders whose customer_id is ``subject`` or whose id is among ``ids``."""
        async with self._acquire() as connection:
            rows = await connection.fetch(
                "select orderwire.orders_of($1, $2, $3, $4, $5)", subject, list(ids), limit, status, before
            )
        return [row[0] for row in rows]

    async def owned_by(self, subject: str, ids: Collection[int]) -> set[int]:
        """Those of ``ids`` whose order has ``subject`` as customer_id."""
        async with self._acquire() as connection:
            rows = await connection.fetch(
                "select o.id from public.orders as o where o.id = any($2::bigint[]) and o.customer_id = $1", subject, list(ids)
            )
        return {row[0] for row in rows}

    async def poll_state(self) -> tuple[float, dict[str, float]]:
        """Usage of the notification queue, 0 to 1; and for each revoked subject the Unix time of the revocation."""
        async with self._acquire() as connection:
            usage = await connection.fetchval("select pg_notification_queue_usage()")
            rows = await connection.fetch("select subject, extract(epoch from revoked_at)::float8 from orderwire.revocations")
        return usage, {row[0]: row[1] for row in rows}

    async def is_superuser(self) -> bool:
        """Whether the server's role is a superuser."""
        async with self._acquire() as connection:
            is_superuser: bool = await connection.fetchval("select current_setting('is_superuser')::boolean")
        return is_superuser

    async def maintain_partitions(self, retention: timedelta) -> None:
        """Create the next partitions of the journal, and drop those whose events are all older than ``retention``."""
        async with self._acquire() as connection:
            await connection.execute("select orderwire.maintain_partitions($1)", retention)
