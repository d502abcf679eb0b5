"""requirements/audit.py: what it makes of the answers of pip-audit and uv. The programs are scripts that print such answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from requirements.audit import Unreachable, find_outdated_in_python, find_vulnerabilities_in_python, report

LOCK = "aiohttp==3.14.5 \\\n    --hash=sha256:aa\nyarl==1.20.0 ; python_version < '3.13' \\\n    --hash=sha256:bb\n"


def program(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_each_vulnerability_is_a_line(tmp_path: Path) -> None:
    vulnerable = {"name": "yarl", "version": "1.20.0", "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.20.1"]}]}
    answer = {"dependencies": [{"name": "aiohttp", "version": "3.14.5", "vulns": []}, vulnerable], "fixes": []}
    # pip-audit exits with 1 when it has found something.
    program(tmp_path, "pip-audit", f"echo '{json.dumps(answer)}'; exit 1")
    assert find_vulnerabilities_in_python(tmp_path / "runtime.txt", tmp_path) == ["yarl 1.20.0: PYSEC-1, fixed in 1.20.1"]


def test_no_answer_is_no_clean_bill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program(tmp_path, "pip-audit", "echo 'ERROR:pip_audit._cli:Connection refused' >&2; exit 1")
    with pytest.raises(Unreachable, match="Connection refused"):
        find_vulnerabilities_in_python(tmp_path / "runtime.txt", tmp_path)
    checks = {"runtime.txt": lambda: find_vulnerabilities_in_python(tmp_path / "runtime.txt", tmp_path)}
    assert report(checks, "known vulnerabilities") == (0, 1)
    assert capsys.readouterr().out.startswith("runtime.txt: NOT CHECKED for known vulnerabilities: ERROR:")


def test_a_package_that_was_skipped_is_not_taken_for_a_sound_one(tmp_path: Path) -> None:
    answer = {
        "dependencies": [{"name": "yarl", "skip_reason": "not found on PyPI"}, {"name": "a", "version": "1", "vulns": []}]
    }
    program(tmp_path, "pip-audit", f"echo '{json.dumps(answer)}'")
    with pytest.raises(Unreachable, match="no advisories for 1 of 2 packages: not found on PyPI"):
        find_vulnerabilities_in_python(tmp_path / "runtime.txt", tmp_path)


def test_newer_versions_are_those_that_a_new_lock_would_have(tmp_path: Path) -> None:
    lock = tmp_path / "runtime.txt"
    lock.write_text(LOCK)
    newer = LOCK.replace("1.20.0", "1.21.0")
    program(tmp_path, "uv", f'while [ "$1" != --output-file ]; do shift; done; cat > "$2" <<"END"\n{newer}END')
    assert find_outdated_in_python(lock, tmp_path) == ["yarl 1.20.0 -> 1.21.0"]
