"""After a crash PostgreSQL may give out again the number of a transaction whose end never reached the disk.

Somebody who has seen that number ended would take the new transaction's rows for old news.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from tests.support import Client, Connect, Server, StartServer


@pytest.fixture
def lazy_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that writes to its log only when a commit makes it."""
    postgres = EmbeddedPostgres(tmp_path / "data", report=lambda line: None)
    postgres.start()
    yield postgres
    postgres.release()


async def roll_back_a_transaction(connection: Any) -> int:
    """A transaction that draws its number and is rolled back: nothing of it needs to be on disk."""
    transaction = connection.transaction()
    await transaction.start()
    number = await connection.fetchval("select pg_current_xact_id()")
    await transaction.rollback()
    return int(number)


async def wait_until_true(connection: Any, question: str) -> None:
    async with asyncio.timeout(30):
        while not await connection.fetchval(question):
            await asyncio.sleep(0.05)


@pytest.mark.postgres
async def test_an_event_under_a_reused_number_is_delivered(
    start_server: StartServer, connect: Connect, lazy_postgres: EmbeddedPostgres
) -> None:
    url = lazy_postgres.url
    server: Server = await start_server(url, AUDIT_SECONDS="3600")
    client: Client = await connect(server.ws_url)
    connection = await asyncpg.connect(url)
    await connection.execute("alter system set wal_writer_delay = '10s'")
    await connection.execute("select pg_reload_conf()")
    # Later it would write to the log of its own accord.
    await wait_until_true(connection, "select count(*) > 1 from orderwire.journal_partitions")
    # A committed event, so that the log is on disk up to here, and the server has read it.
    await connection.execute("insert into orders (customer_name, total) values ('before', 1)")
    await client.wait_until(lambda c: len(c.events) == 1, "the first event")

    burnt = [await roll_back_a_transaction(connection) for _ in range(5)]
    # The server reads on, and its watermark takes these numbers for ended.
    other: Client = await connect(server.ws_url)
    await other.wait_until(lambda c: bool(c.messages), "the first frame: the server has read once more")

    pid = lazy_postgres.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    connection.terminate()
    while lazy_postgres.pid is not None:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(lazy_postgres.start)

    connection = await asyncpg.connect(url)
    reused = []
    for number in range(10):
        async with connection.transaction():
            await connection.execute("insert into orders (customer_name, total) values ($1, 1)", f"after {number}")
            reused.append(int(await connection.fetchval("select pg_current_xact_id()")))
    assert set(reused) & set(burnt), "no number was given out twice: this test shows nothing"
    await client.wait_until(lambda c: len(c.events) == 11, "all events after the crash")
    names = [event["customer_name"] for event in client.events]
    assert names == ["before"] + [f"after {number}" for number in range(10)]
    await connection.close()
