"""A shop at work: inserts plausible orders and moves them through their statuses. Knows nothing of the push server."""

from __future__ import annotations

import asyncio
import random
from decimal import Decimal

import asyncpg

__all__ = ["run"]

CUSTOMER_NAMES = [
    "Иван Иванов",
    "Anna Nowak",
    "Jan Kowalski",
    "Мария Петрова",
    "Zofia Wiśniewska",
    "Alex O'Neill",
    "Lê Văn Bình",
]
NEXT_STATUS = {
    "pending": "confirmed",
    "confirmed": "preparing",
    "preparing": "ready",
    "ready": "delivering",
    "delivering": "delivered",
}


async def run(url: str, rate: float) -> None:
    """``rate`` changes a second, until cancelled. A lost database is waited for."""
    open_orders: dict[int, str] = {}
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=5)
        except (OSError, asyncpg.PostgresError) as error:
            print(f"the database does not answer ({error}); trying again")
            await asyncio.sleep(1)
            continue
        try:
            while True:
                await make_one_change(connection, open_orders)
                await asyncio.sleep(random.expovariate(rate))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            print(f"lost the database ({error}); trying again")
        finally:
            connection.terminate()


async def make_one_change(connection: asyncpg.Connection[asyncpg.Record], open_orders: dict[int, str]) -> None:
    """Usually the next step of some order; a new one when few are open; now and then a cancellation."""
    if len(open_orders) < 10 or random.random() < 0.25:
        order_id = await connection.fetchval(
            "insert into orders (customer_name, total) values ($1, $2) returning id",
            random.choice(CUSTOMER_NAMES),
            Decimal(random.randint(500, 30000)) / 100,
        )
        open_orders[order_id] = "pending"
        print(f"order {order_id}: new")
        return
    order_id = random.choice(list(open_orders))
    status = "cancelled" if random.random() < 0.05 else NEXT_STATUS[open_orders[order_id]]
    await connection.execute("update orders set status = $1 where id = $2", status, order_id)
    print(f"order {order_id}: {status}")
    if status in NEXT_STATUS:
        open_orders[order_id] = status
    else:
        del open_orders[order_id]
