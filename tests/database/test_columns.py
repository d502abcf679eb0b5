"""The columns that the database sets (order_number, updated_at), and the privileges that a writer needs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.database.journal_rows import add_orders, event_summaries


async def test_order_number_skips_numbers_in_use(db: Any) -> None:
    year = await db.fetchval("select to_char(now(), 'YYYY')")
    await db.execute(
        "insert into orders (order_number, customer_name, total) select 'ORD-' || $1 || n, 'import', 1 "
        "from unnest('{-001,-002,-004}'::text[]) as n",
        year,
    )
    await db.execute("insert into orders (customer_name, total) select 'c', 1 from generate_series(1, 3)")
    numbers = await db.fetch("select order_number from orders where customer_name = 'c' order by id")
    assert [row[0] for row in numbers] == [f"ORD-{year}-{n}" for n in ("003", "005", "006")]


async def test_order_number_may_have_more_than_three_digits(db: Any) -> None:
    await db.execute("select setval('orderwire.order_number_seq', 99999)")
    await add_orders(db, "pending")
    assert (await db.fetchval("select order_number from orders")).endswith("-100000")


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


@pytest.fixture
async def grant(db: Any) -> AsyncIterator[Any]:
    """Makes the connection an application role that has only these privileges on `orders`."""
    role = "app_" + await db.fetchval("select current_database()")
    await db.execute(f"create role {role}")

    async def become(rights: str) -> None:
        await db.execute(f"grant {rights} on orders to {role}; set session authorization {role}")

    yield become
    await db.execute(f"reset session authorization; drop owned by {role}; drop role {role}")


async def test_role_with_privileges_on_orders_alone_can_write(db: Any, grant: Any) -> None:
    await grant("select, insert, update, delete, truncate")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await db.execute("select from orderwire.journal")
    async with db.transaction():
        await add_orders(db, "pending", "pending")
        await db.execute("update orders set status = 'ready' where id = 1")
        await db.execute("update orders set total = 5 where id = 1")
    await db.execute(
        "insert into orders (id, customer_name, total) values (1, 'd', 1) on conflict (id) do update set customer_name = 'd'"
    )
    await db.execute("delete from orders where id = 2")
    await db.execute("truncate orders")
    await db.execute("reset session authorization")
    assert await event_summaries(db) == [
        "new_order 1 pending",
        "new_order 2 pending",
        "order_status_update 1 pending>ready",
        "order_update 1",
        "order_update 1",
        "order_delete 2",
        "order_delete 1",
    ]


async def test_role_that_may_only_insert_gets_an_order_number(db: Any, grant: Any) -> None:
    await grant("insert")
    await add_orders(db, "pending")
    await db.execute("reset session authorization")
    assert await event_summaries(db) == ["new_order 1 pending"]


async def test_application_role_may_not_write_the_journal_or_call_its_functions(db: Any, grant: Any) -> None:
    await db.execute("grant usage on schema orderwire to public")
    await grant("select, insert, update, delete")
    for statement in (
        "insert into orderwire.journal (order_id, order_number, status, total) values (1, 'forged', 'pending', 1)",
        "delete from orderwire.journal",
        "select orderwire.notify_changes(1, false)",
        "select orderwire.renew_epoch('')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(statement)
