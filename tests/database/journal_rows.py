"""Reads the whole journal with the query that the server uses."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from tests.support import Message

_ALL_EVENTS_SQL = """
select p.*
from orderwire.journal_page('1:1:', null, null, pg_current_snapshot(), 0, 10000000, 1000000000000) as p
"""


async def recorded_events(db: Any) -> list[Message]:
    """Every event, oldest first. Asserts that the changes of the totals in them sum up to the totals of the table."""
    rows = await db.fetch(_ALL_EVENTS_SQL)
    summed = (
        sum(row["orders"] for row in rows),
        sum(row["revenue"] - row["previous_revenue"] for row in rows),
        sum(row["pending"] for row in rows),
    )
    assert summed == tuple(
        await db.fetchrow("select total_orders, total_revenue, pending_orders from orderwire.order_analytics")
    )
    return [json.loads(row["event"]) for row in rows]


async def event_summaries(db: Any) -> list[str]:
    """The same as short strings: ``new_order 1 pending``, ``order_status_update 1 pending>ready``, ``order_delete 1``."""
    return [summarize(event) for event in await recorded_events(db)]


def summarize(event: Message) -> str:
    words = [event["type"], str(event["order_id"])]
    if event["type"] == "order_status_update":
        words.append(f"{event['previous_status']}>{event['status']}")
    elif event["type"] == "new_order":
        words.append(event["status"])
    return " ".join(words)


async def add_orders(db: Any, *statuses: str, total: str = "10.00") -> None:
    """Insert orders 1, 2, … with one statement each."""
    for status in statuses:
        await db.execute("insert into orders (customer_name, total, status) values ('c', $1, $2)", Decimal(total), status)
