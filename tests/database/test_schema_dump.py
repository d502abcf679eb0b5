"""db/schema_dump.py: sql/schema.sql is what the files of sql/ make."""

from __future__ import annotations

from typing import Any

import pytest

from db.migrate import migrate
from db.schema_dump import SCHEMA_FILE, dump_schema

# Of another version, views and types may be printed otherwise.
PRINTED_BY_MAJOR_VERSION = 18


async def test_schema_file_is_up_to_date(empty_database_url: str, empty_db: Any) -> None:
    await migrate(empty_database_url)
    if empty_db.get_server_version().major != PRINTED_BY_MAJOR_VERSION:
        pytest.skip(f"sql/schema.sql is printed by PostgreSQL {PRINTED_BY_MAJOR_VERSION}")
    assert await dump_schema(empty_db) == SCHEMA_FILE.read_text(encoding="utf-8"), "run make schema"


async def test_schema_is_the_same_after_a_table_was_detached(database_url: str, db: Any) -> None:
    await db.execute("select orderwire.detach()")
    if db.get_server_version().major == PRINTED_BY_MAJOR_VERSION:
        assert await dump_schema(db) == SCHEMA_FILE.read_text(encoding="utf-8")
