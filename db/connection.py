"""One connection for one task of an operator: to install, attach, diagnose. The server's connections are in database.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg

from db.errors import wrap_driver_errors

__all__ = ["Connection", "open_connection"]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONNECT_TIMEOUT_SECONDS = 5.0


@asynccontextmanager
async def open_connection(url: str, application_name: str | None = None) -> AsyncIterator[Connection]:
    """A connection that is terminated at the end. Errors of the driver become DatabaseError."""
    settings = None if application_name is None else {"application_name": application_name}
    with wrap_driver_errors():
        connection = await asyncpg.connect(url, timeout=CONNECT_TIMEOUT_SECONDS, server_settings=settings)
        try:
            yield connection
        finally:
            connection.terminate()
