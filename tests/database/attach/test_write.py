"""Changes of a status by orderwire.change_order_status: what the map allows, what is recorded, with whose rights it runs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import asyncpg
import pytest

from db.attach.command import Options, apply, check
from db.attach.map_file import parse_map
from db.migrate import migrate
from tests.database.attach.following import Follower
from tests.support import ROOT, TIMEOUT_SECONDS, open_connections, url_with_role, within

AUTHOR = "dashboard: anna"
STATUSES = ["new", "packed", "sent", "lost"]
TRANSITIONS = {"new": ["packed", "lost"], "packed": ["sent"]}


class Column(NamedTuple):
    """A type of the status column, and what the statuses of a map are then, in the order of STATUSES."""

    type: str
    statuses: list[str] = STATUSES
    setup: str = ""


COLUMNS = {
    "text": Column("text"),
    "varchar": Column("varchar(6)"),
    "char": Column("char(8)"),
    "enum": Column("shop.state", setup="""create type shop.state as enum ('new', 'packed', 'sent', 'lost', 'it''s "odd"')"""),
    "domain": Column("shop.state", setup="create domain shop.state as varchar(9) check (value <> 'wrong')"),
    "domain of an enum": Column(
        "shop.state",
        setup="create type shop.raw as enum ('new', 'packed', 'sent', 'lost'); create domain shop.state as shop.raw",
    ),
    "citext": Column("public.citext", setup="create extension citext schema public"),
    "integer": Column("integer", ["10", "20", "30", "-1"]),
    "smallint": Column("smallint", ["1", "2", "3", "0"]),
}

KEYS = {
    "bigint": ("id bigint primary key", ["id"], "1", "7"),
    "uuid": (
        "id uuid primary key",
        ["id"],
        "11111111-1111-4111-8111-11111111111A".lower(),
        "22222222-2222-4222-8222-222222222222",
    ),
    "text": ("id text primary key", ["id"], "a,b%/", "other"),
    "composite": ("shop_id integer, no text, primary key (shop_id, no)", ["shop_id", "no"], "4,N%2C1", "4,N2"),
}


def map_of(column: Column = COLUMNS["text"], key: Any = "id", **write: Any) -> str:
    return json.dumps(
        {
            "key": key,
            "status": "state",
            "total": "total",
            "statuses": column.statuses,
            "write": {"status": True, **write},
        }
    )


async def make_table(db: Any, column: Column = COLUMNS["text"], key: str = "bigint") -> None:
    """shop.orders with two orders in the first status."""
    definition, columns, *keys = KEYS[key]
    await db.execute(f"create schema shop; {column.setup}")
    await db.execute(f"create table shop.orders ({definition}, state {column.type}, total numeric default 1, note text)")
    for one in keys:
        values = one.split(",", 1) if key == "composite" else [one]
        literals = ", ".join("'" + value.replace("%2C", ",") + "'" for value in values)
        await db.execute(f"insert into shop.orders ({', '.join(columns)}, state) values ({literals}, '{column.statuses[0]}')")


@pytest.fixture
async def shop(db: Any) -> Any:
    """A connection to a database with shop.orders, writable by every transition; the orders 1 and 7 are new."""
    await make_table(db)
    await db.execute("select orderwire.attach('shop.orders', $1)", map_of())
    return db


async def change(
    db: Any, before: str, after: str, *, key: str = "1", author: str = AUTHOR, undo: str | None = None
) -> dict[str, Any]:
    row = await db.fetchrow("select * from orderwire.change_order_status($1, $2, $3, $4, $5)", key, before, after, author, undo)
    result = dict(row)
    for name in ("order_json", "actor"):
        result[name] = result[name] and json.loads(result[name])
    return result


async def newest_event(db: Any) -> dict[str, Any]:
    event: dict[str, Any] = json.loads(await db.fetchval("select event from orderwire.events order by id desc limit 1"))
    return event


# ---------------------------------------------------------------- what is changed and recorded


@pytest.mark.parametrize("name", COLUMNS)
async def test_a_change_is_an_event_with_its_author(db: Any, name: str) -> None:
    column = COLUMNS[name]
    await make_table(db, column)
    await db.execute("select orderwire.attach('shop.orders', $1)", map_of(column))
    follower = await Follower.start(db)
    first, second, *_ = column.statuses
    result = await change(db, first, second)
    event = await newest_event(db)
    assert (result["outcome"], result["event_id"]) == ("changed", event["id"])
    assert result["order_json"]["status"] == result["present_status"] == second
    assert (event["type"], event["key"], event["previous_status"], event["status"]) == (
        "order_status_update",
        "1",
        first,
        second,
    )
    role = await db.fetchval("select current_user")
    assert event["actor"] == {"role": role, "application_name": AUTHOR}
    assert await follower.check() == {"order_status_update": 1}
    assert (await db.fetchval("select state::text from shop.orders where id = 7")).rstrip() == first


@pytest.mark.parametrize("name", KEYS)
async def test_the_order_is_found_by_keys_of_each_type(db: Any, name: str) -> None:
    _, columns, key, other = KEYS[name]
    await make_table(db, key=name)
    await db.execute("select orderwire.attach('shop.orders', $1)", map_of(key=columns))
    result = await change(db, "new", "packed", key=key.upper() if name == "uuid" else key)
    assert (result["outcome"], result["order_json"]["key"]) == ("changed", key)
    assert result["event_id"] == (await newest_event(db))["id"]
    for missing in ("9", "99999999999999999999", "", "nonsense", "4,", "22222222-2222-4222-8222-222222222229"):
        assert (await change(db, "new", "packed", key=missing))["outcome"] == "missing"
    assert (await change(db, "new", "packed", key=other))["outcome"] == "changed"


async def test_only_the_transitions_of_the_map_are_allowed(shop: Any) -> None:
    await shop.execute("select orderwire.attach('shop.orders', $1)", map_of(transitions=TRANSITIONS))
    assert (await change(shop, "new", "sent"))["outcome"] == "transition"
    assert (await change(shop, "new", "unlisted"))["outcome"] == "transition"
    assert (await change(shop, "new", "packed"))["outcome"] == "changed"
    assert (await change(shop, "packed", "new"))["outcome"] == "transition"
    assert (await change(shop, "packed", "sent"))["outcome"] == "changed"
    assert (await change(shop, "sent", "new"))["outcome"] == "transition", "it has no entry"


async def test_without_transitions_every_change_between_listed_statuses_is_allowed(shop: Any) -> None:
    for before, after in (("new", "sent"), ("sent", "lost"), ("lost", "new")):
        assert (await change(shop, before, after))["outcome"] == "changed"
    await shop.execute("update shop.orders set state = 'unlisted'")
    for before, after in (("unlisted", "new"), ("new", "new")):
        assert (await change(shop, before, after))["outcome"] in ("transition", "conflict")
    assert await shop.fetchval("select count(*) from shop.orders where state = 'unlisted'") == 2


async def test_a_conflict_tells_the_present_status_and_who_made_it(shop: Any) -> None:
    await change(shop, "new", "packed", author="dashboard: bo")
    result = await change(shop, "new", "sent")
    assert (result["outcome"], result["present_status"], result["event_id"]) == ("conflict", "packed", None)
    assert result["actor"]["application_name"] == "dashboard: bo"
    await shop.execute("update shop.orders set state = 'lost'")
    assert (await change(shop, "new", "sent"))["actor"] is None, "the map does not ask for the actors of others"


async def test_a_row_that_is_no_order_is_missing(shop: Any) -> None:
    await shop.execute(
        "select orderwire.attach('shop.orders', $1)", json.dumps({**json.loads(map_of()), "where": "o.note is null"})
    )
    await shop.execute("update shop.orders set note = 'deleted' where id = 1")
    assert (await change(shop, "new", "packed"))["outcome"] == "missing"
    assert await shop.fetchval("select state from shop.orders where id = 1") == "new"


async def test_more_than_one_row_of_a_key_is_an_error_that_changes_none(db: Any) -> None:
    await db.execute(
        "create schema shop; create table shop.orders (id integer not null, month integer, state text, total numeric,"
        " primary key (id, month)) partition by range (month);"
        "create table shop.orders_1 partition of shop.orders for values from (1) to (9);"
        "insert into shop.orders values (1, 1, 'new', 1), (1, 2, 'new', 1), (2, 1, 'new', 1)"
    )
    await db.execute("select orderwire.attach('shop.orders', $1)", json.dumps({**json.loads(map_of()), "key_is_unique": True}))
    with pytest.raises(asyncpg.CardinalityViolationError):
        await change(db, "new", "packed")
    assert (await change(db, "new", "packed", key="2"))["outcome"] == "changed"
    assert await db.fetchval("select count(*) from shop.orders where state = 'new'") == 2


async def test_a_row_moves_to_the_partition_of_its_status(db: Any) -> None:
    await db.execute(
        "create schema shop; create table shop.orders (id integer not null, state text, total numeric, unique (id, state))"
        " partition by list (state); create table shop.open partition of shop.orders for values in ('new', 'packed');"
        "create table shop.done partition of shop.orders for values in ('sent', 'lost');"
        "insert into shop.orders values (1, 'new', 1)"
    )
    await db.execute("select orderwire.attach('shop.orders', $1)", json.dumps({**json.loads(map_of()), "key_is_unique": True}))
    follower = await Follower.start(db)
    assert (await change(db, "new", "sent"))["outcome"] == "changed"
    assert await follower.check() == {"order_status_update": 1}


async def test_the_notification_has_the_author_too(shop: Any, database_url: str) -> None:
    payloads: asyncio.Queue[str] = asyncio.Queue()
    async with open_connections(database_url, 1) as (listening,):
        await listening.add_listener("orders", lambda *call: payloads.put_nowait(call[3]))
        await shop.execute("select setval('orderwire.notify_lease', 64)")
        await change(shop, "new", "packed")
        payload = json.loads(await within(TIMEOUT_SECONDS, payloads.get(), "the notification"))
        assert payload == await newest_event(shop)
        await shop.execute("set orders.notify = off")
        await change(shop, "packed", "sent")
        assert await shop.fetchval("show orders.notify") == "off"
        await shop.execute("reset orders.notify; select setval('orderwire.notify_lease', 64)")
        await shop.execute("update shop.orders set state = 'lost' where id = 7")
        assert json.loads(await within(TIMEOUT_SECONDS, payloads.get(), "the next one"))["key"] == "7", "none in between"


async def test_events_of_the_shops_triggers_have_the_author(shop: Any) -> None:
    """Such as of a trigger that changes the row once more, or another attached table."""
    await shop.execute(
        "create table shop.log (id bigint generated always as identity primary key, order_id bigint, state text);"
        "create function shop.follow() returns trigger language plpgsql as $$ begin"
        "    insert into shop.log (order_id, state) values (new.id, new.state);"
        "    if new.state = 'sent' then update shop.orders set state = 'lost' where id = new.id; end if;"
        "    return null; end $$;"
        "create trigger follow after update on shop.orders for each row execute function shop.follow()"
    )
    await shop.execute(
        "select orderwire.attach_stream('log', 'shop.log', $1)", json.dumps({"key": "id", "order_key": "order_id"})
    )
    follower = await Follower.start(shop)
    result = await change(shop, "new", "sent")
    assert result["order_json"]["status"] == result["present_status"] == "lost"
    assert await follower.check() == {"order_status_update": 2, "row_insert": 2}
    assert {event["actor"]["application_name"] for event in follower.events} == {AUTHOR}
    ids = [event["id"] for event in follower.events if event.get("status") == "lost"]
    assert ids == [result["event_id"]]


async def test_earlier_events_of_the_transaction_keep_their_author(shop: Any) -> None:
    async with shop.transaction():
        await shop.execute("update shop.orders set total = 5")
        await change(shop, "new", "packed")
    rows = await shop.fetch("select actor_application from orderwire.journal order by id")
    assert [row[0] for row in rows[-3:]] == [None, None, AUTHOR]


async def test_a_row_that_a_trigger_keeps_as_it_is(shop: Any) -> None:
    await shop.execute(
        "create function shop.keep() returns trigger language plpgsql as 'begin return null; end';"
        "create trigger keep before update on shop.orders for each row execute function shop.keep()"
    )
    assert (await change(shop, "new", "packed"))["outcome"] == "refused"


# ---------------------------------------------------------------- two at once


async def test_of_two_at_once_one_wins_and_the_other_is_told(shop: Any, database_url: str) -> None:
    async with open_connections(database_url, 2) as (first, second):
        held = first.transaction()
        await held.start()
        assert (await change(first, "new", "packed", author="dashboard: first"))["outcome"] == "changed"
        waiting = asyncio.create_task(change(second, "new", "lost", author="dashboard: second"))
        while not await shop.fetchval("select exists (select from pg_locks where not granted)"):
            assert not waiting.done()
        await held.commit()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            result = await waiting
    assert (result["outcome"], result["present_status"]) == ("conflict", "packed")
    assert result["actor"]["application_name"] == "dashboard: first"


async def test_many_at_once_leave_one_event_for_each_that_won(shop: Any, database_url: str) -> None:
    follower = await Follower.start(shop)

    async def run(connection: Any) -> int:
        won = 0
        for _ in range(20):
            status = await connection.fetchval("select state from shop.orders where id = 1")
            after = STATUSES[(STATUSES.index(status) + 1) % 4]
            won += (await change(connection, status, after))["outcome"] == "changed"
        return won

    async with open_connections(database_url, 4) as writers:
        won = sum(await asyncio.gather(*map(run, writers)))
    assert won > 0
    assert await follower.check() == {"order_status_update": won}
    assert await shop.fetchval("select state from shop.orders where id = 1") == STATUSES[won % 4]


# ---------------------------------------------------------------- undo


async def test_undo_takes_back_what_transitions_forbid(shop: Any) -> None:
    await shop.execute("select orderwire.attach('shop.orders', $1)", map_of(transitions=TRANSITIONS))
    made = await change(shop, "new", "packed")
    undone = await change(shop, "packed", "new", undo=made["event_id"])
    assert undone["outcome"] == "changed"
    assert undone["order_json"]["status"] == "new"
    assert undone["event_id"] == (await newest_event(shop))["id"]
    assert (await change(shop, "packed", "new", undo=made["event_id"]))["outcome"] == "conflict", "it was undone"
    assert (await change(shop, "new", "packed", undo=undone["event_id"]))["outcome"] == "changed", "an undo of the undo"


async def test_an_event_of_another_epoch_is_not_undone(shop: Any) -> None:
    made = await change(shop, "new", "packed")
    await shop.execute("select orderwire.attach('shop.orders', $1)", map_of())
    assert (await change(shop, "packed", "new", undo=made["event_id"]))["outcome"] == "undo"


@pytest.mark.parametrize("how", ["another author", "too late", "not this event", "another status", "by the shop"])
async def test_what_cannot_be_undone(shop: Any, how: str) -> None:
    await shop.execute("select orderwire.attach('shop.orders', $1)", map_of(transitions=TRANSITIONS))
    made = await change(shop, "new", "packed")
    author, before, after, undo = AUTHOR, "packed", "new", made["event_id"]
    match how:
        case "another author":
            author = "dashboard: bo"
        case "too late":
            await shop.execute("update orderwire.journal set at = at - interval '11 s'")
            undo = (await newest_event(shop))["id"]
        case "not this event":
            undo = undo.rsplit("-", 1)[0] + "-999"
        case "another status":
            after = "lost"
        case "by the shop":
            await shop.execute("update shop.orders set state = 'new'; update shop.orders set state = 'packed'")
            undo = (await newest_event(shop))["id"]
    assert (await change(shop, before, after, author=author, undo=undo))["outcome"] == "undo"
    assert await shop.fetchval("select state from shop.orders where id = 1") == "packed"


async def test_nothing_is_undone_after_another_change(shop: Any) -> None:
    made = await change(shop, "new", "packed")
    await shop.execute("update shop.orders set total = 2")
    result = await change(shop, "packed", "new", undo=made["event_id"])
    assert (result["outcome"], result["present_status"]) == ("conflict", "packed")


# ---------------------------------------------------------------- the map


async def test_off_by_default_and_after_detach(db: Any) -> None:
    await make_table(db)
    off = {name: value for name, value in json.loads(map_of()).items() if name != "write"}
    for one in (off, {**off, "write": {"status": False}}):
        await db.execute("select orderwire.attach('shop.orders', $1)", json.dumps(one))
        assert (await change(db, "new", "packed"))["outcome"] == "not_in_map"
        assert await db.fetchval("select to_regproc('orderwire.set_order_status')") is None
    await db.execute("select orderwire.attach('shop.orders', $1)", map_of())
    assert (await change(db, "new", "packed"))["outcome"] == "changed"
    await db.execute("select orderwire.detach()")
    assert (await change(db, "packed", "new"))["outcome"] == "not_in_map"
    assert await db.fetchval("select count(*) from pg_proc where proname in ('lock_order', 'set_order_status')") == 0


async def test_another_write_alone_keeps_the_epoch_and_locks_nothing(shop: Any, database_url: str) -> None:
    epoch = await shop.fetchval("select epoch from orderwire.journal_identity")
    async with open_connections(database_url, 1) as (writer,), writer.transaction():
        await writer.execute("update shop.orders set total = 3")
        await shop.execute("select orderwire.attach('shop.orders', $1)", map_of(transitions=TRANSITIONS))
    assert await shop.fetchval("select epoch from orderwire.journal_identity") == epoch
    assert (await change(shop, "new", "sent"))["outcome"] == "transition"
    # The same map again is how changes without events are made good.
    await shop.execute("select orderwire.attach('shop.orders', $1)", map_of(transitions=TRANSITIONS))
    assert await shop.fetchval("select epoch from orderwire.journal_identity") != epoch


async def test_another_write_repairs_what_stops_events(shop: Any) -> None:
    epoch = await shop.fetchval("select epoch from orderwire.journal_identity")
    await shop.execute("drop trigger zz_orderwire_update on shop.orders")
    await shop.execute("select orderwire.attach('shop.orders', $1)", map_of(transitions=TRANSITIONS))
    assert await shop.fetchval("select epoch from orderwire.journal_identity") != epoch
    assert (await change(shop, "new", "packed"))["event_id"] is not None


async def test_a_renamed_column_and_table_are_followed(shop: Any) -> None:
    await shop.execute("alter table shop.orders rename state to progress; alter table shop.orders rename to sales")
    assert (await change(shop, "new", "packed"))["outcome"] == "changed"
    with pytest.raises(asyncpg.DependentObjectsStillExistError):
        await shop.execute("alter table shop.sales drop column progress")


async def test_the_example_of_the_guide(empty_db: Any, empty_database_url: str) -> None:
    """docs/how-to/attach.md: its map is applied, and the body of its request makes the change."""
    page = (ROOT / "docs" / "how-to" / "attach.md").read_text(encoding="utf-8")
    (example,) = [block for block in re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL) if "[write]" in block]
    await empty_db.execute(
        "create schema shop; create table shop.orders (id bigint primary key, number text, state text);"
        "insert into shop.orders values (7, 'N-7', 'new')"
    )
    options = Options(file=parse_map(example, "map.toml"))
    await apply(empty_database_url, options, lambda line: None)
    assert await check(empty_database_url, options, lambda line: None)
    (key, body) = re.findall(r"curl -X PATCH \S+/api/orders/(\w+) .*?-d '(.*?)'", page, flags=re.DOTALL)[0]
    wanted = json.loads(body)
    assert (await change(empty_db, wanted["from"], wanted["status"], key=key))["outcome"] == "changed"
    assert (await change(empty_db, wanted["status"], "new", key=key))["outcome"] == "transition"


# ---------------------------------------------------------------- rights


async def test_the_doctor_names_rights_that_changes_need(shop: Any) -> None:
    async with role(shop, "write_server") as server, role(shop, "shop_owner") as owner:
        await shop.execute(f"alter table shop.orders owner to {owner}; select orderwire.grant_serving('{server}')")
        await shop.execute("select orderwire.attach('shop.orders', $1)", map_of())
        assert await shop.fetch("select * from orderwire.diagnose_attached()") == []
        await shop.execute(
            f"revoke update on shop.orders from {owner};"
            f"revoke execute on function orderwire.change_order_status(text, text, text, text, text) from {server}"
        )
        rows = await shop.fetch("select problem, fix from orderwire.diagnose_attached()")
        assert [row["problem"].split(":")[0] for row in rows] == [
            f"the role {owner} may not update state of shop.orders",
            f"the role {server}, which serves, may not call orderwire.change_order_status(text,text,text,text,text)",
        ]
        for row in rows:
            await shop.execute(row["fix"])
        assert await shop.fetch("select * from orderwire.diagnose_attached()") == []
        await shop.execute(f"alter table shop.orders owner to current_user; reassign owned by {owner} to current_user")


@asynccontextmanager
async def role(db: Any, name: str, options: str = "") -> AsyncIterator[str]:
    """A role that can log in with the password "secret"."""
    await db.execute(f"create role {name} login password 'secret' {options}")
    try:
        yield name
    finally:
        await db.execute(f"drop owned by {name} cascade")
        await db.execute(f"drop role {name}")


async def test_a_serving_role_can_change_a_status_and_nothing_else(shop: Any, database_url: str) -> None:
    async with role(shop, "write_server") as server:
        url = url_with_role(database_url, server, "secret")
        async with open_connections(url, 1) as (connection,):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await change(connection, "new", "packed")
            await shop.execute(f"select orderwire.grant_serving('{server}')")
            result = await change(connection, "new", "packed")
            assert result["outcome"] == "changed"
            assert (await newest_event(shop))["actor"] == {"role": server, "application_name": AUTHOR}
            for statement in (
                "update shop.orders set state = 'sent'",
                "update shop.orders set total = 0",
                "select * from shop.orders for update",
                "select orderwire.set_order_status('1', 'sent')",
                "select orderwire.lock_order('1')",
                "select orderwire.own_event_id('1')",
                "select orderwire.replace_write('shop.orders', '{}')",
                "delete from orderwire.journal",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
            undone = await change(connection, "packed", "new", undo=result["event_id"])
            assert undone["outcome"] == "changed"


async def test_another_role_may_not(shop: Any, database_url: str) -> None:
    async with role(shop, "stranger_to_writes") as stranger:
        await shop.execute(f"grant usage on schema orderwire to {stranger}")
        async with open_connections(url_with_role(database_url, stranger, "secret"), 1) as (connection,):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await change(connection, "new", "packed")


async def test_a_session_with_temporary_tables_is_refused(shop: Any, database_url: str) -> None:
    """A trigger of the shop that names a table without its schema would find that of the session."""
    async with role(shop, "write_server") as server:
        await shop.execute(f"select orderwire.grant_serving('{server}')")
        async with open_connections(url_with_role(database_url, server, "secret"), 1) as (connection,):
            await connection.execute("create temporary table audit (line text)")
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="temporary objects"):
                await change(connection, "new", "packed")


_AUDIT = """
create table {schema}.audit (who text, path text);
create function {schema}.audit() returns trigger language plpgsql as $$
begin
    insert into {schema}.audit values (current_user || '/' || session_user, current_setting('search_path'));
    return new;
