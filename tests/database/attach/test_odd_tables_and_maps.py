"""Names, keys, maps and sessions that are unlikely, and must not stop a writer, forge an event or run anything else."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest

from tests.database.attach.following import Follower

_CREATE = "create table public.o1 (id bigint primary key, status text, total numeric(12, 2), code int, at timestamp)"
_MAP = {"key": "id", "status": "status", "total": "total", "pending": ["pending"], "cancelled": ["cancelled"]}


async def _attach(db: Any, table: str = "public.o1", **members: object) -> None:
    await db.execute("select orderwire.attach($1::text::regclass, $2::text::jsonb)", table, json.dumps({**_MAP, **members}))


async def _events(db: Any) -> list[dict[str, Any]]:
    return [json.loads(row[0]) for row in await db.fetch("select event::text from orderwire.events order by id")]


@pytest.fixture
async def table(db: Any) -> Any:
    await db.execute(_CREATE)
    return db


@pytest.mark.parametrize("before", [True, False], ids=["before attach", "after attach"])
async def test_columns_may_have_the_names_that_generated_statements_use(table: Any, before: bool) -> None:
    columns = "".join(
        f"alter table public.o1 add column {name} int;" for name in ("r", "o", "m", "n", "j", "k", "p", "s", "key", "stream")
    )
    if before:
        await table.execute(columns)
    await _attach(table)
    if not before:
        await table.execute(columns)
    follower = await Follower.start(table)
    await table.execute("insert into public.o1 (id, status, total) values (1, 'pending', 5), (2, 'x', 1)")
    await table.execute("update public.o1 set status = 'ready' where id = 1; delete from public.o1 where id = 2")
    assert sum((await follower.check()).values()) == 4
    assert [row["key"] for row in await table.fetch("select key from orderwire.list_orders(9, null, null)")] == ["1"]
    await table.execute("truncate public.o1")
    assert (await follower.check())["order_delete"] == 1


async def test_a_table_may_have_any_name(db: Any) -> None:
    await db.execute(_CREATE.replace("public.o1", 'public."100 %s of ""orders"""'))
    await _attach(db, 'public."100 %s of ""orders"""')
    await db.execute('insert into public."100 %s of ""orders""" (id, status) values (1, \'pending\')')
    assert len(await db.fetch("select * from orderwire.list_orders(9, null, null)")) == 1
    assert len(await db.fetch("select * from orderwire.list_customer_orders('x', '{1}', 9, null, null)")) == 1


@pytest.mark.parametrize(
    "expression",
    [
        "null)::text)::text is null; create table public.mine (); explain select from public.o1 as o where ((null",
        "o.status; create table public.mine ()",
        "o.status -- and more",
        "o.status /* and more */",
        "(o.status))::text, ((null",
        "E'\\'' || o.status",
        "$a$ ) $a$",
        "o.status || ('a'",
        "o.status || 'a",
    ],
)
@pytest.mark.parametrize("member", ["status", "where", "joins", "data"])
async def test_a_map_is_expressions_and_nothing_more(table: Any, member: str, expression: str) -> None:
    with pytest.raises(asyncpg.RaiseError, match=f"the map's {member} is not one expression"):
        await _attach(table, "public.o1", **{member: {"x": expression} if member == "data" else expression})
    assert await table.fetchval("select to_regclass('public.mine') is null")


@pytest.mark.parametrize("reference", ["abc", "", "007", "+5", "0x1F", "1_000", "9007199254740993", "-0"])
async def test_a_streams_order_key_may_be_any_text(table: Any, reference: str) -> None:
    await table.execute("create table public.items (id int primary key, ref text)")
    await _attach(table)
    await table.execute("""select orderwire.attach_stream('items', 'public.items', '{"key": "id", "order_key": "ref"}')""")
    await table.execute("insert into public.items values (1, $1), (2, '12'), (3, '-7')", reference)
    assert [event["order_id"] for event in await _events(table)] == [reference, 12, -7]
    assert len(await table.fetch("select * from orderwire.order_history('12', 9)")) == 1


@pytest.mark.parametrize("name", ["list", "totals", "expression", "statements", "orders_key", "ord ers", "orders", "order"])
async def test_names_of_streams_that_are_refused(table: Any, name: str) -> None:
    await _attach(table)
    with pytest.raises(asyncpg.RaiseError, match="a stream cannot be named"):
        await table.execute("select orderwire.attach_stream($1, 'public.o1', '{\"key\": \"id\"}')", name)


@pytest.mark.parametrize(
    ("member", "expression"),
    [
        ("created_at", "o.at at time zone 'Europe/Berlim'"),
        ("created_at", "o.at at time zone 'Asia/Tokyo'"),
        ("number", "to_timestamp(o.id)"),
    ],
)
async def test_a_time_that_cannot_be_said_does_not_stop_a_write(table: Any, member: str, expression: str) -> None:
    try:
        await _attach(table, "public.o1", **{member: expression})
    except asyncpg.PostgresError:
        return  # refused is as good
    await table.execute(
        "insert into public.o1 (id, status, at) values (1, 'a', '4714-11-24 BC'), (1000000000000000, 'b', now())"
    )
    await table.execute("update public.o1 set status = 'c'")
    assert len(await _events(table)) == 4


