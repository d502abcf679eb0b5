"""Concurrent writers that change `orders` in every way an application may.

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

Connection = Any

STATUSES = ("pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled")
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

    def __init__(self, seed: int, url: Callable[[], str]) -> None:
        self._seed = seed
        self._url = url
        self.counts: Counter[str] = Counter()
        self.stopping = asyncio.Event()

    async def run(self) -> None:
        """Write until ``stopping`` is set and every writer has ended its last transaction."""
        async with asyncio.TaskGroup() as group:
            for number in range(WRITER_COUNT):
                group.create_task(self._write(f"writer {number}", PAUSE_SECONDS, SMALL_OPERATIONS))
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
                await operation(connection, rng)
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


Operation = Callable[[Connection, random.Random], Awaitable[None]]


async def random_ids(connection: Connection, rng: random.Random, max_count: int) -> list[int]:
    newest = await connection.fetchval("select coalesce(max(id), 1) from orders")
    low = max(1, newest - 400)
    return [rng.randint(low, newest) for _ in range(rng.randint(1, max_count))]


async def insert(connection: Connection, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 4)):
        await connection.execute(
            "insert into orders (customer_name, total) values ($1, $2)",
            rng.choice(("Иван", 'a"b\\', "O'Neil")),
            rng.randint(0, 999),
        )


async def update_statuses(connection: Connection, rng: random.Random) -> None:
    for order_id in await random_ids(connection, rng, 5):
        await connection.execute("update orders set status = $1 where id = $2", rng.choice(STATUSES), order_id)


async def update_one_order_repeatedly(connection: Connection, rng: random.Random) -> None:
    (order_id, *_) = await random_ids(connection, rng, 1)
    for _ in range(rng.randint(2, 5)):
        await connection.execute("update orders set total = total + 1 where id = $1", order_id)


async def update_many(connection: Connection, rng: random.Random) -> None:
    await connection.execute(
        "update orders set total = total + 0.01, customer_name = 'x' where id = any($1)", await random_ids(connection, rng, 10)
    )


async def savepoints(connection: Connection, rng: random.Random) -> None:
    await insert(connection, rng)
    for _ in range(rng.randint(1, 3)):
        try:
            async with connection.transaction():
                await update_statuses(connection, rng)
                if rng.random() < 0.5:
                    raise RolledBack
        except RolledBack:
            pass
    await insert(connection, rng)


async def copy(connection: Connection, rng: random.Random) -> None:
    rows = [("copied", rng.randint(1, 99)) for _ in range(rng.randint(5, 40))]
    await connection.copy_records_to_table("orders", records=rows, columns=["customer_name", "total"])


async def upsert(connection: Connection, rng: random.Random) -> None:
    for _ in range(rng.randint(1, 3)):
        await connection.execute(
            "insert into orders (order_number, customer_name, total) values ($1, 'upsert', 1)"
            " on conflict (order_number) do update set total = orders.total + 1, status = 'confirmed'",
            f"UP-{rng.randint(1, 30)}",
        )


async def delete(connection: Connection, rng: random.Random) -> None:
    await connection.execute("delete from orders where id = any($1)", await random_ids(connection, rng, 4))


async def write_bulk(connection: Connection, rng: random.Random) -> None:
    rows = rng.randint(100, 2000)
    if rng.random() < 0.6:
        await connection.execute(
            "insert into orders (customer_name, total) select 'bulk', n from generate_series(1, $1::int) n", rows
        )
    else:
        await connection.execute(
            "update orders set status = case status when 'ready' then 'delivering' else 'ready' end where id in"
            " (select id from orders order by id desc limit $1 for update skip locked)",
            rows,
        )


async def long_transaction(connection: Connection, rng: random.Random) -> None:
    """Write early and commit late: its events have low ids and are delivered last."""
    await insert(connection, rng)
    await asyncio.sleep(rng.uniform(0.5, 6))
    await update_statuses(connection, rng)


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
