"""Partitions and child tables: locks of them, rights on them, their coming and going."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import asyncpg
import pytest

from tests.database.attach.following import Follower, read_problems
from tests.database.attach.table_shapes import shape_named

_PARTITIONED = shape_named("partitioned")
_NORTH, _SOUTH = _PARTITIONED.children
_ATTACH = f"select orderwire.attach('public.shop_orders', '{json.dumps(dict(_PARTITIONED.map))}')"
_NEW_PARTITION = "create table public.{0} partition of public.shop_orders for values in ('{0}')"
_IS_WAITING = "select exists (select from pg_locks where relation = $1::text::regclass and not granted)"

OpenSession = Callable[[], Awaitable[Any]]


@pytest.fixture
async def open_session(database_url: str) -> AsyncIterator[OpenSession]:
    """``await open_session()`` returns a further connection."""
    connections = []

    async def connect() -> Any:
        connections.append(await asyncpg.connect(database_url, command_timeout=60))
        return connections[-1]

    yield connect
    for connection in connections:
        await connection.close()


async def _run_out(waiting: asyncio.Task[Any]) -> None:
    """Wait for what may have waited for a lock for too long: the machine is slow."""
    with contextlib.suppress(asyncpg.LockNotAvailableError):
        await waiting


@pytest.mark.parametrize("statement", [_ATTACH, "select orderwire.detach()", "select orderwire.uninstall()"])
async def test_a_writer_goes_on_while_a_partition_is_waited_for(db: Any, open_session: OpenSession, statement: str) -> None:
    """One that has locked a partition and wants the table would be in a deadlock otherwise."""
    await _PARTITIONED.install(db)
    if statement != _ATTACH:
        await _PARTITIONED.attach(db)
    holder, writer, ddl = [await open_session() for _ in range(3)]
    async with writer.transaction():
        if statement == _ATTACH:  # the triggers read the catalog of the parent, which has to wait for a DROP TRIGGER
            await writer.execute(_PARTITIONED.insert(101, into=_SOUTH))
        async with holder.transaction():
            await holder.execute(f"lock table {_NORTH} in row exclusive mode")
            running = asyncio.create_task(ddl.execute(statement))
            while not await db.fetchval(_IS_WAITING, _NORTH):
                assert not running.done(), await running
                await asyncio.sleep(0.01)
            await writer.execute("set local lock_timeout = '300ms'")
            await writer.execute(_PARTITIONED.insert(103))
            assert not running.done()
    await _run_out(running)
    if statement == _ATTACH:
        await ddl.execute(statement)
        assert await read_problems(db) == []


@pytest.mark.parametrize("statement", [_ATTACH, "select orderwire.detach()"])
async def test_locks_are_waited_for_a_second_in_all(db: Any, open_session: OpenSession, statement: str) -> None:
    """Not a second for each, if each is given back within one."""
    await _PARTITIONED.install(db)
    if statement != _ATTACH:
        await _PARTITIONED.attach(db)
    names = [f"other{n}" for n in range(4)]
    for name in names:
        await db.execute(_NEW_PARTITION.format(name))
    if statement != _ATTACH:
        assert await db.fetchval("select orderwire.attach_partitions()") == len(names)
    sessions = [await open_session() for _ in names]
    for session, name in zip(sessions, names, strict=True):
        await session.execute(f"begin; lock table public.{name} in row exclusive mode")
    holders = [
        asyncio.create_task(session.execute(f"select pg_sleep({0.8 * n}); commit"))
        for n, session in enumerate(sessions, start=1)
    ]
    start = time.perf_counter()
    with pytest.raises(asyncpg.LockNotAvailableError, match="within a second"):
        await db.execute(statement)
    assert time.perf_counter() - start < 2.5
    await asyncio.gather(*holders)
    await db.execute(statement)
    assert await read_problems(db) == [] or statement != _ATTACH


async def test_a_new_partition_that_is_locked_does_not_hold_up_others(db: Any, open_session: OpenSession) -> None:
    await _PARTITIONED.install(db)
    await _PARTITIONED.attach(db)
    for name in ("first", "second", "third"):
        await db.execute(_NEW_PARTITION.format(name))
    holder = await open_session()
    async with holder.transaction():
        await holder.execute("lock table public.second in row exclusive mode")
        made = 0
        while made < 2:
            made += await db.fetchval("select orderwire.attach_partitions()")
        (problem,) = await read_problems(db)
        assert "second of shop_orders has no triggers yet" in problem
    assert await db.fetchval("select orderwire.attach_partitions()") == 1
    assert await read_problems(db) == []


@pytest.mark.parametrize("isolation", ["read_committed", "repeatable_read", "serializable"])
@pytest.mark.parametrize("name", ["partitioned", "partitioned_reordered", "inherited"])
async def test_a_writer_whose_snapshot_is_from_before(db: Any, open_session: OpenSession, name: str, isolation: Any) -> None:
    """It sees neither that a table was attached, nor which partitions have come and gone since."""
    shape = shape_named(name)
    await shape.install(db)
    writer = await open_session()
    child = shape.children[0]
    async with writer.transaction(isolation=isolation):
        await writer.execute("select from pg_class")
        await shape.attach(db)
        await db.execute(shape.new_child)
        await db.execute("select orderwire.attach_partitions()")
        follower = await Follower.start(db)
        await writer.execute(shape.insert(10, into=child))
        await writer.execute(shape.update(shape.change, 10, of=child))
        await writer.execute(shape.insert(12, into=child))
        await writer.execute(shape.delete(12, of=child))
        await writer.execute(shape.insert(1003, into="public.third"))
    assert await follower.check() == Counter(new_order=3, order_update=1, order_delete=1)
    async with writer.transaction(isolation=isolation):
        await writer.execute("select from pg_class")
        if name == "inherited":
            await db.execute("alter table public.third no inherit public.shop_orders")
        else:
            await db.execute("alter table public.shop_orders detach partition public.third")
        await writer.execute(shape.delete(1003, of="public.third"))
        follower = await Follower.start(db)
    assert await follower.check() == Counter()


async def test_a_foreign_table_does_not_hold_up_others(db: Any) -> None:
    """Triggers with transition tables cannot be created on it."""
    shape = shape_named("inherited")
    await shape.install(db)
    await shape.attach(db)
    await db.execute("create foreign data wrapper no_wrapper; create server elsewhere foreign data wrapper no_wrapper")
    await db.execute(
        "create foreign table public.far () inherits (public.shop_orders) server elsewhere;" + (shape.new_child or "")
    )
    assert await db.fetchval("select orderwire.attach_partitions()") == 1
    ((problem, fix),) = await db.fetch("select problem, fix from orderwire.diagnose()")
    assert "the foreign table far belongs to shop_orders" in problem
    await db.execute(fix.split(";")[0])
    assert await db.fetchval("select orderwire.attach_partitions()") == 0
    assert await read_problems(db) == []


@pytest.mark.parametrize("name", ["partitioned", "inherited"])
async def test_the_epoch_changes_when_rows_come_or_go_with_a_partition(db: Any, name: str) -> None:
    """There are no events for them. A new partition without rows changes nothing."""
    shape = shape_named(name)
    await shape.install(db)
    await shape.attach(db)
    add, remove = {
        "partitioned": ("attach partition public.third for values in ('third')", "detach partition public.third"),
        "inherited": ("inherit", "no inherit"),
    }[name]

    async def epoch() -> Any:
        await db.execute("select orderwire.attach_partitions()")
        return await db.fetchval("select epoch from orderwire.journal_identity")

    async def change(action: str) -> None:
        if name == "inherited":
            await db.execute(f"alter table public.third {action} public.shop_orders")
        else:
            await db.execute(f"alter table public.shop_orders {action}")

    first = await epoch()
    await db.execute(shape.new_child)
    assert await epoch() == first
    await db.execute(shape.insert(1003, into="public.third"))
    assert await epoch() == first
    await change(remove)
    second = await epoch()
    await change(add)
    third = await epoch()
    await db.execute("drop table public.third")
    assert len({first, second, third, await epoch()}) == 4
    assert await read_problems(db) == []


async def test_a_partition_of_a_restored_dump_leaves(db: Any) -> None:
    """The names of its trigger functions have the number that the partition had where the dump was made."""
    await _PARTITIONED.install(db)
    await _PARTITIONED.attach(db)
    for kind in ("insert", "update", "delete", "truncate"):
        name = await db.fetchval(
            "select tgfoid::regproc::text from pg_trigger where tgrelid = $1::text::regclass and tgname = $2",
            _NORTH,
            f"zz_orderwire_{kind}",
        )
        await db.execute(f"alter function {name}() rename to orders_p1_{kind}")
    await db.execute(f"alter table public.shop_orders detach partition {_NORTH}")
    await db.execute("select orderwire.attach_partitions()")
    assert await db.fetchval("select count(*) from pg_trigger where tgrelid = $1::text::regclass", _NORTH) == 0
    assert await db.fetchval("select count(*) from pg_proc where proname like 'orders\\_p1\\_%'") == 0
    assert await read_problems(db) == []
