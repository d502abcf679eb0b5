"""Instructions of a backend for one statement, counted by valgrind: `make bench-instructions OTHER=../before`.

Time on a machine that does other work as well says little about a change of 2 %; this count says it exactly. A PostgreSQL in
single-user mode (`postgres --single`) runs 50 statements under callgrind, and 250 on another copy of the same data; the
difference by 200 is one statement, without the start. The statements are of the simple protocol, each a transaction: parsing
and planning of the statement itself is in all figures. Not counted: what the kernel does, and the flush of the commit.

`--profiles DIRECTORY` keeps callgrind's files, for callgrind_annotate.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import asyncpg

from bench.database import execute
from bench.machine import CPUS
from bench.tables import SHOP, SHOP_WITH_JOIN, STARTER, Table
from bench.writers import DROP_TRIGGERS_SQL
from db.embedded.postgres import EmbeddedPostgres
from db.migrate import Source, migrate

# The statements of the short run warm the caches up: catalog, plans, the relation's last page.
SHORT, LONG = 50, 250
# Orders that are there before, and are updated.
ORDERS = 100
RUN_TIMEOUT_SECONDS = 600
SILENT_SQL = "set orders.notify = off"
# The lock notify_required, of a transaction that stays in the data directory: all writers of its database notify, as with a
# server (sql/functions/02_notify.sql).
PREPARED_TRANSACTIONS_SQL = "alter system set max_prepared_transactions = 10"
REQUIRE_NOTIFY_SQL = "begin; select pg_advisory_xact_lock_shared(1869767799, 1); prepare transaction '{}'"
NOTIFYING, SILENT = "notifying", "silent"
INSERT, UPDATE_STATUS, UPDATE_UNMAPPED = "INSERT", "UPDATE of the status", "UPDATE of an unmapped column"
STATEMENTS = (INSERT, UPDATE_STATUS, UPDATE_UNMAPPED)
OTHER = "starter table of the other checkout"


class CannotCount(Exception):
    """No instructions can be counted here; the text says why."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A table to write to; ``database`` is where it is."""

    name: str
    database: str
    table: Table
    create: Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Case:
    """What is counted: a statement on a table, notifying or silent."""

    subject: Subject
    statement: str
    mode: str

    @property
    def file_name(self) -> str:
        return f"{self.subject.database}-{STATEMENTS.index(self.statement)}-{self.mode}"


async def _create_without_triggers(url: str) -> None:
    await STARTER.create(url)
    await execute(url, DROP_TRIGGERS_SQL)


async def create_other(checkout: Path, url: str) -> None:
    """Create the starter table of another checkout. Raises CannotCount if that has no SQL of a known layout."""
    directory = checkout / "sql"
    if (directory / "starter" / "orders.sql").exists():
        await migrate(url, Source.load(directory))
        files = [directory / "starter" / "orders.sql"]
    else:
        # Before there was a starter table, the numbered files created `orders` together with the schema.
        files = sorted(directory.glob("[0-9][0-9][0-9]_*.sql"))
        if not files:
            raise CannotCount(f"{checkout} is no checkout of Orderwire: it has no sql/")
        await execute(url, "create schema orderwire; create table orderwire.migrations (number integer)")
    for file in files:
        await execute(url, "set search_path = pg_catalog, pg_temp;" + file.read_text(encoding="utf-8"))


def subjects(other: Path | None) -> list[Subject]:
    found = [
        Subject("starter table", "starter", STARTER, STARTER.create),
        Subject("no triggers", "bare", STARTER, _create_without_triggers),
        Subject("attached: uuid key, enum, cents", "attached", SHOP, SHOP.create),
        Subject("attached: the same, join and data", "attached_with_join", SHOP_WITH_JOIN, SHOP_WITH_JOIN.create),
    ]
    if other is not None:
        found.insert(0, Subject(OTHER, "other", STARTER, partial(create_other, other)))
    return found


def statements(table: Table, kind: str, count: int, keys: list[str]) -> Iterable[str]:
    """``count`` statements, one to a line. An update of the status changes it each time."""
    column, first, second = table.status
    for number in range(count):
        where = f"where id = '{keys[number % SHORT]}'"
        if kind == INSERT:
            yield table.insert
        elif kind == UPDATE_STATUS:
            yield f"update {table.name} set {column} = '{(first, second)[number // SHORT % 2]}' {where}"
        else:
            name, value = table.unmapped
            yield f"update {table.name} set {name} = {value} {where}"


async def prepare(postgres: EmbeddedPostgres, chosen: list[Subject]) -> dict[str, list[str]]:
    """Create the databases, with orders in them. Returns the keys of orders by database."""
    keys = {}
    for subject in chosen:
        await execute(postgres.url, f"create database {subject.database}")
        url = postgres.url.rsplit("/", 1)[0] + "/" + subject.database
        await subject.create(url)
        connection = await asyncpg.connect(url)
        try:
            for _ in range(ORDERS):
                await connection.execute(subject.table.insert)
            rows = await connection.fetch(f"select id::text from {subject.table.name} order by created_at, id")
            keys[subject.database] = [row["id"] for row in rows]
            await connection.execute("vacuum analyze")
            await connection.execute(REQUIRE_NOTIFY_SQL.format(subject.database))
            await connection.execute("checkpoint")
        finally:
            await connection.close()
    return keys


