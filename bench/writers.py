"""What a writer pays for being watched, with durable commits: against the same table without triggers.

PostgreSQL, writers and server share all processors here: it is the writers who are measured, not the server.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg

from bench.database import writing
from bench.inserts import P50, P99, SETTLE_SECONDS, STUCK_SECONDS, latencies
from bench.load import LoadFailed
from bench.machine import cpu_seconds, on_all_cpus
from bench.scenario import Bench, Measures, loading, quantile
from bench.subjects import SERVER, SERVER_ALWAYS, Running, Subject

INSERT = "insert into orders (customer_name, total) values ('Иван Иванов', 150.50);"
WITHOUT = "drop trigger orders_00_journal_begin on orders;" + "".join(
    f"drop trigger orders_90_journal_{kind} on orders;" for kind in ("insert", "update", "delete", "truncate")
)
NAIVE = """
create function naive() returns trigger language plpgsql as
$$ begin perform pg_notify('orders', row_to_json(new)::text); return null; end $$;
create trigger naive after insert or update on orders for each row execute function naive();
"""
# For every session from then on.
SILENT = "do $$ begin execute format('alter database %I set orders.notify = off', current_database()); end $$"

WARM_SECONDS = 1.0
MEASURED_SECONDS = 3.0
IDLE_SECONDS = 0.3
PACED_WRITERS = 4
PACED_RATE = 400
BULK_ROWS = 100_000
COLUMNS = ["order_number", "customer_name", "total"]
COMMITS = "commits/s"


@dataclass(frozen=True, slots=True)
class Watch:
    """Who watches a database, and how it is changed for that."""

    name: str
    change: str = ""
    server: Subject | None = None
    # Somebody who listens, and does nothing.
    ear: bool = False

    @asynccontextmanager
    async def begun(self, bench: Bench) -> AsyncIterator[tuple[str, Running | None]]:
        """The address of a database that is watched, and the server that does."""
        async with AsyncExitStack() as stack:
            stack.enter_context(on_all_cpus())
            url = await stack.enter_async_context(bench.databases.fresh("journal"))
            connection = await asyncpg.connect(url)
            stack.push_async_callback(connection.close)
            await connection.execute(self.change or "select 1")
            running = await stack.enter_async_context(self.server.running(url)) if self.server else None
            if self.ear:
                await connection.add_listener("orders", lambda *_: None)
            yield url, running


NO_TRIGGERS = Watch("no triggers", WITHOUT)
NAIVE_NOTIFY = Watch("naive row-level NOTIFY", WITHOUT + NAIVE, ear=True)
WATCHED = Watch(SERVER.name, server=SERVER)
WATCHES = (
    NO_TRIGGERS,
    NAIVE_NOTIFY,
    Watch("journal alone", SILENT),
    Watch(SERVER_ALWAYS.name, server=SERVER_ALWAYS),
    WATCHED,
    Watch("Orderwire, no server"),
)


async def commits(bench: Bench, subject: Watch, writers: int) -> Measures:
    """Transactions of one INSERT each, as fast as so many connections can."""
    async with subject.begun(bench) as (url, _):
        await _pgbench(bench, url, writers, WARM_SECONDS)  # the gate opens, the caches fill
        return {COMMITS: await _pgbench(bench, url, writers, MEASURED_SECONDS)}


async def _pgbench(bench: Bench, url: str, writers: int, seconds: float, *options: str) -> float:
    """Transactions a second."""
    script = bench.databases.directory / "insert.sql"
    script.write_text(INSERT)
    process = await asyncio.create_subprocess_exec(
        *(str(bench.databases.bin_dir / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={script}"),
        *(f"--client={writers}", "--jobs=1", f"--time={seconds:.0f}", *options, url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    match = re.search(rb"tps = ([0-9.]+)", out)
    if process.returncode or match is None:
        raise LoadFailed(f"pgbench: {err.decode()}")
    return float(match[1])


async def big_statements(bench: Bench, subject: Watch) -> Measures:
    """100,000 rows at once."""
    rows = b"".join(b"C-%d\tbulk\t%d.50\n" % (number, number % 500) for number in range(BULK_ROWS))
    statements: dict[str, Callable[[Any], Awaitable[object]]] = {
        "INSERT … SELECT": lambda db: db.execute(
            "insert into orders (order_number, customer_name, total) "
            f"select 'I-' || n, 'bulk', n % 500 + 0.5 from generate_series(1, {BULK_ROWS}) n"
        ),
        "UPDATE": lambda db: db.execute("update orders set status = 'ready'"),
        "COPY": lambda db: db.copy_to_table("orders", source=_chunks(rows), columns=COLUMNS, format="text"),
    }
    found = {}
    async with subject.begun(bench) as (url, running):
        db = await asyncpg.connect(url, command_timeout=300)
        for what, run in statements.items():
            if what == "COPY":
                await db.execute("set session_replication_role = replica; truncate orders; reset session_replication_role")
            await db.execute("vacuum analyze orders")
            await db.execute("checkpoint")
            if running is not None:
                await _idle(running.pid)  # what it still reads of the statement before is not this one's cost
            start = time.perf_counter()
            await run(db)
            found[seconds(what)] = time.perf_counter() - start
        await db.close()
    return found


async def _idle(pid: int) -> None:
    """Return when the process has next to nothing to do."""
    async with asyncio.timeout(STUCK_SECONDS):
        before = -math.inf
        while (now := cpu_seconds(pid)) - before > 0.1 * IDLE_SECONDS:
            before = now
            await asyncio.sleep(IDLE_SECONDS)


def seconds(statement: str) -> str:
    """The measure's name."""
    return f"s, {statement}"


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1 << 16):
        yield data[start : start + (1 << 16)]


async def behind_the_gate(bench: Bench, subject: Subject) -> Measures:
    """From just before an INSERT until a client has it, while others commit so often that NOTIFY has stepped aside."""
    async with bench.server(subject, written=True) as (running, url), loading(running) as load:
        with on_all_cpus():
            length = WARM_SECONDS + bench.size.seconds
            pace = f"--rate={PACED_RATE}"
            others = asyncio.create_task(_pgbench(bench, url, PACED_WRITERS, length + 1, pace))
            try:
                async with writing(url, durable=True) as writer:
                    await load.connect(1)
                    await asyncio.sleep(WARM_SECONDS)
                    await load.command("reset")
                    written = await writer.write(50, bench.size.seconds)
                    await asyncio.sleep(SETTLE_SECONDS)
                    if not await asyncio.to_thread(_gate_is_open, running.port):
                        raise LoadFailed("the gate is not open")
                    await others
            finally:
                others.cancel()
                await asyncio.wait([others])
        late = latencies(await load.command("report"), 1, written)
        return {P50: quantile(late, 0.5), P99: quantile(late, 0.99)}


def _gate_is_open(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return b"\norderwire_gate_open 1" in answer.read()
