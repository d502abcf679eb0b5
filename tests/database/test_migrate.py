"""Migrations: once each, by any number of processes at once, whole or not at all."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from typing import Any

import pytest

from db.errors import DatabaseMisconfigured
from db.migrate import Migration, load_migrations, migrate
from tests.support import Process

NAMES = [migration.name for migration in load_migrations()]


async def files_recorded(db: Any) -> list[str]:
    return [row[0] for row in await db.fetch("select name from orderwire.migrations order by number")]


async def test_a_second_time_does_nothing(empty_database_url: str, empty_db: Any) -> None:
    assert await migrate(empty_database_url) == NAMES
    before = await empty_db.fetch("select * from orderwire.migrations")
    assert await migrate(empty_database_url) == []
    assert await empty_db.fetch("select * from orderwire.migrations") == before


async def test_twenty_at_once_apply_each_file_once(empty_database_url: str, empty_db: Any) -> None:
    applied = await asyncio.gather(*(migrate(empty_database_url) for _ in range(20)))
    assert sorted(name for names in applied for name in names) == NAMES
    assert await files_recorded(empty_db) == NAMES


async def test_five_processes_at_once_all_succeed(empty_database_url: str, empty_db: Any) -> None:
    env = {"DATABASE_URL": empty_database_url}
    processes = [await Process.start(sys.executable, "server.py", "migrate", env=env) for _ in range(5)]
    codes = [await process.wait_for_exit() for process in processes]
    assert codes == [0] * 5, [process.output for process in processes]
    assert await files_recorded(empty_db) == NAMES
    said = [line for process in processes for line in process.lines if line.startswith("applied")]
    assert sorted(said) == [f"applied sql/{name}" for name in NAMES]


async def test_an_edited_file_is_refused_by_name(database_url: str) -> None:
    files = load_migrations()
    files[1] = replace(files[1], sql=files[1].sql + "-- a word more\n")
    with pytest.raises(DatabaseMisconfigured, match=rf"sql/{files[1].name} was edited"):
        await migrate(database_url, files)


async def test_a_database_newer_than_the_code_is_refused(database_url: str, db: Any) -> None:
    with pytest.raises(DatabaseMisconfigured, match=f"{NAMES[-1]}.*newer version"):
        await migrate(database_url, load_migrations()[:-1])
    # By the command, too: one line, exit code 1.
    await db.execute("insert into orderwire.migrations values (999, '999_future.sql', 'x')")
    process = await Process.start(sys.executable, "server.py", "migrate", env={"DATABASE_URL": database_url})
    assert await process.wait_for_exit() == 1
    assert len(process.lines) == 1
    assert "999_future.sql" in process.output


async def test_a_failing_file_leaves_nothing_half_done_and_can_be_mended(empty_database_url: str, empty_db: Any) -> None:
    first = Migration(1, "001_fine.sql", "create table public.fine (id int)")
    broken = Migration(
        2, "002_broken.sql", "create table public.half (id int); insert into public.half values (1); select 1 / 0"
    )
    with pytest.raises(DatabaseMisconfigured, match=r"sql/002_broken\.sql: division by zero"):
        await migrate(empty_database_url, [first, broken])
    assert await files_recorded(empty_db) == ["001_fine.sql"]
    assert await empty_db.fetchval("select to_regclass('half')") is None

    mended = replace(broken, sql="create table public.half (id int)")
    assert await migrate(empty_database_url, [first, mended]) == ["002_broken.sql"]


async def test_an_orders_table_that_lacks_columns_is_named_with_them(empty_database_url: str, empty_db: Any) -> None:
    await empty_db.execute("create table orders (id bigint primary key, order_number text unique, status text)")
    with pytest.raises(
        DatabaseMisconfigured, match=r"lacks columns: customer_name, customer_id, total, created_at, updated_at"
    ):
        await migrate(empty_database_url)
    assert await files_recorded(empty_db) == []
    assert await empty_db.fetchval("select count(*) from pg_trigger where tgrelid = 'orders'::regclass") == 0


async def test_a_compatible_orders_table_keeps_its_rows(empty_database_url: str, empty_db: Any) -> None:
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
