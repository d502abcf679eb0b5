"""One PostgreSQL for the whole run, a database for each server, and somebody who writes into it."""

from __future__ import annotations

import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from db.embedded import EmbeddedPostgres
from db.migrate import migrate

WRITERS = 8
INSERT = "insert into orders (customer_name, total) values ($1, 150.50)"
BULK = "insert into orders (customer_name, total) select $1, 150.50 from generate_series(1, $2)"
# What a stack without a journal has: the row itself, from a row-level trigger.
NAIVE = """
create table orders (
    id bigint generated always as identity primary key,
    order_number text not null default 'ORD-2026-001',
    customer_name text not null,
    total numeric(12, 2) not null,
    status text not null default 'pending',
    created_at timestamptz not null default now()
);
create function ring() returns trigger language plpgsql as
$$ begin perform pg_notify('orders', row_to_json(new)::text); return null; end $$;
create trigger ring after insert on orders for each row execute function ring();
"""


class Databases:
    """Hands out fresh databases."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._numbers = itertools.count(1)

    async def fresh(self, *, journal: bool) -> str:
        """The address of a new one: with Orderwire's schema, or with the naive trigger."""
        name = f"bench_{next(self._numbers)}"
        url = self._url.rsplit("/", 1)[0] + "/" + name
        admin = await asyncpg.connect(self._url)
        await admin.execute(f"create database {name}")
        await admin.close()
        if journal:
            await migrate(url)
        else:
            connection = await asyncpg.connect(url)
            await connection.execute(NAIVE)
            await connection.close()
        return url

    async def version(self) -> str:
        admin = await asyncpg.connect(self._url)
        try:
            return str(await admin.fetchval("show server_version"))
        finally:
            await admin.close()


@asynccontextmanager
async def databases() -> AsyncIterator[Databases]:
    with tempfile.TemporaryDirectory(prefix="orderwire-bench-") as directory:
        postgres = EmbeddedPostgres(Path(directory) / "data", say=lambda line: None)
        await asyncio.to_thread(postgres.start)
        try:
            yield Databases(postgres.url)
        finally:
            await asyncio.to_thread(postgres.release)


def mark(number: int) -> str:
    """A customer's name by which the load generator knows when the order was written (loadgen.c)."""
    return f"@@{number}:{time.monotonic_ns()}@@".ljust(40, "x")


class Writer:
    """Inserts orders at a rate, over several connections. Commits do not wait for the disk: it is not what is measured."""

    def __init__(self, connections: list[Any]) -> None:
        self._connections = connections
        self._numbers = itertools.count()
        self._random = random.Random(1)

    async def write(self, rate: float, seconds: float) -> int:
        """Returns how many were written; fewer than asked for if the database did not keep up."""
        due: asyncio.Queue[None] = asyncio.Queue()

        async def work(connection: Any) -> None:
            while True:
                await due.get()
                await connection.execute(INSERT, mark(next(self._numbers)))
                due.task_done()

        start, asked = time.monotonic(), 0
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(work(connection)) for connection in self._connections]
            # At random moments, as writers come, so that no timer of a server is hit or missed each time.
            at = 0.0
            while (at := at + self._random.expovariate(rate)) < seconds:
                await asyncio.sleep(max(0.0, start + at - time.monotonic()))
                due.put_nowait(None)
                asked += 1
            left = due.qsize()
            while not due.empty():  # what it could not do in the time is not done at all
                due.get_nowait()
                due.task_done()
            await due.join()
            for worker in workers:
                worker.cancel()
        return asked - left

    async def bulk(self, rows: int) -> None:
        """As many by one statement."""
        await self._connections[0].execute(BULK, mark(next(self._numbers)), rows)


@asynccontextmanager
async def writing(url: str) -> AsyncIterator[Writer]:
    async with AsyncExitStack() as stack:
        connections = []
        for _ in range(WRITERS):
            connections.append(await asyncpg.connect(url, server_settings={"synchronous_commit": "off"}))
            stack.push_async_callback(connections[-1].close)
        yield Writer(connections)
