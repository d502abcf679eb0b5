"""db/embedded/user_namespace.py: a command runs as uid 65534 of a new user namespace."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from db.embedded import user_namespace

NOT_ALLOWED = 125


def run_in_namespace(*command: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-I", user_namespace.__file__, *command]
    return subprocess.run(program, capture_output=True, text=True, check=False)


def test_command_has_the_inner_uid_and_the_rights_of_the_outer_one() -> None:
    result = run_in_namespace("/bin/sh", "-c", "id -u; test -r /proc/self/environ && echo readable; exit 7")
    if result.returncode == NOT_ALLOWED:
        pytest.skip("the kernel does not allow user namespaces here")
    assert result.stdout.split() == [str(user_namespace.INNER_UID), "readable"]
    assert result.returncode == 7


def test_exit_code_says_that_the_kernel_does_not_allow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    class DenyingLibc:
        def __init__(self, *_: object, **__: object) -> None:
            pass

        def unshare(self, _flags: int) -> int:
            return -1

    monkeypatch.setattr(ctypes, "CDLL", DenyingLibc)
    with pytest.raises(SystemExit) as raised:
        user_namespace.main()
    assert raised.value.code == NOT_ALLOWED
