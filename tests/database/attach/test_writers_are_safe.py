"""Whatever the shop's rows, schema and settings are: a write succeeds, and its event is small and well-formed."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate
from tests.database.attach.conftest import migrated_database
from tests.database.attach.following import Follower, read_problems
from tests.database.attach.table_shapes import shape_named

_PLAIN = shape_named("plain")
_WITHOUT_LIMITS = replace(_PLAIN, create=_PLAIN.create.replace("numeric(12, 2)", "numeric"))


async def _journal_size(db: Any) -> int:
    size: int = await db.fetchval("select count(*) from orderwire.journal")
    return size


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("member", "expression"),
    [
        ("number", "(1 / (o.id - 11))::text"),
        ("customer_name", "(1 / (o.id - 11))::text"),
        ("customer_id", "(1 / (o.id - 11))::text"),
        ("total", "o.total / (o.id - 11)"),
        ("status", "case when o.id <> 11 or 1 / (o.id - 11) = 0 then o.status end"),
        ("currency", "case when o.id <> 11 or 1 / (o.id - 11) = 0 then 'EUR' end"),
        ("created_at", "to_timestamp(1000000000 / (o.id - 11))"),
        ("where", "1 / (o.id - 11) is not null"),
        ("data", {"x": "1 / (o.id - 11)", "y": "o.note"}),
    ],
)
async def test_an_expression_raises_for_a_row(db: Any, member: str, expression: Any) -> None:
    """The field is null in that row, in events as in reads; a condition that raises is not true."""
    await _PLAIN.install(db)
    await _PLAIN.attach(db, **{member: expression})
    follower = await Follower.start(db)
    await db.execute(_PLAIN.insert(10, 11, 12))
    count = 2 if member == "where" else 3
    assert await follower.check() == Counter(new_order=count)
    if member == "where":
        assert "11" not in follower.orders
    elif member not in ("created_at", "customer_id"):
        field = "number" if member == "number" else member
        assert follower.orders["11"][field] in (None, {})
        assert follower.orders["10"][field] is not None
    await db.execute(_PLAIN.update("customer = 'new', " + _PLAIN.change, 10, 11, 12))
    await follower.check()
    await db.execute(_PLAIN.change_key(11, 13))  # it does not raise any more
    assert (await follower.check())["new_order"] == 1
    await db.execute(_PLAIN.change_key(13, 11))
    await db.execute(_PLAIN.delete(10, 11))
    await follower.check()
    assert await db.fetchval("select count(*) from orderwire.list_orders(100, null, null)") == len(follower.orders)


@pytest.mark.parametrize(
    ("column", "expression", "other"),
    [
        ("number", "o.note::integer::text", "'7'"),
        ("total", "o.note::numeric", "'7.5'"),
        ("created_at", "o.note::timestamp at time zone 'UTC'", "'2026-01-01'"),
        ("data", {"json": "o.note::jsonb"}, "'{\"a\": 1}'"),
    ],
)
async def test_a_text_that_cannot_be_cast(db: Any, column: str, expression: Any, other: str) -> None:
    await _PLAIN.install(db)
    await _PLAIN.attach(db, **{column: expression})
    follower = await Follower.start(db)
    await db.execute(_PLAIN.insert(10))
    await db.execute(_PLAIN.update(f"note = {other}", 10))
    await follower.check()
    await db.execute(_PLAIN.update("note = 'nonsense'", 10))
    await follower.check()


@pytest.mark.parametrize("total", ["'NaN'", "'Infinity'", "'-Infinity'", "1e100", "-1e100", "1e-100", "null", "0", "-5.5"])
async def test_odd_totals(db: Any, total: str) -> None:
    """They do not spoil the sum of the others, and come back out of it."""
    await _WITHOUT_LIMITS.install(db)
    await _WITHOUT_LIMITS.attach(db)
    follower = await Follower.start(db)
    await db.execute(_PLAIN.insert(10, 11))
    await db.execute(f"update public.shop_orders set total = {total} where id = 10")
    await follower.check()
    await db.execute(_PLAIN.update("total = 1", 10))
    await follower.check()
    assert (await db.fetchval("select total_revenue from orderwire.order_analytics")).is_finite()


async def test_not_a_number_in_a_limited_column(db: Any) -> None:
    """numeric(12, 2) can be NaN, too."""
    await _PLAIN.install(db)
    await _PLAIN.attach(db)
    follower = await Follower.start(db)
    await db.execute(_PLAIN.insert(10))
    await db.execute("update public.shop_orders set total = 'NaN' where id = 10")
    await follower.check()
    assert follower.orders["10"]["total"] is None
    assert (await db.fetchval("select total_revenue from orderwire.order_analytics")).is_finite()


@pytest.mark.parametrize("moment", ["'infinity'", "'-infinity'", "'4713-01-01 BC'", "'294276-12-31'"])
async def test_odd_times(db: Any, moment: str) -> None:
    await _PLAIN.install(db)
    await _PLAIN.attach(db, data=["placed_at"])
    follower = await Follower.start(db)
    await db.execute(_PLAIN.insert(10))
    await db.execute(f"update public.shop_orders set placed_at = {moment} where id = 10")
    await follower.check()
    for row in await db.fetch("select order_json from orderwire.list_orders(100, null, null)"):
        json.loads(row["order_json"])


async def test_texts_of_all_sizes(db: Any) -> None:
    """180 MB of control characters, each of which is six bytes of JSON: more than a text may have."""
    await _PLAIN.install(db)
    await _PLAIN.attach(db, data=["customer"])
    follower = await Follower.start(db)
    await db.execute(_PLAIN.insert(10))
    await db.execute("alter table public.shop_orders alter column customer set storage external")
    await db.execute("update public.shop_orders set customer = repeat(chr(1), 180 * 1024 * 1024) where id = 10")
    await follower.read()
    for text in ("repeat('€', 6000)", "repeat(chr(31), 5999)", "''"):
        await db.execute(f"update public.shop_orders set customer = {text} where id = 10")
        await db.execute("update public.shop_orders set total = total + 1 where id = 10")
        await follower.read()
    cut = ["customer_name", "data"]
    assert [event.get("truncated") for event in follower.events[1:]] == [cut, cut, None, cut, None, None, None]


async def test_long_texts_in_every_field(db: Any) -> None:
    """An event stays below 16 KiB, its numbers are exact, and it says what was cut."""
    await _PLAIN.install(db)
    await _PLAIN.attach(db, customer_id="note", actor=True)
    follower = await Follower.start(db)
    long = "repeat(chr(1) || '\"€', 20000)"
    await db.execute(_PLAIN.insert(10))
    await db.execute(
        f"update public.shop_orders set number = {long}, customer = {long}, status = {long}, note = {long} where id = 10"
    )
    await db.execute("delete from public.shop_orders where id = 10")
    events = await follower.read()
    assert [event["type"] for event in events] == ["new_order", "order_status_update", "order_delete"]
    assert events[1]["truncated"] == ["order_number", "customer_name", "status"]


async def test_long_keys(db: Any) -> None:
    """10 kB: events carry the beginning and a hash, which differs for keys that begin alike."""
    shape = shape_named("text_key")
    shape = replace(shape, row={**shape.row, "id": "repeat('schlüssel', 1000) || {n}"})
    await shape.install(db)
    await shape.attach(db)
    await db.execute("select orderwire.scan_totals()")
    await db.execute(shape.insert(10, 11))
    await db.execute(shape.update(shape.change, 10))
    await db.execute(shape.delete(11))
    rows = await db.fetch("select key from orderwire.journal order by id")
    assert len({row["key"] for row in rows}) == 2
    assert all(len(row["key"].encode()) <= 200 for row in rows)
    assert await db.fetchval("select count(*) from orderwire.all_orders()") == 4


async def test_large_json(db: Any) -> None:
    """10 MB in a column that events carry: left out, and said."""
    shape = shape_named("data_types")
    await shape.install(db)
    await shape.attach(db)
    follower = await Follower.start(db)
    await db.execute(shape.insert(10))
    await db.execute(
        "update public.shop_orders set options = ("
        "select jsonb_object_agg(n, repeat('x', 100)) from generate_series(1, 90000) as n) where id = 10"
    )
    events = await follower.read()
    assert events[-1]["truncated"] == ["data"]
    assert "data" not in events[-1]
    await db.execute("update public.shop_orders set options = null where id = 10")
    await follower.check()


@pytest.mark.parametrize(("name", "rows"), [("plain", 100_000), ("carts", 20_000), ("partitioned", 20_000)])
async def test_large_statements(db: Any, name: str, rows: int) -> None:
    """Each row has its event, and they sum up."""
    shape = shape_named(name)
    await shape.install(db)
    await shape.attach(db)
    await db.execute("truncate public.shop_orders")
    await db.execute("delete from orderwire.journal")
    columns = ", ".join(shape.row)
    values = ", ".join(shape.row.values()).replace("'N-{n}'", "'N-' || {n}").replace("'customer {n}'", "'customer ' || {n}")
    values = values.replace("{n}.25", "{n} + 0.25").replace("{{", "{").replace("}}", "}").replace("{n}", "n")
    for number, statement in enumerate(
        [
            f"insert into {shape.table} ({columns}) select {values} from generate_series(2001, 2000 + {rows}) as n",
            f"update {shape.table} as o set {shape.change}",
            f"delete from {shape.table} as o where o.id % 2 = 0",
        ]
    ):
        await db.execute(statement)
        assert await _journal_size(db) == [rows, 2 * rows, 2.5 * rows][number]
        summed = await db.fetchrow(
            "select sum(orders), sum(revenue) - sum(previous_revenue), sum(pending) from orderwire.journal_page("
            "'1:1:', null, null, pg_current_snapshot(), 0, 10000000, 1000000000000)"
        )
        assert summed == await db.fetchrow("select total_orders, total_revenue, pending_orders from orderwire.order_analytics")


# ---------------------------------------------------------------- schema and settings


@pytest.mark.parametrize(
    "function",
    [
        "map_orders",
        "map_orders_exact",
        "own_orders",
        "all_orders",
        "orders_by_key",
        "orders_update",
    ],
)
@pytest.mark.parametrize("name", ["plain", "carts"])
async def test_a_generated_function_is_dropped(db: Any, function: str, name: str) -> None:
    """Writes succeed, and the doctor says that something is missing, unless nothing is."""
    shape = shape_named(name)
    await shape.install(db)
    await shape.attach(db)
    await db.execute(shape.insert(10))
    found = await db.fetchval("select p.oid::regprocedure::text from pg_proc as p where p.proname = $1", function)
    if found is None:
        pytest.skip("a map that cannot raise has no such function")
    await db.execute(f"drop function {found} cascade")
    await db.execute(shape.insert(11))
    await db.execute(shape.update(shape.change, 10, 11))
    await db.execute(shape.delete(11))
    await db.execute(f"truncate {shape.table}")
    assert await read_problems(db) != []
    await shape.attach(db)
    assert await read_problems(db) == []
    follower = await Follower.start(db)
    await db.execute(shape.insert(12))
    assert await follower.check() == Counter(new_order=1)


@pytest.mark.parametrize("trigger", ["all", "zz_orderwire_update"])
async def test_disabled_triggers(db: Any, trigger: str) -> None:
    await _PLAIN.install(db)
    await _PLAIN.attach(db)
    await db.execute(f"alter table public.shop_orders disable trigger {trigger}")
    await db.execute(_PLAIN.insert(10))
    await db.execute(_PLAIN.update(_PLAIN.change, 10))
    assert await _journal_size(db) == (0 if trigger == "all" else 1)
    assert any("zz_orderwire_update" in problem and "is not enabled" in problem for problem in await read_problems(db))
    await db.execute(f"alter table public.shop_orders enable trigger {trigger}")
    assert await read_problems(db) == []


async def test_session_replication_role(db: Any) -> None:
    await _PLAIN.install(db)
    await _PLAIN.attach(db)
    await db.execute("set session_replication_role = replica")
    await db.execute(_PLAIN.insert(10))
    assert await _journal_size(db) == 0
    database = await db.fetchval("select current_database()")
    await db.execute(f"reset session_replication_role; alter database {database} set session_replication_role = replica")
    assert any("session_replication_role=replica" in problem for problem in await read_problems(db))


@pytest.mark.parametrize(
    "settings",
    [
        "set search_path = ''",
        "set search_path = evil, pg_catalog; create schema evil;"
        "create function evil.left(text, integer) returns text language sql return 'x'",
        "set timezone = 'Asia/Kathmandu'; set datestyle = 'German';set intervalstyle = 'iso_8601'; set bytea_output = 'escape'",
        "set standard_conforming_strings = off; set backslash_quote = on; set escape_string_warning = off",
        "set xmloption = document; set extra_float_digits = -15; set array_nulls = off",
        "set enable_seqscan = off; set enable_nestloop = off;"
        "set enable_hashjoin = off; set plan_cache_mode = force_generic_plan",
        "set jit = on; set jit_above_cost = 0; set work_mem = '64kB'",
        "set check_function_bodies = off; set default_transaction_isolation = 'repeatable read'",
        "set lc_numeric = 'C'; set row_security = off; set transform_null_equals = on; set quote_all_identifiers = on",
        "set orderwire.nested = 'nonsense'; set orders.notify = 'nonsense'",
        "set client_encoding = 'LATIN1'",
    ],
)
@pytest.mark.parametrize("name", ["plain", "carts", "partitioned_reordered"])
async def test_settings_of_the_writer(db: Any, database_url: str, name: str, settings: str) -> None:
    """They change neither whether a write succeeds nor what its event says."""
    shape = shape_named(name)
    await shape.install(db)
    await shape.attach(db)
    follower = await Follower.start(db)
    writer = await asyncpg.connect(database_url)
    try:
        await writer.execute(settings)
        await writer.execute(shape.insert(10, 11, 12))
        await writer.execute(shape.update(shape.change, 10))
        await writer.execute(shape.update(shape.cancel, 11))
        await writer.execute(shape.change_key(11, 13))
        await writer.execute(shape.delete(12))
        await follower.check()
        for child in shape.children[:1]:
            await writer.execute(f"update {child} as o set {shape.change}")
            await writer.execute(f"truncate {child}")
            # Its snapshot may not see rows that it removes: all is to be counted again.
            requested = await db.fetchval("select exists (select from orderwire.epoch_requests)")
            assert requested == ("repeatable read" in settings)
        await follower.check()
    finally:
        await writer.close()


# ---------------------------------------------------------------- roles


@dataclass(frozen=True, slots=True)
class Roles:
    """The schema's owner, and a writer, who has rights on the shop's table alone. Neither is a superuser."""

    owner: Any
    writer: Any
    owner_name: str
    writer_name: str


@pytest.fixture
async def roles(db: Any, database_url: str) -> AsyncIterator[Roles]:
    """The shop's tables belong to the superuser of `db`."""
    database = database_url.rsplit("/", 1)[1]
    names = [f"owner_of_{database}", f"writer_of_{database}"]
    await db.execute("select orderwire.uninstall()")
    for name in names:
        await db.execute(f"create role {name} login password 'x'")
    await db.execute(f"grant create on database {database} to {names[0]}")
    host = database_url.rsplit("@", 1)[1]
    await migrate(f"postgresql://{names[0]}:x@{host}")
    owner, writer = [await asyncpg.connect(f"postgresql://{name}:x@{host}") for name in names]
    yield Roles(owner, writer, names[0], names[1])
    await owner.close()
    await writer.close()


