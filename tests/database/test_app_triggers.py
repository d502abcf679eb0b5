"""Triggers of an application that write to `orders`: the events of an order are recorded in the order of the changes."""

from __future__ import annotations

import os
import random
import time
from collections import defaultdict
from itertools import pairwise
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
        if kind == "order_update":
            assert event["status"] == statuses[order][-1], event
        elif kind != "order_delete":
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


# ---------------------------------------------------------------- several statements in one command of the client


async def in_one_command(db: Any, *statements: str) -> None:
    """Run them in a DO block: to the database it is one command, so all of them may be nested in the last."""
    await db.execute(f"do $$ begin {'; '.join(statements)}; end $$")


@pytest.mark.usefixtures("couriers")
async def test_trigger_on_another_table_then_an_update_in_one_command(db: Any) -> None:
    await in_one_command(
        db,
        "insert into couriers values ('confirmed')",
        "update orders set status = 'ready'",
        "insert into couriers values ('delivering')",
        "update orders set status = 'delivered'",
    )
    assert await status_histories(db) == {1: ["pending", "confirmed", "ready", "delivering", "delivered"]}


@pytest.mark.usefixtures("couriers")
async def test_nested_updates_before_and_after_the_outer_one_in_one_command(db: Any) -> None:
    await create_trigger(
        db, "after update", "update orders set status = 'delivering' where id = new.id and status = 'ready'; return null"
    )
    await in_one_command(db, "insert into couriers values ('confirmed')", "update orders set status = 'ready'")
    assert await status_histories(db) == {1: ["pending", "confirmed", "ready", "delivering"]}


@pytest.mark.usefixtures("couriers")
async def test_trigger_on_another_table_then_a_truncate_in_one_command(db: Any) -> None:
    await in_one_command(db, "insert into couriers values ('confirmed')", "truncate orders")
    assert await status_histories(db) == {1: ["pending", "confirmed"]}


TOGGLE_BACK = "if new.status = 'ready' then update orders set status = old.status where id = new.id; end if; return null"


async def test_trigger_that_takes_the_change_back(db: Any) -> None:
    await create_trigger(db, "after update", TOGGLE_BACK)
    await add_orders(db, "pending")
    await db.execute("update orders set status = 'ready'")
    assert await status_histories(db) == {1: ["pending", "ready", "pending"]}


@pytest.mark.usefixtures("couriers")
async def test_update_that_takes_back_what_a_trigger_on_another_table_changed(db: Any) -> None:
    await in_one_command(db, "insert into couriers values ('ready')", "update orders set status = 'pending'")
    assert await status_histories(db) == {1: ["pending", "ready", "pending"]}


@pytest.mark.usefixtures("couriers")
async def test_toggles_before_and_after_the_outer_update(db: Any) -> None:
    """pending > ready by the other table, > pending by the outer statement, > ready by its trigger: the first and the last
    change are alike."""
    await create_trigger(
        db,
        "after update",
        "if old.status = 'ready' and pg_trigger_depth() = 1 then"
        " update orders set status = 'ready' where id = new.id; end if; return null",
    )
    await in_one_command(db, "insert into couriers values ('ready')", "update orders set status = 'pending'")
    assert await status_histories(db) == {1: ["pending", "ready", "pending", "ready"]}


async def test_trigger_that_toggles_twice(db: Any) -> None:
    await create_trigger(
        db,
        "after update",
        "if pg_trigger_depth() = 1 then update orders set status = 'ready' where id = new.id;"
        " update orders set status = new.status where id = new.id; end if; return null",
    )
    await add_orders(db, "pending")
    await db.execute("update orders set status = 'confirmed'")
    assert await status_histories(db) == {1: ["pending", "confirmed", "ready", "confirmed"]}


async def test_upsert_of_new_and_old_rows_whose_trigger_updates_both(db: Any) -> None:
    """One statement with two statement-level triggers: that of UPDATE fires first."""
    await create_trigger(
        db,
        "after insert or update",
        "update orders set status = 'ready' where id = new.id and status <> 'ready'; return null",
    )
    await db.execute("insert into orders (id, customer_name, total) values (1, 'old', 1)")
    await db.execute(
        "insert into orders (id, customer_name, total) values (1, 'x', 1), (2, 'new', 1)"
        " on conflict (id) do update set status = 'confirmed'"
    )
    assert await status_histories(db) == {1: ["pending", "ready", "confirmed", "ready"], 2: ["pending", "ready"]}


