"""What is done with each server, and what is measured of it. Each scenario starts the server anew."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from bench.database import Databases, writing
from bench.load import Load, LoadFailed
from bench.machine import cpu_seconds, resident_bytes
from bench.subjects import YARDSTICK, Running, Subject

Measures = dict[str, float]

WARM_CLIENTS = 50
PUMP_SECONDS = 60.0
SETTLE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: for a whole run, or for a quick one."""

    turns: int
    seconds: float
    storm: int
    burst: int
    missed: int
    # How long after the last INSERT its frames may still arrive. Who needs longer does not keep up.
    patience_seconds: float


WHOLE = Size(turns=100, seconds=8.0, storm=4000, burst=1000, missed=100, patience_seconds=5.0)
QUICK = Size(turns=20, seconds=2.0, storm=1000, burst=300, missed=50, patience_seconds=2.0)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every scenario needs."""

    databases: Databases
    size: Size

    @asynccontextmanager
    async def server(self, subject: Subject, *, written: bool) -> AsyncIterator[tuple[Running, str]]:
        """The server, with a database of its own if it has one or if that is written to."""
        url = await self.databases.fresh(journal=subject.journal) if written or subject.journal else ""
        async with subject.running(url or None) as running:
            yield running, url


@asynccontextmanager
async def _load(running: Running, *, pump: bool = False) -> AsyncIterator[Load]:
    load = await Load.start(running.port, running.trigger_port if pump else None)
    try:
        yield load
    finally:
        await load.stop()


async def fan_out(bench: Bench, subject: Subject, clients: int) -> Measures:
    """Handshakes, idle memory, then frames of 200 bytes on the trigger: one a turn, and sixteen a turn.

    The next turn begins when every client has got all of this one's; only the server's own CPU time counts.
    """
    async with bench.server(subject, written=False) as (running, _), _load(running, pump=True) as load:
        await load.connect(WARM_CLIENTS)
        memory, spent = resident_bytes(running.pid), cpu_seconds(running.pid)
        await load.connect(clients)
        spent = cpu_seconds(running.pid) - spent
        await asyncio.sleep(SETTLE_SECONDS)
        memory = resident_bytes(running.pid) - memory
        await load.command(f"quit {WARM_CLIENTS}")
        found = {}
        if subject is not YARDSTICK:  # which has no handshake and no memory to speak of
            found = {"CPU µs per handshake": spent / clients * 1e6, "KiB per idle connection": memory / clients / 1024}
        for frames, name in ((1, "one a turn"), (16, "sixteen a turn")):
            # As many turns for few clients as make enough deliveries.
            turns = max(3, round(bench.size.turns * (1 if frames == 1 else 0.2) * min(1000 / clients, 10)))
            await _pump(load, running, 2, frames, clients)
            before = cpu_seconds(running.pid)
            seconds = await _pump(load, running, turns, frames, clients)
            spent = cpu_seconds(running.pid) - before
            found[f"deliveries per CPU-second, {name}"] = turns * frames * clients / spent
            found[f"ms until the last client has it, {name}"] = seconds / turns * 1000
        return found


async def _pump(load: Load, running: Running, turns: int, frames: int, clients: int) -> float:
    await load.command("reset")
    answer = await load.command(f"pump {turns} {frames} {running.trigger_file(frames)} {PUMP_SECONDS}")
    if answer["turns"] != turns:
        raise LoadFailed(f"only {answer['turns']} of {turns} turns reached all of {clients} clients ({answer['lost']} closed)")
    return float(answer["seconds"])


async def end_to_end(bench: Bench, subject: Subject, clients: int, rate: float) -> Measures:
    """From just before each INSERT until the last of the clients has its frame."""
    async with (
        bench.server(subject, written=True) as (running, url),
        _load(running) as load,
        writing(url) as writer,
    ):
        await load.connect(clients)
        await writer.write(rate, 0.5)
        await asyncio.sleep(SETTLE_SECONDS)
        await load.command("reset")
        before, before_load, start = cpu_seconds(running.pid), cpu_seconds(load.pid), time.monotonic()
        written = await writer.write(rate, bench.size.seconds)
        spent, took = cpu_seconds(running.pid) - before, time.monotonic() - start
        spent_load = cpu_seconds(load.pid) - before_load
        await load.wait(written, bench.size.patience_seconds)
        report = await load.command("report")
        return {
            **_latency(report, clients, written),
            "events/s written": written / took,
            "CPU of the server": spent / took,
            # Near 1, it is the load generator that is slow.
            "CPU of the load generator": spent_load / took,
        }


def _latency(report: dict[str, Any], clients: int, written: int) -> Measures:
    """Of the events that reached everybody; the others are a share of their own, and infinitely late."""
    last = sorted(last / 1000 for _, reached, _, last in report["marks"] if reached >= clients)
    missing = max(0, written - len(last))
    found = {"not delivered to all, %": 100 * missing / written, "connections lost": float(report["lost"])}
    last += [float("inf")] * missing
    return {"ms to the last client, p50": _quantile(last, 0.5), "ms to the last client, p99": _quantile(last, 0.99), **found}


def _quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")


async def burst(bench: Bench, subject: Subject, clients: int) -> Measures:
    """One statement inserts many rows: until every client has them all."""
    async with (
        bench.server(subject, written=True) as (running, url),
        _load(running) as load,
        writing(url) as writer,
    ):
        await load.connect(clients)
        found = []
        for _ in range(3):
            await load.command("reset")
            before, start = cpu_seconds(running.pid), time.monotonic()
            await writer.bulk(bench.size.burst)
            if not await load.wait(bench.size.burst, PUMP_SECONDS):
                raise LoadFailed(f"not everybody got all of {bench.size.burst} rows: {_summary(await load.command('report'))}")
            found.append((time.monotonic() - start, cpu_seconds(running.pid) - before))
        return {
            "ms until the last client has all": statistics.median(seconds for seconds, _ in found) * 1000,
            "CPU µs per delivery": statistics.median(spent for _, spent in found) / bench.size.burst / clients * 1e6,
        }


async def storm(bench: Bench, subject: Subject, clients: int) -> Measures:
    """Ten events a second to those who are connected, while many more connect at once."""
    async with (
        bench.server(subject, written=True) as (running, url),
        _load(running) as load,
        _load(running) as rush,
        writing(url) as writer,
    ):
        await load.connect(clients)
        await writer.write(10, 0.5)
        await load.command("reset")
        start = time.monotonic()
        rushing = asyncio.create_task(rush.connect(bench.size.storm, in_flight=bench.size.storm))
        written = 0
        while not rushing.done():
            written += await writer.write(10, 0.5)
        await rushing
        took = time.monotonic() - start
        await load.wait(written, bench.size.patience_seconds)
        report = await load.command("report")
        late = max((last / 1000 for _, _, _, last in report["marks"]), default=float("inf"))
        return {"worst ms to the last client": late, "connections/s": bench.size.storm / took, "lost": float(report["lost"])}


async def resume(bench: Bench, subject: Subject, clients: int) -> Measures:
    """All clients come back at once with the same cursor, each with as many events to be replayed."""
    async with (
        bench.server(subject, written=True) as (running, url),
        _load(running) as load,
        writing(url) as writer,
    ):
        await writer.bulk(1)
        cursor = ""
        while not cursor:
            cursor = await asyncio.to_thread(_newest_cursor, running.port)
        await load.connect(1)
        await load.command("reset")
        await writer.bulk(bench.size.missed)
        if not await load.wait(bench.size.missed, PUMP_SECONDS):
            raise LoadFailed("the events that were to be missed did not arrive")
        await load.command("quit 1")
        await load.command("reset")
        before, start = cpu_seconds(running.pid), time.monotonic()
        await load.connect(clients, f"/api/ws?last_event_id={cursor}", in_flight=clients)
        if not await load.wait(bench.size.missed, PUMP_SECONDS):
            raise LoadFailed(f"not everybody was replayed everything: {_summary(await load.command('report'))}")
        took, spent = time.monotonic() - start, cpu_seconds(running.pid) - before
        return {"ms until the last client has caught up": took * 1000, "CPU µs per client": spent / clients * 1e6}


def _newest_cursor(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/events?limit=1000") as answer:
        events = json.load(answer)["events"]
    return str(events[-1]["id"]) if events else ""


def _summary(report: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in report.items() if name != "marks")


@dataclass(frozen=True, slots=True)
class Scenario:
    """A line of the plan."""

    name: str
    run: Callable[[Bench, Subject], Awaitable[Measures]]
    # Which of the servers: all; those that listen to PostgreSQL; Orderwire alone.
    kind: str
    quick: bool = False


def _fan_out(clients: int, *, quick: bool = False) -> Scenario:
    return Scenario(f"fan-out, {clients:,} clients", lambda b, s: fan_out(b, s, clients), "fan-out", quick)


def _end_to_end(rate: int, *, quick: bool = False) -> Scenario:
    name = f"INSERT to the last of 1,000 clients, {rate:,} events/s"
    return Scenario(name, lambda b, s: end_to_end(b, s, 1000, rate), "end to end", quick)


SCENARIOS = (
    _fan_out(1000, quick=True),
    _end_to_end(50, quick=True),
    _end_to_end(1000, quick=True),
    _fan_out(100),
    _fan_out(5000),
    _fan_out(10_000),
    Scenario("storm: 500 clients at 10 events/s while others connect", lambda b, s: storm(b, s, 500), "end to end"),
    Scenario("resume: 1,000 clients come back at once", lambda b, s: resume(b, s, 1000), "own", quick=True),
    Scenario("burst: one statement, 1,000 clients", lambda b, s: burst(b, s, 1000), "end to end"),
    _end_to_end(3000),
)
