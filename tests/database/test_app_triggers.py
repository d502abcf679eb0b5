"""Triggers of an application that write to `orders`: the events of an order are recorded in the order of the changes."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from tests.database.journal_rows import add_orders, event_summaries, recorded_events


async def status_histories(db: Any) -> dict[int, list[str]]:
    """The statuses of each order, from its events. Asserts that they are consistent and end with the status of the row."""
    statuses: dict[int, list[str]] = defaultdict(list)
    alive: set[int] = set()
    for event in await recorded_events(db):
        order, kind = event["order_id"], event["type"]
        assert (order in alive) == (kind != "new_order"), f"{kind} of order {order} after {statuses[order]}"
        if kind == "order_status_update":
            assert event["previous_status"] == statuses[order][-1], event
        if kind == "order_delete":
            alive.remove(order)
        else:
            alive.add(order)
        if "status" in event:
            statuses[order].append(event["status"])
    rows = await db.fetch("select id, status from orders")
    assert {row["id"]: row["status"] for row in rows} == {order: statuses[order][-1] for order in alive}
    return dict(statuses)


async def create_trigger(db: Any, when: str, body: str, name: str = "app", table: str = "orders") -> None:
    """Create a trigger. ``when`` as in CREATE TRIGGER: ``after insert``, ``before update`` …; FOR EACH ROW by default."""
    each = "" if "for each" in when else "for each row"
    timing, _, rest = when.partition(" for each")
    scope = f"for each{rest}" if rest else each
    await db.execute(
        f"""
        create function {name}() returns trigger language plpgsql as $$ begin {body}; end $$;
        create trigger {name} {timing} on {table} {scope} execute function {name}()
        """
    )


CONFIRM_SQL = "update orders set status = 'confirmed' where id = new.id and status = 'pending'; return null"
PREPARE_SQL = "update orders set status = 'preparing' where id = new.id and status = 'confirmed'; return null"


async def test_after_insert_trigger_that_updates_the_same_row(db: Any) -> None:
    await create_trigger(db, "after insert", CONFIRM_SQL)
    await db.execute("insert into orders (customer_name, total) values ('a', 1), ('b', 2)")
    assert await status_histories(db) == {1: ["pending", "confirmed"], 2: ["pending", "confirmed"]}


async def test_after_update_trigger_that_updates_the_same_row(db: Any) -> None:
    await create_trigger(db, "after update", PREPARE_SQL)
    await add_orders(db, "pending", "pending")
    await db.execute("update orders set status = 'confirmed'")
    await db.execute("update orders set status = 'ready' where id = 2")
    assert await status_histories(db) == {
        1: ["pending", "confirmed", "preparing"],
        2: ["pending", "confirmed", "preparing", "ready"],
    }


async def test_triggers_that_fire_each_other(db: Any) -> None:
    await create_trigger(db, "after insert", CONFIRM_SQL, name="app_insert")
    await create_trigger(db, "after update", PREPARE_SQL, name="app_update")
    async with db.transaction():
        await add_orders(db, "pending", "pending")
        await db.execute("update orders set status = 'ready' where id = 1")
    assert await status_histories(db) == {
        1: ["pending", "confirmed", "preparing", "ready"],
        2: ["pending", "confirmed", "preparing"],
    }


@pytest.mark.parametrize("name", ["a_before_ours", "z_after_ours"])
async def test_statement_trigger_that_fires_before_or_after_ours(db: Any, name: str) -> None:
    body = "update orders set status = 'confirmed' where status = 'pending'; return null"
    await create_trigger(db, "after insert for each statement", body, name=name)
    await add_orders(db, "pending", "pending")
    assert await status_histories(db) == {1: ["pending", "confirmed"], 2: ["pending", "confirmed"]}


async def test_trigger_that_changes_a_row_twice(db: Any) -> None:
    await create_trigger(
        db,
        "after update",
        "if old.status = 'pending' then update orders set status = 'preparing' where id = new.id;"
        " update orders set status = 'confirmed' where id = new.id; end if; return null",
    )
    await add_orders(db, "pending")
    await db.execute("update orders set status = 'confirmed'")
    assert await status_histories(db) == {1: ["pending", "confirmed", "preparing", "confirmed"]}


async def test_after_insert_trigger_that_deletes_the_row(db: Any) -> None:
    await create_trigger(db, "after insert", "delete from orders where id = new.id and total = 0; return null")
    await db.execute("insert into orders (customer_name, total) values ('a', 0), ('b', 2)")
    assert await status_histories(db) == {1: ["pending"], 2: ["pending"]}


async def test_after_delete_trigger_that_inserts_the_row_again(db: Any) -> None:
    await create_trigger(
        db,
        "after delete",
        "insert into orders (id, order_number, customer_name, total, status)"
        " values (old.id, old.order_number, old.customer_name, old.total, 'cancelled'); return null",
    )
    await add_orders(db, "pending")
    await db.execute("delete from orders")
    assert await status_histories(db) == {1: ["pending", "cancelled"]}


async def test_before_trigger_that_changes_the_new_row(db: Any) -> None:
    await create_trigger(db, "before insert or update", "new.status := 'confirmed'; new.total := 5; return new")
    await add_orders(db, "pending")
    await db.execute("update orders set customer_name = 'other', total = 9")
    assert await event_summaries(db) == ["new_order 1 confirmed", "order_update 1"]


async def test_before_delete_trigger_that_updates_instead(db: Any) -> None:
    await create_trigger(db, "before delete", "update orders set status = 'cancelled' where id = old.id; return null")
    await add_orders(db, "pending", "ready")
    async with db.transaction():
        await db.execute("delete from orders")
        await db.execute("update orders set status = 'ready'")
    assert await status_histories(db) == {1: ["pending", "cancelled", "ready"], 2: ["ready", "cancelled", "ready"]}


@pytest.fixture
async def couriers(db: Any) -> None:
    """A table whose trigger sets the status of order 1."""
    await db.execute("create table couriers (status text)")
    await create_trigger(
        db, "after insert", "update orders set status = new.status where id = 1; return null", "courier", "couriers"
    )
    await add_orders(db, "pending")


@pytest.mark.usefixtures("couriers")
async def test_trigger_on_another_table_then_an_update(db: Any) -> None:
    async with db.transaction():
        await db.execute("insert into couriers values ('confirmed')")
        await db.execute("update orders set status = 'ready'")
        await db.execute("insert into couriers values ('delivering')")
        await db.execute("update orders set status = 'delivered'")
    assert await status_histories(db) == {1: ["pending", "confirmed", "ready", "delivering", "delivered"]}


@pytest.mark.usefixtures("couriers")
async def test_trigger_on_another_table_then_a_truncate_and_an_insert(db: Any) -> None:
    async with db.transaction():
        await db.execute("insert into couriers values ('confirmed')")
        await db.execute("truncate orders")
        await db.execute("insert into orders (id, customer_name, total) values (1, 'again', 1)")
    assert await status_histories(db) == {1: ["pending", "confirmed", "pending"]}


@pytest.mark.usefixtures("couriers")
async def test_trigger_on_another_table_then_an_update_that_fires_a_trigger(db: Any) -> None:
    await create_trigger(
        db,
        "after update",
        "update orders set status = 'delivering' where id = new.id and status = 'ready'; return null",
    )
    async with db.transaction():
        await db.execute("insert into couriers values ('confirmed')")
        await db.execute("update orders set status = 'ready'")
        await db.execute("insert into couriers values ('delivered')")
    assert await status_histories(db) == {1: ["pending", "confirmed", "ready", "delivering", "delivered"]}


async def test_two_nested_updates_of_which_the_second_fires_another(db: Any) -> None:
    await create_trigger(db, "after update", PREPARE_SQL)
    await db.execute("create table couriers ()")
    await create_trigger(
        db,
        "after insert",
        "update orders set status = 'ready'; update orders set status = 'confirmed'; return null",
        "courier",
        "couriers",
    )
    await add_orders(db, "pending")
    await db.execute("insert into couriers default values")
    assert await status_histories(db) == {1: ["pending", "ready", "confirmed", "preparing"]}
