"""Compares an attached table with what a client makes of its events, and asks for what is wrong with it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from decimal import Decimal
from typing import Any

__all__ = ["Follower", "read_problems"]

_PAGE_SQL = """
select p.*, pg_current_snapshot()::text as upto
from orderwire.journal_page($1::text::pg_snapshot, null, null, pg_current_snapshot(), 0, 1000000, 1000000000000) as p
"""
_FIELDS = ("number", "customer_name", "total", "currency", "status", "created_at", "data")
_COLUMNS = "key, number, customer_name, total, currency, status, orderwire.rfc3339(created_at) as created_at, data"
# What sums are made of: an event says what each of these was before.
_SUMMED = ("status", "total", "currency", "created_at")
_NO_EVENT_FIELDS = ("id", "type", "at", "key", "order_id", "actor", "truncated", *(f"previous_{name}" for name in _SUMMED))


async def read_problems(db: Any) -> list[str]:
    """What the doctor finds in the database."""
    return [row["problem"] for row in await db.fetch("select problem from orderwire.diagnose()")]


class Follower:
    """Has the orders, and totals, as the events since `start` make them."""

    def __init__(self, db: Any) -> None:
        self.db = db
        self.orders: dict[str, dict[str, Any]] = {}
        self.totals: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self._seen = ""

    @classmethod
    async def start(cls, db: Any) -> Follower:
        """Begin with the table as it is."""
        self = cls(db)
        async with db.transaction(isolation="repeatable_read"):
            self._seen = await db.fetchval("select pg_current_snapshot()::text")
            self.orders = await self._mapped()
            self.totals = await self._analytics()
        await db.execute("select orderwire.scan_totals()")
        return self

    @classmethod
    async def start_locked(cls, db: Any) -> Follower:
        """Begin in a transaction of the caller that holds a lock on the table, for which all writers wait."""
        self = cls(db)
        self._seen = await db.fetchval("select pg_current_snapshot()::text")
        self.orders = await self._mapped()
        self.totals = await self._analytics()
        return self

    async def read(self) -> list[dict[str, Any]]:
        """Apply the events that came since, and return them."""
        async with self.db.transaction(isolation="repeatable_read"):
            upto = await self.db.fetchval("select pg_current_snapshot()::text")
            rows = await self.db.fetch(_PAGE_SQL, self._seen)
        self._seen = upto
        events = [json.loads(row["event"], parse_float=Decimal) for row in rows]
        by_currency: dict[str | None, Decimal] = defaultdict(Decimal)
        for row, event in zip(rows, events, strict=True):
            assert len(row["event"].encode()) <= 16384, len(row["event"])
            if event.get("stream") is None:
                self._apply(event)
            self.totals["orders"] += row["orders"]
            self.totals["pending"] += row["pending"]
            by_currency[row["previous_currency"]] -= row["previous_revenue"]
            by_currency[row["currency"]] += row["revenue"]
        revenue = self.totals["revenue"]
        for currency, amount in by_currency.items():
            revenue[currency] = revenue.get(currency, 0) + amount
        self.totals["revenue"] = {currency: amount for currency, amount in revenue.items() if amount}
        self.events += events
        return events

    async def check(self, *, cut: bool = False) -> Counter[str]:
        """Assert that events, table and totals agree; return the types of the events that came since, and how many.

        With `cut`, names are compared as they are cut in events: a name that was there at the start is whole.
        """
        events = await self.read()
        mapped = await self._mapped()
        assert (_cut(self.orders) == _cut(mapped)) if cut else (self.orders == mapped)
        analytics = await self._analytics()
        assert self.totals == analytics
        by_key = await self.db.fetch(f"select {_COLUMNS} from orderwire.orders_by_key($1)", list(mapped))
        assert {row["key"]: self._state(row) for row in by_key} == mapped
        if len(events) < 10_000:  # the checkpoint serves no longer than counting takes
            await self._check_checkpoint()
        return Counter(event["type"] for event in events)

    async def _check_checkpoint(self) -> None:
        """The totals from the checkpoint and the events since are those of the view."""
        columns = "total_orders, total_revenue, pending_orders, revenue_by_currency"
        folded = await self.db.fetchrow(f"select {columns} from orderwire.totals_from_checkpoint()")
        counted = await self.db.fetchrow(f"select {columns} from orderwire.order_analytics")
        assert folded is not None, "the checkpoint did not serve"
        assert _plain(folded) == _plain(counted)

    def _apply(self, event: dict[str, Any]) -> None:
        key = event["key"]
        fields = {
            "number" if name == "order_number" else name: value for name, value in event.items() if name not in _NO_EVENT_FIELDS
        }
        if fields.get("total") is not None:
            fields["total"] = Decimal(fields["total"])
        if event["type"] != "new_order":
            assert self._before(event) == {name: self.orders[key][name] for name in _SUMMED}, event
        match event["type"]:
            case "new_order":
                assert key not in self.orders, event
                self.orders[key] = {**dict.fromkeys(_FIELDS), "data": {}, **fields}
            case "order_delete":
                del self.orders[key]
            case "order_update" | "order_status_update":
                assert {"status", "total"} <= event.keys()
                self.orders[key].update(fields)
            case other:
                raise AssertionError(other)

    @staticmethod
    def _before(event: dict[str, Any]) -> dict[str, Any]:
        """What the event says that the order was before."""
        before = {name: event.get(f"previous_{name}", event.get(name)) for name in _SUMMED}
        if before["total"] is not None:
            before["total"] = Decimal(before["total"])
        return before

    async def _mapped(self) -> dict[str, dict[str, Any]]:
        rows = await self.db.fetch(f"select {_COLUMNS} from orderwire.all_orders()")
        mapped = {row["key"]: self._state(row) for row in rows}
        assert len(mapped) == len(rows)
        return mapped

    @staticmethod
    def _state(row: Any) -> dict[str, Any]:
        """What events say of an order: an empty name or number is none, and data is an object."""
        state = {name: row[name] for name in _FIELDS}
        state["customer_name"] = state["customer_name"] or None
        state["number"] = state["number"] or None
        state["data"] = json.loads(state["data"] or "{}", parse_float=Decimal)
        return state

    async def _analytics(self) -> dict[str, Any]:
        row = await self.db.fetchrow("select * from orderwire.order_analytics")
        if row["revenue_by_currency"] is None:
            revenue = {None: row["total_revenue"]}
        else:
            revenue = json.loads(row["revenue_by_currency"], parse_float=Decimal, parse_int=Decimal)
            # Orders without a currency are not in it.
            rest = await self.db.fetchval(
                "select coalesce(sum(m.total), 0) from orderwire.all_orders() as m where m.is_counted and m.currency is null"
            )
            revenue[None] = rest
        return {
            "orders": row["total_orders"],
            "pending": row["pending_orders"],
            "revenue": {currency: amount for currency, amount in revenue.items() if amount},
        }


def _cut(orders: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {
        key: {**order, "customer_name": order["customer_name"] and order["customer_name"][:500]}
        for key, order in orders.items()
    }


def _plain(row: Any) -> list[Any]:
    values = list(row)
    if values[3] is not None:
        values[3] = json.loads(values[3], parse_float=Decimal, parse_int=Decimal)
    return values
