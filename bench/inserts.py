"""Scenarios from an INSERT to the last of many clients: at a rate, in a burst, in a connection storm, and on resume."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

from bench.database import newest_cursor, open_writer, server_backends
from bench.load import LoadGeneratorFailed
from bench.machine import cpu_seconds, cpu_seconds_by_pid, cpu_seconds_since
from bench.scenario import Bench, Measures, quantile, start_load_generator, summary
from bench.subjects import Subject

SETTLE_SECONDS = 0.3
# A server that needs longer for one burst is considered stuck.
DELIVERY_TIMEOUT_SECONDS = 60.0

P50 = "ms to the last client, p50"
P99 = "ms to the last client, p99"
WORST = "worst ms to the last client"
LOST = "connections lost"
CPU = "CPU of the server"
BUSIEST = "deliveries per CPU-second of its busiest process"
READING = "CPU of PostgreSQL for the server's connections"


async def end_to_end(bench: Bench, subject: Subject, clients: int, rate: float) -> Measures:
    """Measure from just before each INSERT until the last client has received its frame."""
    async with (
        bench.start_server(subject, written=True) as (running, url),
        start_load_generator(running) as load,
        open_writer(url) as writer,
    ):
        await load.connect(clients)
        await writer.insert_at_rate(rate, 0.5)
        await asyncio.sleep(SETTLE_SECONDS)
        await load.command("reset")
        backends = await server_backends(url)
        reading = sum(map(cpu_seconds, backends))
        before, before_load, start = cpu_seconds_by_pid(running.pid), cpu_seconds(load.pid), time.monotonic()
        written = await writer.insert_at_rate(rate, bench.size.seconds)
        took = time.monotonic() - start
        reading = sum(map(cpu_seconds, backends)) - reading
        spent = cpu_seconds_since(before, running.pid)
        spent_load = cpu_seconds(load.pid) - before_load
        await load.wait_for_frames(written, bench.size.grace_seconds)
        report = await load.command("report")
        late = latencies(report, clients, written)
        return {
            P50: quantile(late, 0.5),
            P99: quantile(late, 0.99),
            "not delivered to all, %": 100 * late.count(float("inf")) / written,
            LOST: float(report["lost"]),
            "events/s written": written / took,
            CPU: sum(spent) / took,
            BUSIEST: written * clients / max(spent),
            READING: reading / took,
            # Near 1, the load generator is the bottleneck.
            "CPU of the load generator": spent_load / took,
        }


def latencies(report: dict[str, Any], clients: int, written: int) -> list[float]:
    """Milliseconds until every client had each event, ascending; infinity for an event that did not reach all clients."""
    last = sorted(last / 1000 for _, reached, _, last in report["marks"] if reached >= clients)
    return last + [float("inf")] * (written - len(last))


async def burst(bench: Bench, subject: Subject, clients: int) -> Measures:
    """Measure from one statement that inserts many rows until every client has received all of them."""
    async with (
        bench.start_server(subject, written=True) as (running, url),
        start_load_generator(running) as load,
        open_writer(url) as writer,
    ):
        await load.connect(clients)
        found = []
        for _ in range(3):
            await load.command("reset")
            before, start = cpu_seconds(running.pid), time.monotonic()
            await writer.insert_bulk(bench.size.burst_rows)
            if not await load.wait_for_frames(bench.size.burst_rows, DELIVERY_TIMEOUT_SECONDS):
                raise LoadGeneratorFailed(
                    f"not every client received all {bench.size.burst_rows} rows: {summary(await load.command('report'))}"
                )
            found.append((time.monotonic() - start, cpu_seconds(running.pid) - before))
        return {
            "ms until the last client has all": statistics.median(seconds for seconds, _ in found) * 1000,
            "CPU µs per delivery": statistics.median(spent for _, spent in found) / bench.size.burst_rows / clients * 1e6,
        }


async def storm(bench: Bench, subject: Subject, clients: int) -> Measures:
    """Measure the latency at ten events a second for connected clients while many others connect at once."""
    async with (
        bench.start_server(subject, written=True) as (running, url),
        start_load_generator(running) as load,
        start_load_generator(running) as storm_load,
        open_writer(url) as writer,
    ):
        await load.connect(clients)
        await writer.insert_at_rate(10, 0.5)
        await asyncio.sleep(SETTLE_SECONDS)
        await load.command("reset")
        connecting = asyncio.create_task(storm_load.connect(bench.size.storm_clients, in_flight=bench.size.storm_clients))
        written = 0
        while not connecting.done() or not written:
            written += await writer.insert_at_rate(10, 0.5)
        storm_seconds = float((await connecting)["seconds"])
        await load.wait_for_frames(written, bench.size.grace_seconds)
        report = await load.command("report")
        late = latencies(report, clients, written)
        return {
            WORST: late[-1],
            P50: quantile(late, 0.5),
            "connections/s": bench.size.storm_clients / storm_seconds,
            LOST: float(report["lost"]),
        }


async def resume(bench: Bench, subject: Subject, clients: int) -> Measures:
    """Measure a resume: all clients reconnect at once with the same cursor, and each missed the same events."""
    async with (
        bench.start_server(subject, written=True) as (running, url),
        start_load_generator(running) as load,
        open_writer(url) as writer,
    ):
        await writer.insert_bulk(1)
        cursor = await newest_cursor(url)
        await load.connect(1)
        await load.command("reset")
        await writer.insert_bulk(bench.size.missed_events)
        if not await load.wait_for_frames(bench.size.missed_events, DELIVERY_TIMEOUT_SECONDS):
            raise LoadGeneratorFailed("the events that were to be missed did not arrive")
        await load.command("quit 1")
        await load.command("reset")
        before, start = cpu_seconds(running.pid), time.monotonic()
        await load.connect(clients, f"/api/ws?last_event_id={cursor}", in_flight=clients)
        if not await load.wait_for_frames(bench.size.missed_events, DELIVERY_TIMEOUT_SECONDS):
            raise LoadGeneratorFailed(f"not every client received the whole replay: {summary(await load.command('report'))}")
        took, spent = time.monotonic() - start, cpu_seconds(running.pid) - before
        return {"ms until the last client has caught up": took * 1000, "CPU µs per client": spent / clients * 1e6}
