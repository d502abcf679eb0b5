"""A table is attached, attached again with other maps and detached while writers change it; PostgreSQL and a server are killed.

No writer fails but by a kill, no kill leaves a table half attached, and as long as it is attached its events and the servers'
totals are complete.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate
from tests.database.attach.following import Follower
from tests.database.attach.table_shapes import shape_named
from tests.faults.load import OUTCOME_UNKNOWN, affected_rows, random_seed
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, free_port, within

WRITER_COUNT = 8
# How long tables are attached and detached, and how long writers go on after the last attach.
SCHEDULE_SECONDS = 20.0
LAST_SECONDS = 5.0
# PostgreSQL is killed so often at least; every second time while a transaction attaches or detaches.
MIN_KILLS = 3
SHAPE = shape_named("uuid_key")
MAPS: list[dict[str, Any]] = [
    {**SHAPE.map},
    {**SHAPE.map, "total": "o.total * 2", "where": "o.status is distinct from 'draft'", "pending": ["pending", "done"]},
    # It raises for a total of 0, so that each field of the map is read by a function of its own.
    {**SHAPE.map, "total": "round(100 / o.total, 2)", "data": ["note", "placed_at"], "actor": True},
]
STATUSES = ("pending", "done", "cancelled", "draft", None)


class Cluster:
    """A PostgreSQL that can be killed."""

    def __init__(self, postgres: EmbeddedPostgres) -> None:
        self._postgres = postgres
        self.url = postgres.url
        self.kills = 0
        self.running = asyncio.Event()
        self.running.set()
        # Held from a kill until everything is as before.
        self.lock = asyncio.Lock()

    async def connect(self) -> Any:
        return await asyncpg.connect(self.url, timeout=30, command_timeout=60)

    async def kill(self) -> None:
        """Kill it, start it again, and assert that the table is attached or detached as a whole."""
        async with self.lock:
            self.running.clear()
            self.kills += 1
            pid = self._postgres.pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            while self._postgres.pid is not None:
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(self._postgres.start) == self.url
            connection = await self.connect()
            await assert_nothing_half_attached(connection)
            await connection.close()
            self.running.set()

    def assert_killed_since(self, kills: int, error: BaseException) -> None:
        assert self.kills != kills, f"a connection was lost without a kill: {error!r}"


async def assert_nothing_half_attached(db: Any) -> bool:
    """Return whether the table is attached."""
    attached = await db.fetchval("select exists (select from orderwire.attached_tables)")
    problems = [row["problem"] for row in await db.fetch("select problem from orderwire.diagnose_attached()")]
    triggers = await db.fetchval(r"select count(*) from pg_trigger where tgname like 'zz\_orderwire\_%'")
    generated = await db.fetchval("select count(*) from pg_description where description like 'Generated for %'")
    if attached:
        assert problems == []
        assert (triggers, generated > 0) == (4, True)
    else:
        assert problems == ["no table of orders is attached: there are no events"]
        assert (triggers, generated) == (0, 0)
    return bool(attached)


class Writers:
    """Insert, update and delete until ``stopping`` is set. Any error but a connection that a kill closed ends the test."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._seed = seed
        self._newest = 3
        self.stopping = asyncio.Event()
        self.rows: Counter[str] = Counter()
        self.unknown_outcomes = 0
        self.longest_seconds = 0.0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(WRITER_COUNT):
                group.create_task(self._write(random.Random(f"{self._seed} writer {number}")))

    async def _write(self, rng: random.Random) -> None:
        while not self.stopping.is_set():
            await self._cluster.running.wait()
            kills = self._cluster.kills
            connection: Any = None
            try:
                connection = await self._cluster.connect()
                while not self.stopping.is_set():
                    start = time.monotonic()
                    await self._transaction(connection, rng)
                    self.longest_seconds = max(self.longest_seconds, time.monotonic() - start)
                    await asyncio.sleep(rng.uniform(0, 0.1))
            except OUTCOME_UNKNOWN as error:
                self._cluster.assert_killed_since(kills, error)
                self.unknown_outcomes += 1
            finally:
                if connection is not None:
                    connection.terminate()

    async def _transaction(self, connection: Any, rng: random.Random) -> None:
        if rng.random() < 0.6:
            self.rows += await self._statement(connection, rng)
            return
        transaction = connection.transaction()
        await transaction.start()
        changed = await self._statement(connection, rng)
        changed += await self._insert(connection, rng)
        savepoint = connection.transaction()
        await savepoint.start()
        within_savepoint = await self._insert(connection, rng)
        if rng.random() < 0.5:
            await savepoint.rollback()
        else:
            await savepoint.commit()
            changed += within_savepoint
        if rng.random() < 0.1:
            await asyncio.sleep(rng.uniform(0, 0.3))  # attach waits for it
        if rng.random() < 0.2:
            await transaction.rollback()
        else:
            await transaction.commit()
            self.rows += changed

    async def _statement(self, connection: Any, rng: random.Random) -> Counter[str]:
        how = rng.random()
        if how < 0.3:
            return await self._insert(connection, rng)
        # One statement for each transaction locks rows that others have, in the order of their keys: no deadlocks.
        numbers = [rng.randint(max(1, self._newest - 300), self._newest) for _ in range(rng.randint(1, 8))]
        chosen = (
            f"select id from {SHAPE.table} where id in (select md5(n::text)::uuid from unnest($1::integer[]) as n) "
            "order by id for update"
        )
        if how < 0.55:
            done = await connection.execute(
                f"update {SHAPE.table} set status = $2, note = 'x' where id in ({chosen})", numbers, rng.choice(STATUSES)
            )
        elif how < 0.75:
            done = await connection.execute(
                f"update {SHAPE.table} set total = $2, customer = $3 where id in ({chosen})",
                numbers,
                rng.choice((Decimal(0), None, Decimal(rng.randrange(10**6)) / 100)),
                rng.choice(("Łucja", None, 'O\'Neil "x"')),
            )
        else:
            done = await connection.execute(f"delete from {SHAPE.table} where id in ({chosen})", numbers)
        return Counter({done.split()[0]: affected_rows(done)})

    async def _insert(self, connection: Any, rng: random.Random) -> Counter[str]:
        count = rng.choices((1, 3, 40), weights=(80, 18, 2))[0]
        first = self._newest + 1
        self._newest += count
        done = await connection.execute(SHAPE.insert(*range(first, first + count)))
        return Counter({"INSERT": affected_rows(done)})


