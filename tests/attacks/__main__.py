"""``python -m tests.attacks``: prints a table; exit code 1 when an attack more than doubles the latency of other clients."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.attacks.floods import ATTACKS
from tests.attacks.harness import CLIENT_COUNT, Harness

ROUNDS = 4
WRITES = 40
PAUSE_SECONDS = 0.05
# Time until the attack runs at its full rate and has used up the burst of its rate limit.
RAMP_UP_SECONDS = 2.5
MAX_RATIO = 2.0


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


async def run(url: str, names: list[str]) -> bool:
    await migrate(url)
    await create_starter(url)
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


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.attacks", description="flood the server and measure the latency of 100 other clients"
    )
    parser.add_argument("names", nargs="*", metavar="ATTACK", help=", ".join(ATTACKS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orderwire-attacks-") as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres", report=lambda line: None)
        try:
            return 0 if asyncio.run(run(postgres.start(), options.names or list(ATTACKS))) else 1
        finally:
            postgres.release()


if __name__ == "__main__":
    sys.exit(main())
