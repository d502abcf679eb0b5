"""Finds what would prevent events from being recorded or delivered. `make doctor` prints the result."""

from __future__ import annotations

import asyncio
import secrets

import asyncpg

from db.embedded.binaries import MIN_MAJOR_VERSION
from db.errors import wrap_driver_errors
from db.identity import primary_only
from db.migrate import Source, pending_files, require_primary

__all__ = ["diagnose"]

NOTIFY_TIMEOUT_SECONDS = 5.0


async def diagnose(url: str) -> list[tuple[str, str]]:
    """Return pairs of a problem and its fix. Raises DatabaseError when the database cannot be queried."""
    with wrap_driver_errors():
        connection = await asyncpg.connect(url, **primary_only(url), timeout=5)
        try:
            await require_primary(connection)
            await connection.execute("set search_path = pg_catalog, pg_temp")  # no operators that another role created
            problems = []
            if connection.get_server_version().major < MIN_MAJOR_VERSION:
                problems.append((f"PostgreSQL is older than version {MIN_MAJOR_VERSION}", "upgrade it"))
            if pending := await pending_files(connection, Source.load()):
                fix = "make migrate (or: python server.py migrate)"
                problems.append((f"{len(pending)} files of sql/ have not been applied", fix))
            else:
                rows = await connection.fetch("select problem, fix from orderwire.diagnose()")
                problems += [(row["problem"], row["fix"]) for row in rows]
            if not await _notify_arrives(connection):
                problems.append(
                    (
                        "NOTIFY does not arrive on this connection: the server only polls, and events are up to a second late",
                        "point DATABASE_URL at PostgreSQL itself, not at a pooler in transaction mode",
                    )
                )
            return problems
        finally:
            connection.terminate()


async def _notify_arrives(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
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
