"""Recognizes a connection pooler in transaction mode (PgBouncer, Supavisor, Odyssey, …) between us and PostgreSQL.

Such a pooler hands each transaction to any of its server connections. LISTEN then belongs to a session that others use as
well, so notifications get lost; and session settings and locks of ours would reach the other clients of the pooler.
A notification that a session sends itself proves nothing: it comes back with the answer to the query that has sent it.

Everything here is sent as simple queries, whose result is the number of rows: a prepared statement is lost between two
transactions, and would fail the test with an error of its own.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import asyncpg

__all__ = ["shares_its_session"]

log = logging.getLogger("orderwire.pooler")

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

# Seconds for the whole test. A pooler in session mode whose pool is full lets the second connection wait.
TEST_TIMEOUT_SECONDS = 3.0
# Another client of the pooler may have taken the session just then.
ATTEMPTS = 3


async def shares_its_session(connection: Connection, open_other: Callable[[], Awaitable[Connection]]) -> bool:
    """Whether a pooler gives the session of this connection to others between two transactions.

    ``open_other`` opens a second connection to the same address. It is not called on a direct connection, where the process id
    that PostgreSQL has announced is that of the process that answers: there the test is one round trip. Raises the driver's
    errors when the first query fails.
    """
    if await _holds(connection, f"pg_backend_pid() = {connection.get_server_pid()}"):
        return False
    other = None
    try:
        async with asyncio.timeout(TEST_TIMEOUT_SECONDS):
            other = await open_other()
            for _ in range(ATTEMPTS):
                if await _is_shared(connection, other):
                    return True
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        if "statement pooling mode" in str(error):
            return True
        # Not proven, for example because no second connection is free.
        log.debug("a pooler is in between, and its mode could not be found out: %s", error)
    finally:
        if other is not None:
            other.terminate()
    return False


async def _is_shared(connection: Connection, other: Connection) -> bool:
    """Whether the other connection finds a setting of this one, or this one has lost it while the other has a transaction."""
    mark = secrets.token_hex(8)
    is_marked = f"current_setting('orderwire.pooler_test', true) = '{mark}'"
    await connection.execute(f"set orderwire.pooler_test = '{mark}'")
    await other.execute("begin")
    try:
        return await _holds(other, is_marked) or not await _holds(connection, is_marked)
    finally:
        await other.execute("rollback")


async def _holds(connection: Connection, condition: str) -> bool:
    return await connection.execute(f"select where {condition}") == "SELECT 1"
