"""What the application does is on every dashboard."""

from __future__ import annotations

from decimal import Decimal

import asyncpg
from shop import pay, place_order

from orderwire.testing import Orders


async def test_an_order_is_announced(orders: Orders, db: asyncpg.Connection) -> None:
    key = await place_order(db, "Anna", Decimal("12.50"))
    event = await orders.event(type="new_order", order=key)
    assert (event.customer_name, event.total, event.status) == ("Anna", Decimal("12.50"), "new")


async def test_a_payment_is_announced(orders: Orders, db: asyncpg.Connection) -> None:
    key = await place_order(db, "Bo", Decimal(5))
    assert await pay(db, key)
    await orders.event(type="order_status_update", order=key, status="paid", previous_status="new")


async def test_an_order_is_paid_once(orders: Orders, db: asyncpg.Connection) -> None:
    key = await place_order(db, "Cy", Decimal(5))
    assert await pay(db, key)
    assert not await pay(db, key)
    await orders.event(type="order_status_update", order=key)
    await orders.no_event(type="order_update", order=key)
    assert [event.type for event in orders.events] == ["new_order", "order_status_update"]
