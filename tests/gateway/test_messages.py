"""What a WebSocket client receives when rows change: each type of message, and the totals."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from tests.gateway.conftest import App, StartTarget
from tests.support import Connect

CURSOR = re.compile(r"[0-9a-f]{8}-\d+-\d+-\d+")
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


async def test_the_first_message_has_the_totals(app: App, connect: Connect) -> None:
    client = await connect(app.ws_url)
    await client.wait_until(lambda c: len(c.messages) >= 1, "the first message")
    assert client.messages[0] == {"type": "analytics_update", "total_orders": 0, "total_revenue": "0", "pending_orders": 0}


async def test_each_type_of_change_has_its_message(start_target: StartTarget, connect: Connect, db: Any) -> None:
    target = await start_target()
    client = await connect(target.ws_url)

    await db.execute("insert into orders (customer_name, total) values ('Иван Иванов', 150.50)")
    await db.execute("update orders set status = 'preparing' where id = 1")
    await db.execute("update orders set total = 99 where id = 1")
    await db.execute("delete from orders where id = 1")
    await client.wait_until(lambda c: len(c.events) >= 4, "four events")

    number = client.events[0]["order_number"]
    assert re.fullmatch(r"ORD-\d{4}-001", number)
    stripped = []
    for event in client.events:
        assert CURSOR.fullmatch(event["id"])
        assert RFC3339.fullmatch(event["at"])
        assert RFC3339.fullmatch(event["created_at"])
        stripped.append({name: value for name, value in event.items() if name not in ("id", "at", "created_at")})
    assert len({event["created_at"] for event in client.events}) == 1
    head = {"order_id": 1, "key": "1", "order_number": number}
    assert stripped == [
        {"type": "new_order", **head, "customer_name": "Иван Иванов", "total": "150.50", "status": "pending"},
        {"type": "order_status_update", **head, "total": "150.50", "status": "preparing", "previous_status": "pending"},
        {"type": "order_update", **head, "total": "99.00", "status": "preparing", "previous_total": "150.50"},
        {"type": "order_delete", **head, "previous_status": "preparing", "previous_total": "99.00"},
    ]
    await client.wait_until(lambda c: c.totals["total_orders"] == 0, "totals of an empty shop")


async def test_the_totals_follow_and_equal_the_view(start_target: StartTarget, connect: Connect, db: Any) -> None:
    target = await start_target()
    client = await connect(target.ws_url)
    await db.execute("insert into orders (customer_name, total) select 'c', n + 0.01 from generate_series(1, 1000) n")
    await db.execute("update orders set status = 'cancelled' where id % 3 = 0")
    await db.execute("update orders set status = 'ready', total = total * 2 where id % 3 = 1")
    row = await db.fetchrow("select * from order_analytics")
    await client.wait_until(
        lambda c: (c.totals["total_orders"], Decimal(c.totals["total_revenue"]), c.totals["pending_orders"]) == tuple(row),
        f"totals {tuple(row)}",
    )
    assert len(client.events) == 1000 + 333 + 334
    await target.stop()
    assert await client.wait_closed() == 3001
