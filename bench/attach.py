"""Attaches a big table while others write to it and read it, and measures how long they wait: `make bench-attach`.

1,500,000 orders with a uuid key. Eight connections write as fast as they can, and two read; pgbench notes how long each of
their transactions takes. Attaching locks the table for a moment, and gives up when it does not get the lock within a second,
since all writers wait behind it; so it is tried again every two seconds. Once with no other transaction, and once while one
that has written to the table stays open for five seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from bench.database import Databases, start_postgres
from bench.machine import OtherLoad, describe
from bench.start import milliseconds_to_ready
from bench.tables import ATTACH_SQL, SHOP, SHOP_MAP, SHOP_MAP_WITH_JOIN, create_shop

ROWS = 1_500_000
ROWS_PER_STATEMENT = 100_000
WRITERS, READERS = 8, 2
SECONDS = 20
# The table is attached so long after the writers have begun.
BEFORE_SECONDS = 6.0
HELD_SECONDS = 5.0
RETRY_SECONDS = 2.0
MAX_WAIT_SECONDS = 1.2
POLL_SECONDS = 0.005
DETACH_ATTEMPTS = 10
PHASES = ("before", "during", "after")

FILL_SQL = """
insert into shop_orders (customer_id, customer_name, total_cents, state, created_at)
select
    lpad((1 + n % 100)::text, 32, '0')::uuid, 'Иван Иванов', n % 50000,
    (array['new', 'paid', 'shipped', 'cancelled'])[1 + n % 4]::order_state, now() - n * interval '1 second'
from generate_series(1, $1::integer) as n
"""
WRITER_SCRIPT = f"""
\\set number random(1, :rows)
{SHOP.insert};
update shop_orders set state = 'paid' where number = :number;
"""
READER_SCRIPT = """
\\set number random(1, :rows)
select * from shop_orders where number between :number and :number + 50 order by number;
"""


class AttachFailed(Exception):
    """The measurement went wrong; the text says how."""


@dataclass(frozen=True, slots=True)
class Span:
    """A transaction of pgbench: its start and end, in seconds since the epoch."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def phase(self, attach: Span) -> str:
        """Before, during or after: a transaction that overlaps with the attaching was during it."""
        if self.end < attach.start:
            return "before"
        return "after" if self.start > attach.end else "during"


@dataclass(frozen=True, slots=True)
class Found:
    """What one run found."""

    attach: Span
    attempts: int
    # The last attempt, the one that was successful.
    last_attempt: Span
    writers: list[Span]
    readers: list[Span]
    failures: int
    first_event: float
    count: float
    from_checkpoint: float
    ready: float
    other_cpus: float


def parse_log(text: str) -> list[Span]:
    """The transactions of a log of pgbench: client, number, microseconds, script, and when it ended."""
    found = []
    for line in text.splitlines():
        _client, _number, took, _script, seconds, microseconds = line.split()[:6]
        end = int(seconds) + int(microseconds) / 1e6
        found.append(Span(end - int(took) / 1e6, end))
    return found


def count_failures(out: str, err: str) -> int:
    """Transactions that failed: those that pgbench counts, and each client that it aborted for an error."""
    match = re.search(r"number of failed transactions: (\d+)", out)
    return (int(match[1]) if match else 0) + len(re.findall(r"client \d+ .*aborted", err))


