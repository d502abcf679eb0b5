"""Latency from an INSERT to one client, beside the floor: a bare asyncpg LISTEN callback, which has no client at all.

Where the floor ends, a server's work begins: the callback runs when a process has been notified, and a server has yet to read,
encode and send. Both times are taken on the machine's clock, and both begin just before the INSERT.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.database import open_writer
from bench.inserts import CPU, P50, P99, SETTLE_SECONDS, latencies
from bench.load import MAX_REPORT_BYTES, Receiver
from bench.machine import cpu_seconds
from bench.scenario import Bench, Measures, quantile, start_load_generator
from bench.subjects import LISTEN_CALLBACK, RunningServer, Subject

# NOTIFY_MODE=auto decides by the rate of a second (push/journal/notify_policy.py).
WARM_UP_SECONDS = 3.0


async def one_client(bench: Bench, subject: Subject, rate: float, *, durable: bool) -> Measures:
    """Measure from just before each INSERT of one writer connection until the client, or the callback, has it."""
    seconds = max(bench.size.seconds, bench.size.min_events / rate)
    async with (
        bench.start_server(subject, written=True) as (running, url),
        _receiver(subject, running) as receiver,
        open_writer(url, durable=durable, connections=1) as writer,
    ):
        await writer.insert_at_rate(rate, WARM_UP_SECONDS)
        await asyncio.sleep(SETTLE_SECONDS)
        await receiver.command("reset")
        before = cpu_seconds(running.pid)
        written = await writer.insert_at_rate(rate, seconds)
        spent = cpu_seconds(running.pid) - before
        await receiver.wait_for_frames(written, bench.size.grace_seconds)
        late = latencies(await receiver.command("report"), 1, written)
        return {
            P50: quantile(late, 0.5),
            P99: quantile(late, 0.99),
            "not delivered, %": 100 * late.count(float("inf")) / written,
            "events/s written": written / seconds,
            CPU: spent / seconds,
        }


@asynccontextmanager
async def _receiver(subject: Subject, running: RunningServer) -> AsyncIterator[Receiver]:
    """One WebSocket client of a server, or the callback's process itself."""
    if subject is LISTEN_CALLBACK:
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port, limit=MAX_REPORT_BYTES)
        try:
            yield Receiver(reader, writer)
        finally:
            writer.close()
    else:
        async with start_load_generator(running) as load:
            await load.connect(1)
            yield load
