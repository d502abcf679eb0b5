"""Files of sql/ that come to a shop that is at work: by another role, beside its writers, with somebody in it who means ill."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

import db.migrate
from db.doctor import diagnose
from db.errors import DatabaseMisconfigured
from db.migrate import load_migrations, migrate
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, open_connections, url_with_role, within

INSERT_SQL = "insert into orders (customer_name, total) values ('Anna', 1)"
# Better matches than PostgreSQL has itself, of what is compared and put together here.
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


async def test_an_operator_of_somebody_elses_is_never_run(
    start_server: StartServer, connect: Connect, empty_database_url: str, empty_db: Any
) -> None:
    await empty_db.execute(PLANTED_OPERATORS_SQL)
    await migrate(empty_database_url)
    await empty_db.execute(INSERT_SQL)
    server: Server = await start_server(empty_database_url, NOTIFY_MODE="never")
    client: Client = await connect(server.ws_url)
    heard: asyncio.Queue[str] = asyncio.Queue()
    await empty_db.add_listener("orders", lambda *call: heard.put_nowait(call[3]))
    await empty_db.execute(INSERT_SQL)
    await client.wait_until(lambda c: len(c.events) == 1, "an event")
    assert '"more":1' in await within(TIMEOUT_SECONDS, heard.get(), "the server's ring")
    assert [problem for problem, _ in await diagnose(empty_database_url) if "runs as" in problem] == []


@pytest.fixture
async def owner_url(empty_database_url: str, empty_db: Any) -> AsyncIterator[str]:
    """A role that installed what there was before the last file, as its address."""
    await empty_db.execute("create role keeper login password 'k'; grant create on schema public to keeper")
    name = await empty_db.fetchval("select current_database()")
    await empty_db.execute(f'grant create on database "{name}" to keeper; grant pg_read_all_stats to keeper')
    url = url_with_role(empty_database_url, "keeper", "k")
    await empty_db.execute("grant execute on function pg_control_system() to keeper")
    await empty_db.execute("grant execute on function pg_walfile_name(pg_lsn) to keeper")
    await migrate(url, load_migrations()[:-1])
    yield url
    await empty_db.execute("drop owned by keeper cascade; drop role keeper")


async def test_another_role_leaves_everything_with_its_owner(empty_database_url: str, empty_db: Any, keeper: str) -> None:
    assert len(await migrate(empty_database_url)) == 1
    await empty_db.execute(INSERT_SQL)
    owners = await empty_db.fetch(
        "select distinct p.proowner::regrole::text from pg_proc as p where p.pronamespace = 'orderwire'::regnamespace"
    )
    assert [row[0] for row in owners] == ["keeper"]
    async with open_connections(keeper, 1) as (writer,):
        await writer.execute(INSERT_SQL)


async def test_a_role_that_may_not_is_told_who_may(empty_database_url: str, empty_db: Any, keeper: str) -> None:
    await empty_db.execute("create role passer login password 'p'; grant usage, create on schema orderwire to passer")
    name = await empty_db.fetchval("select current_database()")
    await empty_db.execute(f'grant select on orderwire.migrations to passer; grant create on database "{name}" to passer')
    try:
        with pytest.raises(DatabaseMisconfigured, match=r"belongs to keeper.*migrate as keeper"):
            await migrate(url_with_role(empty_database_url, "passer", "p"))
    finally:
        await empty_db.execute("drop owned by passer; drop role passer")


async def test_writers_do_not_wait_behind_a_file_that_waits(
    empty_database_url: str, empty_db: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(db.migrate, "LOCK_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(db.migrate, "RETRY_SECONDS", 0.1)
    await migrate(empty_database_url, load_migrations()[:-1])
    async with open_connections(empty_database_url, 1) as (writer,):
        open_one = empty_db.transaction()
        await open_one.start()
        await empty_db.execute(INSERT_SQL)
        with caplog.at_level(logging.WARNING, "orderwire.migrate"):
            upgrade = asyncio.create_task(migrate(empty_database_url))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while "waits for a lock" not in caplog.text:
                    await asyncio.sleep(0.01)
            for _ in range(5):
                await within(TIMEOUT_SECONDS, writer.execute(INSERT_SQL), "an INSERT beside the upgrade")
        assert not upgrade.done()
        await open_one.commit()
        assert len(await asyncio.wait_for(upgrade, TIMEOUT_SECONDS)) == 1
        assert caplog.text.count("waits for a lock") == 1
        await writer.execute(INSERT_SQL)
        assert await writer.fetchval("select count(*) from orderwire.journal") == 7
