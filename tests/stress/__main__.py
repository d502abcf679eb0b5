"""``python -m tests.stress``: exit code 1 when anything is wrong."""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import sys
import tempfile
from pathlib import Path

from tests.stress.faults import ALL_FAULT_KINDS, CLUSTER_FAULT_KINDS, FAULT_KINDS, LARGE_FAULT_KINDS
from tests.stress.run import Plan, stress
from tests.stress.tables import TABLES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description="inject faults and check that no event is lost")
    parser.add_argument("--seed", type=int, default=None, help="the seed of an earlier run, to repeat its faults and writes")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--clients", type=int, default=210)
    parser.add_argument("--faults", type=int, default=None)
    parser.add_argument("--kinds", default=None, help="only faults whose name matches this regular expression")
    parser.add_argument("--notify-mode", default="auto", help="NOTIFY_MODE of the servers")
    parser.add_argument("--table", default="starter", choices=TABLES, help="the table that is attached and written to")
    parser.add_argument("--cluster", action="store_true", help="three edges, two relay candidates and three nodes of NATS")
    options = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if options.seed is None else options.seed
    usual = FAULT_KINDS | CLUSTER_FAULT_KINDS if options.cluster else FAULT_KINDS
    available = ALL_FAULT_KINDS if options.cluster else FAULT_KINDS | LARGE_FAULT_KINDS
    chosen = available if options.kinds else usual
    plan = Plan(
        seed,
        60 * options.minutes,
        options.clients,
        options.faults or max(12, round(110 * options.minutes)),
        [kind for kind in chosen if re.search(options.kinds or "", kind)],
        options.notify_mode,
        options.table,
        options.cluster,
    )
    with tempfile.TemporaryDirectory(prefix="orderwire-stress-") as directory:
        report = asyncio.run(stress(plan, Path(directory), lambda line: print(line, flush=True)))
    print(report.table())
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