class Administrator:
    """Attaches and detaches. Follows the events from each attach on, and compares them with the table before the next step."""

    def __init__(self, cluster: Cluster, rng: random.Random) -> None:
        self._cluster = cluster
        self._rng = rng
        # The epoch that each attach made, and who follows the events from there on. A kill leaves one or the other.
        self._followers: dict[str, Follower] = {}
        self.changing = asyncio.Event()
        self.counts: Counter[str] = Counter()
        self.interrupted = 0

    async def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or self._cluster.kills < MIN_KILLS or not self._has_done_all:
            await self.do(self._random_step)
            await asyncio.sleep(self._rng.uniform(0, 0.5))

    @property
    def _has_done_all(self) -> bool:
        return self.interrupted > 0 and min(self.counts[step] for step in ("attached", "attached again", "detached")) > 0

    async def do(self, step: Any) -> bool:
        """Run the step with two connections. False if a kill interrupted it."""
        await self._cluster.running.wait()
        kills = self._cluster.kills
        connections: list[Any] = []
        try:
            connections.append(await self._cluster.connect())
            connections.append(await self._cluster.connect())
            await step(*connections)
        except OUTCOME_UNKNOWN as error:
            self._cluster.assert_killed_since(kills, error)
            self.interrupted += self.changing.is_set()
            return False
        except asyncpg.LockNotAvailableError:
            self.counts["not locked within a second"] += 1
            return False
        except asyncpg.DeadlockDetectedError:
            self.counts["deadlock"] += 1
            return False
        finally:
            self.changing.clear()
            for connection in connections:
                connection.terminate()
        return True

    async def _random_step(self, db: Any, locker: Any) -> None:
        if not await assert_nothing_half_attached(db):
            await self.attach(db, locker)
            return
        await self.check(db, locker)
        if self._rng.random() < 0.6:
            await self.attach(db, locker)
        else:
            self.changing.set()
            await db.execute("select orderwire.detach()")
            self.counts["detached"] += 1
            assert not await assert_nothing_half_attached(db)

    async def attach(self, db: Any, _: Any) -> None:
        """Attach with another map; what is compared begins with the table as it is at that moment."""
        current = json.loads(await db.fetchval("select coalesce(min(map::text), 'null') from orderwire.attached_tables"))
        chosen = self._rng.choice([m for m in MAPS if m != current])
        self.changing.set()
        async with db.transaction():
            await db.execute("select orderwire.attach($1::text::regclass, $2)", SHAPE.table, json.dumps(chosen))
            epoch = await db.fetchval("select epoch from orderwire.journal_identity")
            self._followers[epoch] = await Follower.start_locked(db)
        self.changing.clear()
        await db.execute("select orderwire.scan_totals()")
        assert await assert_nothing_half_attached(db)
        self.counts["attached again" if current else "attached"] += 1

    async def check(self, db: Any, locker: Any) -> None:
        """Assert that the events since the last attach, and the table as it was then, are the table as it is now."""
        follower = self._followers[await db.fetchval("select epoch from orderwire.journal_identity")]
        follower.db = db
        async with locker.transaction():
            await locker.execute(f"lock table {SHAPE.table} in share mode")
            self.counts.update(await follower.check())