class Counter:
    """Counts on copies of one data directory, whose server has ended."""

    def __init__(self, postgres: EmbeddedPostgres, data: Path, scratch: Path, keys: dict[str, list[str]]) -> None:
        self._postgres = postgres
        self._data = data
        self._scratch = scratch
        self._keys = keys

    def per_statement(self, case: Case, profiles: Path | None) -> int:
        short, long = (self._run(case, count, profiles) for count in (SHORT, LONG))
        print(f"{case.statement}, {case.mode}: {case.subject.name}", file=sys.stderr)
        return round((long - short) / (LONG - SHORT))

    def _run(self, case: Case, count: int, profiles: Path | None) -> int:
        """The instructions of a whole run. Raises CannotCount."""
        copy = self._scratch / f"{case.file_name}-{count}"
        # cp and not shutil: it keeps the owner, which may be another account.
        subprocess.run(["cp", "-a", str(self._data), str(copy)], check=True)
        out = copy / "callgrind.out"
        lines = [SILENT_SQL] if case.mode == SILENT else []
        lines += statements(case.subject.table, case.statement, count, self._keys[case.subject.database])
        prefix, popen = self._postgres.run_as
        command = [
            *prefix,
            shutil.which("valgrind") or "valgrind",
            "--tool=callgrind",
            f"--callgrind-out-file={out}",
            str(self._postgres.bin_dir / "postgres"),
            "--single",
            "-D",
            str(copy),
            *("-c", "jit=off"),
            case.subject.database,
        ]
        done = subprocess.run(
            command,
            input="\n".join(lines) + "\n",
            capture_output=True,
            text=True,
            cwd="/",
            timeout=RUN_TIMEOUT_SECONDS,
            check=False,
            **popen,
        )
        # "Collected : 123456"
        words = [line.rpartition(":")[2].strip() for line in done.stderr.splitlines() if "Collected" in line]
        errors = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line or "FATAL" in line]
        if errors or not words:
            raise CannotCount(f"{case.file_name}: {(errors or done.stderr.splitlines() or ['no output'])[0]}")
        if profiles is not None:
            shutil.copy(out, profiles / f"{case.file_name}-{count}")
        shutil.rmtree(copy)
        return int(words[0])


def table(counts: dict[Case, int]) -> str:
    """A line for each subject, a block for each statement and mode; ratios to the first subject of the block."""
    lines = []
    for statement in STATEMENTS:
        for mode in (NOTIFYING, SILENT):
            block = {case: count for case, count in counts.items() if (case.statement, case.mode) == (statement, mode)}
            if not block:
                continue
            first = next(iter(block.values()))
            starter = next((count for case, count in block.items() if case.subject.database == "starter"), first)
            lines.append(f"\n{f'{statement}, {mode}':<44} {'instructions':>12}  {'/ first':>7}  {'/ starter':>9}")
            for case, count in block.items():
                lines.append(f"  {case.subject.name:<42} {count:>12,}  {count / first:>7.3f}  {count / starter:>9.3f}")
    return "\n".join(lines)


def count_all(options: argparse.Namespace) -> dict[Case, int]:
    """Raises CannotCount."""
    if shutil.which("valgrind") is None:
        raise CannotCount("valgrind is not installed: on Debian and Ubuntu, apt install valgrind")
    if options.profiles is not None:
        options.profiles.mkdir(parents=True, exist_ok=True)
    words = [word.lower() for word in options.only or [""]]
    chosen = subjects(options.other)
    with tempfile.TemporaryDirectory(prefix="orderwire-bench-") as name:
        directory = Path(name)
        postgres = EmbeddedPostgres(directory / "data", report=lambda line: None)
        postgres.start()
        try:
            asyncio.run(execute(postgres.url, PREPARED_TRANSACTIONS_SQL))
            postgres.release()
            postgres.start()
            keys = asyncio.run(prepare(postgres, chosen))
        finally:
            postgres.release()
        counter = Counter(postgres, directory / "data" / "postgres", directory / "data", keys)
        cases = [
            case
            for case in (Case(s, kind, mode) for kind in STATEMENTS for mode in (NOTIFYING, SILENT) for s in chosen)
            if any(word in f"{case.statement}, {case.mode}: {case.subject.name}".lower() for word in words)
        ]
        with ThreadPoolExecutor(options.jobs) as pool:
            return dict(zip(cases, pool.map(lambda case: counter.per_statement(case, options.profiles), cases), strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__.splitlines()[0])
    parser.add_argument("--other", type=Path, help="another checkout, whose starter table is counted as well")
    parser.add_argument("--only", action="append", help='of "statement, mode: table" those that contain this; repeatable')
    parser.add_argument("--jobs", type=int, default=len(CPUS), help="how many run at the same time")
    parser.add_argument("--profiles", type=Path, help="keep callgrind's files in this directory")
    options = parser.parse_args()
    # SIGTERM, like Ctrl-C, removes what was copied.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        print(table(count_all(options)))
    except CannotCount as error:
        print(f"bench.instructions: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
