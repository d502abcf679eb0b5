"""Applies the numbered files of ``sql/``, each once, in order, under a lock."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from db.errors import DatabaseMisconfigured, first_line, wrap_driver_errors

__all__ = ["SQL_DIRECTORY", "Migration", "load_migrations", "migrate", "pending_migrations", "require_primary"]

log = logging.getLogger("orderwire.migrate")

SQL_DIRECTORY = Path(__file__).resolve().parent.parent / "sql"
_FILE_NAME = re.compile(r"(\d{3})_[a-z0-9_]+\.sql")
# An arbitrary constant that no other application in this database may use.
_ADVISORY_LOCK_KEY = 0x6F7264657277
# How long a file waits for a lock, and how long it then lets the writers proceed before the next attempt.
LOCK_TIMEOUT_SECONDS = 1.0
RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file of ``sql/``."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text: it changes when the file is edited after it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(directory: Path = SQL_DIRECTORY) -> list[Migration]:
    """The files in order. Raises DatabaseMisconfigured when a number is missing or occurs twice."""
    found = [
        Migration(int(match[1]), path.name, path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("*.sql"))
        if (match := _FILE_NAME.fullmatch(path.name))
    ]
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise DatabaseMisconfigured(f"the files in {directory} are not numbered 001, 002, … without gaps")
    return found


async def migrate(url: str, migrations: list[Migration] | None = None) -> list[str]:
    """Bring the schema up to date; return the names of the files applied. Raises DatabaseError.

    Any number of processes may call this at the same time: the advisory lock admits one, and the others then find nothing to
    do. Each file is applied and recorded in one transaction, so a crash leaves it applied completely or not at all.
    """
    files = load_migrations() if migrations is None else migrations
    with wrap_driver_errors():
        connection = await asyncpg.connect(url, timeout=5)
    try:
        with wrap_driver_errors():
            await require_primary(connection)
            if not await pending_migrations(connection, files):
                return []
            try:
                return await _apply_pending(connection, files)
            except asyncpg.InsufficientPrivilegeError as error:
                raise DatabaseMisconfigured(
                    f"the schema is not up to date, and this role may not change it ({first_line(error)}): set "
                    "MIGRATE_DATABASE_URL to the address of a role that may, or migrate beforehand"
                ) from error
    finally:
        connection.terminate()


async def pending_migrations(connection: asyncpg.Connection[asyncpg.Record], migrations: list[Migration]) -> list[Migration]:
    """The files that have not been applied yet. Raises DatabaseMisconfigured when an applied file is unknown or was edited."""
    applied = await _applied_migrations(connection)
    _check_history(migrations, applied)
    return [migration for migration in migrations if migration.number not in applied]


async def require_primary(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Raises DatabaseMisconfigured on a standby: it is read-only, and its snapshots do not list all running transactions."""
    if await connection.fetchval("select pg_is_in_recovery()"):
        raise DatabaseMisconfigured("the database is a read-only standby: point DATABASE_URL at the primary")


async def _applied_migrations(connection: asyncpg.Connection[asyncpg.Record]) -> dict[int, tuple[str, str]]:
    if await connection.fetchval("select to_regclass('orderwire.migrations')") is None:
        return {}
    rows = await connection.fetch("select number, name, checksum from orderwire.migrations order by number")
    return {row["number"]: (row["name"], row["checksum"]) for row in rows}


def _check_history(migrations: list[Migration], applied: dict[int, tuple[str, str]]) -> None:
    by_number = {migration.number: migration for migration in migrations}
    for number, (name, checksum) in applied.items():
        migration = by_number.get(number)
        if migration is None:
            raise DatabaseMisconfigured(
                f"the database has migration {name}, which this version does not know: use the newer version of Orderwire"
            )
        if migration.checksum != checksum:
            raise DatabaseMisconfigured(
                f"sql/{migration.name} was edited after it had been applied: restore the file, and put the change in a new one"
            )


async def _apply_pending(connection: asyncpg.Connection[asyncpg.Record], migrations: list[Migration]) -> list[str]:
    names: list[str] = []
    # A session lock: it lasts across the transactions below, and PostgreSQL releases that of a killed process.
    await connection.execute("select pg_advisory_lock($1)", _ADVISORY_LOCK_KEY)
    async with connection.transaction():
        await connection.execute(
            """
            create schema if not exists orderwire;
            create table if not exists orderwire.migrations (
                number     integer constraint migrations_pkey primary key,
                name       text not null,
                checksum   text not null,
                applied_at timestamptz not null default now()
            )
            """
        )
    for migration in await pending_migrations(connection, migrations):  # read again, now under the lock
        warned = False
        while not await _try_apply(connection, migration):
            if not warned:
                log.warning(
                    "sql/%s waits for a lock that an open transaction holds, and retries: see pg_stat_activity and "
                    "pg_prepared_xacts",
                    migration.name,
                )
                warned = True
            await asyncio.sleep(RETRY_SECONDS)
        log.info("applied sql/%s", migration.name)
        names.append(migration.name)
    return names


async def _try_apply(connection: asyncpg.Connection[asyncpg.Record], migration: Migration) -> bool:
    """Apply one file. False if it got no lock in time; it waits shortly, since writers queue behind a waiting DDL lock."""
    try:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
            await _set_role_to_owner(connection)
            # Without `public`: any role may have created operators and functions there that match better.
            await connection.execute("set local search_path = pg_catalog, pg_temp")
            await connection.execute(
                "insert into orderwire.migrations (number, name, checksum) values ($1, $2, $3)",
                migration.number,
                migration.name,
                migration.checksum,
            )
            await connection.execute(migration.sql)
    except asyncpg.LockNotAvailableError:
        return False
    except asyncpg.PostgresError as error:
        hint = f" ({error.hint})" if getattr(error, "hint", None) else ""
        raise DatabaseMisconfigured(f"sql/{migration.name}: {first_line(error)}{hint}") from error
    return True


async def _set_role_to_owner(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Become the schema's owner until the end of the transaction: functions of two owners may not call each other."""
    owner = await connection.fetchval(
        "select c.relowner::regrole::text from pg_class as c where c.oid = 'orderwire.migrations'::regclass"
    )
    try:
        await connection.execute(f"set local role {owner}")
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseMisconfigured(
            f"the schema belongs to {owner}, and this role is no member of it: migrate as {owner} (set MIGRATE_DATABASE_URL)"
        ) from error