async def _install_for(roles: Roles, db: Any, name: str) -> Any:
    shape = shape_named(name)
    await shape.install(db)
    tables = "public.shop_orders" + (", public.customers" if name == "customer_join" else "")
    await db.execute(f"grant select, trigger on {tables} to {roles.owner_name}")
    await db.execute(f"grant select, insert, update, delete, truncate on public.shop_orders to {roles.writer_name}")
    for child in (*shape.children, *(["public.shop_orders_south_1"] if name == "partitioned_reordered" else [])):
        await db.execute(f"grant select, trigger on {child} to {roles.owner_name}")
        await db.execute(f"grant select, insert, update, delete, truncate on {child} to {roles.writer_name}")
    await shape.attach(roles.owner)
    return shape


@pytest.mark.parametrize("name", ["plain", "carts", "customer_join", "partitioned_reordered", "inherited"])
async def test_rights_on_the_table_alone(roles: Roles, db: Any, name: str) -> None:
    """A writer needs none on the schema; the owner of the schema needs SELECT and TRIGGER on the table."""
    shape = await _install_for(roles, db, name)
    follower = await Follower.start(db)
    await roles.writer.execute(shape.insert(10, 11, 12))
    await roles.writer.execute(shape.update(shape.change, 10))
    await roles.writer.execute(shape.change_key(11, 13))
    await roles.writer.execute(shape.delete(12))
    for child in shape.children[:1]:
        await roles.writer.execute(f"update {child} as o set {shape.change}")
        await roles.writer.execute(f"truncate {child}")
    await follower.check()
    await roles.writer.execute("truncate public.shop_orders")
    await follower.check()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await roles.writer.execute("select * from orderwire.journal")
    await roles.owner.execute("select orderwire.detach()")
    await roles.writer.execute(shape.insert(14))


