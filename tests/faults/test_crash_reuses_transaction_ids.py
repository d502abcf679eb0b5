"""After a crash PostgreSQL may reuse the id of a transaction that ended before the crash but was not yet on disk.

A server that saw the first transaction end must not take the rows of the second one for published.
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
from db.migrate import create_starter, migrate
from tests.support import Client, Connect, Server, StartServer


@pytest.fixture
def lazy_postgres(tmp_path: Path) -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that writes its WAL only at a commit."""
    postgres = EmbeddedPostgres(tmp_path / "data", report=lambda line: None)
    postgres.start()
    yield postgres
    postgres.release()


async def roll_back_a_transaction(connection: Any) -> int:
    """Assign a transaction id and roll back, so that the id does not need to be on disk. Returns the id."""
    transaction = connection.transaction()
    await transaction.start()
    txid = await connection.fetchval("select pg_current_xact_id()")
    await transaction.rollback()
    return int(txid)


async def wait_until_true(connection: Any, question: str) -> None:
    async with asyncio.timeout(30):
        while not await connection.fetchval(question):
            await asyncio.sleep(0.05)


@pytest.mark.postgres
async def test_event_of_a_reused_transaction_id_is_delivered(
    start_server: StartServer, connect: Connect, lazy_postgres: EmbeddedPostgres
) -> None:
    url = lazy_postgres.url
    await migrate(url)
    await create_starter(url)
    server: Server = await start_server(url, AUDIT_SECONDS="3600")
    client: Client = await connect(server.ws_url)
    connection = await asyncpg.connect(url)
    await connection.execute("alter system set wal_writer_delay = '10s'")
    await connection.execute("select pg_reload_conf()")
    # Creating partitions commits and would write the WAL: wait until it is done.
    await wait_until_true(connection, "select count(*) > 1 from orderwire.journal_partitions")
    # A committed event: the WAL is on disk up to here, and the server has read it.
    await connection.execute("insert into orders (customer_name, total) values ('before', 1)")
    await client.wait_until(lambda c: len(c.events) == 1, "the first event")

    rolled_back = [await roll_back_a_transaction(connection) for _ in range(5)]
    # The server reads again: these ids count as ended in its watermark.
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
    assert set(reused) & set(rolled_back), "no transaction id was reused: this run tests nothing"
    await client.wait_until(lambda c: len(c.events) == 11, "all events after the crash")
    names = [event["customer_name"] for event in client.events]
    assert names == ["before"] + [f"after {number}" for number in range(10)]
    await connection.close()
