"""The embedded PostgreSQL after its worst moments."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import asyncpg

from db.embedded import EmbeddedPostgres
from tests.support import PATIENCE_SECONDS


async def test_start_after_a_kill_returns_only_when_connections_are_taken(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "data", say=lambda line: None)
    try:
        postgres.start()
        os.kill(postgres.pid or 0, signal.SIGKILL)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while postgres.pid is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        connection = await asyncpg.connect(postgres.start())
        assert await connection.fetchval("select 1") == 1
        await connection.close()
    finally:
        postgres.release()
