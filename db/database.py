"""Short queries over a small pool of connections; the LISTEN connection (db/listener.py) is not part of it."""

from __future__ import annotations

import json
from collections.abc import Collection, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import asyncpg

from db.connect import PoolConnector
from db.identity import FollowedDatabase
from db.journal import SESSION_SETTINGS_SQL, TEXT_SETTINGS_SQL, Fetch, JournalReader
from db.order_export import OrderExports
from db.order_lists import OrderLists
from db.pool import ConnectionPool
from db.series import SeriesReader
from push.journal.queries import FactReads
from push.protocol.order_csv import OrderExport
from push.protocol.order_list import OrderFilter, OrderOwner, OrderPage, OrderPageRequest, ShopInfo

__all__ = ["AttachmentProblem", "Database"]

# One of them may count the orders for minutes (db/series.py), and one the totals.
MAX_CONNECTIONS = 5

# Of the queries on the attached tables. The lists are functions that are inlined: only a plan for the values at hand leaves out
# the conditions that are not asked for, and then finds an index for the rest.
_ORDER_SETTINGS_SQL = f"{TEXT_SETTINGS_SQL} set search_path = pg_catalog, pg_temp; set plan_cache_mode = force_custom_plan"
_FIND_ORDER_SQL = """
select orderwire.order_json(o, i.integer_keys, orderwire.max_order_bytes()) as order_json, o.customer_id
from orderwire.orders_by_key(array[$1]) as o, orderwire.journal_identity as i
"""
_HISTORY_SQL = "select h.event from orderwire.order_history(orderwire.canonical_key($1), $2, $3) as h (event)"
_ATTACHED_SQL = """
select
    a.name, a.map, format('%I.%I', n.nspname, c.relname) as table_name,
    coalesce(obj_description(c.oid, 'pg_class') like 'Starter table of Orderwire.%', false) as is_starter
from orderwire.attached_tables as a
left join pg_class as c on c.oid = a.relation
left join pg_namespace as n on n.oid = c.relnamespace
order by a.name
"""


class AttachmentProblem(NamedTuple):
    """What is wrong with an attached table, how to fix it, and whether changes make no events until then."""

    problem: str
    fix: str
    stops_events: bool


class PoolJournal(JournalReader, FactReads):
    """The journal over the connections of a pool."""

    def __init__(self, fetch: Fetch, connector: PoolConnector) -> None:
        super().__init__(fetch)
        self._connector = connector

    @property
    def connections_opened(self) -> int:
        return self._connector.opened


