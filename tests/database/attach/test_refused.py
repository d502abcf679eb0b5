"""Tables and maps that cannot be attached: one clear message with the way out, and nothing changed."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate
from tests.conftest import url_with_database
from tests.database.attach.table_shapes import shape_named

_PLAIN = shape_named("plain")
_MAP = dict(_PLAIN.map)


@dataclass(frozen=True, slots=True)
class Refused:
    name: str
    message: str
    hint: str
    setup: str = ""
    table: str = "public.shop_orders"
    map: Any = None
    min_version: int = 14


def _with(**members: Any) -> dict[str, Any]:
    return {**_MAP, **members}


_TABLES = [
    Refused(
        "view", "is not a table", "attach the table", "create view public.v as select * from public.shop_orders", "public.v"
    ),
    Refused(
        "materialized_view",
        "is not a table",
        "attach the table",
        "create materialized view public.v as select * from public.shop_orders",
        "public.v",
    ),
    Refused(
        "foreign_table",
        "is not a table",
        "attach the table",
        "create foreign data wrapper w; create server s foreign data wrapper w;"
        "create foreign table public.f (id bigint not null) server s",
        "public.f",
    ),
    Refused("own_table", "is a table of Orderwire", "table of the shop", table="orderwire.revocations", map={"key": "subject"}),
    Refused("system_table", "of PostgreSQL", "table of the shop", table="pg_catalog.pg_class", map={"key": "oid"}),
    Refused(
        "temporary",
        "temporary",
        "table of the shop",
        "create temporary table t (id bigint primary key)",
        "pg_temp.t",
        {"key": "id"},
    ),
    Refused(
        "unlogged",
        "is unlogged",
        "set logged",
        "create unlogged table public.t (id bigint primary key)",
        "public.t",
        {"key": "id"},
    ),
    Refused(
        "partition",
        "is a partition",
        "attach its parent",
        "create table public.p (id bigint primary key) partition by hash (id);"
        "create table public.p0 partition of public.p for values with (modulus 1, remainder 0)",
        "public.p0",
        {"key": "id"},
    ),
    Refused(
        "foreign_partition",
        "has foreign tables as partitions: public.p1",
        "cannot see",
        "create foreign data wrapper w; create server s foreign data wrapper w;"
        "create table public.p (id bigint not null) partition by range (id);"
        "create foreign table public.p1 partition of public.p for values from (1) to (2) server s",
        "public.p",
        {"key": "id", "key_is_unique": True},
    ),
    Refused(
        "trigger_names",
        "has triggers of these names already: zz_orderwire_insert",
        "rename them",
        "create function public.f() returns trigger language plpgsql as 'begin return null; end';"
        "create trigger zz_orderwire_insert after insert on public.shop_orders execute function public.f()",
    ),
    Refused(
        "publication",
        "publication everything is FOR ALL TABLES",
        '"publications": true',
        "create publication everything for all tables",
    ),
    Refused(
        "no_right_to_create_triggers",
        "may not create triggers",
        "grant trigger, select on public.shop_orders",
        "",  # see the test
    ),
    Refused(
        "virtual_column",
        "would read a virtual generated column",
        "make the column stored",
        "alter table public.shop_orders add column gross numeric generated always as (total * 1.2) virtual",
        map=_with(total="gross"),
        min_version=18,
    ),
]

_KEYS = [
    Refused("no_key", "has no key", "unique and not null", map={"total": "total"}),
    Refused("empty_key", "has no key", "unique and not null", map=_with(key=[])),
    Refused("key_expression", "is not a column", "is a column", map=_with(key="o.id + 1")),
    Refused("unknown_key", "the key nothing is not a column", "is a column", map=_with(key="nothing")),
    Refused("key_null", "may be null", "not null", map=_with(key="number")),
    Refused(
        "key_type",
        "neither an integer, a uuid nor a text",
        "another unique column",
        "alter table public.shop_orders add column k numeric not null unique default random()",
        map=_with(key="k"),
    ),
    Refused(
        "key_not_unique",
        "has no unique index",
        "columns of a unique index",
        map=_with(key="placed_at_text"),
        setup="alter table public.shop_orders add column placed_at_text text not null default 'x'",
    ),
    Refused(
        "key_partly_unique",
        "has no unique index",
        "columns of a unique index",
        "alter table public.shop_orders add column k bigint not null generated always as (id) stored;"
        "create unique index on public.shop_orders (k) where k > 1; create unique index on public.shop_orders (k, (id + 1))",
        map=_with(key="k"),
    ),
    Refused(
        "key_deferrable",
        "has no unique index",
        "columns of a unique index",
        "alter table public.shop_orders add column k bigint not null generated always as (id) stored,add unique (k) deferrable",
        map=_with(key="k"),
    ),
    Refused(
        "more_columns_than_the_index",
        "the key id, k of public.shop_orders has no unique index",
        "columns of a unique index",
        "alter table public.shop_orders add column k bigint not null default 1",
        map=_with(key=["id", "k"]),
    ),
    Refused(
        "key_of_partitions",
        "has no unique index",
        '"key_is_unique": true',
        "create table public.p (id bigint, region text, primary key (id, region)) partition by list (region)",
        "public.p",
        {"key": "id"},
    ),
]

_MAPS = [
    Refused("array", "the map is not an object", "attach.md", map=[]),
    Refused("unknown_members", "unknown members: sum", "known are: key, number", map=_with(sum="total")),
    Refused("key_of_wrong_type", "member key has the wrong type", "attach.md", map=_with(key=1)),
    Refused("total_of_wrong_type", "member total has the wrong type", "attach.md", map=_with(total=12)),
    Refused("pending_of_wrong_type", "member pending has the wrong type", "attach.md", map=_with(pending="pending")),
    Refused("null_as_status", "member pending has the wrong type", "attach.md", map=_with(pending=["a", None])),
    Refused("data_of_wrong_type", "member data has the wrong type", "attach.md", map=_with(data="note")),
    Refused("data_of_numbers", "member data has the wrong type", "attach.md", map=_with(data=[1])),
    Refused("actor_of_wrong_type", "member actor has the wrong type", "attach.md", map=_with(actor="yes")),
    Refused("payload", "payload is some", '"full" or "keys"', map=_with(payload="some")),
    Refused("unknown_column", "the map's total does not work", "SQL expression over the row", map=_with(total="totl")),
    Refused("cast", "the map's total does not work", "SQL expression", map=_with(total="o.placed_at")),
    Refused("not_a_condition", "the map's where does not work", "SQL expression", map=_with(where="o.total")),
    Refused("syntax", "the map's customer_name does not work", "SQL expression", map=_with(customer_name="o.customer ||")),
    Refused(
        "two_statements",
        "the map's total is not one expression",
        "no semicolons, comments",
        map=_with(total="1); drop table public.shop_orders; select (1"),
    ),
    Refused("comment", "the map's total is not one expression", "no semicolons, comments", map=_with(total="o.total -- net")),
    Refused("no_joins", "the map's customer_name does not work", "SQL expression", map=_with(customer_name="c.name")),
    Refused("unknown_data", "the map's data does not work", "SQL expression", map=_with(data=["nothing"])),
    Refused("aggregate", "the map's total does not work", "SQL expression", map=_with(total="sum(o.total)")),
    Refused("window", "the map's number does not work", "SQL expression", map=_with(number="row_number() over ()")),
    Refused("set", "the map's number does not work", "SQL expression", map=_with(number="unnest(array['a', 'b'])")),
    Refused(
        "unknown_member_of_joins",
        "the map's customer_name does not work",
        "SQL expression",
        map=_with(customer_name="c.name", joins="left join public.nothing as c on true"),
    ),
    *[
        Refused(f"volatile_{n}", "the map depends on more than the row", "same for the same row", map=_with(**members))
        for n, members in enumerate[dict[str, Any]](
            [
                {"number": "random()::text"},
                {"number": "gen_random_uuid()::text"},
                {"where": "o.placed_at > now()"},
                {"where": "o.placed_at > current_date"},
                {"where": "o.placed_at > current_timestamp - interval '1 day'"},
                {"customer_name": "current_user::text"},
                {"customer_name": "current_setting('application_name')"},
                {"number": "o.placed_at::text"},
                {"number": "o.placed_at::date::text"},
                {"number": "to_char(o.placed_at, 'YYYY')"},
                {"created_at": "'2026-01-01'::timestamp + o.id * interval '1 day'"},
                {"number": "placed_at"},
                {"data": {"age": "age(o.placed_at)::text"}},
            ]
        )
    ],
    *[
        Refused(
            f"other_table_{member}",
            f"the map reads another table for {member}",
            "only customer_name and data",
            map=_with(**{member: sql}),
        )
        for member, sql in [
            ("total", "(select max(x.total) from public.shop_orders as x)"),
            ("status", "(select x.status from public.shop_orders as x where x.id = o.id - 1)"),
            ("where", "exists (select from public.shop_orders as x where x.id = o.id - 1)"),
        ]
    ],
]


async def _fingerprint(db: Any) -> list[Any]:
    """All that attach may change."""
    return [
        await db.fetch("select oid, tgname, tgrelid, tgenabled from pg_trigger order by oid"),
        await db.fetch("select oid, xmin, proname from pg_proc where pronamespace = 'orderwire'::regnamespace order by oid"),
        await db.fetch("select * from orderwire.attached_tables"),
        await db.fetch("select epoch from orderwire.journal_identity"),
        await db.fetchval("select pg_get_viewdef('orderwire.order_analytics')"),
        await db.fetchval("select count(*) from orderwire.all_orders()"),
    ]


async def _expect_refusal(db: Any, case: Refused, statement: str = "select orderwire.attach($1::text::regclass, $2)") -> None:
    before = await _fingerprint(db)
    with pytest.raises(asyncpg.PostgresError) as raised:
        await db.execute(statement, case.table, json.dumps(_MAP if case.map is None else case.map))
    assert re.search(re.escape(case.message), str(raised.value)), raised.value
    assert "\n" not in str(raised.value).split("\nHINT")[0].split("\nDETAIL")[0].strip()
    assert re.search(re.escape(case.hint), raised.value.hint or ""), raised.value.hint
    assert await _fingerprint(db) == before


@pytest.mark.parametrize("case", [*_TABLES, *_KEYS, *_MAPS], ids=lambda case: case.name)
async def test_cases(db: Any, case: Refused) -> None:
    if db.get_server_version().major < case.min_version:
        pytest.skip(f"needs PostgreSQL {case.min_version}")
    await _PLAIN.install(db)
    if case.name == "no_right_to_create_triggers":
        role = await _role(db)
        await db.execute(f"set role {role}")
        await _expect_refusal(db, case)
        await db.execute(f"reset role; drop owned by {role}; drop role {role}")
        return
    if case.name == "publication":
        await db.execute("set client_min_messages = error")
    await db.execute(case.setup or "select 1")
    await _expect_refusal(db, case)
    # Not a table that could not be attached: by another map it can.
    if case in _MAPS or (case in _KEYS and not case.table.endswith(".p")):
        await _PLAIN.attach(db)
        await db.execute(_PLAIN.insert(10))
        assert await db.fetchval("select count(*) from orderwire.journal") == 1
        await _expect_refusal(db, case)
        await db.execute(_PLAIN.insert(11))
        assert await db.fetchval("select count(*) from orderwire.journal") == 2


async def _role(db: Any, **grants: str) -> str:
    """A role that may do anything in the schema orderwire, and nothing to the shop's table."""
    name = f"installer_{await db.fetchval('select current_database()')}"
    await db.execute(f"create role {name}; grant usage, create on schema orderwire, public to {name}")
    await db.execute(
        f"grant all on all tables in schema orderwire to {name}; grant all on all functions in schema orderwire to {name}"
    )
    return name


