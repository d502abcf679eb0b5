"""Finds what would prevent events from being recorded or delivered. `make doctor` prints the result."""

from __future__ import annotations

import asyncio
import secrets
import shlex

import asyncpg

from db.connect import Connection, open_connection
from db.embedded.binaries import MIN_MAJOR_VERSION
from db.errors import DatabaseError, PoolerInTransactionMode, PrivilegeMissing, wrap_driver_errors
from db.migrate import Source, pending_files, require_primary

__all__ = ["diagnose"]

NOTIFY_TIMEOUT_SECONDS = 5.0


async def diagnose(url: str) -> list[tuple[str, str]]:
    """Return pairs of a problem and its fix. Raises DatabaseError when the database cannot be reached, or is a standby.

    A query that fails is a problem like the others, and takes none of them away.
    """
    try:
        async with open_connection(url) as connection:
            await require_primary(connection)
            await connection.execute("set search_path = pg_catalog, pg_temp")  # no operators that another role created
            role = await connection.fetchval("select current_user")
            problems = []
            if connection.get_server_version().major < MIN_MAJOR_VERSION:
                problems.append((f"PostgreSQL is older than version {MIN_MAJOR_VERSION}", "upgrade it"))
            for find in (_find_in_schema, _find_in_notifications):
                try:
                    with wrap_driver_errors(role):
                        problems += await find(connection)
                except PrivilegeMissing as error:
                    fix = f"with the owner's DATABASE_URL: python server.py migrate --grant {shlex.quote(role)}"
                    problems.append((f"the role {role} lacks a privilege: {error.__cause__}", fix))
                except DatabaseError as error:
                    problems.append((f"this could not be examined: {error}", "mend what the error says, and run doctor again"))
            return problems
    except PoolerInTransactionMode as error:  # all other answers depend on which session gives them
        return [(str(error), "point DATABASE_URL at PostgreSQL itself, or at a pooler in session mode")]


async def _find_in_schema(connection: Connection) -> list[tuple[str, str]]:
    if pending := await pending_files(connection, Source.load()):
        return [(f"{len(pending)} files of sql/ have not been applied", "make migrate (or: python server.py migrate)")]
    rows = await connection.fetch("select problem, fix from orderwire.diagnose()")
    return [(row["problem"], row["fix"]) for row in rows]


async def _find_in_notifications(connection: Connection) -> list[tuple[str, str]]:
    try:
        arrives = await _notify_arrives(connection)
    except asyncpg.ProgramLimitExceededError as error:
        fix = "end the session that listens but sits in a transaction: select pg_terminate_backend(PID); see pg_stat_activity"
        return [(f"NOTIFY fails, so events are up to a second late: {error}", fix)]
    if arrives:
        return []
    return [
        (
            "NOTIFY does not arrive on this connection: the server only polls, and events are up to a second late",
            "point DATABASE_URL at PostgreSQL itself, not at a pooler in transaction mode",
        )
    ]


async def _notify_arrives(connection: Connection) -> bool:
    channel = "orderwire_test_" + secrets.token_hex(8)
    notified = asyncio.Event()
    await connection.add_listener(channel, lambda *_: notified.set())
    await connection.execute("select pg_notify($1, '')", channel)
    try:
        async with asyncio.timeout(NOTIFY_TIMEOUT_SECONDS):
            await notified.wait()
    except TimeoutError:
        return False
    return True
