"""Tables and maps that cannot be attached: one clear message with the way out, and nothing changed."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from tests.database.attach.conftest import migrated_database
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


def _wrong_type(name: str, **member: Any) -> Refused:
    return Refused(name, f"member {next(iter(member))} has the wrong type", "attach.md", map=_with(**member))


def _does_not_work(name: str, member: str, **members: Any) -> Refused:
    return Refused(name, f"the map's {member} does not work", "SQL expression over the row", map=_with(**members))


def _without_unique_index(name: str, key: str | list[str], column: str) -> Refused:
    """``column`` is the definition of k, and what is to be done after it."""
    keys = key if isinstance(key, str) else ", ".join(key)
    return Refused(
        name,
        f"the key {keys} of public.shop_orders has no unique index",
        "columns of a unique index",
        f"alter table public.shop_orders add column {column}",
        map=_with(key=key),
    )


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
    _without_unique_index("key_not_unique", "k", "k text not null default 'x'"),
    _without_unique_index(
        "key_partly_unique",
        "k",
        "k bigint not null generated always as (id) stored;"
        "create unique index on public.shop_orders (k) where k > 1; create unique index on public.shop_orders (k, (id + 1))",
    ),
    _without_unique_index(
        "key_deferrable", "k", "k bigint not null generated always as (id) stored, add unique (k) deferrable"
    ),
    _without_unique_index("more_columns_than_the_index", ["id", "k"], "k bigint not null default 1"),
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
    _wrong_type("key_of_wrong_type", key=1),
    _wrong_type("total_of_wrong_type", total=12),
    _wrong_type("pending_of_wrong_type", pending="pending"),
    _wrong_type("null_as_status", pending=["a", None]),
    _wrong_type("data_of_wrong_type", data="note"),
    _wrong_type("data_of_numbers", data=[1]),
    _wrong_type("actor_of_wrong_type", actor="yes"),
    Refused("payload", "payload is some", '"full" or "keys"', map=_with(payload="some")),
    _does_not_work("unknown_column", "total", total="totl"),
    _does_not_work("cast", "total", total="o.placed_at"),
    _does_not_work("not_a_condition", "where", where="o.total"),
    _does_not_work("syntax", "customer_name", customer_name="o.customer ||"),
    Refused(
        "two_statements",
        "the map's total is not one expression",
        "no semicolons, comments",
        map=_with(total="1); drop table public.shop_orders; select (1"),
    ),
    Refused("comment", "the map's total is not one expression", "no semicolons, comments", map=_with(total="o.total -- net")),
    _does_not_work("no_joins", "customer_name", customer_name="c.name"),
    _does_not_work("unknown_data", "data", data=["nothing"]),
    _does_not_work("aggregate", "total", total="sum(o.total)"),
    _does_not_work("window", "number", number="row_number() over ()"),
    _does_not_work("set", "number", number="unnest(array['a', 'b'])"),
    _does_not_work(
        "unknown_member_of_joins", "customer_name", customer_name="c.name", joins="left join public.nothing as c on true"
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

_WRITES = [
    *[
        Refused(f"write_{n}", "the map's write has the wrong form", '"write": {"status": true', map=_with(write=write))
        for n, write in enumerate[dict[str, Any]](
            [
                {},
                {"status": "yes"},
                {"status": True, "transitions": ["pending"]},
                {"status": True, "transitions": {"pending": "cancelled"}},
                {"status": True, "transitions": {"pending": [1]}},
                {"status": True, "transitions": {"pending": ["cancelled"], "cancelled": None}},
            ]
        )
    ],
    _wrong_type("write_of_wrong_type", write=True),
    Refused(
        "write_members",
        "the map's write has unknown members: total",
        "known are: status, transitions",
        map=_with(write={"status": True, "total": True}),
    ),
    Refused(
        "write_expression",
        "status is not a plain column of public.shop_orders, so it cannot be written",
        "leave",
        map=_with(status="lower(o.status)", write={"status": True}),
    ),
    Refused(
        "write_case",
        "status is not a plain column",
        "map the status to a column",
        map=_with(status="case o.status when 'x' then 'pending' end", write={"status": True}),
    ),
    Refused(
        "write_without_status",
        "status is not a plain column",
        "leave",
        map={name: value for name, value in _with(write={"status": True}).items() if name != "status"},
    ),
    Refused(
        "write_generated",
        "the status column k of public.shop_orders is generated",
        "leave",
        "alter table public.shop_orders add column k text generated always as (status) stored",
        map=_with(status="k", write={"status": True}),
    ),
    Refused(
        "write_type",
        "the status column k of public.shop_orders is of type boolean, which is not written",
        "a text, an enum",
        "alter table public.shop_orders add column k boolean",
        map=_with(status="k", write={"status": True}),
    ),
    Refused(
        "write_numeric",
        "is of type numeric, which is not written",
        "a text, an enum",
        map=_with(status="total", write={"status": True}),
    ),
    Refused(
        "write_without_statuses",
        "the map lists no statuses that could be written",
        '"statuses": [',
        map=_with(pending=[], cancelled=[], write={"status": True}),
    ),
    Refused(
        "write_enum",
        "the status cancelled of the map is no value of the column k",
        "as the column has them",
        "create type public.k as enum ('pending', 'done'); alter table public.shop_orders add column k public.k",
        map=_with(status="k", write={"status": True}),
    ),
    Refused(
        "write_too_long",
        "the status cancelled of the map is no value of the column k",
        "as the column has them",
        "alter table public.shop_orders add column k varchar(8)",
        map=_with(status="k", write={"status": True}),
    ),
    Refused(
        "write_integer",
        "the status 01 of the map is no value of the column k",
        "as the column has them",
        "alter table public.shop_orders add column k integer",
        map=_with(status="k", pending=["1"], cancelled=["01"], write={"status": True}),
    ),
    Refused(
        "write_rule",
        "the rule kept of public.shop_orders takes the place of its updates",
        'drop rule kept on public.shop_orders, or leave "write" out',
        "create rule kept as on update to public.shop_orders where old.status = 'lost' do instead nothing",
        map=_with(write={"status": True}),
    ),
    Refused(
        "write_transition",
        "write.transitions name statuses that the map does not list: lost, odd",
        "listed are: pending, cancelled",
        map=_with(write={"status": True, "transitions": {"pending": ["cancelled", "lost"], "odd": []}}),
    ),
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


@pytest.mark.parametrize("case", [*_TABLES, *_KEYS, *_MAPS, *_WRITES], ids=lambda case: case.name)
async def test_cases(db: Any, case: Refused) -> None:
    if db.get_server_version().major < case.min_version:
        pytest.skip(f"needs PostgreSQL {case.min_version}")
    await _PLAIN.install(db)
    if case.name == "no_right_to_create_triggers":
        async with _role(db):
            await _expect_refusal(db, case)
        return
    if case.name == "publication":
        await db.execute("set client_min_messages = error")
    await db.execute(case.setup or "select 1")
    await _expect_refusal(db, case)
    # Not a table that could not be attached: by another map it can.
    if case in _MAPS or case in _WRITES or (case in _KEYS and not case.table.endswith(".p")):
        await _PLAIN.attach(db)
        await db.execute(_PLAIN.insert(10))
        assert await db.fetchval("select count(*) from orderwire.journal") == 1
        await _expect_refusal(db, case)
        await db.execute(_PLAIN.insert(11))
        assert await db.fetchval("select count(*) from orderwire.journal") == 2


@asynccontextmanager
async def _role(db: Any, grant: str = "") -> AsyncIterator[str]:
    """Act as a role that may do anything in the schema orderwire, and to the shop's table only what ``grant`` allows."""
    name = f"installer_{await db.fetchval('select current_database()')}"
    await db.execute(
        f"create role {name}; grant usage, create on schema orderwire, public to {name};"
        f"grant all on all tables in schema orderwire to {name}; grant all on all functions in schema orderwire to {name}"
    )
    if grant:
        await db.execute(f"grant {grant} on public.shop_orders to {name}")
    await db.execute(f"set role {name}")
    yield name
    await db.execute(f"reset role; drop owned by {name}; drop role {name}")


