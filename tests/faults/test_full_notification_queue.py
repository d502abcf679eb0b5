"""A full notification queue of the cluster, as another application's session leaves it that listens and does not read.

The queue holds 64 pages here, half a megabyte, so that it fills within one transaction; by default it holds 8 GB.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any

import asyncpg
import pytest

from db.doctor import diagnose
from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.faults.relay_processes import start_headless_servers, totals_by_view
from tests.support import TIMEOUT_SECONDS, StartServer, open_connections, within

pytestmark = pytest.mark.postgres

INSERT_SQL = "insert into orders (customer_name, total) values ('c', 1)"


@pytest.fixture(scope="module")
def small_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a PostgreSQL with the smallest queue there can be, and the starter table."""
    postgres = EmbeddedPostgres(tmp_path_factory.mktemp("small_queue") / "data", report=lambda line: None)

    async def prepare() -> bool:
        connection = await asyncpg.connect(postgres.url)
        try:
            if connection.get_server_version().major < 17:
                return False
            await connection.execute("alter system set max_notify_queue_pages = 64")
            await connection.execute("alter system set fsync = off")
        finally:
            await connection.close()
        await migrate(postgres.url)
        await create_starter(postgres.url)
        return True

    postgres.start()
    can_be_small = asyncio.run(prepare())
    postgres.release()
    if not can_be_small:
        pytest.skip("the size of the queue is fixed before PostgreSQL 17")
    postgres.start()
    yield postgres.url
    postgres.release()


class Filler:
    """Another application: one session that listens and stays in its transaction, one that notifies until the queue is full."""

    def __init__(self, stuck: Any, sender: Any) -> None:
        self._stuck = stuck
        self._sender = sender

    async def fill(self) -> None:
        await self._stuck.execute("listen other_application")
        await self._stuck.execute("begin")  # not in one string, which would be one transaction
        await self._stuck.execute("select 1")
        with suppress(asyncpg.ProgramLimitExceededError):
            while True:
                await self._sender.execute("select pg_notify('other_application', repeat('x', 7900))")

    async def empty(self) -> None:
        await self._stuck.execute("rollback")  # it reads then
        while await self._sender.fetchval("select pg_notification_queue_usage()") > 0:
            await self._sender.execute("notify other_application")  # each page that is full moves the queue's tail
            await asyncio.sleep(0.01)


@pytest.fixture
async def filler(small_queue: str) -> AsyncIterator[Filler]:
    async with open_connections(small_queue, 2) as (stuck, sender):
        filler = Filler(stuck, sender)
        yield filler
        await within(TIMEOUT_SECONDS, filler.empty(), "an empty queue")


@pytest.fixture
async def shop(small_queue: str) -> AsyncIterator[Any]:
    async with open_connections(small_queue, 1) as (connection,):
        yield connection


@pytest.mark.parametrize("end", ["commit", "set constraints all immediate; commit"])
async def test_writer_that_inserted_before_the_queue_was_full_commits(filler: Filler, shop: Any, end: str) -> None:
    before = await shop.fetchval("select count(*) from orders")
    await shop.execute(f"begin; {INSERT_SQL}; savepoint s; {INSERT_SQL}; update orders set total = total + 1")
    await filler.fill()
    await shop.execute(end)
    await shop.execute(INSERT_SQL)
    assert await shop.fetchval("select count(*) from orders") == before + 3


async def test_attach_and_detach_do_not_fail(filler: Filler, shop: Any, small_queue: str) -> None:
    await shop.execute("create table stock (id integer primary key, amount integer)")
    await shop.execute("begin")
    await shop.execute("select orderwire.attach_stream('stock', 'public.stock', '{\"key\": \"id\"}')")
    await filler.fill()
    await shop.execute("commit; select orderwire.detach('stock'); drop table stock")


async def test_servers_start_reconnect_and_deliver(
    filler: Filler, shop: Any, small_queue: str, start_server: StartServer
) -> None:
    async with start_headless_servers(small_queue, 1) as (running,):
        await filler.fill()
        server = await start_server(small_queue)
        assert "ready" in server.output
        await shop.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'orderwire listener'"
        )
        await shop.execute(INSERT_SQL)
        await running.wait_totals(await totals_by_view(shop))
        assert running.relay.not_ready_reason is None


async def test_a_server_that_started_then_tests_its_notifications_later(filler: Filler, shop: Any, small_queue: str) -> None:
    await filler.fill()
    async with start_headless_servers(small_queue, 1) as (running,):
        await filler.empty()
        # Only a connection that has received its own notification releases the requirement.
        await running.set_polling(True)
        await running.wait_notify_suppressed(True)
        await within(TIMEOUT_SECONDS, _until_there_is_a_notifier(shop), "the server notifies on behalf of writers")


async def _until_there_is_a_notifier(db: Any) -> None:
    while not await db.fetchval(
        "select exists (select from pg_locks where locktype = 'advisory' and (classid, objid) = (1869767799, 3) and granted)"
    ):
        await asyncio.sleep(0.01)


async def test_doctor_delivers_all_its_findings(filler: Filler, shop: Any, small_queue: str) -> None:
    await shop.execute("alter table orders disable trigger zz_orderwire_update")
    await filler.fill()
    problems = [problem for problem, _ in await diagnose(small_queue)]
    await shop.execute("alter table orders enable trigger zz_orderwire_update")
    assert any("zz_orderwire_update" in problem for problem in problems), problems
    assert any("the notification queue is" in problem and "% full" in problem.replace(" %", "%") for problem in problems), (
        problems
    )
    assert any("NOTIFY fails" in problem for problem in problems), problems
