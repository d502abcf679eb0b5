"""The doctor names what would stop events from arriving, and the mend."""

from __future__ import annotations

from typing import Any

import pytest

from db.doctor import diagnose


async def test_a_healthy_database_has_no_ailments(database_url: str) -> None:
    assert await diagnose(database_url) == []


@pytest.mark.parametrize(
    ("harm", "word"),
    [
        ("alter table orders disable trigger orders_90_journal_update", "not enabled"),
        ("drop trigger orders_90_journal_delete on orders", "missing"),
        ("alter database {name} set session_replication_role = replica", "session_replication_role"),
        ("alter database {name} set orders.notify = off", "orders.notify"),
        ("alter database {name} set synchronous_commit = off", "synchronous_commit"),
        ("create table part () inherits (orders)", "part is a partition"),
    ],
)
async def test_each_ailment_is_named_with_its_mend(database_url: str, db: Any, harm: str, word: str) -> None:
    await db.execute(harm.format(name=database_url.rsplit("/", 1)[1]))
    found = await diagnose(database_url)
    assert any(word in problem for problem, _ in found), found
    assert all(mend for _, mend in found)


async def test_pending_migrations_are_named(empty_database_url: str) -> None:
    [(problem, mend)] = await diagnose(empty_database_url)
    assert "have not been applied" in problem
    assert mend == "python server.py migrate"


async def test_a_mended_trigger_is_an_ailment_no_more(database_url: str, db: Any) -> None:
    await db.execute("alter table orders disable trigger orders_90_journal_insert")
    [(_, mend)] = await diagnose(database_url)
    await db.execute(mend)
    assert await diagnose(database_url) == []
