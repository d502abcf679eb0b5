"""A simulated shop for `server.py demo`: inserts orders and updates their statuses. It uses only the table `orders`."""

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
    """Make ``rate`` changes a second on average, until cancelled. Reconnects when the database is lost."""
    open_orders: dict[int, str] = {}
    while True:
        try:
            connection = await asyncpg.connect(url, timeout=5)
        except (OSError, asyncpg.PostgresError) as error:
            print(f"cannot connect to the database ({error}); retrying")
            await asyncio.sleep(1)
            continue
        try:
            while True:
                await make_one_change(connection, open_orders)
                await asyncio.sleep(random.expovariate(rate))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            print(f"lost the connection to the database ({error}); retrying")
        finally:
            connection.terminate()


async def make_one_change(connection: asyncpg.Connection[asyncpg.Record], open_orders: dict[int, str]) -> None:
    """Move a random order to its next status, or cancel it (5 %); insert a new order if few are open, else in 25 %."""
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
