"""What a second worker brings: `python -m bench.workers`. Alternated rounds of one worker and of two.

Each event goes to all clients, of which each worker has its part, so each spends CPU time on its own clients, and besides on
what every worker does alike: reading the journal. If each had a processor to itself, the one that spends most would set the
pace: "if each had a processor" is deliveries by the CPU seconds of the busiest. On two processors, which they share with
PostgreSQL and the load generator, the real rate cannot show that: it is the other figure.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time

from bench.database import databases, writing
from bench.load import Load
from bench.machine import Strangers, cpu_seconds
from bench.subjects import ORDERWIRE
from tests.support import Server

COUNTS = (1, 2)
PATIENCE_SECONDS = 60.0


async def measure(url: str, workers: int, clients: int, turns: int, seconds: float) -> dict[str, float]:
    """Events one after the other, the next when every client has the last; then as many as eight writers can commit."""
    server = await Server.serve(url, **{**ORDERWIRE, "WORKERS": str(workers)})
    try:
        await server.ready()
        load = await Load.start(int(server.http_url.rpartition(":")[2]))
        try:
            async with writing(url) as writer:
                await load.connect(clients)
                await writer.bulk(1)
                await load.wait(1, PATIENCE_SECONDS)
                found: dict[str, float] = {}
                for name in ("one at a time", "at full speed"):
                    await load.command("reset")
                    before = [cpu_seconds(pid) for pid in server.pids]
                    start = time.monotonic()
                    if name == "one at a time":
                        for turn in range(turns):
                            await writer.bulk(1)
                            assert await load.wait(turn + 1, PATIENCE_SECONDS)
                        events = turns
                    else:
                        events = await writer.write(20_000, seconds)
                        assert await load.wait(events, PATIENCE_SECONDS), await load.command("report")
                    took = time.monotonic() - start
                    spent = [cpu_seconds(pid) - was for pid, was in zip(server.pids, before, strict=True)]
                    found[f"{name}: deliveries/s"] = events * clients / took
                    found[f"{name}: deliveries per CPU-second"] = events * clients / sum(spent)
                    found[f"{name}: deliveries/s if each had a processor"] = events * clients / max(spent)
                return found
        finally:
            await load.stop()
    finally:
        await server.kill()


async def run(options: argparse.Namespace) -> None:
    results: dict[int, list[dict[str, float]]] = {count: [] for count in COUNTS}
    with Strangers() as strangers:
        async with databases() as some:
            for number in range(options.rounds):
                for count in COUNTS if number % 2 == 0 else COUNTS[::-1]:
                    url = await some.fresh(journal=True)
                    results[count].append(await measure(url, count, options.clients, options.turns, options.seconds))
    print(f"{options.clients} clients, {options.rounds} rounds; others used {strangers.cpus:.2f} processors meanwhile")
    for name in results[COUNTS[0]][0]:
        rows = [[result[name] for result in results[count]] for count in COUNTS]
        ratios = [two / one for one, two in zip(*rows, strict=True)]
        text = " | ".join(f"{statistics.median(row):>11,.0f}" for row in rows)
        print(f"{name:<52} {text} | {statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.workers", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=1.0)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
