"""Every shape of table × every kind of write: events, table and totals agree after each step.

Another version of PostgreSQL: ``POSTGRES_BIN=/usr/lib/postgresql/15/bin make test ARGS=tests/database/attach``.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from typing import Any

import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.migrate import migrate
from tests.database.attach.following import Follower
from tests.database.attach.table_shapes import SHAPES, Shape

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)


@each_shape
async def test_writes(db: Any, shape: Shape) -> None:
    await shape.install(db)
    await shape.attach(db)
    follower = await Follower.start(db)

    async def expect(statement: str, **types: int) -> None:
        await db.execute(statement)
        assert await follower.check() == Counter(types), statement

    await expect(shape.insert(10), new_order=1)
    await expect(shape.insert(11, 12, 13), new_order=3)
    await expect(shape.update(shape.change, 10, 11), order_update=2)
    await expect(shape.update(f"{shape.unused} = 'changed'", 10, 11) if shape.unused != "extra" else "select 1")
    await expect(shape.update(shape.change + ", " + shape.cancel, 12), order_status_update=1)
    await expect(shape.update(shape.cancel, 13), order_status_update=1)
    await expect(shape.update(shape.change, 13), order_update=1)
    await expect(shape.change_key(13, 14), order_delete=1, new_order=1)
    await expect(shape.delete(14), order_delete=1)
    await expect(shape.delete(14))
    await shape.copy(db, 20, 21, 22)
    assert await follower.check() == Counter(new_order=3)
    if shape.conflict:
        await expect(shape.upsert(22, 23), order_update=1, new_order=1)
    if db.get_server_version().major >= 15:
        await expect(shape.merge(22, 10, 24), order_delete=1, order_update=1, new_order=1)

    # One row in several statements of a transaction, a savepoint that is rolled back among them.
    async with db.transaction():
        await db.execute(shape.insert(30))
        await db.execute(shape.update(shape.change, 30))
        savepoint = db.transaction()
        await savepoint.start()
        await db.execute(shape.delete(30))
        await savepoint.rollback()
        await db.execute(shape.update(shape.cancel, 30))
    assert await follower.check() == Counter(new_order=1, order_update=1, order_status_update=1)

    await expect(f"with gone as ({shape.delete(30)} returning 1) {shape.insert(31)}", order_delete=1, new_order=1)
    await db.execute(f"truncate {shape.table}")
    await follower.check()
    assert not follower.orders
    await expect(shape.insert(1, 2), new_order=1 if shape.name == "carts" else 2)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.hide], ids=lambda shape: shape.name)
async def test_rows_that_are_no_orders(db: Any, shape: Shape) -> None:
    """Becoming an order and ceasing to be one, together with other changes."""
    await shape.install(db)
    await shape.attach(db)
    follower = await Follower.start(db)
    await db.execute(shape.insert(10, 11))
    await follower.check()
    for statement, types in [
        (shape.update(f"{shape.hide}", 10), Counter(order_delete=1)),
        (shape.update(shape.change, 10), Counter[str]()),
        (shape.update(f"{shape.hide}", 10), Counter[str]()),
        (shape.update(f"{shape.show}, {shape.change}", 10), Counter(new_order=1)),
        (shape.update(f"{shape.hide}, {shape.cancel}", 10, 11), Counter(order_delete=2)),
        (shape.delete(10), Counter[str]()),
        (shape.change_key(11, 12), Counter[str]()),
        (shape.update(f"{shape.show}", 12), Counter(new_order=1)),
    ]:
        await db.execute(statement)
        assert await follower.check() == types, statement
    await db.execute(shape.update(f"{shape.hide}", 12))
    await follower.check()
    await db.execute(f"truncate {shape.table}")
    await follower.check()


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.move], ids=lambda shape: shape.name)
async def test_changes_of_one_shape(db: Any, shape: Shape) -> None:
    """Moving to another partition; null becoming a value and a value null; the joined row being another."""
    await shape.install(db)
    await shape.attach(db)
    follower = await Follower.start(db)
    await db.execute(shape.insert(10, 11, 12))
    for _ in range(3):
        await db.execute(f"update {shape.table} as o set {shape.move}")
        await follower.check()
        await db.execute(f"update {shape.table} as o set {shape.move}, {shape.change}")
        await follower.check()
    if shape.name == "partitioned":
        assert Counter(event["type"] for event in follower.events) == Counter(new_order=3, order_update=18)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.children], ids=lambda shape: shape.name)
async def test_writes_that_name_a_child(db: Any, shape: Shape) -> None:
    """Partitions and child tables: by their own name, and through the parent."""
    await shape.install(db)
    await shape.attach(db)
    follower = await Follower.start(db)
    first, second = shape.children
    for statement, types in [
        (shape.insert(10, 12, into=first), Counter(new_order=2)),
        (shape.insert(11, 13, into=second), Counter(new_order=2)),
        (shape.update(shape.change, 10, of=first), Counter(order_update=1)),
        (shape.update(shape.cancel, 10, 11), Counter(order_status_update=2)),
        (shape.update(shape.cancel, 13, of=second), Counter(order_status_update=1)),
        (shape.delete(13, of=second), Counter(order_delete=1)),
        (shape.delete(12), Counter(order_delete=1)),
        (shape.insert(15, into=second), Counter(new_order=1)),
    ]:
        await db.execute(statement)
        assert await follower.check() == types, statement
    await db.execute(f"truncate {first}")
    await follower.check()
    assert len(follower.orders) > 0
    await db.execute(f"truncate {shape.table}")
    await follower.check()
    assert not follower.orders


@each_shape
async def test_detach_and_uninstall(postgres: EmbeddedPostgres, database_url: str, db: Any, shape: Shape) -> None:
    """After detach no trace is left on the table; after uninstall none in the database."""
    await db.execute("select orderwire.uninstall()")
    await shape.install(db)
    await db.execute(f"comment on table {shape.table} is 'of the shop'; create role auditor_{os.getpid()}_{shape.name}")
    await db.execute(f"grant select on {shape.table} to auditor_{os.getpid()}_{shape.name}")
    before = _dump(postgres, database_url)
    assert "orderwire" not in before

    await migrate(database_url)
    await shape.attach(db)
    await shape.attach(db)
    await shape.attach(db, statuses=["pending", "done"], actor=True)
    await db.execute(shape.insert(10))
    assert await db.fetchval("select count(*) from orderwire.journal") == 1
    await db.execute("select orderwire.detach()")
    assert await db.fetchval("select count(*) from pg_trigger where tgname like 'zz_orderwire%'") == 0
    assert await db.fetchval("select count(*) from pg_proc where obj_description(oid, 'pg_proc') like 'Generated for %'") == 0
    await db.execute(shape.insert(11))
    assert await db.fetchval("select count(*) from orderwire.journal") == 1
    assert await db.fetchval("select count(*) from orderwire.all_orders()") == 0
    await shape.attach(db)
    await db.execute("select orderwire.uninstall()")
    await db.execute(shape.insert(12))
    assert _dump(postgres, database_url) == before
    await db.execute(f"drop owned by auditor_{os.getpid()}_{shape.name}; drop role auditor_{os.getpid()}_{shape.name}")


def _dump(postgres: EmbeddedPostgres, url: str) -> str:
    """The schema, without the lines that differ in each dump."""
    result = subprocess.run([postgres.bin_dir / "pg_dump", "--schema-only", url], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return "\n".join(line for line in result.stdout.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))
