"""The arithmetic of `make bench-search`, and one small run of it."""

from __future__ import annotations

import asyncpg
import pytest

from bench.database import execute
from bench.search import INDEX_SQL, KINDS, Found, fill, measure, table
from db.database import Database


async def test_a_small_run_finds_the_same_with_and_without_indexes(database_url: str) -> None:
    await fill(database_url, 3000)
    async with Database(database_url).open() as database:
        without = await measure(database, runs=1)
        try:
            await execute(database_url, INDEX_SQL)
        except asyncpg.PostgresError:
            pytest.skip("this PostgreSQL has no pg_trgm")
        indexed = await measure(database, runs=1)
        assert await database.search_indexed()
    assert without.keys() == indexed.keys() == KINDS.keys()
    assert len(KINDS) == 20
    for name in KINDS:
        assert without[name].complete
        assert indexed[name].complete
        assert without[name].orders == indexed[name].orders, name
    assert indexed["number"].orders == 0
    assert indexed["part of a number, frequent"].orders == 100


def test_the_table_has_both_medians_and_the_verdict() -> None:
    slow, fast = dict.fromkeys(KINDS, Found(1000.0, 3, complete=False)), dict.fromkeys(KINDS, Found(10.0, 100, complete=True))
    text = table(slow, fast)
    assert "1,000.0 ms (3, cut)" in text
    assert "10.0 ms (100)" in text
    assert "150 ms or less: met" in text
    assert "150 ms or less: NOT MET" in table(fast, slow)
