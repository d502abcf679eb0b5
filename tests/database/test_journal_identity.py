"""The identity of a journal: its epoch changes when the database turns out to be a copy."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.support import open_connections, within


async def order(db: Any, name: str) -> None:
    await db.execute("insert into orders (customer_name, total) values ($1, 10)", name)


async def test_servers_that_detect_a_copy_at_the_same_time_agree_on_its_epoch(database_url: str, db: Any) -> None:
    identify = "select epoch from orderwire.identify(null, '{}', '{}', '{}')"
    await order(db, "from before the copy")
    await db.execute("update orderwire.journal_identity set database_oid = 1")
    async with open_connections(database_url, 2) as (first, second):
        transaction = first.transaction()
        await transaction.start()
        epoch = await first.fetchval(identify)
        asking = asyncio.create_task(second.fetchval(identify))
        waits = "select exists (select from pg_locks where not granted and pid = $1)"
        while not await db.fetchval(waits, second.get_server_pid()):
            assert not asking.done(), "the second must wait for the first"
        await order(first, "after it")
        await transaction.commit()
        await within(30, asyncio.wait([asking]), "the second answer")
        assert asking.result() == epoch
    assert [row[0] for row in await db.fetch("select customer_name from orderwire.journal")] == ["after it"]