async def test_name_that_a_trigger_has_corrected_is_the_last_one(db: Any) -> None:
    await create_trigger(
        db,
        "after update",
        "update orders set customer_name = upper(new.customer_name)"
        " where id = new.id and customer_name <> upper(new.customer_name); return null",
    )
    await add_orders(db, "pending")
    await db.execute("update orders set customer_name = 'anna'")
    names = [event["customer_name"] for event in await recorded_events(db)]
    assert names == ["c", "anna", "ANNA"]


# ---------------------------------------------------------------- settings of the session


NOW_SQL = "extract(epoch from statement_timestamp())::text"


@pytest.mark.parametrize(
    "value",
    ["''", "'on'", "'1 9'", "'0'", "repeat('9', 400) || ' ' || repeat('9', 400)", f"{NOW_SQL} || ' 9'", f"{NOW_SQL} || ' 1'"],
)
@pytest.mark.parametrize("local", ["false", "true"])
async def test_session_that_forges_the_setting_cannot_reverse_a_history(db: Any, value: str, local: str) -> None:
    await create_trigger(db, "after insert", CONFIRM_SQL, name="app_insert")
    await create_trigger(db, "after update", PREPARE_SQL, name="app_update")
    await db.execute("create table couriers (status text)")
    await create_trigger(
        db, "after insert", "update orders set status = new.status where id = 1; return null", "courier", "couriers"
    )
    forge = f"perform set_config('orderwire.nested', {value}, {local})"
    await in_one_command(
        db,
        forge,
        "insert into orders (customer_name, total) values ('c', 1)",
        forge,
        "update orders set status = 'ready'",
        "insert into couriers values ('delivering')",
        forge,
        "update orders set status = 'ready'",
        "update orders set status = 'delivered'",
    )
    await db.execute("insert into couriers values ('ready')")
    assert await status_histories(db) == {
        1: ["pending", "confirmed", "preparing", "ready", "delivering", "ready", "delivered", "ready"]
    }


# ---------------------------------------------------------------- many rows


@pytest.mark.parametrize(
    ("few", "many", "sql"),
    [
        (2_000, 20_000, "insert into orders (customer_name, total) select 'c', 1 from generate_series(1, {})"),
        (
            1_000,
            8_000,
            "do $$ begin for n in 1 .. {} loop insert into orders (customer_name, total) values ('c', 1); end loop; end $$",
        ),
    ],
    ids=["one statement", "one by one"],
)
async def test_time_of_nested_statements_is_linear(db: Any, few: int, many: int, sql: str) -> None:
    """Each row has a nested statement. A quadratic time would be the square of the ratio of their numbers."""
    await create_trigger(db, "after insert", CONFIRM_SQL)

    async def seconds(rows: int) -> float:
        start = time.perf_counter()
        await db.execute(sql.format(rows))
        return time.perf_counter() - start

    assert await seconds(many) < 3 * many / few * await seconds(few)
    wrong = """
    select count(*), count(*) filter (where confirmed.id < inserted.id)
    from orderwire.journal as inserted
    join orderwire.journal as confirmed on confirmed.key = inserted.key and confirmed.was_order and not inserted.was_order
    """
    assert tuple(await db.fetchrow(wrong)) == (few + many, 0)


# ---------------------------------------------------------------- any triggers


STATUSES = ["pending", "confirmed", "preparing", "ready"]
ORDERS = 3


def random_change(choose: random.Random, order: str) -> str:
    """A statement on ``order``, an SQL expression for its id, that may find nothing to do."""
    if choose.random() < 0.1:
        return f"delete from orders where id = {order}"
    if choose.random() < 0.15:
        return (
            f"insert into orders (id, order_number, customer_name, total, status) select {order}, 'N-' || {order}, 'again', 1,"
            f" '{choose.choice(STATUSES)}' where not exists (select from orders where id = {order})"
        )
    statuses = ", ".join(f"'{status}'" for status in choose.sample(STATUSES, choose.choice([1, 2, 4])))
    return (
        f"update orders set status = '{choose.choice(STATUSES)}', total = total + {choose.choice([0, 0, 1])}"
        f" where id = {order} and status in ({statuses})"
    )


