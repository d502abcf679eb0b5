"""Concurrent writers that change the table in every way an application may.

If a connection is lost, the outcome of the transaction is unknown: the writer reconnects and goes on. Clients are compared with
the journal.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import asyncpg

from tests.stress.tables import STATUSES, Table

Connection = Any

# Seconds between two transactions of one writer, on average.
PAUSE_SECONDS = 0.35
BULK_PAUSE_SECONDS = 20.0
WRITER_COUNT = 6

# Serialization failure, deadlock and lock timeout, which concurrent writers must expect.
EXPECTED_SQLSTATES = ("40001", "40P01", "55P03")
CONNECTION_ERRORS = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    TimeoutError,
)
CONNECTION_SQLSTATES = ("57P01", "57P02", "57P03", "08003", "08006", "53300")


class RolledBack(Exception):
    """Rolls the transaction back."""


class Writers:
    """All writers, each with its own random number generator."""

    def __init__(self, seed: int, url: Callable[[], str], table: Table) -> None:
        self._seed = seed
        self._table = table
        self._url = url
        self.counts: Counter[str] = Counter()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Write until ``stopping`` is set and every writer has ended its last transaction."""
        small = SMALL_OPERATIONS if self._table.change_other_table is None else (*SMALL_OPERATIONS, change_other_table)
        async with asyncio.TaskGroup() as group:
            for number in range(WRITER_COUNT):
                group.create_task(self._write(f"writer {number}", PAUSE_SECONDS, small))
            group.create_task(self._write("bulk", BULK_PAUSE_SECONDS, BULK_OPERATIONS))
            group.create_task(self._write("long", 1.0, (long_transaction,)))

    async def _write(self, name: str, pause: float, operations: tuple[Operation, ...]) -> None:
        rng = random.Random(f"{self._seed} {name}")
        while not self.stopping.is_set():
            try:
                connection = await asyncpg.connect(self._url(), timeout=5, command_timeout=20)
            except (*CONNECTION_ERRORS, asyncpg.PostgresError):
                await asyncio.sleep(0.1)
                continue
            try:
                await connection.execute("set lock_timeout = '1s'")
                while not self.stopping.is_set():
                    await self._transaction(connection, rng, operations)
                    try:
                        async with asyncio.timeout(rng.uniform(0, 2 * pause)):
                            await self.stopping.wait()
                    except TimeoutError:
                        pass
            except CONNECTION_ERRORS:
                self.counts["outcome unknown"] += 1
            except asyncpg.PostgresError as error:
                if error.sqlstate not in CONNECTION_SQLSTATES:
                    raise
                self.counts["outcome unknown"] += 1
            finally:
                connection.terminate()

    async def _transaction(self, connection: Connection, rng: random.Random, operations: tuple[Operation, ...]) -> None:
        operation = rng.choice(operations)
        isolation = rng.choice(("read_committed", "repeatable_read"))
        roll_back = operation is not long_transaction and rng.random() < 0.12
        try:
            async with connection.transaction(isolation=isolation):
                await operation(self._table, connection, rng)
                if roll_back:
                    raise RolledBack
        except RolledBack:
            self.counts["rolled back"] += 1
        except asyncpg.PostgresError as error:
            if error.sqlstate not in EXPECTED_SQLSTATES:
                raise
            self.counts["failed"] += 1
        else:
            self.counts["committed"] += 1


Operation = Callable[[Table, Connection, random.Random], Awaitable[None]]


async def insert(table: Table, connection: Connection, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        await connection.execute(table.insert, *table.random_row(rng))


async def update_statuses(table: Table, connection: Connection, rng: random.Random) -> None:
    for key in await table.draw_keys(connection, rng, 5):
        await connection.execute(table.set_status, rng.choice(STATUSES), key)


async def update_one_order_repeatedly(table: Table, connection: Connection, rng: random.Random) -> None:
    for key in await table.draw_keys(connection, rng, 1):
        for _ in range(rng.randint(2, 5)):
            await connection.execute(table.increment_total, key)


async def update_many(table: Table, connection: Connection, rng: random.Random) -> None:
    await connection.execute(table.update_many, await table.draw_keys(connection, rng, 10))


async def savepoints(table: Table, connection: Connection, rng: random.Random) -> None:
    await insert(table, connection, rng)
    for _ in range(rng.randint(1, 3)):
        try:
            async with connection.transaction():
                await update_statuses(table, connection, rng)
                if rng.random() < 0.5:
                    raise RolledBack
        except RolledBack:
            pass
    await insert(table, connection, rng)


async def copy(table: Table, connection: Connection, rng: random.Random) -> None:
    rows = [table.random_copied_row(rng) for _ in range(rng.randint(5, 40))]
    schema, name, columns = table.copy_target
    await connection.copy_records_to_table(name, schema_name=schema, records=rows, columns=columns)


async def upsert(table: Table, connection: Connection, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 3)):
        await connection.execute(table.upsert, f"UP-{rng.randint(1, 30)}")


async def delete(table: Table, connection: Connection, rng: random.Random) -> None:
    await connection.execute(table.delete, await table.draw_keys(connection, rng, 4))


async def change_other_table(table: Table, connection: Connection, rng: random.Random) -> None:
    assert table.change_other_table is not None
    await connection.execute(table.change_other_table)
    await insert(table, connection, rng)


async def write_bulk(table: Table, connection: Connection, rng: random.Random) -> None:
    rows = rng.randint(100, 2000)
    await connection.execute(table.insert_bulk if rng.random() < 0.6 else table.update_bulk, rows)


async def long_transaction(table: Table, connection: Connection, rng: random.Random) -> None:
    """Write early and commit late: its events have low ids and are delivered last."""
    await insert(table, connection, rng)
    await asyncio.sleep(rng.uniform(0.5, 6))
    await update_statuses(table, connection, rng)


SMALL_OPERATIONS: tuple[Operation, ...] = (
    insert,
    update_statuses,
    update_one_order_repeatedly,
    update_many,
    savepoints,
    copy,
    upsert,
    delete,
)
BULK_OPERATIONS: tuple[Operation, ...] = (write_bulk,)
