"""One PostgreSQL for the whole run, with a new database for each measured server, and the writers."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import asyncpg

from bench.load import HERE, compile_c
from bench.tables import SHOP, SHOP_WITH_JOIN, STARTER
from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate

WRITERS = 8
FLUSH_MILLISECONDS = 5
# A writer is a procedure in PostgreSQL: a client process would take processor time from the receivers. The intervals are
# exponentially distributed, so that no timer of a server is hit or missed each time. Each order is one transaction. Orders that
# are not yet written after `seconds` are skipped.
WRITER_SQL = """
create procedure pg_temp.write(number bigint, step int, rate float8, seconds float8, inout written bigint)
language plpgsql as $$
declare
    start   constant timestamptz := clock_timestamp();
    due     float8 := 0;
    elapsed float8 := 0;
    mark    text;
begin
    written := 0;
    loop
        due := due - ln(1 - random()) / rate;
        exit when greatest(due, elapsed) >= seconds;
        perform pg_sleep(due - elapsed);
        commit;
        mark := rpad(format('@@%s:%s@@', number, (extract(epoch from clock_timestamp()) * 1e9)::bigint), 40, 'x');
        insert into orders (customer_name, total) values (mark, 150.50);
        commit;
        written := written + 1;
        number := number + step;
        elapsed := extract(epoch from clock_timestamp() - start);
    end loop;
end
$$
"""
CALL_WRITER_SQL = "call pg_temp.write($1, $2, $3, $4, null)"
BULK_SQL = "insert into orders (customer_name, total) select $1, 150.50 from generate_series(1, $2)"
# The usual set-up without a journal: a row-level trigger sends the row as the payload.
NAIVE_SQL = """
create table orders (
    id bigint generated always as identity primary key,
    order_number text not null default 'ORD-2026-001',
    customer_name text not null,
    total numeric(12, 2) not null,
    status text not null default 'pending',
    created_at timestamptz not null default now()
);
create function notify_row() returns trigger language plpgsql as
$$ begin perform pg_notify('orders', row_to_json(new)::text); return null; end $$;
create trigger notify_row after insert on orders for each row execute function notify_row();
"""

# Size of the template database "million".
TEMPLATE_ROWS = 1_000_000
ROWS_PER_STATEMENT = 100_000
# A copied journal recognizes that it is a copy and draws a new epoch; this makes the copy keep its epoch.
KEEP_EPOCH_SQL = """
update orderwire.journal_identity
set database_oid = (select oid from pg_database where datname = current_database())
"""


async def _set_up_naive(url: str) -> None:
    await execute(url, NAIVE_SQL)


async def _set_up_million(url: str) -> None:
    await STARTER.create(url)
    for _ in range(TEMPLATE_ROWS // ROWS_PER_STATEMENT):
        await execute(url, BULK_SQL.replace("$1", "'Иван Иванов'").replace("$2", str(ROWS_PER_STATEMENT)))
    await execute(url, "vacuum analyze")


# Template databases: name → the function that fills it. A template is created when its first copy is needed.
TEMPLATES: dict[str, Callable[[str], Awaitable[object]]] = {
    "migrated": migrate,
    "journal": STARTER.create,
    "naive": _set_up_naive,
    "million": _set_up_million,
    "attached": SHOP.create,
    "attached_with_join": SHOP_WITH_JOIN.create,
}


class Databases:
    """Creates databases in one PostgreSQL."""

    def __init__(self, postgres: EmbeddedPostgres, directory: Path) -> None:
        # A temporary directory that exists as long as the PostgreSQL.
        self.directory = directory
        self.bin_dir = postgres.bin_dir
        self._postgres = postgres
        self._url = postgres.url
        self._ids = itertools.count(1)
        self._templates: set[str] = set()

    @property
    def postmaster_pid(self) -> int:
        """The parent of all other processes of PostgreSQL."""
        pid = self._postgres.pid
        assert pid is not None
        return pid

    @asynccontextmanager
    async def create(self, template: str) -> AsyncIterator[str]:
        """Create a copy of a template; yields its URL and drops it afterwards."""
        if template not in self._templates:
            await execute(self._url, f"create database {template}")
            await TEMPLATES[template](self._address(template))
            self._templates.add(template)
        name = f"bench_{next(self._ids)}"
        # PostgreSQL 14 does not know the option.
        strategy = "strategy file_copy" if int((await self.version()).split(".")[0]) >= 15 else ""
        await execute(self._url, f"create database {name} template {template} {strategy}")
        try:
            if template != "naive":
                await execute(self._address(name), KEEP_EPOCH_SQL)
            yield self._address(name)
        finally:
            await execute(self._url, f"drop database {name} with (force)")

    def _address(self, name: str) -> str:
        return self._url.rsplit("/", 1)[0] + "/" + name

    async def version(self) -> str:
        admin = await asyncpg.connect(self._url)
        try:
            return str(await admin.fetchval("show server_version"))
        finally:
            await admin.close()


async def execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url, command_timeout=300)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


class SlowDiskPostgres(EmbeddedPostgres):
    """A PostgreSQL whose disk needs FLUSH_MILLISECONDS longer for each flush (slow_flush.c)."""

    @cached_property
    def run_as(self) -> tuple[list[str], dict[str, Any]]:
        prefix, popen = super().run_as
        library = compile_c(HERE / "slow_flush.c", "-shared", "-fPIC")
        return ["env", f"LD_PRELOAD={library}", f"SLOW_FLUSH_MS={FLUSH_MILLISECONDS}", *prefix], popen


@asynccontextmanager
async def start_postgres(kind: type[EmbeddedPostgres] = EmbeddedPostgres) -> AsyncIterator[Databases]:
    with tempfile.TemporaryDirectory(prefix="orderwire-bench-") as name:
        directory = Path(name)
        postgres = kind(directory / "data", report=lambda line: None)
        await asyncio.to_thread(postgres.start)
        try:
            yield Databases(postgres, directory)
        finally:
            await asyncio.to_thread(postgres.release)


def mark(number: int) -> str:
    """A customer's name that tells the load generator the number and the time of writing (loadgen.c)."""
    return f"@@{number}:{time.time_ns()}@@".ljust(40, "x")