async def test_row_level_security(db: Any) -> None:
    """A role that would not see all rows cannot attach the table."""
    await _PLAIN.install(db)
    role = await _role(db)
    await db.execute("alter table public.shop_orders enable row level security")
    await db.execute(f"grant select, trigger on public.shop_orders to {role}; set role {role}")
    await _expect_refusal(
        db, Refused("rls", f"hides rows of public.shop_orders from the role {role}", f"alter role {role} bypassrls")
    )
    await db.execute(f"reset role; drop owned by {role}; drop role {role}")


async def test_subscription(db: Any) -> None:
    """Changes that logical replication applies fire no statement triggers."""
    await _PLAIN.install(db)
    await db.execute(
        "set client_min_messages = error;"
        "create subscription elsewhere connection 'host=127.0.0.1 port=1' publication p "
        "with (connect = false, slot_name = none);"
        "set allow_system_table_mods = on;"
        "insert into pg_subscription_rel (srsubid, srrelid, srsubstate) "
        "select oid, 'public.shop_orders'::regclass, 'r' from pg_subscription where subname = 'elsewhere'"
    )
    try:
        await _expect_refusal(db, Refused("subscription", "logical replication (elsewhere)", "at the publisher"))
    finally:
        await db.execute("drop subscription elsewhere")