async def kill_at_random(cluster: Cluster, administrator: Administrator, rng: random.Random) -> None:
    while True:
        await asyncio.sleep(rng.uniform(2, 4))
        if cluster.kills % 2 == 0:
            await administrator.changing.wait()
            await asyncio.sleep(rng.uniform(0, 0.15))
        await cluster.kill()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    postgres = EmbeddedPostgres(tmp_path / "data", report=lambda line: None)
    url = await asyncio.to_thread(postgres.start)
    await migrate(url)
    connection = await asyncpg.connect(url)
    await SHAPE.install(connection)
    await connection.close()
    yield Cluster(postgres)
    await asyncio.to_thread(postgres.release)


class RestartedServer:
    """A server that is killed at random and started again at the same port."""

    def __init__(self, start_server: StartServer, url: str) -> None:
        self._start_server = start_server
        self._url = url
        self._port = free_port()
        self.lock = asyncio.Lock()
        self.all: list[Server] = []

    async def start(self) -> None:
        self.all.append(await self._start_server(self._url, wait=False, PORT=self._port, AUDIT_SECONDS="2"))

    async def kill_at_random(self, rng: random.Random) -> None:
        while True:
            await asyncio.sleep(rng.uniform(2, 6))
            async with self.lock:
                await self.all[-1].kill()
                await self.start()


async def wait_for_totals(server: Server, expected: dict[str, Decimal]) -> None:
    shown: dict[str, Decimal] = {}

    async def poll() -> None:
        nonlocal shown
        async with aiohttp.ClientSession() as http:
            while shown != expected:
                async with http.get(server.http_url + "/api/analytics") as response:
                    if response.status == 200:
                        shown = plain_totals(await response.json())
                await asyncio.sleep(0.05)

    try:
        await within(TIMEOUT_SECONDS, poll(), "the totals")
    except AssertionError:
        raise AssertionError(f"{shown} instead of {expected}: {server.output}") from None


def plain_totals(totals: Any) -> dict[str, Decimal]:
    return {name: Decimal(str(totals[name])) for name in ("total_orders", "total_revenue", "pending_orders")}


@pytest.mark.postgres
async def test_attach_and_detach_while_writers_write_and_everything_is_killed(
    start_server: StartServer, connect: Connect, cluster: Cluster
) -> None:
    seed = random_seed()
    lasting: Server = await start_server(cluster.url, AUDIT_SECONDS="2")
    client: Client = await connect(lasting.ws_url)
    killed = RestartedServer(start_server, cluster.url)
    await killed.start()
    writers = Writers(cluster, seed)
    administrator = Administrator(cluster, random.Random(f"{seed} administrator"))
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(writers.run())
        killing = [
            group.create_task(kill_at_random(cluster, administrator, random.Random(f"{seed} kills"))),
            group.create_task(killed.kill_at_random(random.Random(f"{seed} kills of a server"))),
        ]
        await administrator.run(SCHEDULE_SECONDS)
        while not await administrator.do(administrator.attach):
            pass
        await asyncio.sleep(LAST_SECONDS)
        async with cluster.lock, killed.lock:
            for task in killing:
                task.cancel()
            await asyncio.wait(killing)
        writers.stopping.set()
        await writing

    print(
        f"{cluster.kills} kills of PostgreSQL, {administrator.interrupted} of them in a step; {len(killed.all) - 1} of a server"
    )
    print(f"{dict(administrator.counts)}; rows: {dict(writers.rows)}, {writers.unknown_outcomes} outcomes unknown")
    print(f"longest transaction of a writer: {writers.longest_seconds:.2f} s")
    assert {"INSERT", "UPDATE", "DELETE"} <= set(writers.rows)
    assert await administrator.do(administrator.check)
    db = await cluster.connect()
    assert await assert_nothing_half_attached(db)
    expected = plain_totals(await db.fetchrow("select * from orderwire.order_analytics"))
    await db.close()
    await killed.all[-1].wait_until_ready()
    for server in (lasting, killed.all[-1]):
        await wait_for_totals(server, expected)
    await client.wait_until(lambda c: plain_totals(c.totals) == expected, f"the client has {expected}")
    for server in (lasting, *killed.all):
        assert "had drifted" not in server.output, server.output
