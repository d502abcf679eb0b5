"""``python -m tests.attacks``: prints two tables; exit code 1 when an attack passes one of the bounds below."""

from __future__ import annotations

import argparse
import asyncio
import math
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.attacks.floods import ATTACKS
from tests.attacks.harness import CLIENT_COUNT, MAX_GROWTH_BYTES, Harness
from tests.attacks.loads import LOADS

ROUNDS = 4
WRITES = 40
PAUSE_SECONDS = 0.05
# Time until the attack runs at its full rate and has used up the burst of its rate limit.
RAMP_UP_SECONDS = 2.5
# Of the latency under a flood to that without.
MAX_RATIO = 2.0
# Of a load: how long it is measured, and the median time until a pong.
LOAD_SECONDS = 10
MAX_PONG_SECONDS = 0.05


async def measure(harness: Harness, name: str) -> tuple[list[float], list[float], Counter[str]]:
    """Latencies without and with the attack, alternated, and the answers that the attacker received."""
    without: list[float] = []
    under: list[float] = []
    answers: Counter[str] = Counter()
    for _ in range(ROUNDS):
        numbers = await harness.insert_orders(WRITES, PAUSE_SECONDS)
        await harness.check_all_events_arrived()
        without += harness.latencies(numbers)
        attacker = await harness.start_attack(name)
        await asyncio.sleep(RAMP_UP_SECONDS)
        numbers = await harness.insert_orders(WRITES, PAUSE_SECONDS)
        await harness.check_all_events_arrived()
        under += harness.latencies(numbers)
        answers.update(await harness.stop_attack(attacker))
    return without, under, answers


async def run_floods(url: str, names: list[str]) -> bool:
    passed = True
    async with Harness(url) as harness:
        print(f"{CLIENT_COUNT} other clients; INSERT to arrival, median of {ROUNDS} x {WRITES} orders, ms")
        print(f"{'attack':<14}{'without':>9}{'with':>9}{'ratio':>7}{'p99':>8}{'p99':>8}  answers to the attacker")
        for name in names:
            without, under, answers = await measure(harness, name)
            ratio = statistics.median(under) / statistics.median(without)
            tails = [statistics.quantiles(values, n=100)[98] * 1000 for values in (without, under)]
            words = ", ".join(f"{what} x {count}" for what, count in answers.most_common(4))
            print(
                f"{name:<14}{statistics.median(without) * 1000:>9.1f}{statistics.median(under) * 1000:>9.1f}{ratio:>7.2f}"
                f"{tails[0]:>8.1f}{tails[1]:>8.1f}  {words}",
                flush=True,
            )
            passed = passed and ratio <= MAX_RATIO and answers[ATTACKS[name][1]] > 0
        if complaints := harness.log_failures():
            print("in the server's log:", *complaints[:20], sep="\n")
            passed = False
    print("every client received every event once, and no other client was closed")
    return passed


async def run_loads(url: str, names: list[str]) -> bool:
    passed = True
    print(f"\n{CLIENT_COUNT} other clients; ping to pong, ms; a resume of another client, ms; memory of the server, MiB")
    print(
        f"{'attack':<14}{'without':>9}{'with':>9}{'p99':>8}{'p99':>8}{'resume':>8}{'with':>8}{'growth':>8}"
        "  answers to the attacker"
    )
    for name in names:
        load = LOADS[name]
        async with Harness(url, topics="analytics") as harness:
            await harness.database.execute("insert into orders (customer_name, total) values ('Anna', 1)")
            cursor = await harness.newest_cursor()
            await harness.prepare(load.prepare)
            await asyncio.sleep(RAMP_UP_SECONDS)
            without = await harness.measure_pongs(LOAD_SECONDS, "select")
            resume_without = await harness.resume_seconds(cursor) if load.resumes else math.nan
            before = harness.forget_peak_memory()
            attacker = await harness.start_attack(name)
            under, resume = await asyncio.gather(
                harness.measure_pongs(LOAD_SECONDS, load.write),
                harness.median_resume_seconds(cursor, LOAD_SECONDS) if load.resumes else asyncio.sleep(0, math.nan),
            )
            growth = harness.peak_memory() - before
            answers = Counter(await harness.stop_attack(attacker))
            median = statistics.median(under)
            tails = [statistics.quantiles(values, n=100)[98] * 1000 for values in (without, under)]
            words = ", ".join(f"{what} x {count}" for what, count in answers.most_common(4))
            print(
                f"{name:<14}{statistics.median(without) * 1000:>9.1f}{median * 1000:>9.1f}{tails[0]:>8.1f}{tails[1]:>8.1f}"
                f"{resume_without * 1000:>8.0f}{resume * 1000:>8.0f}{growth / 1024**2:>8.1f}  {words}",
                flush=True,
            )
            passed = passed and median <= MAX_PONG_SECONDS and growth <= MAX_GROWTH_BYTES
            if complaints := harness.log_failures():
                print("in the server's log:", *complaints[:20], sep="\n")
                passed = False
    return passed


async def run(url: str, names: list[str]) -> bool:
    await migrate(url)
    await create_starter(url)
    floods, loads = [name for name in names if name in ATTACKS], [name for name in names if name in LOADS]
    passed = not floods or await run_floods(url, floods)
    return (not loads or await run_loads(url, loads)) and passed


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks",
        description="flood and burden the server, and measure the latency of 100 other clients and its memory",
    )
    parser.add_argument("names", nargs="*", metavar="ATTACK", help=", ".join((*ATTACKS, *LOADS)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orderwire-attacks-") as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres", report=lambda line: None)
        try:
            return 0 if asyncio.run(run(postgres.start(), options.names or [*ATTACKS, *LOADS])) else 1
        finally:
            postgres.release()


if __name__ == "__main__":
    sys.exit(main())
