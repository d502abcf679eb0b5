"""A small application: what its orders are, and what happens to them. It knows nothing of Orderwire."""

from __future__ import annotations

from decimal import Decimal

import asyncpg

SCHEMA = """
create table shop_order (
    id bigint generated always as identity primary key,
    customer text not null,
    amount numeric(12, 2) not null,
    state text not null default 'new',
    placed_at timestamptz not null default now()
);
"""


async def place_order(db: asyncpg.Connection, customer: str, amount: Decimal) -> int:
    """Return the key of the new order."""
    transaction = db.transaction()
    await transaction.start()
    key: int = await db.fetchval("insert into shop_order (customer, amount) values ($1, $2) returning id", customer, amount)
    await transaction.commit()
    return key


async def pay(db: asyncpg.Connection, key: int) -> bool:
    """False if the order is not to be paid."""
    done = await db.execute("update shop_order set state = 'paid' where id = $1 and state = 'new'", key)
    return bool(done == "UPDATE 1")