@pytest.mark.parametrize(
    "revoked",
    ["select on public.customers", "select on public.shop_orders", "usage on schema public", "all on public.shop_orders"],
)
async def test_rights_are_revoked(roles: Roles, db: Any, revoked: str) -> None:
    """The joined name is null then, and nothing else changes."""
    shape = await _install_for(roles, db, "customer_join")
    await db.execute("revoke all on schema public from public")
    await db.execute(f"grant usage on schema public to {roles.writer_name}")
    await db.execute(f"revoke {revoked} from {roles.owner_name}")
    for statement in (shape.insert(10, 11), shape.update(shape.change, 10), shape.change_key(11, 12), shape.delete(12)):
        await roles.writer.execute(statement)
    rows = await db.fetch("select event from orderwire.events order by id")
    assert len(rows) == 6
    if revoked == "select on public.customers":
        assert json.loads(rows[0]["event"])["customer_name"] is None
    await roles.writer.execute("truncate public.shop_orders")
    assert (await read_problems(db) != []) == ("shop_orders" in revoked)


@pytest.mark.parametrize("name", ["partitioned_reordered", "inherited"])
async def test_usage_on_the_schema_of_partitions_is_revoked(roles: Roles, db: Any, name: str) -> None:
    """Writes that name a partition are recorded as before, and the doctor works; new partitions wait for the right."""
    shape = await _install_for(roles, db, name)
    follower = await Follower.start(db)
    await db.execute("revoke all on schema public from public")
    await db.execute(f"grant usage on schema public to {roles.writer_name}")
    child = shape.children[0]
    await roles.writer.execute(shape.insert(10, 12, into=child))
    await roles.writer.execute(shape.update(shape.change, 10, of=child))
    await roles.writer.execute(shape.update("customer = null, total = 'NaN', number = E'\\u0001\\\"'", 12, of=child))
    await roles.writer.execute(shape.delete(10, of=child))
    await roles.writer.execute(shape.insert(14))
    assert await follower.check() == Counter(new_order=3, order_update=2, order_delete=1)
    await roles.writer.execute(f"truncate {child}")
    assert [row[0] for row in await roles.owner.fetch("select problem from orderwire.diagnose()")] == []
    await db.execute(shape.new_child)
    await db.execute(f"grant select, trigger on public.third to {roles.owner_name}")
    assert await roles.owner.fetchval("select orderwire.attach_partitions()") == 0
    ((fix,),) = await roles.owner.fetch("select fix from orderwire.diagnose()")
    await db.execute(fix)
    assert await roles.owner.fetchval("select orderwire.attach_partitions()") == 1


