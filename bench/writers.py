"""Scenarios that measure the writers, with durable commits, against the same table without triggers.

PostgreSQL, writers and server share all processors here, because the server is not what is measured.
"""

from __future__ import annotations

import asyncio
import math
import os
import re
import signal
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from bench.database import open_writer
from bench.inserts import DELIVERY_TIMEOUT_SECONDS, P50, P99, SETTLE_SECONDS, latencies
from bench.load import LoadGeneratorFailed
from bench.machine import cpu_seconds, on_all_cpus, process_tree
from bench.scenario import Bench, Measures, quantile, start_load_generator
from bench.subjects import SERVER, SERVER_ALWAYS_NOTIFY, SERVER_NEVER_NOTIFY, RunningServer, Subject
from bench.tables import SHOP, SHOP_WITH_JOIN, STARTER, Table

TRIGGERS = ("insert", "update", "delete", "truncate")
DROP_TRIGGERS_SQL = "".join(f"drop trigger zz_orderwire_{kind} on orders;" for kind in TRIGGERS)
DROP_SHOP_TRIGGERS_SQL = "".join(f"drop trigger zz_orderwire_{kind} on shop_orders;" for kind in TRIGGERS)
NAIVE_TRIGGER_SQL = """
create function naive() returns trigger language plpgsql as
$$ begin perform pg_notify('orders', row_to_json(new)::text); return null; end $$;
create trigger naive after insert or update on orders for each row execute function naive();
"""
# For every session that is opened afterwards.
NOTIFY_OFF_SQL = "do $$ begin execute format('alter database %I set orders.notify = off', current_database()); end $$"

# Connecting included, which takes most of a second on a busy machine.
WARM_UP_SECONDS = 2.0
MEASURED_SECONDS = 3.0
IDLE_SECONDS = 0.3
PACED_WRITERS = 4
PACED_RATE = 400
BULK_ROWS = 100_000
COMMITS = "commits/s"


@dataclass(frozen=True, slots=True)
class WriterSetup:
    """A way to observe the writes: changes of the schema, a server, a listener."""

    name: str
    sql: str = ""
    table: Table = STARTER
    # The template of its database (bench/database.py).
    template: str = "journal"
    server: Subject | None = None
    # Whether a connection listens on the channel and ignores the notifications.
    has_listener: bool = False
    # What is done to the server while commits are counted.
    meanwhile: Callable[[RunningServer], AbstractContextManager[None]] | None = None

    @asynccontextmanager
    async def start(self, bench: Bench) -> AsyncIterator[tuple[str, RunningServer | None]]:
        """Create a database in this set-up; yields its URL and the server, if there is one."""
        async with AsyncExitStack() as stack:
            stack.enter_context(on_all_cpus())
            url = await stack.enter_async_context(bench.databases.create(self.template))
            connection = await asyncpg.connect(url)
            stack.push_async_callback(connection.close)
            await connection.execute(self.sql or "select 1")
            running = await stack.enter_async_context(self.server.start(url)) if self.server else None
            if self.has_listener:
                await connection.add_listener("orders", lambda *_: None)
            yield url, running


def _each_thread(running: RunningServer) -> Iterator[int]:
    for process in process_tree(running.pid):
        yield from (int(task.name) for task in Path(f"/proc/{process}/task").iterdir())


@contextmanager
def idle_priority(running: RunningServer) -> Iterator[None]:
    """The server runs only when a processor has nothing else to do: below nice 19 (sched(7), SCHED_IDLE)."""
    for thread in _each_thread(running):
        os.sched_setscheduler(thread, os.SCHED_IDLE, os.sched_param(0))
    yield