class Pgbench:
    """pgbench with a script of ours; ``spans`` and ``failures`` are there after ``wait``."""

    def __init__(self, databases: Databases, url: str, name: str, script: str, clients: int, rows: int, seconds: int) -> None:
        self._directory = databases.directory
        self._prefix = databases.directory / f"{name}-log"
        path = databases.directory / f"{name}.sql"
        path.write_text(script)
        self._command = [
            str(databases.bin_dir / "pgbench"),
            "--no-vacuum",
            "--protocol=prepared",
            f"--define=rows={rows}",
            f"--file={path}",
            f"--client={clients}",
            "--jobs=1",
            f"--time={seconds}",
            "--log",
            f"--log-prefix={self._prefix}",
            url,
        ]
        self.spans: list[Span] = []
        self.failures = 0

    async def run(self) -> None:
        process = await asyncio.create_subprocess_exec(
            *self._command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        try:
            out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
        self.failures = count_failures(out.decode(), err.decode())
        if process.returncode and not self.failures:
            raise AttachFailed(f"pgbench: {err.decode().strip()}")
        for path in self._directory.glob(f"{self._prefix.name}.*"):
            self.spans += parse_log(path.read_text())
            path.unlink()


async def attach(connection: Any, map_: dict[str, object]) -> tuple[Span, int, Span]:
    """Attach the table, in as many attempts as it takes. Returns all of it, the number of attempts, and the last of them."""
    start = time.time()
    for attempt in range(1, 100):
        began = time.time()
        try:
            await connection.fetch(ATTACH_SQL, json.dumps(map_))
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(RETRY_SECONDS)
        else:
            end = time.time()
            return Span(start, end), attempt, Span(began, end)
    raise AttachFailed("the table could not be locked")


@asynccontextmanager
async def open_transaction(url: str, seconds: float) -> AsyncIterator[None]:
    """A transaction that has written to the table and stays open for so long, beginning now."""
    connection = await asyncpg.connect(url)
    try:
        transaction = connection.transaction()
        await transaction.start()
        await connection.execute(SHOP.insert)

        async def end_later() -> None:
            await asyncio.sleep(seconds)
            await transaction.commit()

        ending = asyncio.create_task(end_later())
        yield
        await ending
    finally:
        await connection.close()


async def seconds_until_event(connection: Any, since: float, load: asyncio.Future[Any]) -> float:
    while not await connection.fetchval("select exists (select from orderwire.journal)"):
        if load.done():
            raise AttachFailed("no event: the writers had ended before the table was attached")
        await asyncio.sleep(POLL_SECONDS)
    return time.time() - since


async def measure(databases: Databases, url: str, rows: int, seconds: int, map_: dict[str, object], *, held: bool) -> Found:
    """Attach under load once, and take the table out again."""
    writers = Pgbench(databases, url, "writers", WRITER_SCRIPT, WRITERS, rows, seconds)
    readers = Pgbench(databases, url, "readers", READER_SCRIPT, READERS, rows, seconds)
    connection = await asyncpg.connect(url, command_timeout=600)
    try:
        with OtherLoad() as other_load:
            load = asyncio.gather(writers.run(), readers.run())
            await asyncio.sleep(BEFORE_SECONDS)
            if held:
                async with open_transaction(url, HELD_SECONDS):
                    whole, attempts, last = await attach(connection, map_)
            else:
                whole, attempts, last = await attach(connection, map_)
            first_event = await seconds_until_event(connection, whole.end, load)
            count, from_checkpoint = [
                await _timed(connection, f"select * from orderwire.{function}()")
                for function in ("scan_totals", "totals_from_checkpoint")
            ]
            await load
        await _check_totals(connection)
        ready = await milliseconds_to_ready(url) / 1000
        await _reset(connection)
    finally:
        await connection.close()
    return Found(
        whole,
        attempts,
        last,
        writers.spans,
        readers.spans,
        writers.failures + readers.failures,
        first_event,
        count,
        from_checkpoint,
        ready,
        other_load.cpus,
    )


async def _timed(connection: Any, query: str) -> float:
    start = time.perf_counter()
    if not await connection.fetch(query):
        raise AttachFailed(f"{query}: no row")
    return time.perf_counter() - start


async def _check_totals(connection: Any) -> None:
    """The checkpoint and the events since have to make what the table has. Raises AttachFailed."""
    columns = "total_orders, total_revenue, pending_orders"
    by_events = await connection.fetchrow(f"select {columns} from orderwire.totals_from_checkpoint()")
    by_query = await connection.fetchrow(f"select {columns} from orderwire.order_analytics")
    if by_events is not None and tuple(by_events) != tuple(by_query):
        raise AttachFailed(f"an event was lost: by events {tuple(by_events)}, by query {tuple(by_query)}")


async def _reset(connection: Any) -> None:
    for attempt in range(DETACH_ATTEMPTS):
        try:
            await connection.fetch("select orderwire.detach()")
            break
        except asyncpg.LockNotAvailableError:  # autovacuum
            if attempt == DETACH_ATTEMPTS - 1:
                raise
    await connection.execute("truncate orderwire.journal; delete from orderwire.checkpoint")


def describe_run(name: str, found: Found) -> str:
    """The lines of one run."""
    lines = [f"\n{name}", f"  {'longest wait, ms (transactions)':<34}" + "".join(f"{phase:>20}" for phase in PHASES)]
    longest = 0.0
    for who, spans in (("a writer", found.writers), ("a reader", found.readers)):
        cells = []
        for phase in PHASES:
            taken = [span.seconds for span in spans if span.phase(found.attach) == phase]
            longest = max(longest, *taken, 0.0)
            cells.append(f"{max(taken, default=0.0) * 1000:,.0f} ({len(taken):,})")
        lines.append(f"    {who:<32}" + "".join(f"{cell:>20}" for cell in cells))
    verdict = "met" if longest <= MAX_WAIT_SECONDS and not found.failures else "NOT MET"
    lines += [
        f"  failures                          {found.failures}",
        f"  attached after                    {found.attach.seconds:.2f} s, attempt {found.attempts}"
        f" (that one {found.last_attempt.seconds:.2f} s)",
        f"  first event after                 {found.first_event * 1000:.0f} ms",
        f"  first count of the totals         {found.count:.2f} s",
        f"  the totals from the checkpoint    {found.from_checkpoint * 1000:.0f} ms",
        f"  start of a server until ready     {found.ready:.2f} s",
        f"  processors that others used       {found.other_cpus:.2f}",
        f"  no failure, and no wait longer than {MAX_WAIT_SECONDS} s: {longest:.2f} s, {verdict}",
    ]
    return "\n".join(lines)


async def run(options: argparse.Namespace) -> bool:
    """Print the results; return whether every target was met."""
    texts = []
    map_ = SHOP_MAP_WITH_JOIN if options.join else SHOP_MAP
    async with start_postgres() as databases, databases.create("migrated") as url:
        print(", ".join(describe().values()), "PostgreSQL", await databases.version())
        await create_shop(url)
        connection = await asyncpg.connect(url, command_timeout=600)
        for _ in range(0, options.rows, ROWS_PER_STATEMENT):
            await connection.execute(FILL_SQL, min(options.rows, ROWS_PER_STATEMENT))
        await connection.execute("vacuum analyze")
        await connection.execute("checkpoint")
        await connection.close()
        for held in (False, True):
            name = f"a transaction stays open for {HELD_SECONDS:.0f} s" if held else "no other transaction"
            print(f"{options.rows:,} orders, {WRITERS} writers, {READERS} readers: {name}", file=sys.stderr)
            found = await measure(databases, url, options.rows, options.seconds, map_, held=held)
            texts.append(describe_run(f"{options.rows:,} orders, {WRITERS} writers, {READERS} readers; {name}", found))
            print(texts[-1], flush=True)
    return not any("NOT MET" in text for text in texts)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.attach", description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS, help=f"orders in the table (default: {ROWS})")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"how long the load lasts (default: {SECONDS})")
    parser.add_argument("--join", action="store_true", help="with a map that joins another table and has data")
    options = parser.parse_args()
    # SIGTERM, like Ctrl-C, ends PostgreSQL too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if asyncio.run(run(options)) else 1
    except AttachFailed as error:
        print(f"bench.attach: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