@pytest.mark.parametrize("settings", ["select 1", "set row_security = off"])
@pytest.mark.parametrize("force", ["no force", "force"])
async def test_row_level_security(roles: Roles, db: Any, force: str, settings: str) -> None:
    """A policy that hides rows from the writer hides no event; one that hides them from the schema's owner is said."""
    shape = await _install_for(roles, db, "plain")
    await db.execute(
        f"alter table public.shop_orders enable row level security, {force} row level security;"
        f"create policy p on public.shop_orders to {roles.writer_name} using (id >= 10) with check (true)"
    )
    await roles.writer.execute(shape.insert(10, 11))
    await roles.writer.execute(shape.update(shape.change, 10))
    await roles.writer.execute(shape.delete(11))
    assert await _journal_size(db) == 4
    await roles.writer.execute(settings)
    await roles.writer.execute("truncate public.shop_orders")
    assert any("row level security" in problem for problem in await read_problems(db))


async def test_set_role(roles: Roles, db: Any) -> None:
    """The actor is the role that the writer works as."""
    shape = await _install_for(roles, db, "plain")
    await shape.attach(roles.owner, actor=True)
    database = await db.fetchval("select current_database()")
    await db.execute(f"create role group_of_{database}; grant group_of_{database} to {roles.writer_name}")
    await db.execute(f"grant insert on public.shop_orders to group_of_{database}")
    await roles.writer.execute(f"set role group_of_{database}; set application_name = 'till 3'")
    await roles.writer.execute(shape.insert(10))
    event = json.loads(await db.fetchval("select event from orderwire.events"))
    assert event["actor"] == {"role": f"group_of_{database}", "application_name": "till 3"}


