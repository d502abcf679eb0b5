"""Started in the background of a script: the shell has SIGINT ignored then, and every program inherits that."""

from __future__ import annotations

import signal
import sys

from tests.support import ROOT, Process, Server

IN_BACKGROUND = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")


async def test_the_server_drains_at_sigint(database_url: str) -> None:
    command = [*IN_BACKGROUND, sys.executable, "server.py", "serve"]
    server = await Server.start(*command, env={"PORT": "0", "DATABASE_URL": database_url})
    try:
        await server.wait_until_ready()
        assert await server.stop(signal.SIGINT) == 0
        assert "Traceback" not in server.output
    finally:
        await server.kill()


async def test_a_command_of_the_tests_ends_at_sigint() -> None:
    process = await Process.start("sleep", "600")
    try:
        assert await process.stop(signal.SIGINT) == -signal.SIGINT
    finally:
        await process.kill()


async def test_the_tests_can_be_started_so_as_well() -> None:
    """`sh -c 'make test &'`: what a test starts can be interrupted."""
    test = f"{__file__}::{test_a_command_of_the_tests_ends_at_sigint.__name__}"
    run = await Process.start(*IN_BACKGROUND, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test, cwd=ROOT)
    try:
        assert await run.wait_for_exit() == 0, run.output
    finally:
        await run.kill()
