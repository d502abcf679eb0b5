"""The commands attach, detach and uninstall on real databases: what they print, what they change, and what they refuse."""

from __future__ import annotations

import asyncio
import json
import re
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.attach import connection, preview
from db.attach.command import Options, apply, check, create, detach, list_candidates, show, uninstall
from db.attach.map_file import MapFile, UsageError, load_map, parse_map
from db.errors import DatabaseError, DatabaseMisconfigured
from db.migrate import create_starter, migrate
from tests.database.attach.conftest import CreateShape
from tests.helpers.command_line import CommandLine
from tests.support import TIMEOUT_SECONDS, within

# What the commands could change: functions, triggers, tables, views, indexes, defaults, comments, privileges.
CATALOG_SQL = """
select string_agg(line, e'\\n' order by line) from (
    select 'function ' || p.oid::regprocedure::text || md5(pg_get_functiondef(p.oid)) || coalesce(p.proacl::text, '')
        as line
    from pg_proc as p where p.pronamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)
        and p.prokind = 'f'
    union all
    select 'trigger ' || pg_get_triggerdef(t.oid) || t.tgenabled::text from pg_trigger as t where not t.tgisinternal
    union all
    select 'relation ' || c.oid::regclass::text || c.relkind::text || coalesce(c.relacl::text, '') from pg_class as c
    where c.relnamespace not in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace) and c.relkind <> 't'
        and c.relnamespace::regnamespace::text !~ '^pg_'
    union all
    select 'schema ' || n.nspname || coalesce(n.nspacl::text, '') from pg_namespace as n where n.nspname !~ '^pg_'
    union all
    select 'comment ' || d.objoid::text || d.objsubid::text || d.description from pg_description as d where d.objoid > 16384
    union all
    select
        'attribute ' || a.attrelid::regclass::text || a.attname || a.atttypid::text || a.attnotnull::text
            || a.atthasdef::text
    from pg_attribute as a join pg_class as c on c.oid = a.attrelid where c.relnamespace = 'public'::regnamespace
) as l
"""


class Printed(list[str]):
    """Collects printed lines; ``text`` is all of them."""

    def __call__(self, line: str) -> None:
        self.append(line)

    @property
    def text(self) -> str:
        return "\n".join(self)


@asynccontextmanager
async def holding(url: str, mode: str, table: str) -> AsyncIterator[Any]:
    """Another session that holds a lock on the table until the end of the block."""
    other = await asyncpg.connect(url, server_settings={"application_name": "the shop"})
    transaction = other.transaction()
    await transaction.start()
    await other.execute(f"lock table {table} in {mode} mode")
    try:
        yield transaction
    finally:
        other.terminate()


def a_map(**members: Any) -> MapFile:
    """A map of the drizzle shape, with other members."""
    return MapFile({"key": "id", "total": "o.total_cents * 0.01", "status": "status"} | members, "orders")


@pytest.fixture
def printed() -> Printed:
    return Printed()


# ---------------------------------------------------------------- list and show


