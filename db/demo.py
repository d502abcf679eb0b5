"""A simulated shop for `server.py demo`: inserts orders and updates their statuses. It uses only the table `orders`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from decimal import Decimal
from typing import Never

import asyncpg

from db.errors import DatabaseError, with_server_name, wrap_driver_errors
from db.identity import primary_only

__all__ = ["CUSTOMER_NAMES", "NEXT_STATUS", "make_one_change", "run"]

CONNECT_TIMEOUT_SECONDS = 5.0
RETRY_SECONDS = 1.0
# Fewer unfinished orders than this: the next change is a new order.
MIN_OPEN_ORDERS = 10

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


async def run(url: str, rate: float, print_line: Callable[[str], None]) -> Never:
    """Make ``rate`` changes a second on average, a line for each, until cancelled. Reconnects when the database is lost."""
    open_orders: dict[int, str] = {}
    while True:
        try:
            with wrap_driver_errors():
                connection = await asyncpg.connect(url, **primary_only(url), timeout=CONNECT_TIMEOUT_SECONDS)
        except DatabaseError as error:
            print_line(f"{with_server_name(error, url)}; retrying")
            await asyncio.sleep(RETRY_SECONDS)
            continue
        try:
            with wrap_driver_errors():
                while True:
                    print_line(await make_one_change(connection, open_orders))
                    await asyncio.sleep(random.expovariate(rate))
        except DatabaseError as error:
            print_line(f"lost the connection to the database ({error}); retrying")
        finally:
            connection.terminate()


async def make_one_change(connection: asyncpg.Connection[asyncpg.Record], open_orders: dict[int, str]) -> str:
    """Insert an order, or move a random one to its next status, in 5 of 100 cases to "cancelled". Returns a line about it.

    ``open_orders`` maps the id of each unfinished order to its status; it is updated.
    """
    if len(open_orders) < MIN_OPEN_ORDERS or random.random() < 0.25:
        order_id = await connection.fetchval(
            "insert into orders (customer_name, total) values ($1, $2) returning id",
            random.choice(CUSTOMER_NAMES),
            Decimal(random.randint(500, 30000)) / 100,
        )
        open_orders[order_id] = "pending"
        return f"order {order_id}: new"
    order_id = random.choice(list(open_orders))
    status = "cancelled" if random.random() < 0.05 else NEXT_STATUS[open_orders[order_id]]
    await connection.execute("update orders set status = $1 where id = $2", status, order_id)
    if status in NEXT_STATUS:
        open_orders[order_id] = status
    else:
        del open_orders[order_id]
    return f"order {order_id}: {status}"
