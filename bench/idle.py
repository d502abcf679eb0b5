"""Scenario without events: what a server uses while its clients are connected and nothing happens."""

from __future__ import annotations

import asyncio
import time

from bench.inserts import LOST
from bench.machine import cpu_seconds
from bench.scenario import Bench, Measures, start_load_generator
from bench.subjects import Subject

SETTLE_SECONDS = 3.0
CPU_PERCENT = "CPU of the server, % of a core"


async def idle(bench: Bench, subject: Subject, clients: int) -> Measures:
    """Measure the CPU time of whole heartbeats, with ``clients`` WebSocket clients that answer them."""
    async with bench.start_server(subject, written=False) as (running, _), start_load_generator(running) as load:
        if clients:
            await load.connect(clients)
        await asyncio.sleep(SETTLE_SECONDS)
        await load.command("reset")
        before, start = cpu_seconds(running.pid), time.monotonic()
        await asyncio.sleep(bench.size.idle_seconds)
        spent, took = cpu_seconds(running.pid) - before, time.monotonic() - start
        report = await load.command("report")
        return {CPU_PERCENT: 100 * spent / took, LOST: float(clients - report["clients"])}