# ---------------------------------------------------------------- transactions


async def test_serializable_writers_of_different_rows(db: Any, database_url: str) -> None:
    """The triggers make no serialization failure: as many as without them, which is none."""
    await db.execute(_PLAIN.create.rstrip(";") + " with (fillfactor = 20)")
    await db.execute(
        "insert into public.shop_orders select n, n::text, 'c', 1, 'pending', now(), null from generate_series(1, 8000) as n"
    )
    await db.execute("vacuum analyze public.shop_orders")

    async def failures() -> int:
        failed = 0

        async def write(worker: int) -> None:
            nonlocal failed
            connection = await asyncpg.connect(database_url)
            await connection.execute("set enable_seqscan = off; set enable_bitmapscan = off")
            for _ in range(25):
                try:
                    async with connection.transaction(isolation="serializable"):
                        for column in (
                            "total = total + 1",
                            "status = case status when 'pending' then 'done' else 'pending' end",
                        ):
                            await connection.execute(f"update public.shop_orders set {column} where id = {worker * 1000 + 500}")
                except asyncpg.SerializationError:
                    failed += 1
            await connection.close()

        await asyncio.gather(*(write(worker) for worker in range(8)))
        return failed

    assert await failures() == 0
    await _PLAIN.attach(db)
    follower = await Follower.start(db)
    assert await failures() == 0
    assert await follower.check() == Counter(order_update=200, order_status_update=200)


