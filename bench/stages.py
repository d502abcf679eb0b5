"""Where the time goes between an INSERT and one client: how long an event takes from each stage to the next."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from typing import Any

from bench.database import open_writer
from bench.inserts import P50, SETTLE_SECONDS, latencies
from bench.load import MAX_REPORT_BYTES, LoadGeneratorFailed
from bench.one_client import WARM_UP_SECONDS
from bench.scenario import Bench, Measures, quantile, start_load_generator
from bench.subjects import RunningServer, Subject

# Each ends at a stage of bench/peers/orderwire_stages.py; the last one at the client.
PARTS = (
    "ms, INSERT until its trigger records the event",
    "ms, COMMIT until the relay wakes up",
    "ms, until the relay asks PostgreSQL",
    "ms, until PostgreSQL has answered",
    "ms, until the hub has the events",
    "ms, until they are written to the socket",
    "ms, until the client has read them",
)


async def stages(bench: Bench, subject: Subject, rate: float) -> Measures:
    """Measure one writer and one client. The medians of the parts: their sum is about the median of the whole."""
    async with (
        bench.start_server(subject, written=True) as (running, url),
        start_load_generator(running) as load,
        open_writer(url, connections=1) as writer,
    ):
        await load.connect(1)
        await writer.insert_at_rate(rate, WARM_UP_SECONDS)
        await asyncio.sleep(SETTLE_SECONDS)
        await load.command("reset")
        await _ask(running, "reset")
        written = await writer.insert_at_rate(rate, max(bench.size.seconds, bench.size.min_events / rate))
        if not await load.wait_for_frames(written, bench.size.grace_seconds):
            raise LoadGeneratorFailed("not all events have come")
        report = await load.command("report")
        noted = {number: times for number, *times in await _ask(running, "report")}
        parts: list[list[float]] = [[] for _ in PARTS]
        for number, _, _, microseconds in report["marks"]:
            begun, *times = noted[number]
            ends = [*times, begun + 1000 * microseconds]
            for part, (start, end) in zip(parts, pairwise([begun, *ends]), strict=True):
                part.append((end - start) / 1e6)
        found = {name: quantile(sorted(part), 0.5) for name, part in zip(PARTS, parts, strict=True)}
        return {P50: quantile(latencies(report, 1, written), 0.5), **found}


async def _ask(running: RunningServer, command: str) -> Any:
    reader, writer = await asyncio.open_connection("127.0.0.1", running.trigger_port, limit=MAX_REPORT_BYTES)
    try:
        writer.write(command.encode() + b"\n")
        return json.loads(await reader.readline())
    finally:
        writer.close()
