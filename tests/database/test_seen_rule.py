"""The rule that resume relies on: a client that has an event has every event that the event's writer saw as committed."""

from __future__ import annotations

import asyncio
import os
import random
import statistics
from typing import Any

import asyncpg

from push.journal.events import Snapshot
from tests.support import TIMEOUT_SECONDS, open_connections

WRITERS = 8
EVENTS = 4000
PAGE_SQL = "select id from orderwire.journal_page($1, $2, $3, $4, 0, 1000000, 1000000000)"


class RollBack(Exception):
    """Rolls back a savepoint or a transaction."""


async def random_statement(connection: Any, choose: random.Random) -> None:
    if choose.random() < 0.5:
        count = choose.choice([1, 1, 2, 5])
        await connection.execute("insert into orders (customer_name, total) select 'c', n from generate_series(1, $1) n", count)
    else:
        await connection.execute(
            "update orders set total = total + 1 where id in (select id from orders where id % 40 = $1 limit 3)",
            choose.randrange(40),
        )


async def write_until(connection: Any, choose: random.Random, enough: asyncio.Event) -> None:
    while not enough.is_set():
        isolation: Any = choose.choice(["read_committed", "repeatable_read"])
        try:
            async with connection.transaction(isolation=isolation):
                for _ in range(choose.choice([1, 1, 2, 4])):
                    try:
                        async with connection.transaction():
                            await random_statement(connection, choose)
                            if choose.random() < 0.2:
                                raise RollBack
                    except RollBack:
                        pass
                    if choose.random() < 0.2:
                        await connection.execute("select pg_sleep($1)", choose.random() / 50)
                if choose.random() < 0.15:
                    raise RollBack
        except (RollBack, asyncpg.SerializationError, asyncpg.DeadlockDetectedError):
            pass


async def keep_one_transaction_open(pair: list[Any], enough: asyncio.Event) -> None:
    """Each long transaction commits after the next one has written."""
    current: Any = None
    round_number = 0
    while not enough.is_set():
        connection = pair[round_number % 2]
        following = connection.transaction()
        await following.start()
        await connection.execute("insert into orders (customer_name, total) values ('long', 1)")
        await connection.execute("select pg_sleep(0.25)")
        if current is not None:
            await current.commit()
        current = following
        round_number += 1
    await current.commit()


async def take_snapshots(connection: Any, enough: asyncio.Event) -> list[Snapshot]:
    """Take snapshots continuously, like the relay."""
    taken = []
    while not enough.is_set():
        taken.append(Snapshot(*await connection.fetchval("select pg_current_snapshot()")))
        if await connection.fetchval("select last_value from orderwire.journal_id_seq") >= EVENTS * 1.3:
            enough.set()
        await asyncio.sleep(0.004)
    return taken


def visible(txid: int, snapshot: Snapshot) -> bool:
    return txid < snapshot.xmax and txid not in snapshot.xip


async def test_every_event_is_a_cursor_after_which_nothing_is_missing(database_url: str, db: Any) -> None:
    seed = int(os.environ.get("SEEN_SEED", random.randrange(10**9)))
    print(f"SEEN_SEED={seed}")
    enough = asyncio.Event()
    async with (
        open_connections(database_url, WRITERS + 2) as pool,
        asyncio.timeout(3 * TIMEOUT_SECONDS),
        asyncio.TaskGroup() as tasks,
    ):
        taking = tasks.create_task(take_snapshots(db, enough))
        for number in range(WRITERS):
            tasks.create_task(write_until(pool[number], random.Random(seed + number), enough))
        tasks.create_task(keep_one_transaction_open(pool[WRITERS:], enough))
    snapshots = [*taking.result(), Snapshot(*await db.fetchval("select pg_current_snapshot()"))]
    rows = await db.fetch("select txid, id, seen from orderwire.journal")
    assert len(rows) > EVENTS / 2

    def batch(row: Any) -> int:
        """Index of the first snapshot that sees the row: the batches before it were delivered by then."""
        low, high = 0, len(snapshots) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if visible(row["txid"], snapshots[middle]) else (middle + 1, high)
        return low

    numbered = sorted(((batch(row), row["id"], row) for row in rows), key=lambda item: item[:2])
    delivered = [row_id for _, row_id, _ in numbered]
    assert delivered != sorted(delivered), "no transaction committed out of order: this run tests nothing"
    visible_upto = {number: position for position, (number, _, _) in enumerate(numbered, 1)}

    page = await db.prepare(PAGE_SQL)
    duplicates: list[int] = []
    own_rows = 0
    held: set[int] = set()
    for position, (number, row_id, row) in enumerate(numbered):
        held.add(row_id)
        # Usually compare the next five batches, for every fortieth event all of them.
        upto = len(snapshots) - 1 if position % 40 == 0 else min(number + 5, len(snapshots) - 1)
        last = max(visible_upto.get(n, 0) for n in range(number, upto + 1))
        answered = {found[0] for found in await page.fetch(row["seen"], row["txid"], row_id, snapshots[upto])}
        assert set(delivered[:last]) - held <= answered, f"event {row_id} of {row['txid']} as a cursor misses events"
        assert answered <= set(delivered[:last]), "not committed yet"
        duplicates.append(len(answered & held))
        own_rows += any(
            other["txid"] == row["txid"] and other["id"] > row_id for _, _, other in numbered[position + 1 : position + 9]
        )
    assert own_rows, "no transaction had a later row: this run tests nothing"
    median = statistics.median(duplicates)
    print(f"{len(rows)} cursors, {len(snapshots)} batches; duplicates: median {median:g}, worst {max(duplicates)}")


async def test_later_rows_of_a_transaction_come_after_the_events_in_between(database_url: str, db: Any) -> None:
    """A server that lags must not return the later rows of a transaction before the events committed in between."""
    await db.execute("insert into orders (customer_name, total) values ('a', 1), ('b', 1)")
    lagging = await db.fetchval("select pg_current_snapshot()")
    async with open_connections(database_url, 1) as (writer,), writer.transaction():
        await writer.execute("update orders set total = 2 where id = 1")
        await db.execute("update orders set total = 3 where id = 2")
        await writer.execute("update orders set total = 4 where id = 2")
    first = await db.fetchrow("select * from orderwire.journal order by id offset 2 limit 1")
    cursor = (first["seen"], first["txid"], first["id"])
    now = await db.fetchval("select pg_current_snapshot()")
    assert await db.fetch(PAGE_SQL, *cursor, lagging) == []
    assert await db.fetchval("select events from orderwire.journal_count($1, $2, $3, $4, 0, 100)", *cursor, lagging) == 0
    assert [row["id"] for row in await db.fetch(PAGE_SQL, *cursor, now)] == [first["id"] + 1, first["id"] + 2]
    assert await db.fetchval("select events from orderwire.journal_count($1, $2, $3, $4, 0, 100)", *cursor, now) == 2
