"""What the commands that measure or photograph the page have in place of fixtures: a new database, a server and Chromium."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
from playwright.async_api import Browser

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import create_starter, migrate
from tests.browser.chromium import find_chromium
from tests.support import Server
from web.build import build

__all__ = ["serve_page"]


@asynccontextmanager
async def serve_page() -> AsyncIterator[tuple[Server, Any, Browser]]:
    """Build the page and serve it with an empty starter table: the server, a connection to its database, and a browser."""
    build()
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        home.chmod(0o755)
        postgres = EmbeddedPostgres(home / "data", report=lambda line: None)
        url = postgres.start()
        await migrate(url)
        await create_starter(url)
        server = await Server.serve(url)
        try:
            await server.wait_until_ready()
            db = await asyncpg.connect(url)
            async with find_chromium(home).launch() as browser:
                yield server, db, browser
            await db.close()
        finally:
            await server.stop()
            postgres.release()
