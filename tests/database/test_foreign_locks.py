"""Advisory locks that another role of the database takes: they silence no listener, stop no maintenance, and have a name."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from db.doctor import diagnose
from db.errors import DatabaseMisconfigured
from db.migrate import Source, SqlFile, migrate
from tests.faults.relay_processes import start_headless_servers, totals_by_view
from tests.support import TIMEOUT_SECONDS, open_connections, within

INSERT_SQL = "insert into public.orders (customer_name, total) values ('c', 1)"
NOTIFY_CLASS = 1869767799
MIGRATION_KEY = 0x6F7264657277


@pytest.fixture
async def stranger(database_url: str, db: Any) -> AsyncIterator[Any]:
    """A session of a role without any privilege, which calls itself what the server does."""
    await db.execute("drop role if exists stranger; create role stranger login password 'secret'")
    async with open_connections(re.sub("//.*@", "//stranger:secret@", database_url), 1) as (connection,):
        await connection.execute("set application_name = 'orderwire listener'")
        yield connection
    await db.execute("drop role stranger")


async def take_all(stranger: Any, mode: str) -> None:
    """Every lock of before and of now, by the keys that pg_locks shows."""
    for key in (1, 2, 3):
        await stranger.execute(f"select pg_advisory_lock{mode}({NOTIFY_CLASS}, {key})")
    for name in ("maintain_partitions", "tend_journal", "checkpoint"):
        await stranger.execute(f"select pg_advisory_lock{mode}(hashtext('orderwire.{name}'))")
    await stranger.execute(f"select pg_advisory_lock{mode}({MIGRATION_KEY})")


@pytest.mark.parametrize("mode", ["", "_shared"])
@pytest.mark.parametrize("key", [1, 2, 3])
@pytest.mark.parametrize("polls", [None, False, True], ids=["no server", "server", "server that polls"])
async def test_listeners_hear_of_every_change(
    database_url: str, db: Any, stranger: Any, polls: bool | None, key: int, mode: str
) -> None:
    payloads: asyncio.Queue[str] = asyncio.Queue()
    await stranger.execute(f"select pg_advisory_lock{mode}({NOTIFY_CLASS}, {key})")
    async with (
        open_connections(database_url, 1) as (listening,),
        start_headless_servers(database_url, polls is not None) as running,
    ):
        for server in running:
            await server.set_polling(bool(polls))
        await listening.add_listener("orders", lambda *call: payloads.put_nowait(call[3]))
        for number in range(1, 4):
            await db.execute(INSERT_SQL)
            # A notification of the writer shows the event; one on behalf of writers says that there was one.
            payload = await within(TIMEOUT_SECONDS, payloads.get(), f"the notification of event {number}")
            assert '"new_order"' in payload or '"more":' in payload
            await db.execute("select pg_sleep(0.21)")  # for that long a writer that has notified lets others skip theirs
        for server in running:
            await server.wait_totals(await totals_by_view(db))


async def test_no_role_can_set_the_lease(stranger: Any) -> None:
    for statement in (
        "select setval('orderwire.notify_lease', 1)",
        "select nextval('orderwire.notify_lease')",
        "select orderwire.extend_notify_lease()",
        "select orderwire.take_lease()",
        "select orderwire.leaves_notify_to_lease()",
        "insert into orderwire.notices default values",
        "lock table orderwire.journal_partitions in access share mode",
        "lock table orderwire.migrations in access share mode",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with stranger.transaction():
                await stranger.execute(statement)


async def test_maintenance_goes_on(database_url: str, db: Any, stranger: Any) -> None:
    await take_all(stranger, "")
    await db.execute("select orderwire.maintain_partitions('1 day')")
    assert await db.fetchval("select count(*) from orderwire.journal_partitions") > 0
    await db.execute("select orderwire.scan_totals()")
    assert await db.fetchval("select count(*) from orderwire.checkpoint") == 1


async def test_two_servers_do_not_maintain_at_the_same_time(database_url: str, db: Any) -> None:
    async with open_connections(database_url, 1) as (other,):
        await other.execute("begin; select orderwire.maintain_partitions('1 day')")
        await db.execute("set statement_timeout = '30s'; select orderwire.maintain_partitions('1 day')")
        assert await db.fetchval("select count(*) from orderwire.journal_partitions") == 0
        await other.execute("commit")
        assert await db.fetchval("select count(*) from orderwire.journal_partitions") > 0


async def test_upgrade_goes_on(database_url: str, stranger: Any) -> None:
    await take_all(stranger, "")
    source = Source.load()
    functions = [*source.functions, SqlFile(0, "functions/99_new.sql", "select 1")]
    assert await within(TIMEOUT_SECONDS, migrate(database_url, Source(source.migrations, functions)), "the upgrade")


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("db.migrate.LOCK_TIMEOUT_SECONDS", 0.2)


async def test_installation_says_who_holds_its_lock(soon: None, empty_database_url: str, empty_db: Any) -> None:
    await empty_db.execute(f"set application_name = 'nightly job'; select pg_advisory_lock({MIGRATION_KEY})")
    with pytest.raises(DatabaseMisconfigured) as error:
        await within(TIMEOUT_SECONDS, migrate(empty_database_url), "the error")
    pid = await empty_db.fetchval("select pg_backend_pid()")
    assert f"pid {pid}, role postgres, application_name 'nightly job'" in str(error.value)
    assert "\n" not in str(error.value)
    await empty_db.execute("select pg_advisory_unlock_all()")
    assert await migrate(empty_database_url)


async def test_upgrade_says_who_holds_its_lock(soon: None, database_url: str, db: Any) -> None:
    source = Source.load()
    newer = Source(source.migrations, [*source.functions, SqlFile(0, "functions/99_new.sql", "select 1")])
    async with db.transaction():
        await db.execute("set local application_name = 'another upgrade'")
        await db.execute("lock table orderwire.migrations in share row exclusive mode")
        with pytest.raises(DatabaseMisconfigured, match="application_name 'another upgrade'"):
            await within(TIMEOUT_SECONDS, migrate(database_url, newer), "the error")
    assert await migrate(database_url, newer)


@pytest.mark.parametrize("key", [1, 2, 3])
async def test_doctor_names_the_session(database_url: str, stranger: Any, key: int) -> None:
    await stranger.execute(f"select pg_advisory_lock({NOTIFY_CLASS}, {key})")
    pid = await stranger.fetchval("select pg_backend_pid()")
    [(problem, fix)] = await diagnose(database_url)
    assert f"pid {pid} (role stranger, application_name 'orderwire listener') holds the lock {key}" in problem
    assert f"pg_terminate_backend({pid})" in fix


@pytest.mark.parametrize("polls", [False, True])
async def test_doctor_has_nothing_to_say_about_a_server_and_a_writer(database_url: str, db: Any, polls: bool) -> None:
    async with start_headless_servers(database_url, 1) as (server,):
        await server.set_polling(polls)
        await server.wait_notify_suppressed(polls)
        async with db.transaction():
            await db.execute(INSERT_SQL)
            assert await diagnose(database_url) == []


async def test_doctor_says_that_the_journal_is_not_maintained(database_url: str, db: Any) -> None:
    await db.execute("update orderwire.journal_identity set settling_since = now() - interval '1 day'")
    async with open_connections(database_url, 1) as (other,):
        await other.execute("set application_name = 'backup'; begin; lock table orderwire.journal_partitions in exclusive mode")
        [(problem, _)] = await diagnose(database_url)
        pid = await other.fetchval("select pg_backend_pid()")
        assert "have not been maintained since" in problem
        assert f"pid {pid} (role postgres, application_name 'backup') holds a lock" in problem
    await db.execute("select orderwire.maintain_partitions('1 day')")
    assert await diagnose(database_url) == []
