"""db/migrate.py: all files in one transaction, by any number of processes at once, and nothing outside the schema."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.errors import DatabaseMisconfigured
from db.migrate import SQL_DIRECTORY, Source, SqlFile, create_starter, migrate
from tests.support import TIMEOUT_SECONDS, Process, open_connections, url_with_role, within

INSERT_SQL = "insert into orders (customer_name, total) values ('Anna', 1)"
SOURCE = Source.load()
MIGRATIONS = [file.name for file in SOURCE.migrations]
FUNCTIONS = [file.name for file in SOURCE.functions]
NAMES = MIGRATIONS + FUNCTIONS
# As a version before the last one had them.
OLDER = Source(SOURCE.migrations, SOURCE.functions[:-1])


async def recorded_names(db: Any) -> list[str]:
    rows = await db.fetch("select name from orderwire.migrations order by number")
    rows += await db.fetch("select name from orderwire.functions order by name")
    return [row[0] for row in rows]


async def has_schema(db: Any) -> bool:
    return await db.fetchval("select to_regnamespace('orderwire')") is not None


async def test_second_run_does_nothing(empty_database_url: str, empty_db: Any) -> None:
    assert await migrate(empty_database_url) == NAMES
    applied = "select name, checksum, applied_at from orderwire.functions"
    applied += " union all select name, checksum, applied_at from orderwire.migrations order by name"
    before = await empty_db.fetch(applied)
    assert await migrate(empty_database_url) == []
    assert await empty_db.fetch(applied) == before


async def test_nothing_is_created_outside_the_schema(empty_database_url: str, empty_db: Any) -> None:
    outside = """
    select c.relname::text from pg_class as c
    where c.relnamespace not in (
        select n.oid from pg_namespace as n where n.nspname in ('orderwire', 'pg_catalog', 'pg_toast', 'information_schema')
    )
    union all
    select p.proname::text from pg_proc as p where p.pronamespace = 'public'::regnamespace
    union all
    select n.nspname::text from pg_namespace as n where n.nspname <> 'orderwire'
    order by 1
    """
    await empty_db.execute("create table orders (id int primary key)")
    before = await empty_db.fetch(outside)
    await migrate(empty_database_url)
    assert await empty_db.fetch(outside) == before
    assert (
        await empty_db.fetchval(
            "select count(*) from pg_trigger where not tgisinternal and tgrelid <> 'orderwire.notices'::regclass"
        )
        == 0
    )


async def test_twenty_concurrent_runs_apply_each_file_once(empty_database_url: str, empty_db: Any) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(20)))
    assert sorted(applied) == [[]] * 19 + [NAMES]
    assert await recorded_names(empty_db) == NAMES


async def test_five_concurrent_processes_succeed(empty_database_url: str, empty_db: Any) -> None:
    env = {"DATABASE_URL": empty_database_url}
    processes = [await Process.start(sys.executable, "server.py", "migrate", env=env) for _ in range(5)]
    codes = [await process.wait_for_exit() for process in processes]
    assert codes == [0] * 5, [process.output for process in processes]
    assert await recorded_names(empty_db) == NAMES
    printed = [line for process in processes for line in process.lines if "applied sql/" in line]
    assert sorted(printed) == sorted(f"applied sql/{name}" for name in NAMES)


async def test_edited_migration_is_rejected_by_name(database_url: str) -> None:
    edited = replace(SOURCE.migrations[1], sql=SOURCE.migrations[1].sql + "-- edited\n")
    with pytest.raises(DatabaseMisconfigured, match=rf"sql/{edited.name} was edited"):
        await migrate(database_url, Source([SOURCE.migrations[0], edited, *SOURCE.migrations[2:]], SOURCE.functions))


@pytest.mark.parametrize(
    "functions",
    [
        [replace(SOURCE.functions[0], sql=SOURCE.functions[0].sql + "-- edited\n"), *SOURCE.functions[1:]],
        SOURCE.functions[:-1],
        [
            *SOURCE.functions,
            SqlFile(0, "functions/99_more.sql", "create or replace function orderwire.more() returns int return 1"),
        ],
    ],
    ids=["edited", "removed", "added"],
)
async def test_functions_are_all_applied_again_when_one_file_changes(
    database_url: str, db: Any, functions: list[SqlFile]
) -> None:
    changed = Source(SOURCE.migrations, functions)
    names = [file.name for file in functions]
    assert await migrate(database_url, changed) == names
    assert await recorded_names(db) == MIGRATIONS + names
    assert await migrate(database_url, changed) == []
    await db.execute(INSERT_SQL)  # the attached table is still attached
    assert await db.fetchval("select event ->> 'type' from orderwire.events") == "new_order"


async def test_database_newer_than_the_code_is_rejected(database_url: str, db: Any) -> None:
    with pytest.raises(DatabaseMisconfigured, match=f"{MIGRATIONS[-1]}.*newer version"):
        await migrate(database_url, Source(SOURCE.migrations[:-1], SOURCE.functions))
    # The command prints one line and exits with 1.
    await db.execute("insert into orderwire.migrations values (999, 'migrations/999_future.sql', 'x')")
    process = await Process.start(sys.executable, "server.py", "migrate", env={"DATABASE_URL": database_url})
    assert await process.wait_for_exit() == 1
    assert len(process.lines) == 1
    assert "999_future.sql" in process.output


@pytest.mark.parametrize("position", ["migration", "functions"])
async def test_error_in_the_last_file_leaves_nothing(empty_database_url: str, empty_db: Any, position: str) -> None:
    name = "migrations/005_broken.sql" if position == "migration" else "functions/99_broken.sql"
    broken = SqlFile(
        len(MIGRATIONS) + 1 if position == "migration" else 0,
        name,
        "create table public.half (id int); insert into public.half values (1); select 1 / 0",
    )
    if position == "migration":
        source = Source([*SOURCE.migrations, broken], SOURCE.functions)
    else:
        source = Source(SOURCE.migrations, [*SOURCE.functions, broken])
    with pytest.raises(DatabaseMisconfigured, match=rf"sql/{name}: division by zero"):
        await migrate(empty_database_url, source)
    assert not await has_schema(empty_db)
    assert await empty_db.fetchval("select to_regclass('half')") is None
    assert await migrate(empty_database_url) == NAMES


async def test_upgrade_that_fails_leaves_the_version_before(database_url: str, db: Any) -> None:
    broken = SqlFile(0, "functions/99_broken.sql", "drop function orderwire.diagnose(); select 1 / 0")
    with pytest.raises(DatabaseMisconfigured, match=r"sql/functions/99_broken\.sql: division by zero"):
        await migrate(database_url, Source(SOURCE.migrations, [*SOURCE.functions, broken]))
    assert await recorded_names(db) == NAMES
    assert await migrate(database_url) == []
    assert await db.fetch("select * from orderwire.diagnose()") == []


async def test_schema_of_before_the_first_release_is_refused(empty_database_url: str, empty_db: Any) -> None:
    await empty_db.execute(
        """
        create schema orderwire;
        create table orderwire.migrations (number integer primary key, name text, checksum text, applied_at timestamptz);
        insert into orderwire.migrations values (1, '001_orders.sql', 'x', now())
        """
    )
    process = await Process.start(sys.executable, "server.py", "migrate", env={"DATABASE_URL": empty_database_url})
    assert await process.wait_for_exit() == 1
    (line,) = process.lines
    assert "one of before the first release, which cannot be upgraded: drop it (drop schema orderwire cascade)" in line
    assert await empty_db.fetchval("select to_regclass('orderwire.journal')") is None


def test_migrations_are_numbered_without_gaps(tmp_path: Path) -> None:
    (tmp_path / "migrations").mkdir()
    for name in ("001_one.sql", "003_three.sql"):
        (tmp_path / "migrations" / name).write_text("select 1")
    with pytest.raises(DatabaseMisconfigured, match="not numbered 001, 002, … without gaps"):
        Source.load(tmp_path)


def test_each_file_is_loaded() -> None:
    files = {str(path.relative_to(SQL_DIRECTORY)) for path in SQL_DIRECTORY.glob("*/*.sql")}
    assert {*NAMES, "starter/orders.sql"} == files


# ---------------------------------------------------------------- another role, and open transactions


@pytest.fixture
async def owner_url(empty_database_url: str, empty_db: Any) -> AsyncIterator[str]:
    """The URL of a role that has applied an older version and created the starter table."""
    await empty_db.execute("create role keeper login password 'k'; grant create on schema public to keeper")
    name = await empty_db.fetchval("select current_database()")
    await empty_db.execute(f'grant create on database "{name}" to keeper; grant pg_read_all_stats to keeper')
    url = url_with_role(empty_database_url, "keeper", "k")
    await empty_db.execute("grant execute on function pg_control_system() to keeper")
    await empty_db.execute("grant execute on function pg_walfile_name(pg_lsn) to keeper")
    await migrate(url, OLDER)
    assert await create_starter(url)
    yield url
    await empty_db.execute("drop owned by keeper cascade; drop role keeper")


async def test_objects_belong_to_the_owner_of_the_schema(empty_database_url: str, empty_db: Any, owner_url: str) -> None:
    assert await migrate(empty_database_url) == FUNCTIONS
    await empty_db.execute(INSERT_SQL)
    owners = await empty_db.fetch(
        """
        select distinct p.proowner::regrole::text from pg_proc as p where p.pronamespace = 'orderwire'::regnamespace
        union
        select distinct c.relowner::regrole::text from pg_class as c where c.relnamespace = 'orderwire'::regnamespace
        """
    )
    assert [row[0] for row in owners] == ["keeper"]
    async with open_connections(owner_url, 1) as (writer,):
        await writer.execute(INSERT_SQL)
    assert await empty_db.fetchval("select count(*) from orderwire.journal") == 2


async def test_role_without_the_privilege_is_told_the_owner(empty_database_url: str, empty_db: Any, owner_url: str) -> None:
    await empty_db.execute("create role passer login password 'p'; grant usage, create on schema orderwire to passer")
    name = await empty_db.fetchval("select current_database()")
    await empty_db.execute(
        f'grant select on orderwire.migrations, orderwire.functions to passer; grant create on database "{name}" to passer'
    )
    try:
        with pytest.raises(DatabaseMisconfigured, match=r"belongs to keeper.*migrate as keeper"):
            await migrate(url_with_role(empty_database_url, "passer", "p"))
    finally:
        await empty_db.execute("drop owned by passer; drop role passer")


async def test_role_that_may_not_create_the_schema_is_told_so_in_one_line(empty_database_url: str, empty_db: Any) -> None:
    await empty_db.execute("create role visitor login password 'v'")
    try:
        process = await Process.start(
            sys.executable,
            "server.py",
            "migrate",
            env={"DATABASE_URL": url_with_role(empty_database_url, "visitor", "v")},
        )
        assert await process.wait_for_exit() == 1
        (line,) = process.lines
        assert "permission denied for database" in line
        assert "set MIGRATE_DATABASE_URL" in line
    finally:
        await empty_db.execute("drop role visitor")
    assert not await has_schema(empty_db)


async def test_upgrade_and_writers_do_not_wait_for_one_another(database_url: str, db: Any) -> None:
    """What is replaced are functions: no lock on the attached table."""
    await db.execute("insert into orderwire.functions (name, checksum) values ('functions/00_gone.sql', 'x')")
    async with open_connections(database_url, 1) as (writer,):
        async with db.transaction():
            await db.execute(INSERT_SQL)
            assert await within(TIMEOUT_SECONDS, migrate(database_url), "an upgrade beside an open transaction") == FUNCTIONS
            await within(TIMEOUT_SECONDS, writer.execute(INSERT_SQL), "an INSERT after the upgrade")
            await db.execute(INSERT_SQL)
        assert await writer.fetchval("select count(*) from orderwire.journal") == 3


async def test_starter_table_belongs_to_the_owner_of_the_schema(empty_db: Any, owner_url: str) -> None:
    assert owner_url
    owners = "select distinct relowner::regrole::text from pg_class where relname ~ '^orders' or relname = 'order_analytics'"
    assert [row[0] for row in await empty_db.fetch(owners)] == ["keeper"]


async def test_starter_needs_the_schema(empty_database_url: str) -> None:
    with pytest.raises((DatabaseMisconfigured, asyncpg.UndefinedTableError)):
        await create_starter(empty_database_url)