def random_command(choose: random.Random) -> str:
    statements = []
    for _ in range(choose.choice([1, 1, 2, 3])):
        order = choose.randrange(ORDERS + 1)
        if choose.random() < 0.3:
            statements.append(f"insert into couriers values ({choose.randrange(1, ORDERS + 1)})")
        elif order == 0:
            statements.append(f"update orders set status = '{choose.choice(STATUSES)}'")
        else:
            statements.append(random_change(choose, str(order)))
    return f"do $$ begin {'; '.join(statements)}; end $$"


async def test_history_is_that_of_the_changes_whatever_the_triggers_do(db: Any) -> None:
    """The changes in their order are logged by a BEFORE ROW trigger, which fires when a row is changed.

    Of triggers that fire each other, several orders of toggles may make sense: then only each change must follow from the one
    before.
    """
    seed = int(os.environ.get("TRIGGER_SEED", random.randrange(10**9)))
    print(f"TRIGGER_SEED={seed}")
    choose = random.Random(seed)
    await db.execute("create table couriers (id bigint); create table log (n bigserial, id bigint, change text)")
    await create_trigger(
        db,
        "before insert or update or delete",
        "insert into log (id, change) values (coalesce(new.id, old.id),"
        " concat_ws('>', old.status || ' ' || old.total, coalesce(new.status || ' ' || new.total, 'gone')));"
        " return coalesce(new, old)",
        name="zz_log",
    )
    for round_number in range(60):
        names = []
        max_depth = choose.choice([1, 1, 2, 3])
        for kind in ("insert", "update", "delete"):
            if choose.random() < 0.6:
                names.append(f"app_{kind}_{round_number}")
                body = "; ".join(
                    random_change(choose, choose.choice(["coalesce(new.id, old.id)"] * 3 + ["1", "2"]))
                    for _ in range(choose.choice([1, 1, 2]))
                )
                limit = f"if pg_trigger_depth() <= {max_depth} then {body}; end if; return null"
                await create_trigger(db, f"after {kind}", limit, names[-1])
        await create_trigger(
            db, "after insert", f"{random_change(choose, 'new.id')}; return null", f"courier_{round_number}", "couriers"
        )
        await db.execute("truncate orders, log; delete from orderwire.journal")
        for order in range(1, ORDERS + 1):
            await db.execute(
                "insert into orders (id, order_number, customer_name, total) select $1::bigint, 'N-' || $1::bigint, 'c', 1"
                " where not exists (select from orders where id = $1::bigint)",
                order,
            )
        commands = [random_command(choose) for _ in range(6)]
        async with db.transaction():
            for command in commands:
                await db.execute(command)
        changes = await db.fetch("select id, change from log order by n")
        events = await db.fetch(
            """
            select key::bigint as id, concat_ws(
                '>', case when was_order then previous_status || ' ' || previous_total end,
                case when is_order then status || ' ' || total else 'gone' end
            ) as change
            from orderwire.journal as j order by j.id
            """
        )
        for order in range(1, ORDERS + 1):
            logged = [
                row["change"]
                for row in changes
                if row["id"] == order and (">" not in row["change"] or len(set(row["change"].split(">"))) == 2)
            ]
            recorded = [row["change"] for row in events if row["id"] == order]
            context = "\n".join(["", *commands, f"{names} {logged}"])
            if max_depth == 1:
                assert recorded == logged, context
            assert sorted(recorded) == sorted(logged), context
            assert recorded[-1] == logged[-1] or recorded[-1].endswith(">" + logged[-1].split(">")[-1]), context
            for before, after in pairwise(recorded):
                assert (before.endswith("gone") and ">" not in after) or before.split(">")[-1] == after.split(">")[0], context
        for name in names:
            await db.execute(f"drop function {name} cascade")
        await db.execute(f"drop function courier_{round_number} cascade")
