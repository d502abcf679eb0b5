"""The programs of docs/how-to/python-client.md and of the package's README print what they say."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.tokens import SECRET, token
from tests.support import ROOT, Process, Server, StartServer

PAGES = {"docs/how-to/python-client.md": 3, "clients/python/README.md": 1}
PROGRAMS = [
    block
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    if "asyncio.run" in block
]
# What each prints when an order is inserted, in their order.
EXPECTED = ["new: 1 Анна 150.50", "handled new_order 1", "orders: 1 revenue: 150.50", "new_order 1 150.50"]


def test_every_program_has_an_expected_output() -> None:
    assert len(PROGRAMS) == len(EXPECTED) == sum(PAGES.values())


@pytest.mark.parametrize("number", range(len(EXPECTED)))
async def test_the_program_prints_its_expected_output(
    start_server: StartServer, database_url: str, db: Any, tmp_path: Path, number: int
) -> None:
    login = {"JWT_SECRET": SECRET} if "get_token" in PROGRAMS[number] else {}
    server: Server = await start_server(database_url, LOG_LEVEL="DEBUG", **login)
    program = PROGRAMS[number].replace("http://127.0.0.1:8000", server.http_url)
    assert program != PROGRAMS[number]
    environment = {"PYTHONPATH": str(ROOT / "clients" / "python"), "TOKEN": token("admin")}
    process = await Process.start(sys.executable, "-W", "error", "-c", program, cwd=tmp_path, env=environment)
    try:
        await server.wait_for_line("session opened")
        await db.execute("insert into orders (customer_name, total) values ('Анна', 150.50)")
        await process.wait_for_line(EXPECTED[number])
    finally:
        await process.stop()
