"""db/relay_lease.py: one server at a time has the lease, by the database's clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import pytest

from db.identity import DatabaseIdentity, FollowedDatabase
from db.relay_lease import RelayLease
from tests.support import url_with_role

SECONDS = 2.5


@pytest.fixture
async def leases(database_url: str) -> AsyncIterator[list[RelayLease]]:
    """Of three servers."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(RelayLease(FollowedDatabase(database_url), f"server {number}").open())
            for number in range(3)
        ]


async def expire(db: Any) -> None:
    await db.execute("update orderwire.relay_lease set expires_at = clock_timestamp()")


async def test_one_of_many_gets_the_lease_and_keeps_it(leases: list[RelayLease]) -> None:
    for _ in range(5):
        found = await asyncio.gather(*(lease.hold(SECONDS) for lease in leases))
        assert sum(found) == 1
        holder = found.index(True)
        for _ in range(3):
            again = await asyncio.gather(*(lease.hold(SECONDS) for lease in leases))
            assert [number for number, is_held in enumerate(again) if is_held] == [holder]
        await leases[holder].release()


async def test_a_lease_that_was_not_renewed_goes_to_another_server(leases: list[RelayLease], db: Any) -> None:
    first, second, _ = leases
    assert await first.hold(SECONDS)
    assert not await second.hold(SECONDS)
    await expire(db)
    assert await second.hold(SECONDS)
    assert not await first.hold(SECONDS)


async def test_release_of_a_server_that_does_not_have_it_does_nothing(leases: list[RelayLease]) -> None:
    first, second, _ = leases
    assert await first.hold(SECONDS)
    await second.release()
    assert not await second.hold(SECONDS)


async def test_a_server_that_waits_for_its_turn_writes_nothing(leases: list[RelayLease], db: Any) -> None:
    first, second, _ = leases
    assert await first.hold(SECONDS)
    before = await db.fetchval("select pg_current_snapshot()::text")
    for _ in range(3):
        assert not await second.hold(SECONDS)
    assert await db.fetchval("select pg_current_snapshot()::text") == before


async def test_a_crash_may_forget_the_lease(leases: list[RelayLease], db: Any) -> None:
    first, second, _ = leases
    assert await first.hold(SECONDS)
    await db.execute("truncate orderwire.relay_lease")
    assert await second.hold(SECONDS)


async def test_the_serving_role_may_take_it_and_others_may_not(database_url: str, db: Any) -> None:
    await db.execute("create role lease_serving login password 'x'; create role lease_other login password 'x'")
    try:
        await db.execute("select orderwire.grant_serving('lease_serving')")
        async with RelayLease(FollowedDatabase(url_with_role(database_url, "lease_serving", "x")), "one").open() as lease:
            assert await lease.hold(SECONDS)
            await lease.release()
        other = await asyncpg.connect(url_with_role(database_url, "lease_other", "x"))
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await other.fetch("select orderwire.hold_relay_lease('x', '1s')")
        await other.close()
    finally:
        await db.execute("drop owned by lease_serving; drop role lease_serving; drop role lease_other")


async def test_the_identity_is_that_of_the_database(leases: list[RelayLease], db: Any) -> None:
    row = await db.fetchrow("select * from orderwire.database_identity()")
    expected = DatabaseIdentity(row["system_identifier"], row["database_oid"], int(row["timeline"], 16))
    assert await leases[0].read_identity() == expected
    assert await leases[0].identity() == expected
