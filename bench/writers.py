"""What a writer pays for being watched: ratios to the same table without triggers, from rounds in alternating order.

    python -m bench.writers --rounds 3 --seconds 3

Everything runs on one PostgreSQL of its own with durable commits, on a machine that may be busy with other things: only what
was measured side by side, in the same round, is compared.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg

from db.embedded import EmbeddedPostgres
from db.listener import Listener
from db.migrate import migrate
from push.events import Event
from push.pace import NotifyMode
from push.relay import Relay
from push.totals import Totals
from tests.support import Server

INSERT = "insert into orders (customer_name, total) values ('Иван Иванов', 150.50);"
OURS = "drop trigger orders_90_journal_{0} on orders;"
WITHOUT = "drop trigger orders_00_journal_begin on orders;" + "".join(
    OURS.format(kind) for kind in ("insert", "update", "delete", "truncate")
)
NAIVE = """
create function naive() returns trigger language plpgsql as
$$ begin perform pg_notify('orders', row_to_json(new)::text); return null; end $$;
create trigger naive after insert or update on orders for each row execute function naive();
"""
# How each database is changed after the migration, and the server that runs on it.
VARIANTS: dict[str, tuple[str, str | None]] = {
    "no triggers": (WITHOUT, None),
    "naive row-level NOTIFY": (WITHOUT + NAIVE, None),
    "journal alone": ("alter database {name} set orders.notify = off;", None),
    "NOTIFY_MODE=always": ("", "always"),
    "NOTIFY_MODE=auto": ("", "auto"),
    "auto, no server": ("", None),
}
WRITERS = (1, 8, 16)
BULK_ROWS = 100_000
BULK = ("no triggers", "naive row-level NOTIFY", "NOTIFY_MODE=auto")

Ratios = dict[tuple[str, str], list[float]]


class Bench:
    def __init__(self, postgres: EmbeddedPostgres, rounds: int, seconds: float) -> None:
        self._postgres = postgres
        self._rounds = rounds
        self._seconds = seconds
        self._script = Path(tempfile.mkstemp(suffix=".sql", prefix="orderwire-bench-")[1])
        self._script.write_text(INSERT)

    def url(self, variant: str) -> str:
        return self._postgres.url.rsplit("/", 1)[0] + "/" + _name(variant)

    async def prepare(self, stack: AsyncExitStack) -> None:
        admin = await asyncpg.connect(self._postgres.url)
        for variant, (change, mode) in VARIANTS.items():
            await admin.execute(f"create database {_name(variant)}")
            await migrate(self.url(variant))
            connection = await asyncpg.connect(self.url(variant))
            await connection.execute(change.replace("{name}", _name(variant)) or "select 1")
            await connection.close()
            if mode is not None:
                server = await Server.serve(self.url(variant), NOTIFY_MODE=mode, LOG_LEVEL="WARNING")
                stack.push_async_callback(server.kill)
                await server.ready()
        # The naive way has a listener, too.
        ear = await asyncpg.connect(self.url("naive row-level NOTIFY"))
        await ear.add_listener("orders", lambda *_: None)
        stack.push_async_callback(ear.close)
        print(await admin.fetchval("select version()"))
        await admin.close()

    async def pgbench(self, variant: str, writers: int, seconds: float, *options: str) -> float:
        """Transactions a second; 0 when a busy machine has not ended one."""
        process = await asyncio.create_subprocess_exec(
            *(str(self._postgres.bin_dir / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={self._script}"),
            *(f"--client={writers}", "--jobs=1", f"--time={seconds:.0f}", *options, self.url(variant)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await process.communicate()
        assert process.returncode == 0, err.decode()
        match = re.search(rb"tps = ([0-9.]+)", out)
        return float(match[1]) if match else 0.0

    async def writers(self) -> Ratios:
        """Throughput of each variant against no triggers: more is better."""
        ratios: Ratios = defaultdict(list)
        for number in range(self._rounds):
            for writers in WRITERS:
                speed = {}
                for variant in _alternated(list(VARIANTS), number):
                    await self.pgbench(variant, writers, 1)  # the gate opens, the caches fill
                    speed[variant] = await self.pgbench(variant, writers, self._seconds)
                print(
                    f"  round {number + 1}, {writers} writers: {speed['no triggers']:.0f} commits/s without triggers",
                    flush=True,
                )
                for variant, found in speed.items():
                    ratios[variant, f"{writers} writers"].append(found / speed["no triggers"])
        return ratios

    async def bulk(self) -> Ratios:
        """Time of one big statement against no triggers: less is better."""
        ratios: Ratios = defaultdict(list)
        rows = b"".join(b"C-%d\tbulk\t%d.50\n" % (number, number % 500) for number in range(BULK_ROWS))
        statements: dict[str, Callable[[Any], Any]] = {
            "INSERT … SELECT": lambda db: db.execute(
                "insert into orders (order_number, customer_name, total) "
                f"select 'I-' || n, 'bulk', n % 500 + 0.5 from generate_series(1, {BULK_ROWS}) n"
            ),
            "UPDATE": lambda db: db.execute("update orders set status = 'ready'"),
            "COPY": lambda db: db.copy_to_table(
                "orders", source=_chunks(rows), columns=["order_number", "customer_name", "total"], format="text"
            ),
        }
        for number in range(self._rounds):
            took: dict[tuple[str, str], float] = {}
            for variant in _alternated(list(BULK), number):
                db = await asyncpg.connect(self.url(variant), command_timeout=300)
                await db.execute("set session_replication_role = replica; truncate orders; reset session_replication_role")
                for what, run in statements.items():
                    if what == "COPY":
                        await db.execute(
                            "set session_replication_role = replica; truncate orders; reset session_replication_role"
                        )
                    await db.execute("vacuum analyze orders")
                    await db.execute("checkpoint")
                    start = time.perf_counter()
                    await run(db)
                    took[variant, what] = time.perf_counter() - start
                await db.close()
            for (variant, what), seconds in took.items():
                ratios[variant, what].append(seconds / took["no triggers", what])
            print(f"  round {number + 1} of the big statements done", flush=True)
        return ratios

    async def latency(self) -> list[float]:
        """Milliseconds from COMMIT to published, while 4 writers commit 400 times a second in all."""
        variant = "NOTIFY_MODE=auto"
        sink = Stopwatch()
        relay = Relay(sink, mode=NotifyMode.AUTO)
        following = asyncio.create_task(Listener(self.url(variant), _nothing, relay.follow).run())
        load = asyncio.create_task(self.pgbench(variant, 4, 2 + 2 * self._seconds, "--rate=400"))
        await relay.flowing.wait()
        await asyncio.sleep(2)
        assert relay._metrics.gate_open._value.get() == 1, "the gate is not open"
        db = await asyncpg.connect(self.url(variant))
        committed: dict[str, float] = {}
        choose = random.Random(1)
        while not load.done():
            name = f"probe {len(committed)}"
            await db.execute("insert into orders (customer_name, total) values ($1, 1)", name)
            committed[name] = time.perf_counter()
            await asyncio.sleep(choose.uniform(0.01, 0.04))
        await load
        await asyncio.sleep(0.5)
        following.cancel()
        await asyncio.wait([following])
        await db.close()
        assert committed.keys() <= sink.seen.keys(), "lost"
        # Published before the writer itself knew: not early, but at once.
        return sorted(1000 * max(0.0, sink.seen[name] - at) for name, at in committed.items())


class Stopwatch:
    """A sink that notes when each probe was published."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        now = time.perf_counter()
        for event in events:
            match = re.search(rb'"customer_name":"(probe \d+)"', event.frame)
            if match:
                self.seen[match[1].decode()] = now

    def set_totals(self, totals: Totals) -> None:
        pass

    def gap(self) -> None:
        pass

    async def room(self) -> None:
        pass


