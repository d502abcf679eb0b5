"""The numbered files of ``sql/``, applied once each, in order, under a lock."""

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
# Any constant will do, as long as nobody else in this database takes it.
_ADVISORY_LOCK_KEY = 0x6F7264657277
# How long a file waits for a lock, and how long writers are then left alone.
LOCK_TIMEOUT_SECONDS = 1.0
RETRY_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """Tells whether the file is still what was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def load_migrations(directory: Path = SQL_DIRECTORY) -> list[Migration]:
    """The files in order; DatabaseUnusable when a number is missing or taken twice."""
    found = [
        Migration(int(match[1]), path.name, path.read_text(encoding="utf-8"))
        for path in sorted(directory.glob("*.sql"))
        if (match := _FILE_NAME.fullmatch(path.name))
    ]
    if [migration.number for migration in found] != list(range(1, len(found) + 1)):
        raise DatabaseMisconfigured(f"the files in {directory} are not numbered 001, 002, … without gaps")
    return found


async def migrate(url: str, migrations: list[Migration] | None = None) -> list[str]:
    """Bring the schema up to date; returns the names of the files applied.

    Safe to run any number of times, also at once: whoever comes second waits for the first and finds nothing to do.
    A file is applied and recorded in one transaction, so a crash leaves it whole or not at all.
    """
    wanted = load_migrations() if migrations is None else migrations
    with wrap_driver_errors():
        connection = await asyncpg.connect(url, timeout=5)
    try:
        with wrap_driver_errors():
            await require_primary(connection)
            if not await pending_migrations(connection, wanted):
                return []
            try:
                return await _apply_pending(connection, wanted)
            except asyncpg.InsufficientPrivilegeError as error:
                raise DatabaseMisconfigured(
                    f"the schema is not up to date, and this role may not change it ({first_line(error)}): name a role that "
                    "may in MIGRATE_DATABASE_URL, or migrate beforehand"
                ) from error
    finally:
        connection.terminate()


async def pending_migrations(connection: asyncpg.Connection[asyncpg.Record], migrations: list[Migration]) -> list[Migration]:
    """The files that have not been applied yet; DatabaseUnusable when those that have are not these."""
    applied = await _applied_migrations(connection)
    _check_history(migrations, applied)
    return [migration for migration in migrations if migration.number not in applied]


async def require_primary(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """On a standby nothing can be written, and its snapshots leave out running transactions."""
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
    # A session lock: it spans the transactions below, and a killed process lets go of it.
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
    for migration in await pending_migrations(connection, migrations):  # again, now that nobody else is at it
        said = False
        while not await _try_apply(connection, migration):
            if not said:
                log.warning(
                    "sql/%s waits for its turn between the writers: a transaction that is open keeps it from that, see "
                    "pg_stat_activity and pg_prepared_xacts; tried again and again",
                    migration.name,
                )
                said = True
            await asyncio.sleep(RETRY_SECONDS)
        log.info("applied sql/%s", migration.name)
        names.append(migration.name)
    return names


async def _try_apply(connection: asyncpg.Connection[asyncpg.Record], migration: Migration) -> bool:
    """False: a lock could not be had. Whoever waits for one has all who come later wait behind: so not for long."""
    try:
        async with connection.transaction():
            await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'")
            await _set_role_to_owner(connection)
            # What a file says is meant, and no operator or function of somebody else's, who may create them in `public`.
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
    """Until the end of the transaction. Functions of two owners could not call one another, and every writer would fail."""
    owner = await connection.fetchval(
        "select c.relowner::regrole::text from pg_class as c where c.oid = 'orderwire.migrations'::regclass"
    )
    try:
        await connection.execute(f"set local role {owner}")
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseMisconfigured(
            f"the schema belongs to {owner}, and this role is no member of it: migrate as {owner}, MIGRATE_DATABASE_URL tells"
        ) from error
