"""``python -m tests.fuzz``: exit code 1 when anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.fuzz.run import Plan, Report, fuzz


async def run(plan: Plan, url: str) -> Report:
    await migrate(url)
    await create_starter(url)
    return await fuzz(plan, url, lambda line: print(line, flush=True))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="send invalid input and check that other clients are unaffected"
    )
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run, to repeat its inputs")
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--script", type=int, default=None, help="run only the script with this number")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="orderwire-fuzz-") as directory:
        postgres = EmbeddedPostgres(Path(directory) / "postgres", report=lambda line: None)
        try:
            report = asyncio.run(run(Plan(seed, options.inputs, options.script), postgres.start()))
        finally:
            postgres.release()
    print(report.table())
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
