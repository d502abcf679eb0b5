"""Every kind of write records the right events; `recorded_events` also compares their sums with the totals each time."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from tests.database.journal_rows import add_orders, event_summaries, recorded_events


async def test_insert_update_and_delete(db: Any) -> None:
    await db.execute("insert into orders (customer_name, total) values ('a', 1), ('b', 2.50)")
    await db.execute("update orders set status = 'ready' where id = 2")
    await db.execute("update orders set total = 7 where id = 2")
    await db.execute("delete from orders where id = 1")
    assert await event_summaries(db) == [
        "new_order 1 pending",
        "new_order 2 pending",
        "order_status_update 2 pending>ready",
        "order_update 2",
        "order_delete 1",
    ]


async def test_insert_select(db: Any) -> None:
    await db.execute(
        """
        insert into orders (customer_name, total, status)
        select 'c', n, case when n % 2 = 0 then 'cancelled' else 'pending' end from generate_series(1, 5) as n
        """
    )
    assert await event_summaries(db) == [f"new_order {n} {'pending' if n % 2 else 'cancelled'}" for n in range(1, 6)]
    assert await db.fetchval("select total_revenue from orderwire.order_analytics") == 9


async def test_copy(db: Any) -> None:
    rows = [(f"customer {n}", Decimal(n)) for n in range(2000)]
    await db.copy_records_to_table("orders", records=rows, columns=["customer_name", "total"])
    events = await recorded_events(db)
    assert [event["customer_name"] for event in events] == [name for name, _ in rows]


async def test_upsert_records_an_insert_or_an_update_for_each_row(db: Any) -> None:
    upsert = """
    insert into orders (order_number, customer_name, total, status) values ('A', 'a', 1, 'ready'), ('B', 'b', 2, 'ready')
    on conflict (order_number) do
    """
    await db.execute("insert into orders (order_number, customer_name, total) values ('A', 'a', 5)")
    await db.execute(upsert + "update set status = excluded.status, total = excluded.total")
    changed = (await event_summaries(db))[1:]
    # One statement on two orders: only the events of one order have a defined order.
    assert sorted(changed) == ["new_order 3 ready", "order_status_update 1 pending>ready"]
    await db.execute(upsert + "nothing")
    assert len(await event_summaries(db)) == 3


async def test_merge(db: Any) -> None:
    if db.get_server_version().major < 15:
        pytest.skip("MERGE came with PostgreSQL 15")
    await add_orders(db, "pending", "pending")
    await db.execute(
        """
        merge into orders as o
        using (values (1, 'ready'), (2, null), (50, 'pending')) as wanted (id, status) on wanted.id = o.id
        when matched and wanted.status is null then delete
        when matched then update set status = wanted.status
        when not matched then insert (id, customer_name, total) values (wanted.id, 'c', 3)
        """
    )
    assert sorted((await event_summaries(db))[2:]) == [
        "new_order 50 pending",
        "order_delete 2",
        "order_status_update 1 pending>ready",
    ]


async def test_writable_cte(db: Any) -> None:
    await add_orders(db, "pending", "pending")
    await db.execute(
        """
        with gone as (delete from orders where id = 1 returning customer_name, total),
        moved as (update orders set status = 'ready' where id = 2 returning id)
        insert into orders (id, customer_name, total) select 10, g.customer_name, g.total from gone as g
        """
    )
    assert sorted((await event_summaries(db))[2:]) == [
        "new_order 10 pending",
        "order_delete 1",
        "order_status_update 2 pending>ready",
    ]


async def test_changed_primary_key_is_a_delete_and_an_insert(db: Any) -> None:
    await add_orders(db, "pending", "ready")
    await db.execute("update orders set id = 42, total = 99 where id = 2")
    assert sorted((await event_summaries(db))[2:]) == ["new_order 42 ready", "order_delete 2"]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("cascade", ["order_delete 1", "order_delete 2", "order_delete 3"]),
        ("set null", [f"order_update {n}" for n in (1, 2, 3)]),
    ],
)
async def test_foreign_key_actions(db: Any, action: str, expected: list[str]) -> None:
    await db.execute(
        f"""
        create table customers (id text primary key);
        insert into customers values ('x'), ('y');
        alter table orders add foreign key (customer_id) references customers on delete {action};
        insert into orders (customer_name, customer_id, total)
        values ('c', 'x', 1), ('c', 'y', 2), ('c', 'x', 3), ('c', null, 4)
        """
    )
    await db.execute("delete from customers")
    assert sorted((await event_summaries(db))[4:]) == expected


async def test_foreign_key_on_update_cascade(db: Any) -> None:
    await db.execute(
        """
        create table customers (id text primary key);
        insert into customers values ('x');
        alter table orders add foreign key (customer_id) references customers on update cascade;
        insert into orders (customer_name, customer_id, total) values ('c', 'x', 1), ('c', 'x', 2)
        """
    )
    await db.execute("update customers set id = 'z'")
    assert (await event_summaries(db))[2:] == ["order_update 1", "order_update 2"]
    assert await db.fetchval("select count(*) from orderwire.journal where customer_id = 'z'") == 2


async def test_truncate_records_a_delete_of_each_order(db: Any) -> None:
    await add_orders(db, "pending", "ready", "cancelled")
    await db.execute("truncate orders")
    assert (await event_summaries(db))[3:] == ["order_delete 1", "order_delete 2", "order_delete 3"]
    await db.execute("truncate orders restart identity")
    assert len(await event_summaries(db)) == 6


@pytest.mark.parametrize(
    "statement",
    [
        "update orders set status = 'ready' where false",
        "delete from orders where false",
        "insert into orders (customer_name, total) select 'c', 1 where false",
        "update orders set status = status, total = total, customer_name = customer_name",
        "update orders set total = 10.000",
        "update orders set updated_at = '2001-02-03'",
        "select from orders for update",
    ],
)
async def test_statement_without_changes_records_nothing(db: Any, statement: str) -> None:
    await add_orders(db, "pending", "ready")
    await db.execute(statement)
    assert await event_summaries(db) == ["new_order 1 pending", "new_order 2 ready"]


async def test_rolled_back_changes_are_not_recorded(db: Any) -> None:
    async with db.transaction():
        await add_orders(db, "pending")
        savepoint = db.transaction()
        await savepoint.start()
        await db.execute("update orders set status = 'ready'")
        with pytest.raises(asyncpg.CheckViolationError):
            await db.execute("update orders set total = -1")
        await savepoint.rollback()
        await db.execute("savepoint here; delete from orders; rollback to here; update orders set status = 'confirmed'")
    transaction = db.transaction()
    await transaction.start()
    await db.execute("delete from orders")
    await transaction.rollback()
    assert await event_summaries(db) == ["new_order 1 pending", "order_status_update 1 pending>confirmed"]


async def test_replication_role_replica_records_nothing(db: Any) -> None:
    """PostgreSQL does not fire ordinary triggers then. The audit of the server detects it."""
    await add_orders(db, "pending")
    await db.execute("set session_replication_role = replica; delete from orders; reset session_replication_role")
    assert await db.fetchval("select count(*) from orderwire.journal") == 1
    assert await db.fetchval("select total_orders from orderwire.order_analytics") == 0
