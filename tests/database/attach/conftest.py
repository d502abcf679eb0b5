"""Databases with the tables of real shop systems, from shapes/."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest

SHAPES = Path(__file__).parent / "shapes"
CreateShape = Callable[[str], Awaitable[Any]]


@pytest.fixture
async def create_shape(empty_database_url: str) -> AsyncIterator[CreateShape]:
    """``await create_shape("saleor")`` creates its tables with some 200 orders; returns a connection."""
    connections = []

    async def create(name: str) -> Any:
        connection = await asyncpg.connect(empty_database_url)
        connections.append(connection)
        await connection.execute((SHAPES / f"{name}.sql").read_text(encoding="utf-8"))
        await connection.execute("analyze")
        return connection

    yield create
    for connection in connections:
        await connection.close()
