"""Processes that use an embedded PostgreSQL, and questions about processes."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg

from tests.support import TIMEOUT_SECONDS, Process, within

__all__ = ["USER_SCRIPT", "fetch_value", "is_running", "server_pid", "start_user_process", "wait_until"]

# Starts the server in the directory argv[1], prints its pid, and releases it at SIGTERM.
USER_SCRIPT = """
import signal, sys
from pathlib import Path
from db.embedded.postgres import EmbeddedPostgres
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
server = EmbeddedPostgres(Path(sys.argv[1]), print)
server.start()
print("pid", server.pid, flush=True)
signal.sigwait([signal.SIGTERM])
server.release()
print("released", flush=True)
"""


async def start_user_process(directory: Path) -> Process:
    return await Process.start(sys.executable, "-c", USER_SCRIPT, str(directory))


async def server_pid(user: Process) -> int:
    """The pid of the PostgreSQL that the process uses."""
    return int((await user.wait_for_line("pid")).split()[1])


async def wait_until(condition: Callable[[], bool], what: str) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await within(TIMEOUT_SECONDS, wait(), what)


def is_running(pid: int) -> bool:
    """Whether the process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


async def fetch_value(url: str, query: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()
