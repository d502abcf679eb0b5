"""What orderwire.grant_serving gives on the shop's tables is taken back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

_MAP = json.dumps({"key": "id"})
_GRANTS = """
select coalesce(array_agg(distinct g.what order by g.what), '{}')
from (
    select c.relname, x.grantee from pg_class as c, aclexplode(c.relacl) as x where c.relnamespace = 'shop'::regnamespace
    union all
    select n.nspname, x.grantee from pg_namespace as n, aclexplode(n.nspacl) as x where n.nspname = 'shop'
) as g (what, grantee)
where g.grantee = $1::text::regrole
"""


@pytest.fixture
async def role(db: Any) -> AsyncIterator[str]:
    name = "serving_" + await db.fetchval("select current_database()")
    await db.execute(
        f"create role {name}; create schema shop;"
        "create table shop.a (id bigint primary key); create table shop.b (id bigint primary key)"
    )
    yield name
    await db.execute(f"drop owned by {name}; drop role {name}")


@pytest.mark.parametrize("before", ["nothing", "select on shop.a", "usage on schema shop"])
async def test_detach_and_uninstall_take_back_what_was_given(db: Any, role: str, before: str) -> None:
    """Not what the role had before, and no USAGE that another table needs."""
    if before != "nothing":
        await db.execute(f"grant {before} to {role}")
    had = await db.fetchval(_GRANTS, role)
    await db.execute("select orderwire.attach('shop.a', $1)", _MAP)
    await db.execute(f"select orderwire.grant_serving('{role}')")
    await db.execute("select orderwire.attach_stream('b', 'shop.b', $1)", _MAP)
    await db.execute("select orderwire.attach('shop.a', $1)", _MAP)
    assert await db.fetchval(_GRANTS, role) == ["a", "b", "shop"]
    await db.execute("select orderwire.detach()")
    assert await db.fetchval(_GRANTS, role) == sorted({*had, "b", "shop"})
    await db.execute("select orderwire.uninstall()")
    assert await db.fetchval(_GRANTS, role) == had
