"""Eight writers that change `orders` in every way a shop does, as fast as they can."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Coroutine
from decimal import Decimal
from typing import Any

import asyncpg

WRITER_COUNT = 8
STATUSES = ("pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled")
# What a query raises when its connection is lost. No other error is expected, not even a deadlock.
OUTCOME_UNKNOWN = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.CannotConnectNowError,
)


def random_seed() -> int:
    """SEED of the environment, else a random one. Printed, so that a failure can be reproduced."""
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(2**32)))
    print(f"SEED={seed}")
    return seed


def affected_rows(tag: str) -> int:
    """The number of rows in a command tag such as ``UPDATE 5``."""
    return int(tag.split()[-1])


class WriteLoad:
    """Writers that stop when transactions that are known to be committed have changed ``changes`` rows."""

    def __init__(self, url: str, seed: int, changes: int) -> None:
        self._url = url
        self._seed = seed
        self._target_changes = changes
        self._progress = asyncio.Condition()
        self._newest_id = 1
        # Set by a disturbance that has not happened often enough yet: the writers go on.
        self.must_go_on = False
        self.committed_changes = 0
        self.rolled_back_changes = 0
        self.unknown_outcomes = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as writers:
            for number in range(WRITER_COUNT):
                writers.create_task(self._writer(random.Random(f"{self._seed} {number}")))

    async def run_while(self, disturbance: Coroutine[Any, Any, None]) -> None:
        """Run, with ``disturbance`` as a concurrent task that is cancelled at the end. Raises its error."""
        async with asyncio.TaskGroup() as both:
            concurrent = both.create_task(disturbance)
            await both.create_task(self.run())
            concurrent.cancel()

    async def wait_for_fraction(self, fraction: float) -> None:
        """Return when this fraction of the changes has been committed."""
        async with self._progress:
            await self._progress.wait_for(lambda: self.committed_changes >= fraction * self._target_changes)

    async def _writer(self, rng: random.Random) -> None:
        connection: Any = None
        while self.committed_changes < self._target_changes or self.must_go_on:
            try:
                if connection is None:
                    connection = await asyncpg.connect(self._url, timeout=5)
                changed = await self._transaction(connection, rng)
            except OUTCOME_UNKNOWN:
                self.unknown_outcomes += 1
                if connection is not None:
                    connection.terminate()
                    connection = None
                await asyncio.sleep(0.05)
                continue
            self.committed_changes += changed
            async with self._progress:
                self._progress.notify_all()
        await connection.close()

    async def _transaction(self, connection: Any, rng: random.Random) -> int:
        """Run a random transaction; return how many changed rows it has committed."""
        if rng.random() < 0.7:
            return await self._statement(connection, rng)
        transaction = connection.transaction()
        await transaction.start()
        changed = await self._statement(connection, rng)
        changed += await self._insert(connection, rng)
        savepoint = connection.transaction()
        await savepoint.start()
        within = await self._insert(connection, rng)
        within += affected_rows(await connection.execute("update orders set total = total + 1 where id = $1", self._newest_id))
        if rng.random() < 0.5:
            await savepoint.rollback()
            self.rolled_back_changes += within
        else:
            await savepoint.commit()
            changed += within
        changed += await self._insert(connection, rng)
        if rng.random() < 0.05:
            await asyncio.sleep(rng.random() / 4)  # commits after transactions that began later
        if rng.random() < 0.2:
            await transaction.rollback()
            self.rolled_back_changes += changed
            return 0
        await transaction.commit()
        return changed

    async def _statement(self, connection: Any, rng: random.Random) -> int:
        how = rng.random()
        if how < 0.25:
            return await self._insert(connection, rng)
        # A transaction locks rows in the order of their ids, the newest one last: no deadlocks.
        chosen = "select id from orders where id = any($1) order by id for update"
        if how < 0.9:
            return affected_rows(
                await connection.execute(
                    f"update orders set status = $2, total = total + 0.01 where id in ({chosen})",
                    self._random_ids(rng),
                    rng.choice(STATUSES),
                )
            )
        return affected_rows(await connection.execute(f"delete from orders where id in ({chosen})", self._random_ids(rng)))

    async def _insert(self, connection: Any, rng: random.Random) -> int:
        rows = [(f"Łucja {rng.random()}", Decimal(rng.randrange(10**6)) / 100) for _ in range(self._random_size(rng))]
        if rng.random() < 0.2:
            return affected_rows(
                await connection.copy_records_to_table("orders", records=rows, columns=["customer_name", "total"])
            )
        ids = await connection.fetch(
            "insert into orders (customer_name, total) select * from unnest($1::text[], $2::numeric[]) returning id",
            *zip(*rows, strict=True),
        )
        self._newest_id = max(self._newest_id, ids[-1]["id"])
        return len(ids)

    def _random_ids(self, rng: random.Random) -> list[int]:
        """Random ids, half of the time among the first 50, for which all writers compete."""
        upto = 50 if rng.random() < 0.5 else self._newest_id
        return [rng.randint(1, upto) for _ in range(self._random_size(rng))]

    def _random_size(self, rng: random.Random) -> int:
        return rng.choices((1, rng.randint(2, 20), 100), weights=(75, 20, 5))[0]
