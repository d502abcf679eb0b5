"""No SQL of ours uses an operator or function that another role has created in the schema `public`."""

from __future__ import annotations

import asyncio
from typing import Any

from db.doctor import diagnose
from db.migrate import create_starter, migrate
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, within

INSERT_SQL = "insert into orders (customer_name, total) values ('Anna', 1)"
# Operators that match the argument types of our expressions better than those of PostgreSQL.
PLANTED_OPERATORS_SQL = """
grant create on schema public to public;
create function public.planted(float8, numeric) returns boolean language plpgsql as
$$ begin raise exception 'this runs as %', current_user; end $$;
create function public.planted(text, integer) returns text language plpgsql as
$$ begin raise exception 'this runs as %', current_user; end $$;
create operator public.<= (leftarg = float8, rightarg = numeric, function = public.planted);
create operator public.> (leftarg = float8, rightarg = numeric, function = public.planted);
create operator public.|| (leftarg = text, rightarg = integer, function = public.planted);
"""


async def test_operators_in_public_are_never_called(
    start_server: StartServer, connect: Connect, empty_database_url: str, empty_db: Any
) -> None:
    await empty_db.execute(PLANTED_OPERATORS_SQL)
    await migrate(empty_database_url)
    await create_starter(empty_database_url)
    await empty_db.execute(INSERT_SQL)
    server: Server = await start_server(empty_database_url, NOTIFY_MODE="never")
    client: Client = await connect(server.ws_url)
    payloads: asyncio.Queue[str] = asyncio.Queue()
    await empty_db.add_listener("orders", lambda *call: payloads.put_nowait(call[3]))
    await empty_db.execute(INSERT_SQL)
    await client.wait_until(lambda c: len(c.events) == 1, "an event")
    assert '"more":1' in await within(TIMEOUT_SECONDS, payloads.get(), "the server's notification")
    assert [problem for problem, _ in await diagnose(empty_database_url) if "runs as" in problem] == []


async def test_functions_of_a_writer_are_not_called_with_the_owners_rights(database_url: str, db: Any) -> None:
    """A role may put a schema of its own before pg_catalog. At COMMIT a deferred trigger of ours calls functions."""
    await db.execute("drop role if exists hostile; create role hostile; grant insert on orders to hostile")
    await db.execute("create schema hostile authorization hostile")
    await db.execute("set role hostile; set search_path = hostile, pg_catalog, public")
    for signature, value in (
        ("current_setting(text, boolean)", "text"),
        ("set_config(text, text, boolean)", "text"),
        ("pg_notification_queue_usage()", "float8"),
        ("pg_notify(text, text)", "void"),
        ("strpos(text, text)", "integer"),
    ):
        await db.execute(
            f"create function hostile.{signature} returns {value} language plpgsql as "
            "$$ begin raise exception 'this runs as %', current_user; end $$"
        )
    await db.execute(INSERT_SQL)
    await db.execute("reset role; drop owned by hostile; drop role hostile")