async def test_list_shows_the_best_table_first_and_what_to_do_next(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("drizzle")
    await db.execute("create table invoices (id serial primary key, total numeric, status text, created_at timestamptz)")
    before = await db.fetchval(CATALOG_SQL)
    await list_candidates(empty_database_url, printed)
    assert printed[0] == "public.orders  about 200 rows, named like orders"
    assert "key=id" in printed[1]
    assert "total=o.total_cents * 0.01" in printed[1]
    assert printed[-1] == "next: python server.py attach public.orders shows the map and what it makes of the rows"
    names = [line.split("  ")[0] for line in printed if line.startswith("public.")]
    assert names in (["public.orders"], ["public.orders", "public.invoices"])
    assert await db.fetchval(CATALOG_SQL) == before  # nothing has been installed


async def test_list_without_a_candidate_says_so(empty_database_url: str, printed: Printed) -> None:
    await list_candidates(empty_database_url, printed)
    [line] = printed
    assert line.startswith("none of the 0 tables looks like one of orders")
    assert "attach --create" in line


async def test_list_names_what_is_attached(create_shape: CreateShape, empty_database_url: str, printed: Printed) -> None:
    await create_shape("medusa1")
    await apply(empty_database_url, Options("order"), printed)
    printed.clear()
    await list_candidates(empty_database_url, printed)
    assert printed[0] == 'attached as orders: public."order"'


async def test_show_prints_a_file_and_changes_nothing(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("zamowienia")
    status = Printed()
    await migrate(empty_database_url)
    before = await db.fetchval(CATALOG_SQL)
    # Conflicts with every lock but ACCESS SHARE.
    async with holding(empty_database_url, "exclusive", "zamowienia"):
        await within(TIMEOUT_SECONDS, show(empty_database_url, Options("zamowienia", sql=True), printed, status), "the preview")
    assert await db.fetchval(CATALOG_SQL) == before

    file = tomllib.loads(printed.text)
    assert file["table"] == "public.zamowienia"
    assert file["cancelled"] == ["anulowane"]
    assert "# anulowane: no revenue" in printed.text
    text = status.text
    assert "select orderwire.attach('public.zamowienia', '{" in text
    assert "create or replace trigger zz_orderwire_insert after insert on public.zamowienia" in text
    # Each generated function that attaching makes is shown.
    await apply(empty_database_url, Options("zamowienia"), Printed())
    made = await db.fetch(
        "select p.proname from pg_proc as p where obj_description(p.oid, 'pg_proc') = 'Generated for orders' "
        "and p.pronamespace = 'orderwire'::regnamespace"
    )
    assert [name for (name,) in made if f" orderwire.{name}(" not in text] == []
    assert "what 5 rows become:" in text
    assert "  key 200, number ZAM/200/2026, customer_name Zofia Wiśniewska, customer_id k1@example.com, total 2500.00, " in text
    assert re.search(r"^ +40  nowe  — pending$", text, re.MULTILINE)
    assert re.search(r"^ +40  anulowane  — cancelled, no revenue$", text, re.MULTILINE)
    assert re.search(r"^ +40  wyslane$", text, re.MULTILINE)
    assert re.search(r"^rows: 200; the first count of the totals takes about [\d.]+ s$", text, re.MULTILINE)
    assert "create index concurrently on public.zamowienia (data_zamowienia, id);" in text
    assert "nothing has been changed" in status


async def test_the_sql_is_shown_when_it_is_asked_for(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    await create_shape("tenants")
    await show(empty_database_url, Options("orders"), Printed(), printed)
    assert "create " not in printed.text.replace("create index", "")
    assert "the SQL that --apply runs is shown with --sql" in printed
    assert len(printed) < 40
    printed.clear()
    await show(empty_database_url, Options("orders", sql=True), Printed(), printed)
    assert "create or replace trigger" in printed.text
    assert "--sql" not in printed.text


async def test_a_look_installs_nothing(create_shape: CreateShape, empty_database_url: str, printed: Printed) -> None:
    db = await create_shape("tenants")
    before = await db.fetchval(CATALOG_SQL)
    status = Printed()
    await show(empty_database_url, Options("orders"), printed, status)
    assert status[0] == "the schema orderwire is not installed: --apply, or python server.py migrate, installs it"
    assert "what 5 rows become:" in status
    assert "nothing has been changed" in status
    assert await db.fetchval(CATALOG_SQL) == before
    assert await db.fetchval("select to_regnamespace('orderwire')") is None
    await apply(empty_database_url, Options("orders"), printed)
    status.clear()
    await show(empty_database_url, Options("orders"), printed, status)
    assert "is not installed" not in status.text


@pytest.mark.parametrize("does_apply", [False, True])
async def test_a_name_that_is_wrong_installs_nothing(
    does_apply: bool, create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("tenants")
    options = Options("ordres")
    with pytest.raises(DatabaseMisconfigured, match=r"^there is no table 'ordres'"):
        await (
            apply(empty_database_url, options, printed) if does_apply else show(empty_database_url, options, printed, printed)
        )
    assert await db.fetchval("select to_regnamespace('orderwire')") is None


async def test_a_look_does_not_upgrade_the_schema(create_shape: CreateShape, empty_database_url: str, printed: Printed) -> None:
    db = await create_shape("tenants")
    await migrate(empty_database_url)
    await db.execute("update orderwire.functions set checksum = 'older'")
    with pytest.raises(DatabaseMisconfigured, match=r"^the schema orderwire is not up to date: python server\.py migrate$"):
        await show(empty_database_url, Options("orders"), printed, printed)
    assert await db.fetchval("select count(*) from orderwire.functions where checksum <> 'older'") == 0


async def test_show_works_while_another_map_is_attached(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("drizzle")
    await apply(empty_database_url, Options("orders"), printed)
    before = await db.fetchval(CATALOG_SQL)
    status = Printed()
    await show(empty_database_url, Options(file=a_map(statuses=["pending"])), printed, status)
    assert re.search(r"^ +40  shipped  — unmapped: not in statuses$", status.text, re.MULTILINE)
    assert await db.fetchval(CATALOG_SQL) == before


@pytest.mark.parametrize(
    "index",
    [
        "create index on orders (created_at)",
        "create index on orders ((customer_id::text))",
        "create index on orders using gin (order_number gin_trgm_ops)",
        "create index on orders (total_cents)",
    ],
)
async def test_an_index_that_is_there_is_not_advised(
    index: str, create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("drizzle")
    if "trgm" in index:
        try:
            await db.execute("create extension pg_trgm")
        except asyncpg.PostgresError:
            pytest.skip("this PostgreSQL has no pg_trgm")
    without, status = Printed(), Printed()
    await show(empty_database_url, Options("orders"), printed, without)
    await db.execute(index)
    await show(empty_database_url, Options("orders"), printed, status)
    assert without.text.count("create index concurrently") == 4
    assert status.text.count("create index concurrently") == 3


async def test_with_the_advised_indexes_searches_are_indexed_and_there_is_no_advice(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("drizzle")
    try:
        await db.execute("create extension pg_trgm")
    except asyncpg.PostgresError:
        pytest.skip("this PostgreSQL has no pg_trgm")
    await db.execute(
        "create table purchases (id bigint primary key, order_number varchar(40) not null, customer_name text,"
        " customer_id integer, total numeric(10, 2), status text, created_at timestamptz not null)"
    )
    status = Printed()
    await show(empty_database_url, Options("purchases"), printed, status)
    await apply(empty_database_url, Options("purchases"), printed)
    assert not await db.fetchval("select orderwire.search_indexed()")
    for line in status:
        if line.startswith("  create index concurrently"):
            await db.execute(line.partition(";")[0])
    assert await db.fetchval("select orderwire.search_indexed()")
    after = Printed()
    await show(empty_database_url, Options("purchases"), printed, after)
    assert "create index" not in after.text


async def test_a_large_table_is_counted_by_a_sample(
    create_shape: CreateShape, empty_database_url: str, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "MAX_COUNTED_ROWS", 8000)
    db = await create_shape("tenants")
    await db.execute("insert into orders select 1, n, 'Ada', 1, 'EUR', 'new', now() from generate_series(1001, 31000) as n")
    await db.execute("analyze orders")
    status = Printed()
    await show(empty_database_url, Options("orders"), printed, status)
    [line] = [line for line in status if line.startswith("statuses, counted over")]
    match = re.match(r"statuses, counted over a sample of ([\d,]+) of about 30,200 rows", line)
    assert match is not None, line
    assert 0 < int(match[1].replace(",", "")) < 15_000
    assert re.search(r"^rows: about 30,200; the first count", status.text, re.MULTILINE)


async def test_a_column_with_the_name_of_the_row_does_not_confuse_the_preview(
    empty_db: Any, empty_database_url: str, printed: Printed
) -> None:
    await empty_db.execute(
        "create table orders (id int primary key, o int, status text); insert into orders values (1, 2, 'new')"
    )
    await show(empty_database_url, Options("orders"), printed, printed)
    assert "what 1 rows become:" in printed
    assert re.search(r"^ +1  new  — pending$", printed.text, re.MULTILINE)


async def test_codes_that_the_map_does_not_name_are_listed(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    await create_shape("bestellungen")
    found = {"key": "id", "status": "case o.status_id when 1 then 'offen' when 3 then 'versandt' else 'unbekannt' end"}
    await show(empty_database_url, Options(file=MapFile(found, "bestellungen")), printed, printed)
    assert re.search(r"^  codes of public\.\w+ that the map's status does not name: 2, 4$", printed.text, re.MULTILINE)
    printed.clear()
    await show(empty_database_url, Options("bestellungen"), printed, printed)
    assert "does not name" not in printed.text


# ---------------------------------------------------------------- apply and check


async def test_applied_twice_it_is_attached_once(create_shape: CreateShape, empty_database_url: str, printed: Printed) -> None:
    db = await create_shape("drizzle")
    await apply(empty_database_url, Options("orders"), printed)
    assert "attached public.orders as orders: every change of it is an event from now on" in printed
    assert any("python server.py watch" in line for line in printed)
    epoch = await db.fetchval("select epoch from orderwire.journal_identity")
    printed.clear()
    await apply(empty_database_url, Options("orders"), printed)
    assert printed == ["public.orders is attached as orders by this map already: nothing to do"]
    assert await db.fetchval("select epoch from orderwire.journal_identity") == epoch

    await apply(empty_database_url, Options(file=a_map(pending=["pending"])), printed)
    assert await db.fetchval("select epoch from orderwire.journal_identity") != epoch

    # Attached by the same map, but damaged: it is attached again.
    await db.execute("drop trigger zz_orderwire_update on orders")
    await apply(empty_database_url, Options(file=a_map(pending=["pending"])), printed)
    assert await db.fetchval("select count(*) from pg_trigger where tgname like 'zz_orderwire_%'") == 4


async def test_payload_keys_leaves_names_out_of_notifications(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("drizzle")
    await apply(empty_database_url, Options("orders", payload="keys"), printed)
    assert await db.fetchval("select notify_keys_only from orderwire.journal_identity")


async def test_apply_waits_for_a_lock_and_says_who_holds_it(
    create_shape: CreateShape, empty_database_url: str, printed: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "RETRY_SECONDS", 0.01)
    db = await create_shape("drizzle")
    async with holding(empty_database_url, "row exclusive", "orders") as transaction:
        attaching = asyncio.create_task(apply(empty_database_url, Options("orders"), printed))

        async def waiting() -> None:
            while not any(line.startswith("waiting:") for line in printed):
                assert not attaching.done(), attaching
                await asyncio.sleep(0.01)

        await within(TIMEOUT_SECONDS, waiting(), "the line that names the holder")
        await transaction.rollback()
        await asyncio.wait_for(attaching, TIMEOUT_SECONDS)
    [line, *_] = [line for line in printed if line.startswith("waiting:")]
    assert re.match(r"waiting: public\.orders is held by pid \d+ \(role \w+, the shop, idle in transaction, since ", line), line
    assert line.endswith("trying again in 0.01 s")
    assert await db.fetchval("select count(*) from orderwire.attached_tables") == 1


async def test_apply_gives_up_after_the_wait_and_changes_nothing(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("drizzle")
    await migrate(empty_database_url)
    before = await db.fetchval(CATALOG_SQL)
    gives_up = r"is held by pid .*--wait SECONDS\); nothing has been changed$"
    async with holding(empty_database_url, "row exclusive", "orders"):
        with pytest.raises(DatabaseMisconfigured, match=gives_up):
            await apply(empty_database_url, Options("orders", wait_seconds=0), printed)
    assert await db.fetchval(CATALOG_SQL) == before


async def test_check_says_in_what_the_database_differs(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("drizzle")

    async def checked(file: MapFile) -> list[str]:
        printed.clear()
        is_right = await check(empty_database_url, Options(file=file), printed)
        assert is_right == (printed == ["public.orders is attached as orders by this map"])
        return list(printed)

    assert await checked(a_map()) == ["the schema orderwire is not up to date: python server.py migrate"]
    assert await db.fetchval("select to_regnamespace('orderwire')") is None
    await migrate(empty_database_url)
    assert await checked(a_map()) == ["public.orders is not attached as orders"]
    await apply(empty_database_url, Options(file=a_map()), printed)
    await checked(a_map(key=["id"], pending=[], payload="full"))
    assert await checked(a_map(pending=["pending"], total="total_cents")) == [
        'total: the file has "total_cents", the database "o.total_cents * 0.01"',
        'pending: the file has ["pending"], the database nothing',
    ]
    await db.execute("alter table orders disable trigger zz_orderwire_delete")
    [line] = await checked(a_map())
    assert "zz_orderwire_delete" in line
    assert "enable trigger" in line
    [line] = await checked(MapFile({"key": "id"}, "customers"))
    assert line == "public.orders is attached as orders, not public.customers"


async def test_changes_of_the_status_are_shown_applied_and_compared(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("drizzle")
    status = Printed()
    statuses = ["pending", "processing", "shipped"]
    writable = a_map(
        statuses=statuses, write={"status": True, "transitions": {"pending": ["processing", "shipped"], "processing": []}}
    )
    await show(empty_database_url, Options(file=writable, sql=True), printed, status)
    role = await db.fetchval("select current_user")
    assert "the server may change the status for administrators with a token:" in status
    assert "  pending to processing, shipped" in status
    assert "  processing to none" in status
    assert f"  triggers of public.orders run as {role} then, with search_path = pg_catalog, public, pg_temp" in status
    assert "create function orderwire.set_order_status(key text, status text)" in status.text
    await apply(empty_database_url, Options(file=writable), printed)
    assert await check(empty_database_url, Options(file=writable), printed)
    before = await db.fetchval("select epoch from orderwire.journal_identity")
    printed.clear()
    status.clear()
    any_change = a_map(statuses=statuses, write={"status": True})
    await show(empty_database_url, Options(file=any_change), printed, status)
    assert "  from each status of the map to every other one" in status
    assert not await check(empty_database_url, Options(file=any_change), printed)
    assert [line.split(":")[0] for line in printed] == ["write"]
    await apply(empty_database_url, Options(file=any_change), printed)
    assert await check(empty_database_url, Options(file=any_change), printed)
    assert await db.fetchval("select epoch from orderwire.journal_identity") == before
    read_only = a_map(statuses=statuses)
    status.clear()
    await show(empty_database_url, Options(file=read_only, sql=True), printed, status)
    assert "set_order_status" not in status.text
    assert "may change the status" not in status.text
    await apply(empty_database_url, Options(file=read_only), printed)
    assert await db.fetchval("select to_regproc('orderwire.set_order_status')") is None
    assert await db.fetchval("select epoch from orderwire.journal_identity") == before


async def test_after_a_rename_the_file_has_to_be_changed_too(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    """As docs/how-to/attach.md says: events go on, and the map's text is compared as it was attached."""
    db = await create_shape("drizzle")
    await apply(empty_database_url, Options(file=a_map()), printed)
    await db.execute("alter table orders rename column status to stage")
    await db.execute(
        "update orders set stage = 'refunded', total_cents = 7 where id = (select min(id::text)::uuid from orders)"
    )
    assert "refunded" in await db.fetchval("select event::text from orderwire.events order by id desc limit 1")
    assert await check(empty_database_url, Options(file=a_map()), printed)
    with pytest.raises(DatabaseMisconfigured, match=r"the map's status does not work: column \"?status\"? does not exist"):
        await show(empty_database_url, Options(file=a_map()), printed, printed)
    printed.clear()
    assert not await check(empty_database_url, Options(file=a_map(status="stage")), printed)
    assert printed == ['status: the file has "stage", the database "status"']
    await apply(empty_database_url, Options(file=a_map(status="stage")), printed)
    assert await check(empty_database_url, Options(file=a_map(status="stage")), printed)


async def test_a_stream_is_attached_beside_the_orders(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("drizzle")
    await apply(empty_database_url, Options("orders"), printed)
    status = Printed()
    await show(empty_database_url, Options("order_items", stream="items"), printed, status)
    assert 'order_key = "order_id"' in printed.text
    assert "what 5 rows become:" in status
    assert "edit: python server.py attach public.order_items --stream items > items.toml" in status
    assert "apply: python server.py attach --map items.toml --apply" in status
    await apply(empty_database_url, Options("order_items", stream="items"), printed)
    key = await db.fetchval("select id from order_items limit 1")
    await db.execute("update order_items set quantity = 7 where id = $1", key)
    event = json.loads(await db.fetchval("select event::text from orderwire.events order by id desc limit 1"))
    assert (event["type"], event["stream"], event["key"]) == ("row_update", "items", str(key))
    assert event["data"]["quantity"] == 7
    assert event["order_id"] == str(await db.fetchval("select order_id from order_items where id = $1", key))
    await detach(empty_database_url, "items", printed)
    assert await db.fetch("select name from orderwire.attached_tables") == [("orders",)]


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (Options("ordres"), DatabaseMisconfigured, r"there is no table 'ordres' .*; there is orders"),
        (Options("keyless"), DatabaseMisconfigured, r"public\.keyless cannot be attached: no column is unique and not null"),
        (Options("orders", stream="Orders"), UsageError, r"--stream: a stream cannot be named 'Orders'"),
        (Options("orders", stream="items", payload="keys"), UsageError, r"--payload is for the table of orders"),
        (Options(file=parse_map('key = "id"', "f")), UsageError, r"name the table: "),
        (Options("customers", file=a_map()), UsageError, r"the command line names public\.customers, the file orders"),
        (Options(file=a_map(key="nothing")), DatabaseMisconfigured, r"the key nothing is not a column of public\.orders \("),
        (Options(file=a_map(key="status")), DatabaseMisconfigured, r"the key column status .* is neither an integer"),
        (
            Options(file=a_map(total="o.price")),
            DatabaseMisconfigured,
            r"the map's total does not work: column o\.price does not .*; if it was dropped, take it out of the map\. ",
        ),
        (Options(file=a_map(total="random()")), DatabaseMisconfigured, r"the map depends on more than the row: random\(\)"),
        (
            Options(file=a_map(where="o.created_at < now()")),
            DatabaseMisconfigured,
            r"the map depends on more than the row: now\(\)",
        ),
        (
            Options(file=a_map(joins="left join nothing on true", customer_name="nothing.name")),
            DatabaseMisconfigured,
            r"relation \"nothing\" does not exist",
        ),
        (
            Options(
                file=a_map(
                    joins="left join public.customers as c on c.id = o.customer_id", customer_name="c.name", status="c.name"
                )
            ),
            DatabaseMisconfigured,
            r"missing FROM-clause entry .*\(joins are for customer_name and data only: for a code, write case o\.code when ",
        ),
    ],
)
@pytest.mark.parametrize("does_apply", [False, True])
async def test_a_refusal_is_one_line_and_changes_nothing(
    options: Options,
    error: type[DatabaseError],
    message: str,
    does_apply: bool,
    create_shape: CreateShape,
    empty_database_url: str,
    printed: Printed,
) -> None:
    db = await create_shape("drizzle")
    await db.execute("create table keyless (status text, total numeric)")
    await migrate(empty_database_url)
    before = await db.fetchval(CATALOG_SQL)
    running = apply(empty_database_url, options, printed) if does_apply else show(empty_database_url, options, printed, printed)
    with pytest.raises(error, match=message) as raised:
        await running
    assert "\n" not in str(raised.value)
    assert await db.fetchval(CATALOG_SQL) == before


async def test_a_key_that_is_declared_unique_and_is_not_is_refused(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("partitioned")
    await db.execute(
        "insert into orders (id, order_no, customer, amount, state, created_at) overriding system value "
        "values (7, 'N', 'Ada', 1, 'open', '2026-06-01')"
    )
    file = MapFile({"key": "id", "key_is_unique": True}, "orders")
    with pytest.raises(DatabaseMisconfigured, match=r"^the key id of public\.orders is not unique: 7 occurs more than once$"):
        await apply(empty_database_url, Options(file=file), printed)


async def test_a_second_table_of_orders_is_refused(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    await create_shape("drizzle")
    await apply(empty_database_url, Options("orders"), printed)
    what_to_do = "public.orders is attached as orders already: python server.py detach orders first"
    with pytest.raises(DatabaseMisconfigured, match=f"^{re.escape(what_to_do)}$"):
        await apply(empty_database_url, Options("order_items"), printed)
    status = Printed()
    await show(empty_database_url, Options("order_items"), printed, status)
    assert f"--apply is refused for now: {what_to_do}" in status
    status.clear()
    await show(empty_database_url, Options("orders"), printed, status)
    assert "refused" not in status.text
    await detach(empty_database_url, "orders", printed)
    await apply(empty_database_url, Options("order_items"), printed)


async def test_a_name_in_two_schemas_has_to_say_which(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("drizzle")
    await db.execute(
        "create schema a; create schema b; create table a.t (id int primary key); create table b.t (id int primary key)"
    )
    with pytest.raises(DatabaseMisconfigured, match=r"^'t' may be any of a\.t, b\.t: write it with its schema$"):
        await apply(empty_database_url, Options("t"), printed)


# ---------------------------------------------------------------- detach, uninstall, create


async def test_detach_leaves_no_trace_on_the_table(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("partitioned")
    await migrate(empty_database_url)
    before = await db.fetchval(CATALOG_SQL)
    await apply(empty_database_url, Options("orders"), printed)
    assert await db.fetchval(CATALOG_SQL) != before
    await detach(empty_database_url, "orders", printed)
    assert printed[-1].startswith("detached public.orders: its changes make no events any more")
    assert await db.fetchval(CATALOG_SQL) == before
    with pytest.raises(DatabaseMisconfigured, match=r"^no table is attached as orders; attached are: none$"):
        await detach(empty_database_url, "orders", printed)


async def test_detach_waits_for_readers_too(create_shape: CreateShape, empty_database_url: str, printed: Printed) -> None:
    await create_shape("drizzle")
    await apply(empty_database_url, Options("orders"), printed)
    async with holding(empty_database_url, "access share", "orders"):
        with pytest.raises(DatabaseMisconfigured, match=r"^public\.orders is held by pid \d+ \(role \w+, the shop, "):
            await detach(empty_database_url, "orders", printed, 0)


async def test_uninstall_asks_first_and_then_leaves_the_database_as_before(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("saleor")
    before = await db.fetchval(CATALOG_SQL)
    with pytest.raises(DatabaseMisconfigured, match="not installed in this database: there is nothing to remove"):
        await uninstall(empty_database_url, True, printed)
    await apply(empty_database_url, Options("order_order"), printed)
    attached = await db.fetchval(CATALOG_SQL)
    with pytest.raises(UsageError) as raised:
        await uninstall(empty_database_url, False, printed)
    assert str(raised.value) == (
        "uninstall removes the triggers on public.order_order, and the schema orderwire with the journal, its functions and "
        "revoked tokens; your tables and their rows stay. Run it again with --yes"
    )
    assert await db.fetchval(CATALOG_SQL) == attached
    await uninstall(empty_database_url, True, printed)
    assert await db.fetchval(CATALOG_SQL) == before


@pytest.mark.parametrize("has_rows", [False, True])
async def test_a_starter_table_goes_if_it_is_empty(
    has_rows: bool, empty_db: Any, empty_database_url: str, printed: Printed
) -> None:
    await create(empty_database_url, create_starter, printed)
    assert printed[-1].startswith("created and attached public.orders")
    what_to_do = "public.orders is attached as orders already: python server.py detach orders first"
    with pytest.raises(DatabaseMisconfigured, match=f"^{re.escape(what_to_do)}$"):
        await create(empty_database_url, create_starter, printed)
    if has_rows:
        await empty_db.execute("insert into orders (customer_name, total) values ('Ada', 1)")
    await uninstall(empty_database_url, True, printed)
    assert ("stays too, since it has rows" in printed[-1]) == has_rows
    assert await empty_db.fetchval("select to_regclass('public.orders') is not null") == has_rows
    assert await empty_db.fetchval("select to_regnamespace('orderwire')") is None


async def test_a_role_with_trigger_and_select_alone_can_attach_and_detach(
    create_shape: CreateShape, empty_database_url: str, printed: Printed
) -> None:
    db = await create_shape("tenants")
    database = empty_database_url.rsplit("/", 1)[1]
    try:
        await db.execute("create role attaching login password 'secret'")
        await db.execute(f"grant create on database {database} to attaching; grant select, trigger on orders to attaching")
        url = re.sub("//.*@", "//attaching:secret@", empty_database_url)
        await migrate(url)
        before = await db.fetchval(CATALOG_SQL)
        async with holding(empty_database_url, "row exclusive", "orders"):
            with pytest.raises(DatabaseMisconfigured, match=r"^public\.orders is held by pid "):
                await apply(url, Options("orders", wait_seconds=0), printed)
        await apply(url, Options("orders"), printed)
        await db.execute("update orders set total = 1 where id = 1 and tenant_id = 1")
        assert await db.fetchval("select count(*) from orderwire.journal") == 1
        await detach(url, "orders", printed)
        assert await db.fetchval(CATALOG_SQL) == before
        await db.execute("revoke trigger on orders from attaching")
        with pytest.raises(DatabaseMisconfigured, match=r"grant trigger, select on public\.orders to attaching\)$"):
            await apply(url, Options("orders"), printed)
        await uninstall(url, True, printed)
    finally:
        await db.execute("drop owned by attaching; drop role attaching")


# ---------------------------------------------------------------- the command line


@pytest.fixture
def with_orders(empty_database_url: str) -> str:
    """A database with a table of orders, for tests that run the command line and no event loop."""

    async def prepare() -> None:
        connection = await asyncpg.connect(empty_database_url)
        await connection.execute("create table orders (id bigint primary key, total numeric(12, 2), status text)")
        await connection.close()

    asyncio.run(prepare())
    return empty_database_url


def test_the_command_line_from_list_to_uninstall(with_orders: str, command_line: CommandLine, tmp_path: Path) -> None:
    def run(*arguments: str) -> Any:
        return command_line(*arguments, DATABASE_URL=with_orders)

    assert run("attach").stdout.startswith("public.orders  ")
    shown = run("attach", "orders")
    assert shown.returncode == 0, shown.stderr
    file = tmp_path / "orders.toml"
    file.write_text(shown.stdout, encoding="utf-8")
    assert load_map(file).table == "public.orders"
    assert run("attach", "--map", str(file), "--check").returncode == 1
    assert run("attach", "--map", str(file), "--apply").returncode == 0
    assert run("attach", "--map", str(file), "--check").returncode == 0
    assert run("detach").stdout.startswith("detached public.orders")
    refused = run("uninstall")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.endswith("Run it again with --yes\n")
    assert run("uninstall", "--yes").returncode == 0
    assert run("uninstall", "--yes").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["attach", "nothing"], 1, "there is no table 'nothing'"),
        (["attach", "--map", "missing.toml"], 2, "missing.toml: No such file"),
        (["attach", "--check"], 2, "attach --check needs --map FILE"),
        (["attach", "orders", "--check"], 2, "attach --check needs --map FILE"),
        (["attach", "--sql"], 2, "attach --sql needs a table or --map FILE"),
        (["attach", "--apply"], 2, "attach --apply needs a table or --map FILE"),
        (["attach", "--stream", "stock"], 2, "attach --stream needs a table or --map FILE"),
        (["attach", "orders", "--create"], 2, "attach --create takes no table"),
        (["attach", "--create"], 1, "the table public.orders exists already"),
        (["attach", "orders", "--wait", "long"], 2, "'long' is not a number of seconds from 0 to 86400"),
        (["attach", "orders", "--payload", "all"], 2, "invalid choice: 'all'"),
        (["detach", "stock"], 1, "no table is attached as stock"),
    ],
)
def test_wrong_usage_and_failures_are_one_line(
    arguments: list[str], code: int, named: str, with_orders: str, command_line: CommandLine
) -> None:
    done = command_line(*arguments, DATABASE_URL=with_orders)
    assert (done.returncode, done.stdout.replace("installed the schema orderwire: ", "", 1).count("\n") <= 1) == (code, True)
    assert named in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