@pytest.fixture(scope="module")
def logical_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A server with logical replication and prepared transactions."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("logical") / "data", report=lambda line: None)

    async def configure() -> None:
        connection = await asyncpg.connect(server.url)
        await connection.execute("alter system set wal_level = logical")
        await connection.execute("alter system set max_prepared_transactions = 10")
        await connection.close()

    server.start()
    asyncio.run(configure())
    server.release()
    server.start()
    yield server
    server.release()


@pytest.fixture
async def logical_db(logical_postgres: EmbeddedPostgres) -> AsyncIterator[Any]:
    async with migrated_database(logical_postgres, "logical_test") as db:
        yield db


@pytest.mark.postgres
@pytest.mark.parametrize("name", ["plain", "partitioned", "inherited"])
async def test_publication_for_all_tables(logical_db: Any, name: str) -> None:
    """The journal's rows are changed and deleted, too: by nested statements, by erase and by retention."""
    db = logical_db
    shape = shape_named(name)
    await shape.install(db)
    await db.execute("create publication everything for all tables")
    for table in (shape.table, *shape.children):
        await db.execute(f"alter table {table} replica identity full")
    await shape.attach(db, publications=True)
    follower = await Follower.start(db)
    await db.execute(
        """
        create function public.touch() returns trigger language plpgsql as $$
        begin
            update public.shop_orders as o set total = o.total + 1, status = 'done'
            where o.id = new.id and o.status = 'pending';
            return null;
        end $$;
        create trigger touch after insert or update on public.shop_orders for each row execute function public.touch();
        """
    )
    await db.execute(shape.insert(10, 11))
    await db.execute(shape.update("status = 'pending'", 10))
    await db.execute(shape.update(shape.cancel, 11))
    await db.execute(shape.delete(10))
    await follower.check()
    assert await db.fetchval("select orderwire.erase('11')") >= 1
    await db.execute("select orderwire.maintain_partitions('1 day')")
    await db.execute("update orderwire.journal set at = at - interval '10 days'")
    for _ in range(3):
        await db.execute("update orderwire.journal_identity set settling_since = now() - interval '1 hour'")
        await db.execute("select orderwire.maintain_partitions('1 day')")
    assert await _journal_size(db) == 0
    await db.execute("select orderwire.scan_totals(); select orderwire.revoke('x')")
    await db.execute(shape.insert(20))
    assert await read_problems(db) == []


