"""The serving role (orderwire.grant_serving) can only read orders and the journal, and the server works with it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from db.doctor import diagnose
from db.migrate import grant_serving, migrate
from tests.support import Client, Connect, Process, Server, StartServer, url_with_role

ROLE = "orderwire_serving"
PASSWORD = "serving-password"


@pytest.fixture
async def serving_url(database_url: str, db: Any) -> AsyncIterator[str]:
    """The URL of a role with the privileges of orderwire.grant_serving."""
    await db.execute(f"create role {ROLE} login password '{PASSWORD}'")
    await db.execute(f"select orderwire.grant_serving('{ROLE}')")
    yield url_with_role(database_url, ROLE, PASSWORD)
    await db.execute(f"drop owned by {ROLE}")
    await db.execute(f"drop role {ROLE}")


async def test_server_works_with_the_serving_role_and_does_not_warn(
    start_server: StartServer, connect: Connect, serving_url: str, db: Any
) -> None:
    server: Server = await start_server(serving_url, JOURNAL_RETENTION="10s", AUDIT_SECONDS="0.2")
    assert "superuser" not in server.output
    client: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await client.wait_until(lambda c: len(c.events) == 1, "an event")
    cursor = client.events[0]["id"]
    await db.execute("update orders set status = 'ready'")
    back: Client = await connect(f"{server.ws_url}?last_event_id={cursor}")
    await back.wait_until(lambda c: len(c.events) == 1, "the replay")
    assert await db.fetchval("select count(*) from orderwire.checkpoint")
    # Partitions are created with the privileges of the schema's owner.
    async with asyncio.timeout(30):
        while not await db.fetchval("select count(*) from orderwire.journal_partitions"):
            await asyncio.sleep(0.05)
    assert "permission denied" not in server.output


async def test_everything_else_is_denied(serving_url: str, db: Any) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    await db.execute("create table customers (name text)")
    connection = await asyncpg.connect(serving_url)
    try:
        for statement in (
            "insert into orders (customer_name, total) values ('x', 1)",
            "update orders set total = 0",
            "delete from orders",
            "truncate orders",
            "insert into orderwire.journal (key) values ('1')",
            "delete from orderwire.journal",
            "update orderwire.journal_identity set epoch = 'x'",
            "delete from orderwire.revocations",
            "update orderwire.checkpoint set total_orders = 0",
            "select orderwire.revoke('anna')",
            "select orderwire.renew_epoch('x')",
            f"select orderwire.grant_serving('{ROLE}')",
            "drop trigger zz_orderwire_insert on orders",
            "alter table orders disable trigger all",
            "select * from customers",
            "create table public.mine ()",
            "create table orderwire.mine ()",
            "create schema mine",
            "set session_replication_role = replica",
        ):
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.RaiseError)):
                await connection.execute(statement)
        assert await connection.fetchval("select count(*) from orders") == 1
        assert await connection.fetchval("select count(*) from orderwire.journal") == 1
    finally:
        await connection.close()


async def test_doctor_says_how_to_give_back_a_right_that_was_revoked(serving_url: str, database_url: str, db: Any) -> None:
    assert await diagnose(serving_url) == []
    await db.execute(f"revoke select on all tables in schema orderwire from {ROLE}")
    ((problem, fix),) = await diagnose(serving_url)
    assert f"the role {ROLE} lacks a privilege: permission denied for table migrations" in problem
    assert f"python server.py migrate --grant {ROLE}" in fix
    await grant_serving(database_url, ROLE)
    assert await diagnose(serving_url) == []


async def test_migrations_use_their_own_role(start_server: StartServer, empty_database_url: str, connect: Connect) -> None:
    admin = await asyncpg.connect(empty_database_url)
    try:
        await admin.execute(f"create role {ROLE} login password '{PASSWORD}'")
        serving = url_with_role(empty_database_url, ROLE, PASSWORD)
        # The schema does not exist and the serving role may not create it: one line says so.
        rejected: Server = await start_server(serving, wait=False)
        assert await rejected.wait_for_exit() == 1
        (line,) = rejected.lines
        assert "MIGRATE_DATABASE_URL" in line
        await migrate(empty_database_url)
        await admin.execute(f"select orderwire.grant_serving('{ROLE}')")
        server: Server = await start_server(serving, MIGRATE_DATABASE_URL=empty_database_url)
        client: Client = await connect(server.ws_url)
        await client.wait_until(lambda c: len(c.messages) == 1, "the totals")
    finally:
        await admin.execute(f"drop owned by {ROLE}")
        await admin.execute(f"drop role {ROLE}")
        await admin.close()


async def test_migrate_grants_the_serving_role_what_it_needs(
    start_server: StartServer, empty_database_url: str, connect: Connect
) -> None:
    admin = await asyncpg.connect(empty_database_url)

    async def run_migrate(role: str) -> tuple[int, list[str]]:
        command = (sys.executable, "server.py", "migrate", "--grant", role)
        done = await Process.start(*command, env={"DATABASE_URL": empty_database_url})
        return await done.wait_for_exit(), done.lines

    try:
        code, lines = await run_migrate("nobody_there")
        assert (code, lines[-1]) == (1, 'server.py: role "nobody_there" does not exist')
        await admin.execute(f"create role \"{ROLE}\" login password '{PASSWORD}'")
        assert await run_migrate(ROLE) == (0, ["the schema is up to date", f"the role {ROLE} may serve"])
        server: Server = await start_server(url_with_role(empty_database_url, ROLE, PASSWORD))
        client: Client = await connect(server.ws_url)
        await client.wait_until(lambda c: len(c.messages) == 1, "the totals")
    finally:
        await admin.execute(f'drop owned by "{ROLE}"')
        await admin.execute(f'drop role "{ROLE}"')
        await admin.close()
