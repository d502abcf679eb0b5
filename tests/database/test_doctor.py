"""db/doctor.py: each problem that would prevent events is reported with its fix."""

from __future__ import annotations

from typing import Any

import pytest

from db.doctor import diagnose


async def test_healthy_database_has_no_problems(database_url: str) -> None:
    assert await diagnose(database_url) == []


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        ("alter table orders disable trigger zz_orderwire_update", "not enabled"),
        ("drop trigger zz_orderwire_delete on orders", "missing"),
        ("alter database {name} set session_replication_role = replica", "session_replication_role"),
        ("alter database {name} set orders.notify = off", "orders.notify"),
        ("alter database {name} set synchronous_commit = off", "synchronous_commit"),
        ("create table part () inherits (orders)", "the partition public.part of public.orders has no triggers yet"),
        ("alter table orders rename to orders_old; create table orders ()", "another table has its old name"),
        ("select orderwire.detach()", "no table of orders is attached"),
        ("drop function orderwire.map_orders cascade", "map function of public.orders is gone"),
        ("create publication everything for all tables", "FOR ALL TABLES"),
        ("create role limited; alter schema orderwire owner to limited", "may not read public.orders"),
    ],
)
async def test_problem_is_reported_with_its_fix(database_url: str, db: Any, damage: str, text: str) -> None:
    await db.execute(damage.format(name=database_url.rsplit("/", 1)[1]))
    found = await diagnose(database_url)
    assert any(text in problem for problem, _ in found), found
    assert all(fix for _, fix in found)


async def test_pending_files_are_reported(empty_database_url: str) -> None:
    [(problem, fix)] = await diagnose(empty_database_url)
    assert "have not been applied" in problem
    assert fix == "make migrate (or: python server.py migrate)"


async def test_reported_fix_removes_the_problem(database_url: str, db: Any) -> None:
    await db.execute("alter table orders disable trigger zz_orderwire_insert")
    [(_, fix)] = await diagnose(database_url)
    await db.execute(fix)
    assert await diagnose(database_url) == []


async def test_a_finding_that_fails_takes_none_of_the_others_away(database_url: str, db: Any) -> None:
    await db.execute("alter table orders disable trigger zz_orderwire_insert")
    await db.execute("drop function orderwire.diagnose_attached() cascade")
    await db.execute("alter database {} set orders.notify = off".format(database_url.rsplit("/", 1)[1]))
    problems = [problem for problem, _ in await diagnose(database_url)]
    assert any("could not be examined" in problem and "diagnose_attached" in problem for problem in problems), problems
