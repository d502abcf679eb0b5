"""Two checkouts measured in alternated runs: `make bench-compare OTHER=../before`, or `python -m bench.compare --help`.

Each pair runs `python -m bench --quick` once in this checkout and once in the other, each with its own environment, load
generator and PostgreSQL; the order changes from pair to pair. A machine that is slower for some minutes slows both sides of a
ratio. A ratio above 1 means that this checkout is better. The interval is that of the median at 95 %, by order statistics: it
assumes nothing about the distribution. Only measures that have the same name in both checkouts are compared.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
OWN_SUBJECT = "Orderwire"
DEFAULT_SCENARIOS = (
    "fan-out, 1,000 clients",
    "INSERT to the last of 1,000 clients, 50",
    "INSERT to the last of 1,000 clients, 1,000",
)
DEFAULT_PAIRS = 20
RUN_TIMEOUT_SECONDS = 600
LOWEST_RATIO = 0.97
# Measures of which more is better; of all others less is.
MORE_IS_BETTER = ("deliveries per CPU-second", "commits/s", "connections/s")
# Conditions of a run, not results.
CONDITIONS = (
    "events/s written",
    "CPU of the load generator",
    "connections lost",
    "not delivered to all, %",
    "not delivered, %",
)

Measures = dict[tuple[str, str], float]


class RunFailed(Exception):
    """A benchmark run ended without a result; the text says why."""


def run_once(checkout: Path, scenarios: list[str]) -> Measures:
    """One quick run in ``checkout``: values by scenario and measure. Raises RunFailed."""
    results = checkout / "bench" / "results"
    before = set(results.glob("*.json"))
    command = [str(checkout / ".venv" / "bin" / "python"), "-m", "bench", "--quick", "--peer", OWN_SUBJECT]
    for scenario in scenarios:
        command += ["--only", scenario]
    try:
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=RUN_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise RunFailed(f"{checkout}: no result within {RUN_TIMEOUT_SECONDS} s") from None
    fresh = sorted(set(results.glob("*.json")) - before)
    if not fresh:
        raise RunFailed(f"{checkout}: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else 'no result'}")
    found: Measures = {}
    for result in json.loads(fresh[-1].read_text())["results"]:
        if result["subject"] == OWN_SUBJECT:
            if result["failure"]:
                raise RunFailed(f"{checkout}: {result['scenario']}: {result['failure']}")
            found |= {(result["scenario"], name): value for name, value in result["measures"].items() if name not in CONDITIONS}
    return found


def ratio(measure: str, this: float, other: float) -> float:
    """How much better ``this`` is than ``other``: above 1 is better. Infinite or zero values give nan."""
    if not (math.isfinite(this) and math.isfinite(other)) or this <= 0 or other <= 0:
        return math.nan
    return this / other if measure.startswith(MORE_IS_BETTER) else other / this


def median_interval(values: list[float], confidence: float = 0.95) -> tuple[float, float]:
    """The values between which the median lies with at least this probability (binomial order statistics)."""
    ordered, count = sorted(values), len(values)
    outside, rank = 0.0, 0
    while rank < count // 2:
        outside += 2 * math.comb(count, rank) / 2**count
        if outside > 1 - confidence:
            break
        rank += 1
    return ordered[max(0, rank - 1)], ordered[min(count - 1, count - rank)]


def table(pairs: list[tuple[Measures, Measures]]) -> str:
    """A line for each measure: medians of both checkouts, median ratio, its interval."""
    lines = [f"{'':<40} {'this':>10} {'other':>10} {'ratio':>6}  95 % interval   pairs"]
    keys = [key for key in pairs[0][0] if all(key in this and key in other for this, other in pairs)]
    for scenario in dict.fromkeys(scenario for scenario, _ in keys):
        lines.append(scenario)
        for measure in (measure for name, measure in keys if name == scenario):
            values = [(this[scenario, measure], other[scenario, measure]) for this, other in pairs]
            ratios = [one for one in (ratio(measure, *pair) for pair in values) if not math.isnan(one)]
            if not ratios:
                continue
            low, high = median_interval(ratios)
            median = statistics.median(ratios)
            verdict = "" if median >= LOWEST_RATIO else "worse" if high < LOWEST_RATIO else "not shown"
            this, other = (statistics.median(column) for column in zip(*values, strict=True))
            row = f"  {measure:<38} {this:>10,.1f} {other:>10,.1f} {median:>6.3f}"
            lines.append(f"{row}  {low:.3f} - {high:.3f}  {len(ratios):>5}  {verdict}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the other checkout, with its packages installed (make setup, make lint)")
    parser.add_argument("--pairs", type=int, default=DEFAULT_PAIRS, help=f"alternated pairs of runs (default: {DEFAULT_PAIRS})")
    parser.add_argument("--only", action="append", help="scenarios whose name contains this; repeatable")
    options = parser.parse_args()
    scenarios = options.only or list(DEFAULT_SCENARIOS)
    pairs: list[tuple[Measures, Measures]] = []
    try:
        for number in range(options.pairs):
            order = [HERE, options.other.resolve()]
            found = {checkout: run_once(checkout, scenarios) for checkout in (order if number % 2 == 0 else order[::-1])}
            pairs.append((found[order[0]], found[order[1]]))
            print(f"pair {number + 1} of {options.pairs}", file=sys.stderr, flush=True)
    except RunFailed as error:
        print(f"bench.compare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        if not pairs:
            return 130
    print(table(pairs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
