"""``python -m tests.attacks``: a table; exit code 1 when clients who behave had to wait more than twice as long."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate
from tests.attacks.floods import ATTACKS
from tests.attacks.harness import CLIENT_COUNT, Harness

ROUNDS = 4
WRITES = 40
PAUSE_SECONDS = 0.05
# Until the attack is in full swing, and the burst that everybody may have is used up.
RAMP_UP_SECONDS = 2.5
MAX_RATIO = 2.0


async def measure(harness: Harness, name: str) -> tuple[list[float], list[float], Counter[str]]:
    """Latencies without and with the attack, alternated; what the attacker was told."""
    without: list[float] = []
    under: list[float] = []
    told: Counter[str] = Counter()
    for _ in range(ROUNDS):
        numbers = await harness.insert_orders(WRITES, PAUSE_SECONDS)
        await harness.check_all_events_arrived()
        without += harness.latencies(numbers)
        attacker = await harness.start_attack(name)
        await asyncio.sleep(RAMP_UP_SECONDS)
        numbers = await harness.insert_orders(WRITES, PAUSE_SECONDS)
        await harness.check_all_events_arrived()
        under += harness.latencies(numbers)
        told.update(await harness.stop_attack(attacker))
    return without, under, told


async def run(url: str, names: list[str]) -> bool:
    await migrate(url)
    good = True
    async with Harness(url) as harness:
        print(f"{CLIENT_COUNT} clients beside; INSERT to arrival, median of {ROUNDS} x {WRITES} orders, ms")
        print(f"{'attack':<14}{'without':>9}{'with':>9}{'ratio':>7}{'p99':>8}{'p99':>8}  what the attacker was told")
        for name in names:
            without, under, told = await measure(harness, name)
            ratio = statistics.median(under) / statistics.median(without)
            tails = [statistics.quantiles(values, n=100)[98] * 1000 for values in (without, under)]
            words = ", ".join(f"{what} x {count}" for what, count in told.most_common(4))
            print(
                f"{name:<14}{statistics.median(without) * 1000:>9.1f}{statistics.median(under) * 1000:>9.1f}{ratio:>7.2f}"
                f"{tails[0]:>8.1f}{tails[1]:>8.1f}  {words}",
                flush=True,
            )
            good = good and ratio <= MAX_RATIO and told[ATTACKS[name][1]] > 0
        if complaints := harness.log_failures():
            print("in the server's log:", *complaints[:20], sep="\n")
            good = False
    print("every client had every event once, and nobody else was closed")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attacks", description="floods, and what 100 clients notice of them")
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