async def _nothing() -> None:
    pass


async def _chunks(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 1 << 16):
        yield data[start : start + (1 << 16)]


def _name(variant: str) -> str:
    return re.sub("[^a-z]+", "_", variant.lower())


def _alternated(variants: list[str], number: int) -> list[str]:
    return variants if number % 2 == 0 else variants[::-1]


def _table(title: str, ratios: Ratios) -> None:
    columns = list(dict.fromkeys(column for _, column in ratios))
    print(f"\n{title}")
    print(" " * 26 + "".join(f"{column:>24}" for column in columns))
    for variant in dict.fromkeys(variant for variant, _ in ratios):
        cells = [ratios[variant, column] for column in columns]
        print(f"{variant:<26}" + "".join(f"{f'{statistics.median(c):.2f} ({min(c):.2f}–{max(c):.2f})':>24}" for c in cells))


@asynccontextmanager
async def _bench(rounds: int, seconds: float) -> AsyncIterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="orderwire-bench-") as directory:
        postgres = EmbeddedPostgres(Path(directory) / "data", say=lambda line: None)
        await asyncio.to_thread(postgres.start)
        try:
            async with AsyncExitStack() as stack:
                bench = Bench(postgres, rounds, seconds)
                await bench.prepare(stack)
                yield bench
        finally:
            await asyncio.to_thread(postgres.release)


async def run(parts: str, rounds: int, seconds: float) -> None:
    async with _bench(rounds, seconds) as bench:
        if "latency" in parts:
            found = await bench.latency()
            p50, p99 = statistics.median(found), found[int(len(found) * 0.99)]
            print(f"\nCOMMIT to published under the gate: p50 {p50:.1f} ms, p99 {p99:.1f} ms ({len(found)} probes)", flush=True)
        if "bulk" in parts:
            _table(f"time of one statement with {BULK_ROWS:,} rows, no triggers = 1: median (range)", await bench.bulk())
        if "writers" in parts:
            _table("commits a second, durable, no triggers = 1: median (range)", await bench.writers())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.writers", description="what a writer pays for being watched")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement of the writers")
    parser.add_argument("--parts", default="latency,bulk,writers")
    options = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(options.parts, options.rounds, options.seconds))


if __name__ == "__main__":
    main()
