"""Asks about the locked packages: for known vulnerabilities (`make audit`), for newer versions (`make outdated`).

Python's locks are compared with the advisories that PyPI publishes (pip-audit), npm's with those of its registry (npm audit).
Where advisories cannot be reached, that is said, and newer versions are listed in their place.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from web.build import node_and_npm

__all__ = ["find_outdated_in_npm", "find_outdated_in_python", "find_vulnerabilities_in_npm", "find_vulnerabilities_in_python"]

ROOT = Path(__file__).resolve().parents[1]
WEB = ROOT / "web"
TIMEOUT_SECONDS = 300
VULNERABLE, NOT_AUDITED = 1, 2

# Returns a line for each package that it finds. Raises Unreachable.
Check = Callable[[], list[str]]


class Unreachable(Exception):
    """The source of advisories or versions gives no answer; the text says why."""


def _run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise Unreachable(f"no answer within {TIMEOUT_SECONDS} s") from None


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "no output"


def _json(done: subprocess.CompletedProcess[str]) -> Any:
    """What a command has printed. Exit codes say whether something was found, so they are no sign of a failure."""
    try:
        return json.loads(done.stdout)
    except ValueError:
        raise Unreachable(_last_line(done.stderr or done.stdout)) from None


def find_vulnerabilities_in_python(lock: Path, tools: Path) -> list[str]:
    """Ask pip-audit, which reads the lock and installs nothing.

    A package that it skips, as it does where an index publishes no advisories, is not known to be sound.
    """
    options = ("--require-hashes", "--disable-pip", "--format", "json", "--progress-spinner", "off")
    answer = _json(_run(str(tools / "pip-audit"), "--requirement", str(lock), *options))
    packages = answer["dependencies"]
    if skipped := [package["skip_reason"] for package in packages if "skip_reason" in package]:
        raise Unreachable(f"no advisories for {len(skipped)} of {len(packages)} packages: {skipped[0]}")
    return [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none yet'}"
        for package in packages
        for found in package.get("vulns", ())
    ]


def find_vulnerabilities_in_npm() -> list[str]:
    """Ask npm, which reads the lock and installs nothing."""
    answer = _json(_run(*node_and_npm()[1], "audit", "--json", "--package-lock-only", cwd=WEB))
    if "vulnerabilities" not in answer:
        raise Unreachable(str(answer.get("message") or answer.get("error") or "no advisories in the answer"))
    return [
        f"{name}: {found['severity']}, {'npm audit fix' if found['fixAvailable'] else 'no fix yet'}"
        for name, found in answer["vulnerabilities"].items()
    ]


def _pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, flags=re.MULTILINE))


def find_outdated_in_python(lock: Path, tools: Path) -> list[str]:
    """Resolve the ranges of the .in file anew. What they forbid is not found."""
    with tempfile.TemporaryDirectory() as directory:
        fresh = Path(directory) / lock.name
        options = ("--quiet", "--upgrade", "--universal", "--python-version", "3.11", "--output-file", str(fresh))
        done = _run(str(tools / "uv"), "pip", "compile", *options, str(lock.with_suffix(".in")))
        if done.returncode:
            raise Unreachable(_last_line(done.stderr))
        newest = _pins(fresh.read_text(encoding="utf-8"))
    pinned = _pins(lock.read_text(encoding="utf-8"))
    return [f"{name} {pinned[name]} -> {newest[name]}" for name in pinned if newest.get(name, pinned[name]) != pinned[name]]


def find_outdated_in_npm() -> list[str]:
    """Direct dependencies whose newest version is not the installed one."""
    answer = _json(_run(*node_and_npm()[1], "outdated", "--json", cwd=WEB))
    if "error" in answer:
        raise Unreachable(str(answer["error"].get("summary", answer["error"])))
    installed = {name: found.get("current", found["wanted"]) for name, found in answer.items()}
    return [
        f"{name} {installed[name]} -> {answer[name]['latest']}" for name in answer if installed[name] != answer[name]["latest"]
    ]


def report(checks: dict[str, Check], what: str) -> tuple[int, int]:
    """Print the result of each check. Returns how many lines were found, and how many checks got no answer."""
    findings = unanswered = 0
    for name, check in checks.items():
        try:
            found = check()
        except Unreachable as error:
            unanswered += 1
            print(f"{name}: NOT CHECKED for {what}: {error}")
            continue
        findings += len(found)
        print(f"{name}: {len(found) or 'no'} {what}", *found, sep="\n    ")
    return findings, unanswered


def main() -> int:
    """Exit code 0: all is well; 1: a known vulnerability; 2: there was no answer for some lock."""
    parser = argparse.ArgumentParser(prog="python -m requirements.audit")
    parser.add_argument("question", choices=["vulnerabilities", "outdated"])
    parser.add_argument("--tools", type=Path, required=True, help="directory with the programs pip-audit and uv")
    options = parser.parse_args()
    locks = {str(lock.relative_to(ROOT)): lock for lock in sorted(Path(__file__).parent.glob("*.txt"))}
    outdated: dict[str, Check] = {
        **{name: partial(find_outdated_in_python, lock, options.tools) for name, lock in locks.items()},
        "web/package.json": find_outdated_in_npm,
    }
    vulnerabilities: dict[str, Check] = {
        **{name: partial(find_vulnerabilities_in_python, lock, options.tools) for name, lock in locks.items()},
        "web/package-lock.json": find_vulnerabilities_in_npm,
    }
    if options.question == "outdated":
        return NOT_AUDITED if report(outdated, "packages with a newer version")[1] else 0
    found, unanswered = report(vulnerabilities, "known vulnerabilities")
    if unanswered:
        print(f"Advisories could not be had for {unanswered} of {len(vulnerabilities)} locks. Instead, how old the locks are:")
        report(outdated, "packages with a newer version")
    return VULNERABLE if found else NOT_AUDITED if unanswered else 0


if __name__ == "__main__":
    sys.exit(main())
