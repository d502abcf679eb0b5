"""The counting of instructions, without valgrind: its statements, the databases it counts in, and its table."""

from __future__ import annotations

import argparse
from pathlib import Path

import asyncpg
import pytest

from bench.instructions import (
    INSERT,
    NOTIFYING,
    SHORT,
    SILENT,
    STATEMENTS,
    UPDATE_STATUS,
    UPDATE_UNMAPPED,
    CannotCount,
    Case,
    count_all,
    create_other,
    statements,
    subjects,
    table,
)
from bench.tables import SHOP, SHOP_WITH_JOIN, STARTER, Table
from tests.support import ROOT


@pytest.mark.parametrize("made", [STARTER, SHOP, SHOP_WITH_JOIN], ids=["starter", "shop", "shop with join"])
async def test_statements_make_the_events_that_they_are_counted_for(made: Table, empty_database_url: str) -> None:
    await made.create(empty_database_url)
    db = await asyncpg.connect(empty_database_url)
    try:

        async def events(kind: str, count: int, keys: list[str]) -> list[str]:
            before = await db.fetchval("select count(*) from orderwire.journal")
            for statement in statements(made, kind, count, keys):
                assert "\n" not in statement  # single-user mode ends a statement at the end of the line
                await db.execute(statement)
            return [
                row["type"]
                for row in await db.fetch("select event ->> 'type' as type from orderwire.events order by id offset $1", before)
            ]

        assert await events(INSERT, SHORT, [""] * SHORT) == ["new_order"] * SHORT
        keys = [row["id"] for row in await db.fetch(f"select id::text from {made.name}")]
        # A change each time, also of a row whose turn comes again.
        assert await events(UPDATE_STATUS, 2 * SHORT, keys) == ["order_status_update"] * 2 * SHORT
        assert await events(UPDATE_UNMAPPED, SHORT, keys) == []
    finally:
        await db.close()


async def test_table_of_another_checkout_of_the_same_layout(empty_database_url: str, tmp_path: Path) -> None:
    with pytest.raises(CannotCount, match="no checkout"):
        await create_other(tmp_path, empty_database_url)
    await create_other(ROOT, empty_database_url)
    db = await asyncpg.connect(empty_database_url)
    try:
        await db.execute(STARTER.insert)
        assert await db.fetchval("select count(*) from orderwire.events") == 1
    finally:
        await db.close()


async def test_table_of_a_checkout_with_numbered_files(empty_database_url: str, tmp_path: Path) -> None:
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "001_orders.sql").write_text("create table public.orders (id integer)")
    (tmp_path / "sql" / "002_more.sql").write_text(
        "alter table public.orders add path text default current_setting('search_path')"
    )
    await create_other(tmp_path, empty_database_url)
    db = await asyncpg.connect(empty_database_url)
    try:
        await db.execute("insert into orders (id) values (1)")
        assert await db.fetchval("select to_regclass('orderwire.migrations') is not null")
    finally:
        await db.close()


def test_missing_valgrind_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(CannotCount, match="valgrind is not installed"):
        count_all(argparse.Namespace())


def test_table_has_the_ratios_to_the_first_and_to_the_starter_table() -> None:
    other, starter, bare, *_ = subjects(ROOT)
    counts = {
        Case(other, INSERT, NOTIFYING): 1000,
        Case(starter, INSERT, NOTIFYING): 2000,
        Case(bare, INSERT, NOTIFYING): 500,
        Case(starter, UPDATE_STATUS, SILENT): 4000,
    }
    blocks = table(counts).split("\n\n")
    assert [block.strip().splitlines()[0].split("  ")[0] for block in blocks] == [
        "INSERT, notifying",
        "UPDATE of the status, silent",
    ]
    assert blocks[0].splitlines()[-1].split()[-3:] == ["500", "0.500", "0.250"]
    assert blocks[1].splitlines()[-1].split()[-3:] == ["4,000", "1.000", "1.000"]
    assert (
        len({Case(s, kind, mode).file_name for s in subjects(ROOT) for kind in STATEMENTS for mode in (NOTIFYING, SILENT)})
        == 30
    )
