"""Steps of tests about the retention of the journal: aging events, and maintenance of the partitions."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

RETENTION = timedelta(days=3)


async def maintain(db: Any) -> None:
    await db.execute("select orderwire.maintain_partitions($1)", RETENTION)


async def maintain_settled(db: Any) -> None:
    """Maintain twice, each time as if the settling time had passed: transactions that ended before count as settled."""
    for _ in range(2):
        await db.execute("update orderwire.journal_identity set settling_since = now() - interval '1 day'")
        await maintain(db)


async def insert_order(db: Any, name: str) -> None:
    await db.execute("insert into orders (customer_name, total) values ($1, 1)", name)


async def make_old(db: Any, name: str) -> None:
    await db.execute("update orderwire.journal set at = at - interval '5 days' where customer_name = $1", name)


async def names_in_journal(db: Any) -> list[str]:
    return [row[0] for row in await db.fetch("select customer_name from orderwire.journal order by id")]