@contextmanager
def frozen(running: RunningServer) -> Iterator[None]:
    """The server does nothing. Raises LoadGeneratorFailed unless NOTIFY is suppressed."""
    if not is_notify_suppressed(running.port):
        raise LoadGeneratorFailed("NOTIFY is not suppressed")
    os.killpg(running.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(running.pid, signal.SIGCONT)


NO_TRIGGERS = WriterSetup("no triggers", DROP_TRIGGERS_SQL)
NAIVE_NOTIFY = WriterSetup("naive row-level NOTIFY", DROP_TRIGGERS_SQL + NAIVE_TRIGGER_SQL, has_listener=True)
WITH_SERVER = WriterSetup(SERVER.name, server=SERVER)
# A table of the shop's own. Compare with its own line without triggers: it has other columns and indexes.
NO_SHOP_TRIGGERS = WriterSetup("attached table, no triggers", DROP_SHOP_TRIGGERS_SQL, SHOP, "attached")
WITH_SHOP = WriterSetup("attached table, uuid key", "", SHOP, "attached", SERVER)
WITH_SHOP_JOIN = WriterSetup("attached table, uuid key, join, data", "", SHOP_WITH_JOIN, "attached_with_join", SERVER)
JOURNAL_ALONE = WriterSetup("journal alone", NOTIFY_OFF_SQL)
ALWAYS_NOTIFY = WriterSetup(SERVER_ALWAYS_NOTIFY.name, server=SERVER_ALWAYS_NOTIFY)
NO_SERVER = WriterSetup("Orderwire, no server")
SETUPS_ON_SLOW_DISK = (NO_TRIGGERS, JOURNAL_ALONE, ALWAYS_NOTIFY, WITH_SERVER, NO_SERVER)
SETUPS = (
    NO_TRIGGERS,
    NAIVE_NOTIFY,
    JOURNAL_ALONE,
    ALWAYS_NOTIFY,
    WITH_SERVER,
    # Without the server's share of the processors: what is left is the triggers' own cost.
    WriterSetup("Orderwire, server at idle priority", server=SERVER, meanwhile=idle_priority),
    WriterSetup("Orderwire, server frozen", server=SERVER_NEVER_NOTIFY, meanwhile=frozen),
    NO_SERVER,
    NO_SHOP_TRIGGERS,
    WITH_SHOP,
    WITH_SHOP_JOIN,
)


async def small_transactions(bench: Bench, subject: WriterSetup, writers: int) -> Measures:
    """Measure transactions of one INSERT each, as fast as ``writers`` connections can commit."""
    async with subject.start(bench) as (url, running):
        await _pgbench(bench, url, subject.table, writers, WARM_UP_SECONDS)  # notify suppression begins, caches fill
        with subject.meanwhile(running) if subject.meanwhile and running else nullcontext():
            return {COMMITS: await _pgbench(bench, url, subject.table, writers, MEASURED_SECONDS)}


async def _pgbench(bench: Bench, url: str, table: Table, writers: int, seconds: float, *options: str) -> float:
    """Run pgbench; return transactions per second."""
    script = bench.databases.directory / "insert.sql"
    script.write_text(table.insert + ";\n")
    process = await asyncio.create_subprocess_exec(
        str(bench.databases.bin_dir / "pgbench"),
        "--no-vacuum",
        "--protocol=prepared",
        f"--file={script}",
        f"--client={writers}",
        "--jobs=1",
        f"--time={seconds:.0f}",
        *options,
        url,
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
        raise LoadGeneratorFailed(f"pgbench: {err.decode().strip() or 'no transaction before the time was over'}")
    return float(match[1])


async def bulk_statements(bench: Bench, subject: WriterSetup) -> Measures:
    """Measure statements of 100,000 rows."""
    table = subject.table
    column, value, _ = table.status
    rows = b"".join(table.copy_row % number for number in range(BULK_ROWS))
    statements: dict[str, Callable[[Any], Awaitable[object]]] = {
        "INSERT … SELECT": lambda db: db.execute(table.insert_many, BULK_ROWS),
        "UPDATE": lambda db: db.execute(f"update {table.name} set {column} = '{value}'"),
        "COPY": lambda db: db.copy_to_table(table.name, source=_chunks(rows), columns=list(table.copy_columns), format="text"),
    }
    found = {}
    async with subject.start(bench) as (url, running):
        db = await asyncpg.connect(url, command_timeout=300)
        for what, run in statements.items():
            if what == "COPY":
                await db.execute(
                    f"set session_replication_role = replica; truncate {table.name}; reset session_replication_role"
                )
            await db.execute(f"vacuum analyze {table.name}")
            await db.execute("checkpoint")
            if running is not None:
                await _wait_until_idle(running.pid)  # it may still read the events of the previous statement
            start = time.perf_counter()
            await run(db)
            found[statement_seconds(what)] = time.perf_counter() - start
        await db.close()
    return found


async def _wait_until_idle(pid: int) -> None:
    """Return when the process uses less than a tenth of a processor."""
    async with asyncio.timeout(DELIVERY_TIMEOUT_SECONDS):
        before = -math.inf
        while (now := cpu_seconds(pid)) - before > 0.1 * IDLE_SECONDS:
            before = now
            await asyncio.sleep(IDLE_SECONDS)


def statement_seconds(statement: str) -> str:
    """The name of the measure."""
    return f"s, {statement}"


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1 << 16):
        yield data[start : start + (1 << 16)]


async def notify_suppressed(bench: Bench, subject: Subject) -> Measures:
    """Measure from just before an INSERT to a client, while others commit so often that NOTIFY is suppressed."""
    async with bench.start_server(subject, written=True) as (running, url), start_load_generator(running) as load:
        with on_all_cpus():
            length = WARM_UP_SECONDS + bench.size.seconds
            pace = f"--rate={PACED_RATE}"
            other_writers = asyncio.create_task(_pgbench(bench, url, STARTER, PACED_WRITERS, length + 1, pace))
            try:
                async with open_writer(url, durable=True) as writer:
                    await load.connect(1)
                    await asyncio.sleep(WARM_UP_SECONDS)
                    await load.command("reset")
                    written = await writer.insert_at_rate(50, bench.size.seconds)
                    await asyncio.sleep(SETTLE_SECONDS)
                    if not await asyncio.to_thread(is_notify_suppressed, running.port):
                        raise LoadGeneratorFailed("NOTIFY is not suppressed")
                    await other_writers
            finally:
                other_writers.cancel()
                await asyncio.wait([other_writers])
        late = latencies(await load.command("report"), 1, written)
        return {P50: quantile(late, 0.5), P99: quantile(late, 0.99)}


def is_notify_suppressed(port: int) -> bool:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        return b"\norderwire_notify_suppressed 1" in answer.read()
