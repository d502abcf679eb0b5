"""Changes push/ at random places, one at a time, in a copy of the checkout, and runs the unit tests: `make mutation`.

A change that no test finds has survived; it is printed as a diff. Either a test is missing, or the change makes no
difference. The changes are those of cosmic-ray's operators. A place is chosen first and one of its changes then, so that a
comparison, which can be changed in nine ways, counts once. Runs with the Python of requirements/tools.txt, and the tests with
that of the project.
"""

from __future__ import annotations

import argparse
import difflib
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.plugins import get_operator, operator_names

ROOT = Path(__file__).resolve().parents[2]
ALL_TESTS = ["tests/unit/push"]
# A test that hangs has found the change too: one that takes so many times as long as all tests without a change.
TIMEOUT_FACTOR = 5
# Changes of annotations (``int | None``), which are never evaluated, and of decorators, without which a class is another one.
IGNORED_OPERATORS = ("ReplaceBinaryOperator_BitOr", "RemoveDecorator")


@dataclass(frozen=True, slots=True)
class Mutation:
    """``occurrence``: the how manyth place in the file at which the operator applies."""

    file: str
    line: int
    operator: str
    occurrence: int

    def apply(self, source: str) -> str:
        mutated: str | None = mutate_code(source, get_operator(self.operator)(), self.occurrence)
        assert mutated is not None
        return mutated


def find_mutations(file: Path) -> Iterator[tuple[tuple[int, int], Mutation]]:
    """Every change of a file, with its place."""
    tree = get_ast(file.read_text(encoding="utf-8"))
    for name in operator_names():
        operator_class = get_operator(name)
        if operator_class.arguments() or any(part in name for part in IGNORED_OPERATORS):
            continue
        operator = operator_class()
        places = (start for node in ast_nodes(tree) for start, _ in operator.mutation_positions(node))
        for occurrence, start in enumerate(places):
            yield start, Mutation(str(file.relative_to(ROOT)), start[0], name, occurrence)


def choose(files: list[Path], count: int, rng: random.Random) -> list[Mutation]:
    """One change at each of ``count`` places."""
    by_place: dict[tuple[str, tuple[int, int]], list[Mutation]] = defaultdict(list)
    for file in files:
        for start, mutation in find_mutations(file):
            by_place[mutation.file, start].append(mutation)
    places = rng.sample(sorted(by_place), min(count, len(by_place)))
    print(f"{len(places)} of {len(by_place)} places", flush=True)
    return [rng.choice(by_place[place]) for place in places]


def tests_of(file: str) -> list[list[str]]:
    """Paths of tests, those that find most first: the module's own, then all unit tests of push/."""
    path = Path(file)
    own = ROOT / "tests" / "unit" / path.parent / f"test_{path.name}"
    return [[str(own.relative_to(ROOT))], ALL_TESTS] if own.exists() else [ALL_TESTS]


def run_tests(tests: list[str], checkout: Path, python: Path, timeout: float | None = None) -> bool:
    """Whether all tests pass in time."""
    command = [str(python), "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    # Bytecode is found by time and size of its source, which a change may leave as they are.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def run(mutations: list[Mutation], checkout: Path, python: Path, timeout: float) -> int:
    """Print what becomes of each mutation. Returns how many survived."""
    survived = 0
    for number, mutation in enumerate(mutations, 1):
        path = checkout / mutation.file
        source = path.read_text(encoding="utf-8")
        mutated = mutation.apply(source)
        path.write_text(mutated, encoding="utf-8")
        started = time.monotonic()
        try:
            found = not all(run_tests(tests, checkout, python, timeout) for tests in tests_of(mutation.file))
        finally:
            path.write_text(source, encoding="utf-8")
        seconds = time.monotonic() - started
        what = f"{mutation.file}:{mutation.line} {mutation.operator.removeprefix('core/')}"
        print(f"{number:4} {'found   ' if found else 'SURVIVED'} {seconds:5.1f} s  {what}", flush=True)
        if not found:
            lines = difflib.unified_diff(source.splitlines(), mutated.splitlines(), mutation.file, "mutated", lineterm="", n=2)
            survived += 1
            print(*lines, sep="\n", flush=True)
    return survived


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--python", type=Path, required=True, help="the Python that runs the tests")
    parser.add_argument("--count", type=int, default=100, help="so many places")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="repeats a run")
    parser.add_argument("--only", default="", help="files whose path contains this")
    options = parser.parse_args()
    files = [file for file in sorted((ROOT / "push").rglob("*.py")) if options.only in str(file.relative_to(ROOT))]
    print(f"seed {options.seed}", flush=True)
    mutations = choose(files, options.count, random.Random(options.seed))
    with tempfile.TemporaryDirectory(prefix="orderwire-mutation-") as directory:
        checkout = Path(directory) / "checkout"
        shutil.copytree(ROOT, checkout, ignore=shutil.ignore_patterns(".*", "node_modules", "__pycache__"))
        started = time.monotonic()
        if not run_tests(ALL_TESTS, checkout, options.python.absolute()):
            print("these tests fail without any change: " + " ".join(ALL_TESTS))
            return 1
        timeout = TIMEOUT_FACTOR * (time.monotonic() - started)
        survived = run(mutations, checkout, options.python.absolute(), timeout)
    print(f"{len(mutations) - survived} of {len(mutations)} changes found, {survived} survived (seed {options.seed})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