async def test_a_failed_assertion_of_a_function_does_not_stop_a_write(table: Any) -> None:
    await table.execute(
        "create function public.checked(text) returns text language plpgsql immutable as "
        "$$ begin assert $1 <> 'bad'; return $1; end $$"
    )
    await _attach(table, status="public.checked(o.status)")
    await table.execute("insert into public.o1 (id, status) values (1, 'bad')")
    assert [event["status"] for event in await _events(table)] == [None]


async def test_a_key_that_became_nullable_does_not_stop_a_write(table: Any) -> None:
    await table.execute("create table public.o2 (k bigint not null unique, status text)")
    await _attach(table, "public.o2", key="k", total="0")
    await table.execute("alter table public.o2 alter k drop not null; insert into public.o2 values (null, 'a'), (1, 'b')")
    assert [event["key"] for event in await _events(table)] == ["1"]


async def test_the_session_cannot_reverse_the_order_of_nested_changes(table: Any) -> None:
    await table.execute(
        """
        create function public.next() returns trigger language plpgsql as $$
        begin
            update public.o1 set status = 'mid' where id = new.id and status = 'new';
            update public.o1 set status = 'end' where id = new.id and status = 'mid';
            return null;
        end $$;
        create trigger next after insert on public.o1 for each row execute function public.next()
        """
    )
    await _attach(table)
    await table.execute("set standard_conforming_strings = off; set escape_string_warning = off")
    await table.execute("insert into public.o1 (id, status) values (1, 'new')")
    assert [event["status"] for event in await _events(table)] == ["new", "mid", "end"]


@pytest.mark.parametrize(("key_type", "key"), [("char(4)", "ABCD"), ("char(4)", "AB"), ("text", "L" * 300)])
async def test_nested_changes_of_blank_padded_and_long_keys_keep_their_order(db: Any, key_type: str, key: str) -> None:
    await db.execute(
        f"""
        create table public.o1 (id {key_type} primary key, status text, total numeric(12, 2));
        create function public.next() returns trigger language plpgsql as $$
        begin
            update public.o1 set status = 'end' where id = new.id;
            return null;
        end $$;
        create trigger next after insert on public.o1 for each row execute function public.next()
        """
    )
    await _attach(db)
    await db.execute("insert into public.o1 (id, status) values ($1, 'new')", key)
    assert [event["status"] for event in await _events(db)] == ["new", "end"]
    if len(key) < 200:
        assert len(await db.fetch("select * from orderwire.orders_by_key(array[$1])", key)) == 1


async def test_truncate_in_an_old_snapshot_succeeds_and_asks_for_a_new_epoch(table: Any) -> None:
    await _attach(table)
    await table.execute("insert into public.o1 (id, status) values (1, 'a')")
    epoch = await table.fetchval("select epoch from orderwire.journal_identity")
    async with table.transaction(isolation="repeatable_read"):
        await table.execute("select")
        await table.execute("select pg_current_snapshot()")
        await table.execute("truncate public.o1")
    found = await table.fetchval("select epoch from orderwire.identify($1, '{}', '{}', '{}')", epoch)
    assert found != epoch
    assert await table.fetchval("select epoch from orderwire.identify($1, '{}', '{}', '{}')", found) == found


async def test_a_scale_beyond_that_of_money_is_not_counted(db: Any) -> None:
    await db.execute("create table public.o1 (id bigint primary key, status text, total numeric(3, 900))")
    await _attach(db)
    await db.execute("insert into public.o1 values (1, 'a', 1e-900)")
    assert (await _events(db))[0]["total"] is None


async def test_a_code_is_mapped_by_case_without_a_handler(table: Any) -> None:
    await _attach(table, status="case o.code when 10 then 'pending' when 20 then 'it''s done' else 'unknown' end")
    language = "select l.lanname from pg_proc as p join pg_language as l on l.oid = p.prolang where p.oid = to_regproc($1)"
    assert await table.fetchval(language, "orderwire.map_orders") == "sql"
    await table.execute("insert into public.o1 (id, code) values (1, 10), (2, 20), (3, null)")
    assert [event["status"] for event in await _events(table)] == ["pending", "it's done", "unknown"]


async def test_the_serving_role_may_read_joined_tables(table: Any) -> None:
    await table.execute(
        "create schema crm; create table crm.customers (id int primary key, name text); drop role if exists server"
    )
    await table.execute("create role server")
    try:
        await _attach(table, customer_name="c.name", joins="left join crm.customers as c on c.id = o.code")
        await table.execute("select orderwire.grant_serving('server')")
        assert await table.fetchval("select has_table_privilege('server', 'crm.customers', 'select')")
        await table.execute("revoke select on crm.customers from server")
        problems = [row["problem"] for row in await table.fetch("select problem from orderwire.diagnose()")]
        assert problems == ["the role server, which serves, may not read crm.customers"]
    finally:
        await table.execute("drop owned by server; drop role server")


async def test_erase_finds_a_key_however_it_is_written(db: Any) -> None:
    await db.execute(
        "create table public.o1 (id uuid primary key default gen_random_uuid(), status text, total int, name text)"
    )
    await _attach(db, customer_name="name")
    key = await db.fetchval("insert into public.o1 (status, name) values ('a', 'Anna') returning id::text")
    assert await db.fetchval("select orderwire.erase($1)", key.upper()) == 1
    assert "Anna" not in json.dumps(await _events(db))
