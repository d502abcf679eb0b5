"""The benchmark suite: Orderwire side by side with its peers. `make bench`, or `python -m bench --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path

from bench.database import FLUSH_MILLISECONDS, SlowDiskPostgres, start_postgres
from bench.load import CompilerMissing, LoadGeneratorFailed, compile_c
from bench.machine import LOAD_CPUS, OtherLoad, describe, flush_milliseconds
from bench.plan import BASELINES, SCENARIOS
from bench.report import Report, Result
from bench.scenario import FULL, QUICK, Bench, Scenario
from bench.subjects import SERVER, VENV, SubjectUnavailable
from bench.targets import TARGETS

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results"
ROUNDS = 3
MIN_OPEN_FILES = 20000


def select_scenarios(words: list[str], *, quick: bool) -> list[Scenario]:
    """The scenarios whose names contain one of ``words``. Without words, a quick run has the main ones."""
    if words:
        return [scenario for scenario in SCENARIOS if any(word in scenario.name for word in words)]
    return [scenario for scenario in SCENARIOS if scenario.quick or not quick]


def select_cases(scenario: Scenario, filters: list[str], *, quick: bool) -> list[str]:
    """The cases whose names contain one of ``filters``, or all of them; always Orderwire and the baselines, for the ratios."""
    names = [name for name in scenario.cases if name in scenario.quick or not (quick and scenario.quick)]
    required = (*BASELINES, SERVER.name)
    return [name for name in names if not filters or name in required or any(word.lower() in name.lower() for word in filters)]


async def measure(bench: Bench, scenario: Scenario, name: str, round_number: int) -> Result:
    """Run one case once. A failure becomes part of the result. Raises SubjectUnavailable."""
    failure, measures = "", {}
    with OtherLoad() as other_load:
        try:
            measures = await scenario.cases[name](bench)
        except (LoadGeneratorFailed, TimeoutError, AssertionError) as error:
            failure = str(error)[-300:] or type(error).__name__
    return Result(scenario.name, name, round_number, other_load.cpus, measures, failure)


async def run(options: argparse.Namespace) -> None:
    scenarios = select_scenarios(options.only or [], quick=options.quick)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    start = time.monotonic()
    report = Report({**describe(), **versions()})
    try:
        async with AsyncExitStack() as stack:
            size = QUICK if options.quick else FULL
            databases = await stack.enter_async_context(start_postgres())
            bench = slow_bench = Bench(databases, size)
            report.machine["PostgreSQL"] = await databases.version()
            report.machine["flush of 8 KiB, ms"] = f"{flush_milliseconds(databases.directory):.2f}"
            if any(scenario.slow_disk for scenario in scenarios):
                slow_bench = Bench(await stack.enter_async_context(start_postgres(SlowDiskPostgres)), size)
                report.machine["slow disk"] = f"{FLUSH_MILLISECONDS} ms more"
            for scenario in scenarios:
                names = select_cases(scenario, options.peer, quick=options.quick)
                for number in range(rounds):
                    for name in names if number % 2 == 0 else names[::-1]:
                        print(
                            f"{time.monotonic() - start:5.0f} s  {scenario.name}: {name}, round {number + 1}", file=sys.stderr
                        )
                        try:
                            on_disk = slow_bench if scenario.slow_disk else bench
                            result = await measure(on_disk, scenario, name, number + 1)
                        except SubjectUnavailable as error:
                            report.add_skipped(f"{name}: {error}")
                            continue
                        report.results.append(result)
                        if result.failure:
                            print(f"         failed: {result.failure}", file=sys.stderr)
    finally:
        if report.results:
            report.targets = [target.evaluate(report.results) for target in TARGETS]
            print(report.table(BASELINES, SERVER.name))
            print(f"\n{time.monotonic() - start:.0f} s; saved as {report.save(RESULTS).relative_to(HERE.parent)}")


def versions() -> dict[str, str]:
    """The commit of this checkout and the versions of the peers' packages."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True, check=False)
    names = ("aiohttp", "websockets", "fastapi", "uvicorn", "uvloop", "socketify")
    ask = "import sys; from importlib.metadata import version; print(', '.join(n + ' ' + version(n) for n in sys.argv[1:]))"
    found = {"checkout": commit.stdout.strip() or "unknown"}
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = [str(VENV / "bin" / "python"), "-c", ask, *names]
        found["peers"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
        found["peers"] = f"{found.get('peers', '')}, node {node}".lstrip(", ")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a shorter run, once: the main scenarios, in under two minutes")
    parser.add_argument("--rounds", type=int, help=f"how often each is measured (default: {ROUNDS}, quick: 1)")
    parser.add_argument("--only", action="append", help="scenarios whose name contains this, in a quick run, too; repeatable")
    parser.add_argument("--peer", action="append", default=[], help="peers whose name contains this; repeatable")
    options = parser.parse_args()
    # SIGTERM, like Ctrl-C, prints and saves the results so far and stops every process.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    os.sched_setaffinity(0, LOAD_CPUS)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else MIN_OPEN_FILES, hard))
    try:
        compile_c(HERE / "loadgen.c")
        asyncio.run(run(options))
    except CompilerMissing as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
