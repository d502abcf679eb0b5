"""db/startup.py: the starter table of the embedded database, and what commands say where nothing is attached."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from db.errors import DatabaseMisconfigured
from db.migrate import migrate
from db.startup import NOTHING_ATTACHED, is_attached, prepare_embedded, require_starter
from tests.support import Process, StartServer

INSERT_SQL = "insert into orders (customer_name, total) values ('Anna', 1)"


async def test_embedded_database_gets_the_starter_table_once(empty_database_url: str, empty_db: Any) -> None:
    for _ in range(2):
        await prepare_embedded(empty_database_url)
        assert await is_attached(empty_database_url)
        await require_starter(empty_database_url)
        await empty_db.execute(INSERT_SQL)
    assert await empty_db.fetchval("select count(*) from orderwire.journal") == 2


async def test_embedded_database_gets_none_where_another_table_is_attached(empty_database_url: str, empty_db: Any) -> None:
    await migrate(empty_database_url)
    await empty_db.execute("create table sales (id int primary key)")
    await empty_db.execute("select orderwire.attach('sales', '{\"key\": \"id\"}')")
    await prepare_embedded(empty_database_url)
    assert await empty_db.fetchval("select to_regclass('public.orders')") is None


async def test_embedded_database_gets_none_where_a_table_has_its_name(empty_database_url: str, empty_db: Any) -> None:
    await empty_db.execute("create table orders (id int primary key)")
    await prepare_embedded(empty_database_url)
    assert not await is_attached(empty_database_url)
    assert await empty_db.fetchval("select count(*) from pg_trigger where tgrelid = 'orders'::regclass") == 0


async def test_table_that_was_detached_stays_so(database_url: str, db: Any) -> None:
    await db.execute("select orderwire.detach()")
    await prepare_embedded(database_url)
    assert not await is_attached(database_url)


async def test_demo_needs_the_starter_table(empty_database_url: str, empty_db: Any) -> None:
    await migrate(empty_database_url)
    process = await Process.start(sys.executable, "server.py", "demo", env={"DATABASE_URL": empty_database_url})
    assert await process.wait_for_exit() == 1
    assert process.lines == ["server.py: the demo needs the starter table: python server.py attach --create makes it"]
    await empty_db.execute("create table orders (id int primary key)")
    with pytest.raises(DatabaseMisconfigured, match=r"public\.orders is a table of yours"):
        await require_starter(empty_database_url)


async def test_server_without_a_table_says_so_in_one_line_and_starts(
    start_server: StartServer, empty_database_url: str, empty_db: Any
) -> None:
    server = await start_server(empty_database_url)
    assert server.lines.count(NOTHING_ATTACHED) == 1
    assert await empty_db.fetchval("select to_regclass('public.orders')") is None


async def test_server_with_an_attached_table_does_not(start_server: StartServer, database_url: str) -> None:
    assert NOTHING_ATTACHED not in (await start_server(database_url)).lines
