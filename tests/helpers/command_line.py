"""Runs `server.py` in the test's process, for what needs no process of its own: help, tokens, wrong usage, wrong settings."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

import logs
import server
from tests.support import ROOT


class CommandLine:
    """``command_line("token", "--role", "admin", JWT_SECRET="…")`` returns the exit code and what was printed.

    A command that runs an event loop (serve, migrate, watch, demo, doctor) cannot be run in an asynchronous test, other than to
    fail before it does. Logging is not configured.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        with self._monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["server.py", *arguments])
            patch.setattr(os, "environ", settings)
            patch.setattr(logs, "configure", lambda *_: None)
            patch.chdir(ROOT)
            self._capsys.readouterr()
            try:
                code: Any = server.main()
            except SystemExit as error:  # raised by argparse
                code = error.code
        printed = self._capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, printed.out, printed.err)
