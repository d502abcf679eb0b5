"""Installs and upgrades the schema ``orderwire`` from the files of ``sql/``, in one transaction.

The files of ``sql/migrations`` create tables: each is applied once, in order, and never edited after a release.
The files of ``sql/functions`` are applied in the order of their names, all of them again when the checksum of one changes.
``sql/starter`` creates the starter table, which is attached like any other: see ``create_starter``.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from db.connect import Connection, open_connection
from db.errors import DatabaseMisconfigured, first_line

__all__ = [
    "SQL_DIRECTORY",
    "Source",
    "SqlFile",
    "create_starter",
    "grant_serving",
    "install_for_now",
    "migrate",
    "pending_files",
    "require_primary",
    "set_role_to_owner",
]

log = logging.getLogger("orderwire.migrate")

SQL_DIRECTORY = Path(__file__).resolve().parent.parent / "sql"
_MIGRATION_NAME = re.compile(r"(\d{3})_[a-z0-9_]+\.sql")
# Of the first installation, while there is no table of ours to lock. An arbitrary constant that no other application in this
# database may use; any role can take it.
_ADVISORY_LOCK_KEY = 0x6F7264657277
# How long to wait for another session that installs or upgrades the schema.
LOCK_TIMEOUT_SECONDS = 30.0

# Who holds the one or the other. Of 64-bit advisory keys pg_locks has the upper half as classid, the lower as objid.
_HOLDERS_SQL = """
select l.pid, a.usename, a.application_name
from pg_locks as l
left join pg_stat_activity as a on a.pid = l.pid
where
    l.granted and l.database = (select d.oid from pg_database as d where d.datname = current_database())
    and l.pid is distinct from pg_backend_pid()
    and (
        l.locktype = 'advisory' and ((l.classid::bigint << 32) | l.objid::bigint, l.objsubid) = ($1::bigint, 1)
        or l.locktype = 'relation' and l.relation = to_regclass('orderwire.migrations')
        and l.mode not in ('AccessShareLock', 'RowShareLock')
    )
"""

_CREATE_SCHEMA_SQL = """
create schema if not exists orderwire;
comment on schema orderwire is 'Orderwire: the journal of changes of the attached tables, and what the push server reads.';
create table orderwire.migrations (
    number     integer constraint migrations_pkey primary key,
    name       text not null,
    checksum   text not null,
    applied_at timestamptz not null default now()
);
create table orderwire.functions (
    name       text constraint functions_pkey primary key,
    checksum   text not null,
    applied_at timestamptz not null default now()
);
comment on table orderwire.functions is 'The files that define the functions of this schema, as they were applied.';
"""

# Not to_regclass: after the wait for the advisory lock it may still find what its session looked up before.
_TABLES_SQL = """
select c.relname::text
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where n.nspname = 'orderwire' and c.relname in ('migrations', 'functions')
"""


@dataclass(frozen=True, slots=True)
class SqlFile:
    """A file of ``sql/``; ``name`` is its path in that directory. ``number`` is that of a migration, 0 for functions."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text: it changes when the file is edited after it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Source:
    """All files that make up the schema, in the order in which they are applied."""

    migrations: Sequence[SqlFile]
    functions: Sequence[SqlFile]

    @classmethod
    def load(cls, directory: Path = SQL_DIRECTORY) -> Source:
        """Raises DatabaseMisconfigured when the number of a migration is missing or occurs twice."""
        migrations = [
            SqlFile(int(match[1]), f"migrations/{path.name}", path.read_text(encoding="utf-8"))
            for path in sorted((directory / "migrations").glob("*.sql"))
            if (match := _MIGRATION_NAME.fullmatch(path.name))
        ]
        if [file.number for file in migrations] != list(range(1, len(migrations) + 1)):
            raise DatabaseMisconfigured(f"the files in {directory / 'migrations'} are not numbered 001, 002, … without gaps")
        functions = [
            SqlFile(0, f"functions/{path.name}", path.read_text(encoding="utf-8"))
            for path in sorted((directory / "functions").glob("*.sql"))
        ]
        return cls(migrations, functions)


