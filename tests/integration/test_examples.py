"""Each command line of examples/README.md prints what the page says, and so does its client in Python."""

from __future__ import annotations

import re
import shutil
import sys
from typing import Any

import pytest

from db.embedded.binaries import find_binaries
from tests.support import BASE_ENVIRONMENT, ROOT, Process, Server, StartServer

README = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)\n```", README[README.index("## One line each") :], flags=re.DOTALL)
INSERT = "insert into orders (customer_name, total) values ('Анна', 150.50)"
# For each command of the page, in its order: a part of its output, and whether it runs until it is stopped.
EXPECTED_OUTPUT = [
    ('"customer_name":"Анна"', True),
    ("150.50 Анна", False),
    ("'customer_name': 'Анна'", True),
    ("150.50", False),
    ("INSERT 0 1", False),
    ("150.50", False),
    ('"customer_name":"Анна"', False),
    ('"customer_name":"Анна"', True),
]


def test_every_command_has_an_expected_output() -> None:
    assert len(COMMANDS) == len(EXPECTED_OUTPUT)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("number", range(len(EXPECTED_OUTPUT)))
async def test_command_prints_its_expected_output(start_server: StartServer, database_url: str, db: Any, number: int) -> None:
    expected, runs_on = EXPECTED_OUTPUT[number]
    server: Server = await start_server(database_url, NOTIFY_MODE="auto")
    await db.execute(INSERT)
    command = COMMANDS[number].replace("http://127.0.0.1:8000", server.http_url)
    # Each psql runs by `make psql`; make installs nothing into the environment of the running tests.
    command = command.replace("make psql", f"make -o {sys.prefix}/.runtime VENV={sys.prefix} psql")
    path = f"{find_binaries()}:{BASE_ENVIRONMENT['PATH']}"
    process = await Process.start("bash", "-c", command, env={"DATABASE_URL": database_url, "PATH": path})
    if not runs_on:
        await process.wait_for_line(expected)
        assert await process.wait_for_exit() == 0
        return
    try:
        await insert_until_printed(process, expected, db)
    finally:
        await process.stop_group()


async def test_python_client_prints_the_messages(start_server: StartServer, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url)
    (script,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    assert "ws://127.0.0.1:8000/api/ws" in script
    script = script.replace("ws://127.0.0.1:8000/api/ws", server.ws_url)
    process = await Process.start(sys.executable, "-W", "error", "-c", script)
    try:
        await process.wait_for_line("'type': 'analytics_update'")
        await db.execute(INSERT)
        await process.wait_for_line("'customer_name': 'Анна'")
    finally:
        await process.stop()


async def insert_until_printed(process: Process, expected: str, db: Any) -> None:
    """Insert orders until the command prints one: it does not report when it has begun to listen."""
    for _ in range(100):
        await db.execute(INSERT)
        try:
            await process.wait_for_line(expected, seconds=0.5)
        except AssertionError:
            assert process.process.returncode is None, process.output
        else:
            return
    raise AssertionError(f"no notification was printed: {process.output}")
