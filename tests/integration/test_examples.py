"""Each command line of examples/README.md does what it says."""

from __future__ import annotations

import re
import shutil
from typing import Any

import pytest

from db.embedded.binaries import find_binaries
from tests.support import BASE_ENVIRONMENT, ROOT, Process, Server, StartServer

README = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"```sh\n(.*?)\n```", README[README.index("## One line each") :], flags=re.DOTALL)
INSERT = "insert into orders (customer_name, total) values ('Анна', 150.50)"
# In the order of the page: what it prints of Анна's order, and whether it goes on until it is ended.
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


def test_every_command_is_tried() -> None:
    assert len(COMMANDS) == len(EXPECTED_OUTPUT)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize("number", range(len(EXPECTED_OUTPUT)))
async def test_command(start_server: StartServer, database_url: str, db: Any, number: int) -> None:
    prints, goes_on = EXPECTED_OUTPUT[number]
    server: Server = await start_server(database_url, NOTIFY_MODE="auto")
    await db.execute(INSERT)
    command = COMMANDS[number].replace("http://127.0.0.1:8000", server.http_url)
    path = f"{find_binaries()}:{BASE_ENVIRONMENT['PATH']}"
    process = await Process.start("bash", "-c", command, env={"DATABASE_URL": database_url, "PATH": path})
    if not goes_on:
        await process.wait_for_line(prints)
        assert await process.wait_for_exit() == 0
        return
    try:
        await wait_for_notification(process, prints, db)
    finally:
        await process.stop_group()


async def wait_for_notification(process: Process, prints: str, db: Any) -> None:
    """Nothing says that a listener has begun to listen: orders are made until it has heard of one."""
    for _ in range(100):
        await db.execute(INSERT)
        try:
            await process.wait_for_line(prints, seconds=0.5)
        except AssertionError:
            assert process.process.returncode is None, process.output
        else:
            return
    raise AssertionError(f"it hears of nothing: {process.output}")