async def migrate(url: str, source: Source | None = None) -> list[str]:
    """Bring the schema up to date; return the names of the files applied. Raises DatabaseError.

    Any number of processes may call this at the same time: a lock admits one, and the others then find nothing to do, or give
    up after LOCK_TIMEOUT_SECONDS and say which session has it. Everything is one transaction: a crash, or an error in a file,
    leaves the database as it was.
    """
    files = source or Source.load()
    async with open_connection(url) as connection:
        await require_primary(connection)
        if not await pending_files(connection, files):
            return []
        async with connection.transaction():
            names = await _apply_pending(connection, files)
        for name in names:
            log.info("applied sql/%s", name)
        return names


async def install_for_now(connection: Connection) -> bool:
    """In a transaction that the caller rolls back: install the schema where it is missing; whether it was.

    Raises DatabaseMisconfigured where the schema is not up to date: an upgrade takes locks that writers would wait for.
    """
    source = Source.load()
    if not await pending_files(connection, source):
        return False
    if await connection.fetch(_TABLES_SQL):
        raise DatabaseMisconfigured("the schema orderwire is not up to date: python server.py migrate")
    return bool(await _apply_pending(connection, source))


async def grant_serving(url: str, role: str) -> list[str]:
    """Give a role what the server needs; return the warnings, each a grant that the owner of a table has to make.

    The schema must be up to date. Raises DatabaseError, also if there is no such role.
    """
    warnings: list[str] = []

    def collect(_connection: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.severity_en == "WARNING":
            warnings.append(message.message)

    async with open_connection(url) as connection:
        connection.add_log_listener(collect)
        await connection.execute("select orderwire.grant_serving(quote_ident($1)::regrole)", role)
    return warnings


async def create_starter(url: str) -> bool:
    """Create and attach ``public.orders``; False if a table is attached already. Raises DatabaseError, also if it exists."""
    path = SQL_DIRECTORY / "starter" / "orders.sql"
    async with open_connection(url) as connection, connection.transaction():
        await _lock_schema(connection)
        if await connection.fetchval("select exists (select from orderwire.attached_tables where name = 'orders')"):
            return False
        if await connection.fetchval("select to_regclass('public.orders') is not null"):
            raise DatabaseMisconfigured(
                "the table public.orders exists already: attach it with python server.py attach public.orders"
            )
        await _execute(connection, SqlFile(0, "starter/orders.sql", path.read_text(encoding="utf-8")))
        return True


async def pending_files(connection: Connection, source: Source) -> list[SqlFile]:
    """The files that have to be applied. Raises DatabaseMisconfigured when an applied migration is unknown or was edited."""
    rows = await connection.fetch(_TABLES_SQL)
    tables = {row["relname"] for row in rows}
    if "functions" not in tables:
        if "migrations" in tables:
            raise DatabaseMisconfigured(
                "the schema orderwire is one of before the first release, which cannot be upgraded: drop it (drop schema "
                "orderwire cascade), or delete .data/ if the server started the database itself"
            )
        return [*source.migrations, *source.functions]
    rows = await connection.fetch("select number, name, checksum from orderwire.migrations order by number")
    applied = {row["number"]: (row["name"], row["checksum"]) for row in rows}
    _check_history(source.migrations, applied)
    rows = await connection.fetch("select name, checksum from orderwire.functions")
    checksums = {row["name"]: row["checksum"] for row in rows}
    pending = [file for file in source.migrations if file.number not in applied]
    if pending or checksums != {file.name: file.checksum for file in source.functions}:
        pending += source.functions
    return pending


async def require_primary(connection: Connection) -> None:
    """Raises DatabaseMisconfigured on a standby: it is read-only, and its snapshots do not list all running transactions."""
    if await connection.fetchval("select pg_is_in_recovery()"):
        raise DatabaseMisconfigured("the database is a read-only standby: point DATABASE_URL at the primary")


def _check_history(migrations: Sequence[SqlFile], applied: dict[int, tuple[str, str]]) -> None:
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


async def _apply_pending(connection: Connection, source: Source) -> list[str]:
    """Apply what is pending, in the transaction that the connection is in; the names of the files."""
    try:
        return await _apply(connection, source)
    except asyncpg.InsufficientPrivilegeError as error:
        raise DatabaseMisconfigured(
            f"the schema is not up to date, and this role may not change it ({first_line(error)}): set "
            "MIGRATE_DATABASE_URL to the address of a role that may, or migrate beforehand"
        ) from error


async def _apply(connection: Connection, source: Source) -> list[str]:
    await _lock_schema(connection)
    pending = await pending_files(connection, source)  # read again, now under the lock
    if not pending:
        return []
    if not await connection.fetch(_TABLES_SQL):
        await connection.execute(_CREATE_SCHEMA_SQL)
        await set_role_to_owner(connection)
    for file in pending:
        await _execute(connection, file)
        if file.number:
            await connection.execute(
                "insert into orderwire.migrations (number, name, checksum) values ($1, $2, $3)",
                file.number,
                file.name,
                file.checksum,
            )
    await connection.execute("delete from orderwire.functions")
    await connection.executemany(
        "insert into orderwire.functions (name, checksum) values ($1, $2)",
        [(file.name, file.checksum) for file in source.functions],
    )
    return [file.name for file in pending]


async def _lock_schema(connection: Connection) -> None:
    """Until the end of the transaction no other session installs or upgrades the schema. Becomes its owner if there is one.

    Raises DatabaseMisconfigured if another session has the lock for LOCK_TIMEOUT_SECONDS.
    """
    if not await connection.fetch(_TABLES_SQL):
        await _wait_for_lock(connection, f"select pg_advisory_xact_lock({_ADVISORY_LOCK_KEY})")
    if await connection.fetch(_TABLES_SQL):  # maybe another session has installed it meanwhile
        await set_role_to_owner(connection)
        await _wait_for_lock(connection, "lock table orderwire.migrations in share row exclusive mode")


async def _wait_for_lock(connection: Connection, statement: str) -> None:
    usual = await connection.fetchval("select current_setting('lock_timeout')")
    try:
        async with connection.transaction():  # a savepoint
            await connection.execute(f"set local lock_timeout = {round(LOCK_TIMEOUT_SECONDS * 1000)}")
            await connection.execute(statement)
            await connection.execute("select set_config('lock_timeout', $1, true)", usual)
    except asyncpg.LockNotAvailableError as error:
        rows = await connection.fetch(_HOLDERS_SQL, _ADVISORY_LOCK_KEY)
        holders = "; ".join(
            f"pid {row['pid']}, role {row['usename']}, application_name {row['application_name']!r}"
            if row["pid"] is not None
            else "a prepared transaction (see pg_prepared_xacts)"
            for row in rows
        )
        raise DatabaseMisconfigured(
            f"another session has held the lock of installing and upgrading the schema for {LOCK_TIMEOUT_SECONDS:g} s: "
            f"{holders or 'it has ended just now'}. Wait for it, or end it: select pg_terminate_backend(pid)"
        ) from error


async def _execute(connection: Connection, file: SqlFile) -> None:
    # Without `public`: any role may have created operators and functions there that match better.
    await connection.execute("set local search_path = pg_catalog, pg_temp")
    try:
        await connection.execute(file.sql)
    except asyncpg.InsufficientPrivilegeError:
        raise
    except asyncpg.PostgresError as error:
        hint = f" ({error.hint})" if getattr(error, "hint", None) else ""
        raise DatabaseMisconfigured(f"sql/{file.name}: {first_line(error)}{hint}") from error


async def set_role_to_owner(connection: Connection) -> None:
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