async def test_a_second_table(db: Any) -> None:
    """Another table, or the same under another name."""
    await _PLAIN.install(db)
    await db.execute("create table public.others (id bigint primary key)")
    await _PLAIN.attach(db)
    await _expect_refusal(
        db,
        Refused(
            "second",
            "public.shop_orders is attached as orders already",
            "orderwire.detach('orders')",
            table="public.others",
            map={"key": "id"},
        ),
    )
    await _expect_refusal(
        db,
        Refused("stream", "public.shop_orders is attached under another name already", "attached once", map={"key": "id"}),
        "select orderwire.attach_stream('stock', $1::text::regclass, $2)",
    )


@pytest.mark.parametrize(
    "name", ["orders", "order", "analytics", "Stock", "1st", "a-b", "", "x" * 41, "stock'; drop table public.shop_orders"]
)
async def test_names_of_streams(db: Any, name: str) -> None:
    await _PLAIN.install(db)
    with pytest.raises(asyncpg.RaiseError, match="a stream cannot be named") as raised:
        await db.execute("select orderwire.attach_stream($1, 'public.shop_orders', $2)", name, '{"key": "id"}')
    assert "lower-case letters" in (raised.value.hint or "")


async def test_members_of_a_stream(db: Any) -> None:
    """A stream has no totals."""
    await _PLAIN.install(db)
    await _expect_refusal(
        db,
        Refused("stream", "unknown members: total", "known are: key, order_key", map={"key": "id", "total": "total"}),
        "select orderwire.attach_stream('stock', $1::text::regclass, $2)",
    )


