"""The starter table (sql/starter/orders.sql): the columns that it sets itself, and what uninstalling leaves of it."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from db.errors import DatabaseMisconfigured
from db.migrate import create_starter, migrate
from tests.database.journal_rows import add_orders
from tests.support import TIMEOUT_SECONDS, open_connections, within

INSERT_SQL = "insert into orders (customer_name, total) values ('c', 1)"
WRITERS = 8
ORDERS_PER_WRITER = 50


async def year(db: Any) -> str:
    text: str = await db.fetchval("select to_char(now(), 'YYYY')")
    return text


async def numbers(db: Any, name: str = "c") -> list[str]:
    """The numbers without ORD-<year>-."""
    rows = await db.fetch("select order_number from orders where customer_name = $1 order by id", name)
    return [row[0].removeprefix(f"ORD-{await year(db)}-") for row in rows]


async def import_number(db: Any, number: str, name: str = "import") -> None:
    await db.execute("insert into orders (order_number, customer_name, total) values ($1, $2, 1)", number, name)


# ---------------------------------------------------------------- order numbers


async def test_numbers_that_are_left_out_are_given_in_order(db: Any) -> None:
    await add_orders(db, "pending", "pending")
    await db.execute("insert into orders (order_number, customer_name, total) values (null, 'c', 1), (null, 'c', 1)")
    assert await numbers(db) == ["001", "002", "003", "004"]


async def test_chosen_number_of_another_form_is_left_alone(db: Any) -> None:
    for number in ("A-7", "ORD-1999-500", f"ORD-{await year(db)}-", f"ORD-{await year(db)}-7a", "ord-7"):
        await import_number(db, number)
    await add_orders(db, "pending")
    assert await numbers(db) == ["001"]


async def test_imported_number_that_is_ahead_is_not_given_again(db: Any) -> None:
    await db.execute(
        "insert into orders (order_number, customer_name, total) select 'ORD-' || $1 || n, 'import', 1 "
        "from unnest('{-001,-002,-004}'::text[]) as n",
        await year(db),
    )
    await db.execute("insert into orders (customer_name, total) select 'c', 1 from generate_series(1, 3)")
    assert await numbers(db) == ["005", "006", "007"]
    await import_number(db, f"ORD-{await year(db)}-003")  # behind: it moves nothing
    await add_orders(db, "pending")
    assert await numbers(db) == ["005", "006", "007", "008"]


async def test_number_far_ahead_does_not_use_up_the_sequence(db: Any) -> None:
    await import_number(db, f"ORD-{await year(db)}-999999999")
    await import_number(db, f"ORD-{await year(db)}-" + "9" * 40)
    await add_orders(db, "pending")
    assert await numbers(db) == ["001"]


async def test_number_may_have_more_than_three_digits(db: Any) -> None:
    await db.execute("select setval('orders_order_number_seq', 99999)")
    await add_orders(db, "pending")
    assert await numbers(db) == ["100000"]


async def test_serializable_writers_that_only_insert_never_fail(database_url: str, db: Any) -> None:
    """A look into the table for a free number would be a conflict with every other writer."""
    failures = 0

    async def write(connection: Any) -> None:
        nonlocal failures
        for _ in range(ORDERS_PER_WRITER):
            try:
                async with connection.transaction(isolation="serializable"):
                    await connection.execute(INSERT_SQL)
                    await connection.execute(INSERT_SQL)
            except asyncpg.SerializationError:
                failures += 1

    async with open_connections(database_url, WRITERS) as writers:
        await asyncio.gather(*(write(connection) for connection in writers))
    assert failures == 0
    assert await db.fetchval("select count(distinct order_number) from orders") == 2 * WRITERS * ORDERS_PER_WRITER


async def test_uncommitted_chosen_number_does_not_block_one_that_is_left_out(database_url: str, db: Any) -> None:
    async with open_connections(database_url, 1) as (other,), other.transaction():
        await import_number(other, f"ORD-{await year(db)}-001")
        await within(TIMEOUT_SECONDS, db.execute(INSERT_SQL), "an INSERT without a number")
    assert await numbers(db) == ["002"]


async def test_bulk_insert_into_a_table_with_statistics_of_an_empty_one(db: Any) -> None:
    """A plan that reads the whole table for each order number would take minutes."""
    await db.execute("vacuum analyze orders")
    await db.execute("set statement_timeout = '60s'")
    await db.execute("insert into orders (customer_name, total) select 'c', 1 from generate_series(1, 60000)")
    assert await db.fetchval("select count(distinct order_number) from orders") == 60000


# ---------------------------------------------------------------- other columns


@pytest.mark.parametrize("total", ["-0.01", "NaN"])
async def test_invalid_total_is_rejected(db: Any, total: str) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await add_orders(db, "pending", total=total)


async def test_updated_at_is_set_unless_the_writer_sets_it(db: Any) -> None:
    await db.execute("insert into orders (customer_name, total, updated_at) values ('c', 1, '2001-01-01Z')")
    await db.execute("update orders set total = total")
    assert (await db.fetchval("select updated_at from orders")).year == 2001
    await db.execute("update orders set total = 2")
    assert await db.fetchval("select updated_at > now() - interval '1 hour' from orders")
    await db.execute("update orders set total = 3, updated_at = '2002-02-02Z'")
    assert (await db.fetchval("select updated_at from orders")).year == 2002


async def test_updated_at_is_set_with_a_column_without_equality_operator(db: Any) -> None:
    await db.execute("alter table orders add column note json")
    await db.execute("insert into orders (customer_name, total, note, updated_at) values ('c', 1, '{}', '2001-01-01Z')")
    await db.execute("update orders set note = note")
    assert (await db.fetchval("select updated_at from orders")).year == 2001
    await db.execute("update orders set note = '[]'")
    assert (await db.fetchval("select updated_at from orders")).year > 2001


async def test_totals_are_those_of_the_dashboard(db: Any) -> None:
    await add_orders(db, "pending", "ready", "cancelled", "delivered", total="2.50")
    assert tuple(await db.fetchrow("select * from public.order_analytics")) == (4, 7.5, 1)


# ---------------------------------------------------------------- creation and removal


async def test_starter_is_created_once(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    assert await create_starter(empty_database_url)
    assert not await create_starter(empty_database_url)


async def test_concurrent_creations_create_it_once(empty_database_url: str) -> None:
    await migrate(empty_database_url)
    created = await asyncio.gather(*(create_starter(empty_database_url) for _ in range(8)))
    assert sorted(created) == [False] * 7 + [True]


async def test_table_of_that_name_is_not_touched(empty_database_url: str, empty_db: Any) -> None:
    await empty_db.execute("create table public.orders (id int)")
    await migrate(empty_database_url)
    with pytest.raises(DatabaseMisconfigured, match=r"public\.orders exists already: attach it with python server.py attach"):
        await create_starter(empty_database_url)
    assert await empty_db.fetchval("select count(*) from pg_trigger where tgrelid = 'public.orders'::regclass") == 0


OBJECTS_SQL = """
select 'class', n.nspname || '.' || c.relname
from pg_class as c join pg_namespace as n on n.oid = c.relnamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
union all
select 'function', n.nspname || '.' || p.proname
from pg_proc as p join pg_namespace as n on n.oid = p.pronamespace
where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
union all
select 'schema', n.nspname from pg_namespace as n where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'
order by 1, 2
"""


async def test_uninstall_drops_an_empty_starter_table(empty_database_url: str, empty_db: Any) -> None:
    before = await empty_db.fetch(OBJECTS_SQL)
    await migrate(empty_database_url)
    await create_starter(empty_database_url)
    await empty_db.execute(INSERT_SQL)
    await empty_db.execute("delete from orders")
    assert await empty_db.fetch(OBJECTS_SQL) != before
    await empty_db.execute("select orderwire.uninstall()")
    assert await empty_db.fetch(OBJECTS_SQL) == before


async def test_uninstall_leaves_a_starter_table_with_rows_that_works(db: Any) -> None:
    await add_orders(db, "pending")
    await db.execute("select orderwire.uninstall()")
    assert await db.fetchval("select to_regnamespace('orderwire')") is None
    await db.execute(INSERT_SQL)
    await db.execute("update orders set updated_at = '2001-01-01Z'")
    await db.execute("update orders set status = 'ready' where id = 2")
    assert await numbers(db) == ["001", "002"]
    assert await db.fetchval("select array_agg(extract(year from updated_at) > 2001 order by id) from orders") == [False, True]
    await db.execute("delete from orders")
    triggers = "select tgname from pg_trigger where tgrelid = 'orders'::regclass and not tgisinternal order by 1"
    assert [row[0] for row in await db.fetch(triggers)] == ["orders_10_set_number", "orders_10_touch_updated_at"]


async def test_starter_table_that_was_left_can_be_attached_again(database_url: str, db: Any) -> None:
    await add_orders(db, "pending")
    await db.execute("select orderwire.uninstall()")
    await migrate(database_url)
    await db.execute('select orderwire.attach(\'public.orders\', \'{"key": "id", "status": "status"}\')')
    await db.execute("update orders set status = 'ready'")
    assert await db.fetchval("select event ->> 'status' from orderwire.events") == "ready"