end $$;
create trigger audit before update on {schema}.orders for each row execute function {schema}.audit();
"""


async def test_the_shops_triggers_run_as_the_owner_of_the_table_where_that_of_the_schema_is_a_superuser(
    db: Any, database_url: str
) -> None:
    superuser = await db.fetchval("select current_user")
    async with role(db, "shop_owner"):
        await make_table(db)
        await db.execute(_AUDIT.format(schema="shop"))
        await db.execute(
            "alter schema shop owner to shop_owner; alter table shop.orders owner to shop_owner;"
            "alter table shop.audit owner to shop_owner"
        )
        await db.execute("select orderwire.attach('shop.orders', $1)", map_of())
        assert (await change(db, "new", "packed"))["outcome"] == "changed"
        (row,) = await db.fetch("select * from shop.audit")
        assert tuple(row) == (f"shop_owner/{superuser}", "pg_catalog, shop, public, pg_temp")
        assert (await newest_event(db))["actor"] == {"role": superuser, "application_name": AUTHOR}
        await db.execute("select orderwire.detach()")
        await db.execute("select orderwire.uninstall()")


async def test_the_shops_triggers_run_as_the_owner_of_the_schema_otherwise(empty_database_url: str, empty_db: Any) -> None:
    async with role(empty_db, "shop_app"), role(empty_db, "shop_reader"):
        name = await empty_db.fetchval("select current_database()")
        await empty_db.execute(f"grant create on database {name} to shop_app; grant shop_app to current_user")
        await migrate(url_with_role(empty_database_url, "shop_app", "secret"))
        async with open_connections(url_with_role(empty_database_url, "shop_app", "secret"), 1) as (owner,):
            await make_table(owner)
            await owner.execute(_AUDIT.format(schema="shop"))
            await owner.execute("select orderwire.attach('shop.orders', $1)", map_of())
            await owner.execute("select orderwire.grant_serving('shop_reader')")
            async with open_connections(url_with_role(empty_database_url, "shop_reader", "secret"), 1) as (reader,):
                assert (await change(reader, "new", "packed"))["outcome"] == "changed"
            (row,) = await owner.fetch("select * from shop.audit")
            assert row["who"] == "shop_app/shop_reader"
            await owner.execute("select orderwire.uninstall()")


# How a role has its code run by a change: SQL for it, and what is said of it. {} is the role.
_FOREIGN = {
    "a right": ("grant all on shop.orders to {}", "{} may create triggers on shop.orders"),
    "a right of all": ("grant trigger on shop.orders to public", "public may create triggers on shop.orders"),
    "a right to a partition": (
        "create table shop.old () inherits (shop.orders); grant trigger on shop.old to {}",
        "{} may create triggers on shop.old",
    ),
    "a partition": ("create table shop.old () inherits (shop.orders); alter table shop.old owner to {}", "{} owns shop.old"),
    "a trigger that is there": (
        "create function shop.own() returns trigger language plpgsql as 'begin return null; end';"
        "create trigger own after update on shop.orders for each row execute function shop.own();"
        "alter function shop.own() owner to {}",
        "{} owns the function shop.own() of a trigger on shop.orders",
    ),
}


@pytest.mark.parametrize("how", _FOREIGN)
async def test_no_other_role_may_have_a_trigger_run_by_a_change(shop: Any, how: str) -> None:
    """Else it would have the rights of the role that changes run as."""
    async with role(shop, "trigger_maker") as maker:
        setup, problem = (text.format(maker) for text in _FOREIGN[how])
        problem = f"{problem}, so its code would run with the rights of {await shop.fetchval('select current_user')}"
        await shop.execute(setup)
        with pytest.raises(asyncpg.RaiseError) as raised:
            await change(shop, "new", "packed")
        assert str(raised.value).splitlines()[0] == problem
        assert await shop.fetchval("select state from shop.orders where id = 1") == "new"
        ((found, fix),) = [
            tuple(row)
            for row in await shop.fetch("select problem, fix from orderwire.diagnose_attached()")
            if "so its code" in row["problem"]
        ]
        assert found == f"{problem}: the status of orders cannot be changed"
        with pytest.raises(asyncpg.RaiseError) as raised:
            await shop.execute("select orderwire.attach('shop.orders', $1)", map_of())
        assert str(raised.value).splitlines()[0] == f"the status of shop.orders cannot be written: {problem}"
        assert raised.value.hint == fix
        await shop.execute("select orderwire.attach('shop.orders', $1)", map_of(status=False))
        await shop.execute(fix)
        await shop.execute("select orderwire.attach('shop.orders', $1)", map_of())
        assert (await change(shop, "new", "packed"))["outcome"] == "changed"


async def test_rights_of_those_who_have_them_anyway_do_not_matter(shop: Any) -> None:
    async with role(shop, "shop_owner") as owner, role(shop, "shop_super", "superuser") as another:
        await shop.execute(
            f"grant all on shop.orders to {another}, {owner}; grant select, update on shop.orders to public;"
            f"alter table shop.orders owner to {owner}; grant all on shop.orders to {another}"
        )
        await shop.execute("select orderwire.attach('shop.orders', $1)", map_of())
        assert (await change(shop, "new", "packed"))["outcome"] == "changed"
        await shop.execute("select orderwire.detach(); alter table shop.orders owner to current_user")


async def test_a_schema_in_which_others_may_create_is_not_on_the_path(shop: Any) -> None:
    """A function there that matches better than what a trigger means would run with the rights of the trigger's role."""
    async with role(shop, "hostile"):
        await shop.execute("grant create on schema public to public; grant create on schema shop to hostile")
        await shop.execute(
            "create function public.lower(state varchar) returns text language plpgsql as"
            " $$ begin raise exception 'this runs as %', current_user; end $$;"
            "create table shop.notes (line text);"
            "create function shop.note() returns trigger language plpgsql as $$ begin"
            "    insert into shop.notes values (lower(new.state::varchar)); return new; end $$;"
            "create trigger note before update on shop.orders for each row execute function shop.note()"
        )
        with pytest.raises(asyncpg.RaiseError, match="this runs as"):
            await change(shop, "new", "packed")  # attached while only the owner could create there
        await shop.execute("select orderwire.attach('shop.orders', $1)", map_of())
        path = await shop.fetchval("select orderwire.write_search_path('shop.orders')")
        assert path == "pg_catalog, pg_temp"
        assert (await change(shop, "new", "packed"))["outcome"] == "changed"
        assert await shop.fetchval("select line from shop.notes") == "packed"


async def test_no_function_of_the_callers_path_is_called(shop: Any, database_url: str) -> None:
    async with role(shop, "write_server") as server:
        await shop.execute(f"select orderwire.grant_serving('{server}'); create schema hostile authorization {server}")
        async with open_connections(url_with_role(database_url, server, "secret"), 1) as (connection,):
            await connection.execute("set search_path = hostile, pg_catalog")
            for signature, result in (
                ("set_config(text, text, boolean)", "text"),
                ("current_setting(text, boolean)", "text"),
                ("cardinality(text[])", "integer"),
                ("pg_notify(text, text)", "void"),
            ):
                await connection.execute(
                    f"create function hostile.{signature} returns {result} language plpgsql as "
                    "$$ begin raise exception 'this runs as %', current_user; end $$"
                )
            assert (await change(connection, "new", "packed"))["outcome"] == "changed"
