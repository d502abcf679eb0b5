"""Help, version and wrong usage. One case of each runs a process, the others run in the test's process."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import jwt
import pytest

from settings import Settings
from tests.e2e.conftest import Checkout
from tests.helpers.command_line import CommandLine
from tests.helpers.tokens import SECRET
from tests.support import BASE_ENVIRONMENT, ROOT, TIMEOUT_SECONDS

COMMANDS = ("serve", "migrate", "attach", "detach", "uninstall", "watch", "doctor", "demo", "token", "psql")


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=cwd, env=BASE_ENVIRONMENT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )


def server_process(*arguments: str) -> subprocess.CompletedProcess[str]:
    return run(sys.executable, "server.py", *arguments)


@pytest.mark.parametrize("arguments", [[], ["help"]])
def test_make_help_lists_every_target_with_its_one_line(arguments: Sequence[str]) -> None:
    done = run("make", *arguments)
    assert done.returncode == 0, done.stderr
    listed = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", done.stdout, re.MULTILINE))
    phony = re.search(r"^\.PHONY:(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony is not None
    targets = set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert targets == set(phony[1].split()) == set(listed)
    assert {"help", "run", "test", "doctor", "psql", "demo", "watch", "lint"} <= targets
    assert len(done.stdout.splitlines()) == len(targets)


def test_help_names_every_command_and_every_setting_with_its_default(command_line: CommandLine) -> None:
    done = server_process("--help")
    assert (done.returncode, done.stderr) == (0, "")
    listed = re.findall(r"^    ([a-z]+)(?: +\S.*)?$", done.stdout, re.MULTILINE)
    assert set(COMMANDS) <= set(listed)
    for item in fields(Settings):
        assert re.search(rf"^  {item.name.upper()} +\S.* \(default: .+\)$", done.stdout, re.MULTILINE)
    for name in listed:
        own = command_line(name, "--help")
        assert (own.returncode, own.stderr) == (0, "")
        assert own.stdout.startswith(f"usage: server.py {name}")
        assert "DATABASE_URL" in own.stdout


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_version_is_that_of_the_changelog(command: list[str], command_line: CommandLine) -> None:
    released = re.search(r"^## \[(\d[^]]*)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert released is not None
    done = (command_line if command else server_process)(*command, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"orderwire {released[1]}\n", "")


def test_make_token_makes_the_tokens_of_customers() -> None:
    make = Checkout(ROOT).command("token", f"JWT_SECRET={SECRET}", "ROLE=customer")
    for variables, claims in (
        (["SUB=o'neill $5"], {"sub": "o'neill $5"}),
        (["ORDER=5"], {"orders": ["5"]}),
        (["ORDER=5 6", "SUB=user-7", "TTL=2h"], {"orders": ["5", "6"], "sub": "user-7"}),
    ):
        done = run(*make, *(variable.replace("$", "$$") for variable in variables))
        assert (done.returncode, done.stderr) == (0, "")
        found = jwt.decode(done.stdout.strip(), SECRET, ["HS256"])
        assert {name: found[name] for name in found if name not in ("iat", "exp")} == {"role": "customer", **claims}
    assert "SUB=user-7" in run(*make).stderr


@pytest.mark.parametrize("arguments", [["doctor"], ["token", "--role", "admin"], ["--version"]])
def test_without_its_packages_it_says_how_to_get_them(arguments: list[str]) -> None:
    done = run(sys.executable, "-S", "server.py", *arguments)  # -S: Python without the packages of the environment
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert re.fullmatch(r"server.py: packages are missing \(\w+\): run `make setup`, then use .venv/bin/python", line)


def test_a_module_of_its_own_that_is_missing_is_no_missing_package(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_bytes((ROOT / "server.py").read_bytes())
    done = run(sys.executable, "server.py", "doctor", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'logs'"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["nonsense"], "nonsense"),
        (["--nonsense"], "--nonsense"),
        (["serve", "nonsense"], "nonsense"),
        (["migrate", "--nonsense"], "--nonsense"),
        (["demo", "--rate"], "--rate"),
        (["demo", "--rate", "0"], "'0'"),
        (["demo", "--rate", "nan"], "'nan'"),
        (["demo", "--rate", "fast"], "'fast'"),
    ],
)
def test_wrong_usage_is_named_and_exits_with_2(arguments: list[str], named: str, command_line: CommandLine) -> None:
    done = (server_process if arguments == ["nonsense"] else command_line)(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    *usage, error = done.stderr.splitlines()
    assert usage[0].startswith("usage: server.py")
    assert "error:" in error
    assert named in error
