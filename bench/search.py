"""Searches and filters 1,000,000 starter orders, without and with the indexes that attach advises: `make bench-search`.

Twenty kinds of request, each several times. What is measured is ``Database.list_orders``: the query and its connection.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import asyncpg

from bench.database import execute, start_postgres
from bench.machine import OtherLoad, describe
from db.database import Database
from push.protocol.order_list import OrderFilter, OrderPageRequest

ROWS = 1_000_000
ROWS_PER_STATEMENT = 100_000
RUNS = 7
LIMIT = 100
TARGET_MILLISECONDS = 150.0

# A year of orders. One of 50,000 has a rare name, every second a frequent one, and one of 100,000 a rare status.
FILL_SQL = """
insert into orders (order_number, customer_name, customer_id, total, status, created_at)
select
    'ORD-2026-' || lpad(n::text, 7, '0'),
    case when n % 50000 = 77 then 'Zbigniew Przybylski' when n % 2 = 0 then 'Иван Иванов' else 'Anna Nowak ' || n % 1000 end,
    'user-' || n % 200000,
    case when n % 100000 = 5 then 77777.77 else (n % 50000)::numeric / 100 end,
    case when n % 100000 = 5 then 'cancelled' else (array['delivered', 'ready', 'confirmed'])[1 + n % 3] end,
    '2026-01-01 00:00:00+00'::timestamptz + n * interval '31 seconds'
from generate_series($1::integer, $2::integer) as n
"""
INDEX_SQL = """
create extension if not exists pg_trgm;
create index on orders using gin (order_number gin_trgm_ops, customer_name gin_trgm_ops);
create index on orders (total);
analyze orders;
"""
OLD = datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 3, tzinfo=UTC)

KINDS: Mapping[str, OrderFilter] = {
    "number": OrderFilter(search="ORD-2026-0500000"),
    "number with #": OrderFilter(search="#ORD-2026-0123456"),
    "part of a number, rare": OrderFilter(search="0123456"),
    "part of a number, frequent": OrderFilter(search="ORD-2026"),
    "part of a number, old": OrderFilter(search="2026-00000"),
    "key": OrderFilter(search="250000"),
    "rare name": OrderFilter(search="Przybylski"),
    "part of a rare name": OrderFilter(search="zbign"),
    "frequent name": OrderFilter(search="Иван"),
    "name of one in 2,000": OrderFilter(search="Nowak 777"),
    "customer id": OrderFilter(search="user-123456"),
    "rare amount": OrderFilter(search="77777,77"),
    "amount": OrderFilter(search="150.50"),
    "whole amount": OrderFilter(search="150"),
    "missing text": OrderFilter(search="nothing like this"),
    "missing amount": OrderFilter(search="99999.99"),
    "rare status": OrderFilter(("cancelled",)),
    "two statuses, far back": OrderFilter(("cancelled", "ready"), created_from=OLD[0], created_to=OLD[1]),
    "far back": OrderFilter(created_from=OLD[0], created_to=OLD[1]),
    "status, dates and frequent name": OrderFilter(("ready",), "Иван", *OLD),
}


@dataclass(frozen=True, slots=True)
class Found:
    """``milliseconds``: the median. ``orders``: how many the first page has, of at most LIMIT."""

    milliseconds: float
    orders: int
    complete: bool


async def measure(database: Database, runs: int) -> dict[str, Found]:
    """The first page of each kind."""
    found = {}
    for name, wanted in KINDS.items():
        times = []
        for _ in range(runs):
            began = time.perf_counter()
            page = await database.list_orders(OrderPageRequest(LIMIT, wanted))
            times.append((time.perf_counter() - began) * 1000)
        found[name] = Found(statistics.median(times), len(page.orders), page.complete)
    return found


def table(without: Mapping[str, Found], indexed: Mapping[str, Found]) -> str:
    """Median milliseconds and orders of the first page, for each kind."""
    lines = [f"{'':<34}{'without index':>24}{'with index':>24}"]
    for name in KINDS:
        cells = [
            f"{found.milliseconds:,.1f} ms ({found.orders}{'' if found.complete else ', cut'})"
            for found in (without[name], indexed[name])
        ]
        lines.append(f"{name:<34}{cells[0]:>24}{cells[1]:>24}")
    medians = [statistics.median(found.milliseconds for found in kinds.values()) for kinds in (without, indexed)]
    lines.append(f"{'median of the kinds':<34}{medians[0]:>21,.1f} ms{medians[1]:>21,.1f} ms")
    slowest = max(found.milliseconds for found in indexed.values())
    verdict = "met" if medians[1] <= TARGET_MILLISECONDS else "NOT MET"
    lines.append(
        f"with the indexes a median of {TARGET_MILLISECONDS:.0f} ms or less: {verdict}; the slowest kind {slowest:,.1f} ms"
    )
    return "\n".join(lines)


async def fill(url: str, rows: int) -> None:
    connection = await asyncpg.connect(url, command_timeout=600)
    try:
        await connection.execute("set session_replication_role = replica")  # the journal is not what is measured
        for first in range(1, rows + 1, ROWS_PER_STATEMENT):
            await connection.execute(FILL_SQL, first, min(first + ROWS_PER_STATEMENT - 1, rows))
        await connection.execute("vacuum analyze orders")
    finally:
        await connection.close()


async def run(options: argparse.Namespace) -> bool:
    """Print the results; return whether the target was met."""
    async with start_postgres() as databases, databases.create("journal") as url:
        print(", ".join(describe().values()), "PostgreSQL", await databases.version())
        await fill(url, options.rows)
        with OtherLoad() as other_load:
            async with Database(url).open() as database:
                without = await measure(database, options.runs)
                began = time.perf_counter()
                await execute(url, INDEX_SQL)
                seconds = time.perf_counter() - began
                indexed = await measure(database, options.runs)
        print(
            f"{options.rows:,} orders, {options.runs} runs of each kind, pages of {LIMIT}; the indexes took {seconds:.0f} s;",
            end=" ",
        )
        print(f"processors that others used: {other_load.cpus:.2f}")
        text = table(without, indexed)
        print(text)
    return "NOT MET" not in text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.search", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS, help=f"orders in the table (default: {ROWS})")
    parser.add_argument("--runs", type=int, default=RUNS, help=f"requests of each kind (default: {RUNS})")
    options = parser.parse_args()
    # SIGTERM, like Ctrl-C, ends PostgreSQL too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if asyncio.run(run(options)) else 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