class Writer:
    """Inserts orders at a rate, over several connections."""

    def __init__(self, connections: list[Any]) -> None:
        self._connections = connections
        # The number of the next mark.
        self._number = 0

    async def insert_at_rate(self, rate: float, seconds: float) -> int:
        """Return how many orders were written: fewer than rate × seconds if the database did not keep up."""
        step, first = len(self._connections), self._number
        counts = await asyncio.gather(
            *(c.fetchval(CALL_WRITER_SQL, first + n, step, rate / step, seconds) for n, c in enumerate(self._connections))
        )
        self._number += step * max(counts)
        return sum(counts)

    async def insert_bulk(self, rows: int) -> None:
        """Insert ``rows`` orders with one statement."""
        await self._connections[0].execute(BULK_SQL, mark(self._number), rows)
        self._number += 1


async def newest_cursor(url: str) -> str:
    """The cursor of the event that was recorded last."""
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("select event->>'id' from orderwire.events order by txid desc, id desc limit 1"))
    finally:
        await connection.close()


@asynccontextmanager
async def open_writer(url: str, *, durable: bool = False, connections: int = WRITERS) -> AsyncIterator[Writer]:
    settings = {"synchronous_commit": "on" if durable else "off"}
    async with AsyncExitStack() as stack:
        opened = []
        for number in range(connections):
            opened.append(await asyncpg.connect(url, server_settings=settings))
            stack.push_async_callback(opened[-1].close)
            await opened[-1].execute(WRITER_SQL)
            # The same random intervals for every server.
            await opened[-1].execute("select setseed($1::float8)", number / WRITERS)
        yield Writer(opened)


async def server_backends(url: str) -> list[int]:
    """The process ids of PostgreSQL's backends for the connections of a server of ours; empty for another server."""
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "select pid from pg_stat_activity where datname = current_database() and application_name like 'orderwire%'"
        )
    finally:
        await connection.close()
    return [row["pid"] for row in rows]