async def test_detaching_what_is_not_attached(db: Any) -> None:
    with pytest.raises(asyncpg.RaiseError, match="no table is attached as orders") as raised:
        await db.execute("select orderwire.detach()")
    assert raised.value.hint == "attached are: none"


async def test_a_locked_table(db: Any, database_url: str) -> None:
    """Writers wait behind the lock of attach and detach, so it gives up after a second."""
    await _PLAIN.install(db)
    writer = await asyncpg.connect(database_url)
    try:
        for attached in (False, True):
            if attached:
                await _PLAIN.attach(db)
            transaction = writer.transaction()
            await transaction.start()
            await writer.execute(_PLAIN.insert(100))
            await _expect_refusal(
                db, Refused("lock", "public.shop_orders could not be locked within a second", "pg_stat_activity")
            )
            if attached:
                with pytest.raises(asyncpg.LockNotAvailableError, match="within a second"):
                    await db.execute("select orderwire.detach()")
            await transaction.rollback()
    finally:
        await writer.close()


@pytest.fixture
async def ascii_db(postgres: EmbeddedPostgres) -> AsyncIterator[Any]:
    """A database of an encoding that says nothing of the characters."""
    admin = await asyncpg.connect(postgres.url)
    await admin.execute("create database ascii_test template template0 encoding 'SQL_ASCII' locale 'C'")
    url = url_with_database(postgres.url, "ascii_test")
    await migrate(url)
    db = await asyncpg.connect(url)
    yield db
    await db.close()
    await admin.execute("drop database ascii_test")
    await admin.close()


async def test_encoding(ascii_db: Any) -> None:
    await _PLAIN.install(ascii_db)
    await _expect_refusal(ascii_db, Refused("encoding", "has the encoding SQL_ASCII", "UTF8"))