@pytest.mark.postgres
async def test_prepared_transactions(logical_db: Any) -> None:
    """PREPARE TRANSACTION fails after a NOTIFY, so a session says that it wants none."""
    db = logical_db
    await _PLAIN.install(db)
    await _PLAIN.attach(db)
    follower = await Follower.start(db)
    await db.execute("set orders.notify = off")
    await db.execute(f"begin; {_PLAIN.insert(10)}; {_PLAIN.update(_PLAIN.change, 10)}; prepare transaction 'one'")
    await db.execute(f"begin; {_PLAIN.insert(11, 12)}; prepare transaction 'two'")
    await db.execute(_PLAIN.insert(13))
    assert await follower.check() == Counter(new_order=1)
    await db.execute("rollback prepared 'two'")
    await db.execute("commit prepared 'one'")
    assert await follower.check() == Counter(new_order=1, order_update=1)


async def test_nested_savepoints(db: Any) -> None:
    """Only what was not rolled back is there, in its order."""
    await _PLAIN.install(db)
    await _PLAIN.attach(db)
    follower = await Follower.start(db)
    async with db.transaction():
        await db.execute(_PLAIN.insert(10))
        for n in range(50):
            savepoint = db.transaction()
            await savepoint.start()
            await db.execute(_PLAIN.update(_PLAIN.change, 10))
            await db.execute(_PLAIN.insert(100 + n))
            if n % 2:
                await savepoint.rollback()
            else:
                await savepoint.commit()
    assert await follower.check() == Counter(new_order=26, order_update=25)
