"""Two sessions attach or detach at the same time: one waits for the other, and then sees what it did."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import asyncpg
import pytest

from tests.database.attach.following import Follower
from tests.database.attach.table_shapes import shape_named

_PLAIN = shape_named("plain")
_ATTACH = "select orderwire.attach('public.shop_orders', $1)"
_IS_WAITING = "select exists (select from pg_locks where relation = 'orderwire.attached_tables'::regclass and not granted)"


async def _run_while_it_waits(db: Any, first: str, url: str, second: str, *arguments: str) -> None:
    """Run `second` in another session while `first` has been run and its transaction is open."""
    other = await asyncpg.connect(url)
    try:
        async with db.transaction():
            await db.execute(first, *([json.dumps(dict(_PLAIN.map))] if "$1" in first else []))
            waiting = asyncio.create_task(other.execute(second, *arguments))
            while not await db.fetchval(_IS_WAITING):
                assert not waiting.done(), await waiting
                await asyncio.sleep(0.01)
        await waiting
    finally:
        await other.close()


async def _assert_whole(db: Any) -> None:
    assert await db.fetch("select problem from orderwire.diagnose_attached()") == []
    follower = await Follower.start(db)
    await db.execute(_PLAIN.insert(10))
    assert await follower.check() == Counter(new_order=1)


async def test_two_sessions_attach_the_same_table(db: Any, database_url: str) -> None:
    """The second one attaches it again, as when it had come later."""
    await _PLAIN.install(db)
    changed = json.dumps({**_PLAIN.map, "total": "o.total * 2"})
    await _run_while_it_waits(db, _ATTACH, database_url, _ATTACH, changed)
    await _assert_whole(db)
    assert await db.fetchval("select map ->> 'total' from orderwire.attached_tables") == "o.total * 2"


async def test_two_sessions_attach_different_tables(db: Any, database_url: str) -> None:
    """The second one is refused."""
    await _PLAIN.install(db)
    await db.execute("create table public.other_orders (like public.shop_orders including all)")
    with pytest.raises(asyncpg.RaiseError, match="shop_orders is attached as orders already"):
        await _run_while_it_waits(
            db, _ATTACH, database_url, _ATTACH.replace("shop_orders", "other_orders"), json.dumps(dict(_PLAIN.map))
        )
    await _assert_whole(db)
    assert await db.fetchval("select count(*) from pg_trigger where tgrelid = 'public.other_orders'::regclass") == 0


async def test_attach_waits_for_detach(db: Any, database_url: str) -> None:
    await _PLAIN.install(db)
    await _PLAIN.attach(db)
    await _run_while_it_waits(
        db, "select orderwire.detach()", database_url, _ATTACH, json.dumps({**_PLAIN.map, "total": "o.total * 2"})
    )
    await _assert_whole(db)


async def test_detach_waits_for_attach(db: Any, database_url: str) -> None:
    await _PLAIN.install(db)
    await _run_while_it_waits(db, _ATTACH, database_url, "select orderwire.detach()")
    assert await db.fetchval("select count(*) from orderwire.attached_tables") == 0
    assert await db.fetchval(r"select count(*) from pg_trigger where tgname like 'zz\_orderwire\_%'") == 0


async def test_two_servers_find_a_new_partition(db: Any, database_url: str) -> None:
    """One creates its triggers, and the other one does not wait."""
    shape = shape_named("partitioned")
    await shape.install(db)
    await shape.attach(db)
    await db.execute(shape.new_child)
    other = await asyncpg.connect(database_url, command_timeout=60)
    try:
        async with db.transaction():
            assert await db.fetchval("select orderwire.attach_partitions()") == 1
            assert await other.fetchval("select orderwire.attach_partitions()") == 0
        assert await other.fetchval("select orderwire.attach_partitions()") == 0
    finally:
        await other.close()
    assert await db.fetch("select problem from orderwire.diagnose_attached()") == []
