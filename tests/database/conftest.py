"""Fixtures of tests that start, stop or kill a PostgreSQL of their own."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from db.embedded.postgres import EmbeddedPostgres


@pytest.fixture(scope="session")
def stopped_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a stopped server with the table `kept`. Copied by each test, because initdb takes long."""
    server = EmbeddedPostgres(tmp_path_factory.mktemp("used") / ".data")

    async def create_table() -> None:
        connection = await asyncpg.connect(server.url)
        await connection.execute("create table kept as select 42 as answer")
        await connection.close()

    server.start()
    asyncio.run(create_table())
    server.release()
    return server._directory


@pytest.fixture
def directory(stopped_directory: Path, tmp_path: Path) -> Path:
    """The test's own copy."""
    subprocess.run(["cp", "-a", stopped_directory, tmp_path / ".data"], check=True)
    return tmp_path / ".data"


@pytest.fixture
def server(directory: Path) -> Iterator[EmbeddedPostgres]:
    """An EmbeddedPostgres on that copy, not started."""
    server = EmbeddedPostgres(directory)
    yield server
    server.release()
