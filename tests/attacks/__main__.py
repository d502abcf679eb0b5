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
from tests.attacks.site import CLIENTS, Site

ROUNDS = 4
WRITES = 40
PAUSE_SECONDS = 0.05
# Until the attack is in full swing, and the burst that everybody may have is used up.
SWING_SECONDS = 2.5
MOST_RATIO = 2.0


async def measure(site: Site, name: str) -> tuple[list[float], list[float], Counter[str]]:
    """Latencies without and with the attack, alternated; what the attacker was told."""
    without: list[float] = []
    under: list[float] = []
    told: Counter[str] = Counter()
    for _ in range(ROUNDS):
        numbers = await site.write(WRITES, PAUSE_SECONDS)
        await site.all_have_all()
        without += site.latencies(numbers)
        attacker = await site.attack(name)
        await asyncio.sleep(SWING_SECONDS)
        numbers = await site.write(WRITES, PAUSE_SECONDS)
        await site.all_have_all()
        under += site.latencies(numbers)
        told.update(await site.end(attacker))
    return without, under, told


async def run(url: str, names: list[str]) -> bool:
    await migrate(url)
    good = True
    async with Site(url) as site:
        print(f"{CLIENTS} clients beside; INSERT to arrival, median of {ROUNDS} x {WRITES} orders, ms")
        print(f"{'attack':<14}{'without':>9}{'with':>9}{'ratio':>7}{'p99':>8}{'p99':>8}  what the attacker was told")
        for name in names:
            without, under, told = await measure(site, name)
            ratio = statistics.median(under) / statistics.median(without)
            tails = [statistics.quantiles(values, n=100)[98] * 1000 for values in (without, under)]
            words = ", ".join(f"{what} x {count}" for what, count in told.most_common(4))
            print(
                f"{name:<14}{statistics.median(without) * 1000:>9.1f}{statistics.median(under) * 1000:>9.1f}{ratio:>7.2f}"
                f"{tails[0]:>8.1f}{tails[1]:>8.1f}  {words}",
                flush=True,
            )
            good = good and ratio <= MOST_RATIO and told[ATTACKS[name][1]] > 0
        if complaints := site.complaints():
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