class Database(ConnectionPool):
    """Queries for the HTTP routes, for replays and the audit. One per process. Every method raises DatabaseError."""

    def __init__(self, url: str, timeout_seconds: float = 10.0, followed: FollowedDatabase | None = None) -> None:
        super().__init__(followed or FollowedDatabase(url), timeout_seconds, MAX_CONNECTIONS)
        # For replays, the audit, and what facts do not tell.
        self.journal = PoolJournal(self._fetch_from_journal, self._connector)
        # For GET /api/series.
        self.series = SeriesReader(self._fetch)
        self._lists = OrderLists(self._fetch_orders)
        self._exports = OrderExports(self._open_connection)

    async def _fetch(self, settings_sql: str, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        async with self._acquire(timeout) as connection:
            await connection.execute(settings_sql)  # the pool resets the settings when a connection is released
            return await connection.fetch(query, *args, timeout=timeout)

    async def _fetch_from_journal(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        return await self._fetch(SESSION_SETTINGS_SQL, query, *args, timeout=timeout)

    async def _fetch_orders(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        return await self._fetch(_ORDER_SETTINGS_SQL, query, *args, timeout=timeout)

    async def list_orders(self, wanted: OrderPageRequest, client: Hashable = None) -> OrderPage:
        """A page of orders, newest first. ``client``: who asks for it. Raises TooManySearches too."""
        return await self._lists.page(wanted, client)

    async def search_indexed(self) -> bool:
        """Whether indexes of the attached table answer every search that is not too short for them."""
        return await self._lists.search_indexed()

    def export_orders(
        self, wanted: OrderFilter, owner: OrderOwner | None, client: Hashable = None
    ) -> AbstractAsyncContextManager[OrderExport]:
        """All orders that are asked for, over a connection of its own. ``client``: who asks. Raises TooManyExports too."""
        return self._exports.open(wanted, owner, client)

    async def find_order(self, key: str, owner: OrderOwner | None = None) -> str | None:
        """One order as a JSON object; None if there is none with this key, or it is not the owner's."""
        rows = await self._fetch_orders(_FIND_ORDER_SQL, key)
        if not rows or (
            owner is not None and key not in owner.keys and (owner.subject is None or rows[0]["customer_id"] != owner.subject)
        ):
            return None
        order: str = rows[0]["order_json"]
        return order

    async def order_history(self, key: str, limit: int, owner: OrderOwner | None = None) -> list[str]:
        """The newest events of one order and of the streams' rows that belong to it, newest first, as far as the journal goes
        back. For an owner by ``subject`` alone: the events of the order that name the subject.
        """
        subject = None if owner is None or key in owner.keys else owner.subject
        if owner is not None and subject is None and key not in owner.keys:
            return []
        return [row[0] for row in await self._fetch_orders(_HISTORY_SQL, key, limit, subject)]

    async def owned_keys(self, subject: str, keys: Collection[str]) -> set[str]:
        """Those of ``keys`` whose order has ``subject`` as customer_id."""
        rows = await self._fetch_orders("select k.key from orderwire.owned_keys($1, $2) as k (key)", subject, list(keys))
        return {row[0] for row in rows}

    async def known_streams(self, names: Collection[str]) -> set[str]:
        """Those of ``names`` that are attached streams."""
        rows = await self._fetch_orders(
            "select a.name from orderwire.attached_tables as a where a.name = any($1) and a.name <> 'orders'", list(names)
        )
        return {row[0] for row in rows}

    async def shop_info(self) -> ShopInfo:
        """What the attached table's map says about statuses, and the names of the attached tables."""
        rows = await self._fetch_orders(_ATTACHED_SQL)
        attached = {row["name"]: row for row in rows}
        orders = attached.pop("orders", None)
        if orders is None:
            return ShopInfo.from_map({}, None, list(attached))
        info = ShopInfo.from_map(json.loads(orders["map"]), orders["table_name"], list(attached))
        return replace(info, is_starter=orders["is_starter"])

    async def poll_state(self) -> tuple[float, dict[str, float]]:
        """Usage of the notification queue, 0 to 1; and for each revoked subject the Unix time of the revocation."""
        async with self._acquire() as connection:
            usage = await connection.fetchval("select pg_notification_queue_usage()")
            rows = await connection.fetch("select subject, extract(epoch from revoked_at)::float8 from orderwire.revocations")
        return usage, {row[0]: row[1] for row in rows}

    async def attachment_problem(self) -> AttachmentProblem | None:
        """The gravest thing that is wrong with the attached tables."""
        rows = await self._fetch_orders(
            "select d.problem, d.fix, d.stops_events from orderwire.diagnose_attached() as d order by 3 desc limit 1"
        )
        return AttachmentProblem(*rows[0]) if rows else None

    async def is_superuser(self) -> bool:
        """Whether the server's role is a superuser."""
        async with self._acquire() as connection:
            is_superuser: bool = await connection.fetchval("select current_setting('is_superuser')::boolean")
        return is_superuser

    async def maintain_partitions(self, retention: timedelta) -> None:
        """Create the next partitions of the journal, and drop those whose events are all older than ``retention``."""
        async with self._acquire() as connection:
            await connection.execute("select orderwire.maintain_partitions($1)", retention)

    async def attach_partitions(self) -> int:
        """Create the triggers of partitions that an attached table has got; returns how many partitions these were."""
        async with self._acquire() as connection:
            made: int = await connection.fetchval("select orderwire.attach_partitions()")
        return made
