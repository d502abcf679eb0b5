"""A small pool of connections for short queries. Each one leads to the database that the process follows."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from db.connect import Connection, PoolConnector
from db.errors import role_of, wrap_driver_errors
from db.identity import DatabaseIdentity, FollowedDatabase

__all__ = ["ConnectionPool", "PoolConnection"]

log = logging.getLogger("orderwire.database")


class PoolConnection(asyncpg.Connection):  # a subscript, as of a generic class, fails when the module is loaded
    """A connection that knows where it leads."""

    identity: DatabaseIdentity


async def _read_identity(connection: Connection) -> None:
    """Called by the pool for each new connection."""
    assert isinstance(connection, PoolConnection)
    connection.identity = await DatabaseIdentity.read(connection)


class ConnectionPool:
    """Base of those who query the database. Their methods raise DatabaseError.

    ``followed`` is the database that the process's listener follows: a connection to any other is closed.
    """

    def __init__(self, followed: FollowedDatabase, timeout_seconds: float, max_connections: int) -> None:
        self._followed = followed
        self._connector = PoolConnector(lambda: self._followed.url, _read_identity)
        self._timeout_seconds = timeout_seconds
        self._max_connections = max_connections
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._release_tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Self]:
        """Create the pool, and terminate it at the end. Opens no connection: the database may not be available yet."""
        self._pool = asyncpg.create_pool(
            connect=self._connector.connect,
            connection_class=PoolConnection,
            min_size=0,
            max_size=self._max_connections,
            command_timeout=self._timeout_seconds,
        )
        await self._pool
        try:
            yield self
        finally:
            self._pool.terminate()
            await asyncio.gather(*self._release_tasks, return_exceptions=True)

    async def _open_connection(self) -> Connection:
        """A connection beside the pool, which the caller closes. Errors are not wrapped."""
        connection = await self._connector.connect(connection_class=PoolConnection)
        assert isinstance(connection, PoolConnection)
        self._followed.require(connection.identity)
        return connection

    def reset_backoff(self) -> None:
        """Called when the listener has got a connection: the pool may try at once to get one."""
        self._connector.reset()

    async def expire_connections(self) -> None:
        """Called when the listener has lost its connection: those of the pool may be dead too, so replace them."""
        assert self._pool is not None
        await self._pool.expire_connections()

    @asynccontextmanager
    async def _acquire(self, timeout: float | None = None) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        """``timeout`` is that of the queries in the block, where it is not the usual one: for the text of the error."""
        assert self._pool is not None
        with wrap_driver_errors():
            connection = await self._pool.acquire(timeout=self._timeout_seconds)
            role = role_of(connection)
            try:
                self._followed.require(connection.identity)  # type: ignore[attr-defined]  # passed on by the proxy
                yield connection
            except asyncpg.PostgresError:  # PostgreSQL answered: the connection is good
                with wrap_driver_errors(role):
                    raise
            except TimeoutError:
                connection.terminate()
                with wrap_driver_errors(time_limit=_time_limit(timeout, self._timeout_seconds)):
                    raise
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
        task = asyncio.create_task(self._give_back(connection), name="release of a database connection")
        self._release_tasks.add(task)
        task.add_done_callback(self._on_released)

    async def _give_back(self, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
        assert self._pool is not None
        await self._pool.release(connection)

    def _on_released(self, task: asyncio.Task[None]) -> None:
        self._release_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("release of a connection failed: %s", error)


def _time_limit(timeout: float | None, usual: float) -> str:
    return f"{usual:g} s (DATABASE_TIMEOUT_SECONDS)" if timeout is None else f"{timeout:g} s"
