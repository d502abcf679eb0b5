"""Measures a start on a large table, from the start of the process to "ready": by a scan and from a checkpoint, alternated.

    python -m bench.start --orders 1000000 --rounds 5

Also measures the query for the totals alone, on an open connection. The difference is the fixed cost of a start.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections import defaultdict
from typing import Any

import asyncpg

from bench.database import start_postgres
from bench.machine import describe
from tests.support import Server

FILL_SQL = """
insert into orders (order_number, customer_name, total, status)
select 'N-' || n, 'Иван Иванов', n % 500 + 0.5, (array['pending', 'ready', 'delivered', 'cancelled'])[1 + n % 4]
from generate_series(1, $1::int) as n
"""
EVENTS_SQL = "update orders set total = total + 1 where id <= $1"
# Number of events since the checkpoint; None: without a checkpoint.
VARIANTS = {"by a scan": None, "checkpoint": 0, "checkpoint, 10,000 events since": 10_000, "100,000 events since": 100_000}
EMPTY_TABLE = "empty table"


async def prepare(db: Any, events_since: int | None) -> str:
    """Bring the database into the state to measure; return the query that the server will use for the totals."""
    await db.fetch("select * from orderwire.scan_totals()")
    if events_since is None:
        await db.execute("delete from orderwire.checkpoint")
        return "select * from orderwire.scan_totals()"
    if events_since:
        await db.execute(EVENTS_SQL, events_since)
    return "select * from orderwire.totals_from_checkpoint()"


async def milliseconds_to_ready(url: str) -> float:
    start = time.perf_counter()
    server = await Server.serve(url, AUDIT_SECONDS="3600")
    await server.wait_until_ready()
    took = time.perf_counter() - start
    await server.kill()
    return 1000 * took


async def run(orders: int, rounds: int) -> None:
    async with start_postgres() as databases, databases.create("journal") as full, databases.create("journal") as empty:
        print(", ".join(describe().values()), "PostgreSQL", await databases.version())
        db = await asyncpg.connect(full, command_timeout=600)
        await db.execute(FILL_SQL, orders)
        await db.execute("vacuum analyze")
        ready: dict[str, list[float]] = defaultdict(list)
        totals: dict[str, list[float]] = defaultdict(list)
        for number in range(rounds):
            names = [EMPTY_TABLE, *VARIANTS]
            for name in names if number % 2 == 0 else names[::-1]:
                if name == EMPTY_TABLE:
                    ready[name].append(await milliseconds_to_ready(empty))
                    continue
                query = await prepare(db, VARIANTS[name])
                ready[name].append(await milliseconds_to_ready(full))
                start = time.perf_counter()
                assert await db.fetch(query), "the checkpoint was not used"
                totals[name].append(1000 * (time.perf_counter() - start))
        await db.close()
    print(f"\n{orders:,} orders, ms: median (range) of {rounds}\n{'':<34}{'ready after':>22}{'the totals alone':>22}")
    for name, found in ready.items():
        print(f"{name:<34}{_format_range(found):>22}{_format_range(totals[name]):>22}")


def _format_range(found: list[float]) -> str:
    return f"{statistics.median(found):.0f} ({min(found):.0f}–{max(found):.0f})" if found else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description="measure a start on a large table")
    parser.add_argument("--orders", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    asyncio.run(run(options.orders, options.rounds))


if __name__ == "__main__":
    main()
