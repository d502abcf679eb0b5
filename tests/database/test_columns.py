"""Which columns of an attached table make events, of whatever type they are; and the privileges that a writer needs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.database.journal_rows import add_orders, event_summaries, recorded_events

# Types without an equality operator (json), without a default operator class for one (point), and others.
EXTRA_COLUMNS = [
    ("json", '{"gate": 1}', '{"gate": 2}'),
    ("jsonb", '{"gate": 1}', None),
    ("text", None, "ring the bell"),
    ("point", "(1,2)", "(2,1)"),
    ("polygon", None, "((0,0),(1,1),(2,0))"),
]


async def attach_again(db: Any, **members: Any) -> None:
    """Attach the starter table by its map with further members."""
    await db.execute(
        "select orderwire.attach('public.orders', a.map || $1::jsonb) from orderwire.attached_tables as a", json.dumps(members)
    )


async def change_extra_column(db: Any, kind: str, before: str | None, after: str | None) -> None:
    """Insert an order with the value, change it, and set it to the same again."""
    await db.execute(f"insert into orders (customer_name, total, extra) values ('c', 1, $1::text::{kind})", before)
    await db.execute(f"update orders set extra = $1::text::{kind}", after)
    await db.execute(f"update orders set extra = $1::text::{kind}", after)


@pytest.mark.parametrize(("kind", "before", "after"), EXTRA_COLUMNS)
async def test_change_of_a_column_that_is_not_mapped_is_no_event(
    db: Any, kind: str, before: str | None, after: str | None
) -> None:
    await db.execute(f"alter table orders add column extra {kind}")
    await change_extra_column(db, kind, before, after)
    await db.execute("update orders set extra = null, status = 'ready'")
    assert await event_summaries(db) == ["new_order 1 pending", "order_status_update 1 pending>ready"]


@pytest.mark.parametrize(("kind", "before", "after"), EXTRA_COLUMNS)
async def test_change_of_a_column_in_data_is_an_event(db: Any, kind: str, before: str | None, after: str | None) -> None:
    await db.execute(f"alter table orders add column extra {kind}")
    await attach_again(db, data=["extra"])
    await change_extra_column(db, kind, before, after)
    events = await recorded_events(db)
    assert [event["type"] for event in events] == ["new_order", "order_update"]
    expected = await db.fetch("select jsonb_build_object('extra', $1::text::" + kind + ") as data", before)
    expected += await db.fetch("select jsonb_build_object('extra', extra) as data from orders")
    assert [event["data"] for event in events] == [json.loads(row["data"]) for row in expected]


@pytest.mark.parametrize("column", ["customer_id", "created_at", "order_number"])
async def test_change_of_each_mapped_column_is_an_event(db: Any, column: str) -> None:
    await add_orders(db, "pending")
    value = "'2001-02-03Z'" if column == "created_at" else "'other'"
    await db.execute(f"update orders set {column} = {value}")
    await db.execute(f"update orders set {column} = {value}")
    assert await event_summaries(db) == ["new_order 1 pending", "order_update 1"]


# ---------------------------------------------------------------- virtual generated columns


@pytest.fixture
async def gross(db: Any) -> None:
    """A virtual generated column, which transition tables do not have. From PostgreSQL 18 on."""
    if db.get_server_version().major < 18:
        pytest.skip("PostgreSQL before 18 has no virtual generated columns")
    await db.execute("alter table orders add column gross numeric(12, 2) generated always as (total * 1.2) virtual")


@pytest.mark.usefixtures("gross")
async def test_virtual_generated_column_that_is_not_mapped_is_in_no_ones_way(db: Any) -> None:
    await add_orders(db, "pending")
    await db.execute("update orders set total = 20")
    await db.execute("delete from orders")
    assert await event_summaries(db) == ["new_order 1 pending", "order_update 1", "order_delete 1"]


@pytest.mark.usefixtures("gross")
@pytest.mark.parametrize(
    "members", [{"total": "gross"}, {"total": "o.gross / 2"}, {"data": ["gross"]}, {"data": {"x": "o.gross::text"}}]
)
async def test_map_that_reads_a_virtual_generated_column_is_refused(db: Any, members: dict[str, Any]) -> None:
    with pytest.raises(asyncpg.RaiseError, match=r"virtual generated column of public\.orders"):
        await attach_again(db, **members)
    await add_orders(db, "pending")
    assert await event_summaries(db) == ["new_order 1 pending"]


@pytest.mark.usefixtures("gross")
async def test_map_that_reads_other_columns_of_such_a_table_works(db: Any) -> None:
    await attach_again(db, data=["updated_at"])
    await add_orders(db, "pending")
    await db.execute("update orders set updated_at = '2001-02-03Z'")
    new, updated = await recorded_events(db)
    assert (new["type"], updated["type"]) == ("new_order", "order_update")
    assert updated["data"] == {"updated_at": "2001-02-03T00:00:00.000000Z"}


# ---------------------------------------------------------------- privileges of a writer


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


async def test_writer_with_a_trigger_of_its_own_needs_no_privileges_on_the_journal(db: Any, grant: Any) -> None:
    """The search for events of nested statements runs with the owner's rights too."""
    await db.execute(
        """
        create function confirm() returns trigger language plpgsql as $$
        begin update orders set status = 'confirmed' where id = new.id; return null; end $$;
        create trigger confirm after insert on orders for each row execute function confirm()
        """
    )
    await grant("select, insert, update")
    await add_orders(db, "pending")
    await db.execute("reset session authorization")
    assert await event_summaries(db) == ["new_order 1 pending", "order_status_update 1 pending>confirmed"]


async def test_application_role_may_not_write_the_journal_or_call_its_functions(db: Any, grant: Any) -> None:
    await db.execute("grant usage on schema orderwire to public")
    await grant("select, insert, update, delete")
    for statement in (
        "insert into orderwire.journal (key, number, status, total) values ('1', 'forged', 'pending', 1)",
        "delete from orderwire.journal",
        "select orderwire.notify_changes(1, '{}')",
        "select orderwire.renumber_nested(1)",
        "select orderwire.finish_nested(1, 'INSERT')",
        "select orderwire.renew_epoch('')",
        "select orderwire.detach()",
        "select orderwire.uninstall()",
        "select orderwire.attach('orders', '{\"key\": \"id\"}')",
        "select orderwire.erase('1')",
        "select orderwire.revoke('anna')",
        "select nextval('orderwire.journal_id_seq')",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await db.execute(statement)
