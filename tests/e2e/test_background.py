"""SIGINT for programs started in the background of a script: the shell sets it to ignored, and programs inherit that."""

from __future__ import annotations

import signal
import sys

from tests.support import ROOT, Process, Server

IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")


async def test_server_drains_at_sigint_if_it_was_ignored_at_start(database_url: str) -> None:
    command = [*IN_BACKGROUND, sys.executable, "server.py", "serve"]
    server = await Server.start(*command, env={"PORT": "0", "DATABASE_URL": database_url})
    try:
        await server.wait_until_ready()
        assert await server.stop(signal.SIGINT) == 0
        assert "Traceback" not in server.output
    finally:
        await server.kill()


async def test_process_of_a_test_ends_at_sigint() -> None:
    process = await Process.start("sleep", "600")
    try:
        assert await process.stop(signal.SIGINT) == -signal.SIGINT
    finally:
        await process.kill()


async def test_pytest_in_the_background_starts_interruptible_processes() -> None:
    """As by `sh -c 'make test &'`: a process that a test starts ends at SIGINT all the same."""
    test = f"{__file__}::{test_process_of_a_test_ends_at_sigint.__name__}"
    run = await Process.start(*IN_BACKGROUND, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test, cwd=ROOT)
    try:
        assert await run.wait_for_exit() == 0, run.output
    finally:
        await run.kill()
