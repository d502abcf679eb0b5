"""db/migrate.py: each file is applied once, by any number of processes at once, completely or not at all."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

import db.migrate
from db.errors import DatabaseMisconfigured
from db.migrate import Migration, load_migrations, migrate
from tests.support import TIMEOUT_SECONDS, Process, open_connections, url_with_role, within

INSERT_SQL = "insert into orders (customer_name, total) values ('Anna', 1)"
NAMES = [migration.name for migration in load_migrations()]


async def recorded_names(db: Any) -> list[str]:
    return [row[0] for row in await db.fetch("select name from orderwire.migrations order by number")]


async def test_second_run_does_nothing(empty_database_url: str, empty_db: Any) -> None:
    assert await migrate(empty_database_url) == NAMES
    before = await empty_db.fetch("select * from orderwire.migrations")
    assert await migrate(empty_database_url) == []
    assert await empty_db.fetch("select * from orderwire.migrations") == before


async def test_twenty_concurrent_runs_apply_each_file_once(empty_database_url: str, empty_db: Any) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(20)))
    assert sorted(name for names in applied for name in names) == NAMES
    assert await recorded_names(empty_db) == NAMES


async def test_five_concurrent_processes_succeed(empty_database_url: str, empty_db: Any) -> None:
    env = {"DATABASE_URL": empty_database_url}
    processes = [await Process.start(sys.executable, "server.py", "migrate", env=env) for _ in range(5)]
    codes = [await process.wait_for_exit() for process in processes]
    assert codes == [0] * 5, [process.output for process in processes]
    assert await recorded_names(empty_db) == NAMES
    printed = [line for process in processes for line in process.lines if line.startswith("applied")]
    assert sorted(printed) == [f"applied sql/{name}" for name in NAMES]


async def test_edited_file_is_rejected_by_name(database_url: str) -> None:
    files = load_migrations()
    files[1] = replace(files[1], sql=files[1].sql + "-- edited\n")
    with pytest.raises(DatabaseMisconfigured, match=rf"sql/{files[1].name} was edited"):
        await migrate(database_url, files)


async def test_database_newer_than_the_code_is_rejected(database_url: str, db: Any) -> None:
    with pytest.raises(DatabaseMisconfigured, match=f"{NAMES[-1]}.*newer version"):
        await migrate(database_url, load_migrations()[:-1])
    # The command prints one line and exits with 1.
    await db.execute("insert into orderwire.migrations values (999, '999_future.sql', 'x')")
    process = await Process.start(sys.executable, "server.py", "migrate", env={"DATABASE_URL": database_url})
    assert await process.wait_for_exit() == 1
    assert len(process.lines) == 1
    assert "999_future.sql" in process.output


async def test_failed_file_is_rolled_back_and_applied_once_it_is_fixed(empty_database_url: str, empty_db: Any) -> None:
    first = Migration(1, "001_fine.sql", "create table public.fine (id int)")
    broken = Migration(
        2, "002_broken.sql", "create table public.half (id int); insert into public.half values (1); select 1 / 0"
    )
    with pytest.raises(DatabaseMisconfigured, match=r"sql/002_broken\.sql: division by zero"):
        await migrate(empty_database_url, [first, broken])
    assert await recorded_names(empty_db) == ["001_fine.sql"]
    assert await empty_db.fetchval("select to_regclass('half')") is None

    fixed = replace(broken, sql="create table public.half (id int)")
    assert await migrate(empty_database_url, [first, fixed]) == ["002_broken.sql"]


async def test_missing_columns_of_an_existing_orders_table_are_named(empty_database_url: str, empty_db: Any) -> None:
    await empty_db.execute("create table orders (id bigint primary key, order_number text unique, status text)")
    with pytest.raises(
        DatabaseMisconfigured, match=r"lacks columns: customer_name, customer_id, total, created_at, updated_at"
    ):
        await migrate(empty_database_url)
    assert await recorded_names(empty_db) == []
    assert await empty_db.fetchval("select count(*) from pg_trigger where tgrelid = 'orders'::regclass") == 0


async def test_compatible_orders_table_keeps_its_rows(empty_database_url: str, empty_db: Any) -> None:
    await empty_db.execute(
        """
        create table orders (
            id bigserial primary key, order_number text not null unique, customer_name text not null, customer_id text,
            total numeric(12, 2) not null, status text not null default 'pending', note json,
            gross numeric generated always as (total * 1.2) stored,
            created_at timestamptz not null default now(), updated_at timestamptz not null default now()
        );
        insert into orders (order_number, customer_name, total) values ('OLD-1', 'a', 1), ('OLD-2', 'b', 2)
        """
    )
    await migrate(empty_database_url)
    await empty_db.execute("insert into orders (customer_name, total) values ('c', 3)")
    await empty_db.execute("update orders set status = 'ready' where order_number = 'OLD-1'")
    assert tuple(await empty_db.fetchrow("select * from order_analytics")) == (3, 6, 2)
    numbers = await empty_db.fetch("select order_number from orders order by id")
    assert [row[0] for row in numbers][:2] == ["OLD-1", "OLD-2"]
    kinds = await empty_db.fetch("select event ->> 'type' from orderwire.events order by id")
    assert [row[0] for row in kinds] == ["new_order", "order_status_update"]


# ---------------------------------------------------------------- another role, and open transactions


@pytest.fixture
async def owner_url(empty_database_url: str, empty_db: Any) -> AsyncIterator[str]:
    """The URL of a role that has applied all files but the last."""
    await empty_db.execute("create role keeper login password 'k'; grant create on schema public to keeper")
    name = await empty_db.fetchval("select current_database()")
    await empty_db.execute(f'grant create on database "{name}" to keeper; grant pg_read_all_stats to keeper')
    url = url_with_role(empty_database_url, "keeper", "k")
    await empty_db.execute("grant execute on function pg_control_system() to keeper")
    await empty_db.execute("grant execute on function pg_walfile_name(pg_lsn) to keeper")
    await migrate(url, load_migrations()[:-1])
    yield url
    await empty_db.execute("drop owned by keeper cascade; drop role keeper")


async def test_objects_belong_to_the_owner_of_the_schema(empty_database_url: str, empty_db: Any, owner_url: str) -> None:
    assert len(await migrate(empty_database_url)) == 1
    await empty_db.execute(INSERT_SQL)
    owners = await empty_db.fetch(
        "select distinct p.proowner::regrole::text from pg_proc as p where p.pronamespace = 'orderwire'::regnamespace"
    )
    assert [row[0] for row in owners] == ["keeper"]
    async with open_connections(owner_url, 1) as (writer,):
        await writer.execute(INSERT_SQL)


async def test_role_without_the_privilege_is_told_the_owner(empty_database_url: str, empty_db: Any, owner_url: str) -> None:
    await empty_db.execute("create role passer login password 'p'; grant usage, create on schema orderwire to passer")
    name = await empty_db.fetchval("select current_database()")
    await empty_db.execute(f'grant select on orderwire.migrations to passer; grant create on database "{name}" to passer')
    try:
        with pytest.raises(DatabaseMisconfigured, match=r"belongs to keeper.*migrate as keeper"):
            await migrate(url_with_role(empty_database_url, "passer", "p"))
    finally:
        await empty_db.execute("drop owned by passer; drop role passer")


async def test_writers_do_not_queue_behind_a_waiting_migration(
    empty_database_url: str, empty_db: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(db.migrate, "LOCK_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(db.migrate, "RETRY_SECONDS", 0.1)
    await migrate(empty_database_url, load_migrations()[:-1])
    async with open_connections(empty_database_url, 1) as (writer,):
        open_transaction = empty_db.transaction()
        await open_transaction.start()
        await empty_db.execute(INSERT_SQL)
        with caplog.at_level(logging.WARNING, "orderwire.migrate"):
            upgrade = asyncio.create_task(migrate(empty_database_url))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while "waits for a lock" not in caplog.text:
                    await asyncio.sleep(0.01)
            for _ in range(5):
                await within(TIMEOUT_SECONDS, writer.execute(INSERT_SQL), "an INSERT beside the upgrade")
        assert not upgrade.done()
        await open_transaction.commit()
        assert len(await asyncio.wait_for(upgrade, TIMEOUT_SECONDS)) == 1
        assert caplog.text.count("waits for a lock") == 1
        await writer.execute(INSERT_SQL)
        assert await writer.fetchval("select count(*) from orderwire.journal") == 7
