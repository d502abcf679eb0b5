"""Where a program keeps its place in the events between two runs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Protocol

__all__ = ["CursorStore", "FileCursor"]


class CursorStore(Protocol):
    """Keeps one cursor. ``save`` is called with that of the last event that the program has handled."""

    async def load(self) -> str | None:
        """The cursor, None if there is none yet. Called once, before the first connection."""

    async def save(self, cursor: str) -> None:
        """Replace the cursor. What it raises ends the iteration."""


class FileCursor:
    """Keeps the cursor in a file, which is replaced as a whole: after a crash it has the cursor from before or after."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)

    async def load(self) -> str | None:
        return await asyncio.to_thread(self._read)

    async def save(self, cursor: str) -> None:
        await asyncio.to_thread(self._write, cursor)

    def _read(self) -> str | None:
        try:
            return self._path.read_text(encoding="utf-8").strip() or None
        except FileNotFoundError:
            return None

    def _write(self, cursor: str) -> None:
        new = self._path.with_name(f"{self._path.name}.new")
        with new.open("w", encoding="utf-8") as file:
            file.write(cursor)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