async def test_row_level_security(db: Any) -> None:
    """A role that would not see all rows cannot attach the table."""
    await _PLAIN.install(db)
    await db.execute("alter table public.shop_orders enable row level security")
    async with _role(db, "select, trigger") as role:
        await _expect_refusal(
            db, Refused("rls", f"hides rows of public.shop_orders from the role {role}", f"alter role {role} bypassrls")
        )


async def test_no_right_to_change_the_status(db: Any) -> None:
    await _PLAIN.install(db)
    writable = _with(write={"status": True})
    async with _role(db, "select, trigger") as role:
        refused = Refused(
            "update",
            f"the role {role} may not update status of public.shop_orders",
            f"grant update (status) on public.shop_orders to {role}",
            map=writable,
        )
        await _expect_refusal(db, refused)
        await db.execute(f"reset role; grant update (status) on public.shop_orders to {role}; set role {role}")
        await db.execute("select orderwire.check_map('orders', 'public.shop_orders', $1)", json.dumps(writable))


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
    await _expect_refusal(
        db,
        Refused("stream", "unknown members: write", "known are: key", map={"key": "id", "write": {"status": True}}),
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
    async with migrated_database(postgres, "ascii_test", "template template0 encoding 'SQL_ASCII' locale 'C'") as db:
        yield db


async def test_encoding(ascii_db: Any) -> None:
    await _PLAIN.install(ascii_db)
    await _expect_refusal(ascii_db, Refused("encoding", "has the encoding SQL_ASCII", "UTF8"))
