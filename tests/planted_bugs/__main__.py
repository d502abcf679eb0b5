"""Plants each bug of bugs.toml in a copy of the checkout and runs the tests that must find it.

Prints a line for each bug. The exit code is 1 when a bug was not found, or when it cannot be planted any more because the code
has changed: then bugs.toml has to follow.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT, copy_checkout
from web.build import install_for_tests

BUGS = Path(__file__).with_name("bugs.toml")
TEST_TIMEOUT_SECONDS = 600
# Exit codes of pytest: 1 is "tests failed"; 2 to 5 say that it could not run them.
PYTEST_TESTS_FAILED = 1


@dataclass(frozen=True, slots=True)
class Bug:
    """An edit of one file, and the tests that must fail with it."""

    name: str
    file: str
    old: str
    new: str
    tests: list[str]


def load_bugs() -> list[Bug]:
    return [Bug(**entry) for entry in tomllib.loads(BUGS.read_text(encoding="utf-8"))["bug"]]


def find(bug: Bug, checkout: Path) -> tuple[bool, str]:
    """Whether a test of the checkout fails with the bug, and a text that says which. The file is restored."""
    path = checkout / bug.file
    source = path.read_text(encoding="utf-8")
    if source.count(bug.old) != 1:
        return False, f"cannot be planted: the text occurs {source.count(bug.old)} times in {bug.file}"
    path.write_text(source.replace(bug.old, bug.new), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *bug.tests]
    try:
        run = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=TEST_TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return True, f"the tests hang for {TEST_TIMEOUT_SECONDS} s"
    finally:
        path.write_text(source, encoding="utf-8")
    failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    if run.returncode == PYTEST_TESTS_FAILED and failed:
        return True, failed[0].split(" ")[1]
    return False, run.stdout.strip().splitlines()[-1] if run.stdout.strip() else run.stderr.strip()[-200:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.planted_bugs", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="bugs whose name contains this")
    options = parser.parse_args()
    bugs = [bug for bug in load_bugs() if options.only in bug.name]
    survived = 0
    install_for_tests()  # the copy has a link to them
    with tempfile.TemporaryDirectory(prefix="orderwire-planted-") as directory:
        checkout = copy_checkout(Path(directory) / "checkout")
        for name in (".venv", "web/node_modules"):
            if (ROOT / name).exists():
                (checkout / name).symlink_to(ROOT / name)
        for bug in bugs:
            found, what = find(bug, checkout)
            survived += not found
            print(f"{'found    ' if found else 'NOT FOUND'}  {bug.name}: {what}", flush=True)
    print(f"{len(bugs) - survived} of {len(bugs)} planted bugs found")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
