"""Short queries over a small pool of connections; the LISTEN connection (db/listener.py) is not part of it."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NamedTuple

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from db.connect import Connection, PoolConnector
from db.errors import role_of, wrap_driver_errors
from db.identity import DatabaseIdentity, FollowedDatabase
from db.journal import SESSION_SETTINGS_SQL, JournalReader
from db.position import POSITION_SQL, first_row, position_of
from db.series import SeriesReader
from push.protocol.order_list import ListCursor, OrderFilter, OrderOwner, OrderPage, ShopInfo

__all__ = ["AttachmentProblem", "Database"]

log = logging.getLogger("orderwire.database")

# One of them may count the orders for minutes (db/series.py), and one the totals.
MAX_CONNECTIONS = 5
# How long a search over all orders goes on, and among how many orders of their own a customer can search.
SEARCH_TIME = timedelta(seconds=1)
MAX_SEARCHED = 1000

# Of the queries on the attached tables. The lists are functions that are inlined: only a plan for the values at hand leaves out
# the conditions that are not asked for, and then finds an index for the rest.
_ORDER_SETTINGS_SQL = "set search_path = pg_catalog, pg_temp; set plan_cache_mode = force_custom_plan"
_LIST_SQL = f"""
select p.*, l.* from ({POSITION_SQL}) as p left join lateral orderwire.list_orders($1, $2, $3, $4) as l on true
"""
_LIST_OWN_SQL = f"""
select p.*, l.*
from ({POSITION_SQL}) as p left join lateral orderwire.list_customer_orders($5, $6, $1, $2, $3, $4) as l on true
"""
_FIND_SQL = f"select p.*, f.* from ({POSITION_SQL}) as p, orderwire.find_orders($1, $2, $3, $4) as f"
_FIND_ORDER_SQL = """
select orderwire.order_json(o, i.integer_keys, orderwire.max_order_bytes()) as order_json, o.customer_id
from orderwire.orders_by_key(array[$1]) as o, orderwire.journal_identity as i
"""
_HISTORY_SQL = "select h.event from orderwire.order_history(orderwire.canonical_key($1), $2, $3) as h (event)"
_ATTACHED_SQL = """
select a.name, a.map, format('%I.%I', n.nspname, c.relname) as table_name
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


class _PoolConnection(asyncpg.Connection):  # a subscript, as of a generic class, fails when the module is loaded
    """A connection that knows where it leads."""

    identity: DatabaseIdentity


async def _read_identity(connection: Connection) -> None:
    """Called by the pool for each new connection."""
    assert isinstance(connection, _PoolConnection)
    connection.identity = await DatabaseIdentity.read(connection)


class Database:
    """Queries for the HTTP routes, for replays and the audit. One per process. Every method raises DatabaseError.

    ``followed`` is the database that the process's listener follows: a connection to any other is closed.
    """

    def __init__(self, url: str, timeout_seconds: float = 10.0, followed: FollowedDatabase | None = None) -> None:
        self._followed = followed or FollowedDatabase(url)
        self._connector = PoolConnector(lambda: self._followed.url, _read_identity)
        self._timeout_seconds = timeout_seconds
        # For replays and the audit.
        self.journal = JournalReader(self._fetch_from_journal)
        # For GET /api/series.
        self.series = SeriesReader(self._fetch)
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._release_tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Database]:
        """Create the pool, and terminate it at the end. Opens no connection: the database may not be available yet."""
        self._pool = asyncpg.create_pool(
            connect=self._connector.connect,
            connection_class=_PoolConnection,
            min_size=0,
            max_size=MAX_CONNECTIONS,
            command_timeout=self._timeout_seconds,
        )
        await self._pool
        try:
            yield self
        finally:
            self._pool.terminate()
            await asyncio.gather(*self._release_tasks, return_exceptions=True)

    def reset_backoff(self) -> None:
        """Called when the listener has got a connection: the pool may try at once to get one."""
        self._connector.reset()

    async def expire_connections(self) -> None:
        """Called when the listener has lost its connection: those of the pool may be dead too, so replace them."""
        assert self._pool is not None
        await self._pool.expire_connections()

    @asynccontextmanager
    async def _acquire(self, timeout: float | None = None) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        """``timeout`` is that of the queries in the block, where it is not the usual one: for the text of the error."""
        assert self._pool is not None
        with wrap_driver_errors():
            connection = await self._pool.acquire(timeout=self._timeout_seconds)
            role = role_of(connection)
            try:
                self._followed.require(connection.identity)  # type: ignore[attr-defined]  # passed on by the proxy
                yield connection
            except asyncpg.PostgresError:  # PostgreSQL answered: the connection is good
                with wrap_driver_errors(role):
                    raise
            except TimeoutError:
                connection.terminate()
                with wrap_driver_errors(time_limit=_time_limit(timeout, self._timeout_seconds)):
                    raise
            except BaseException:
                connection.terminate()  # its release would wait for a response, and the connection may be dead
                raise
            finally:
                self._release(connection)

    def _release(self, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
        """Return the connection to the pool in a task of its own, so that the caller does not wait for its reset.

        A caller that is cancelled while it waits would leave an error that is never retrieved, because asyncpg shields the
        release; this task is not cancelled with the caller. If the release fails, the pool opens another connection.
        """
        assert self._pool is not None
        task = asyncio.create_task(self._pool.release(connection), name="release of a database connection")
        self._release_tasks.add(task)
        task.add_done_callback(self._on_released)

    def _on_released(self, task: asyncio.Task[None]) -> None:
        self._release_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("release of a connection failed: %s", error)

    async def _fetch(self, settings_sql: str, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        async with self._acquire(timeout) as connection:
            await connection.execute(settings_sql)  # the pool resets the settings when a connection is released
            return await connection.fetch(query, *args, timeout=timeout)

    async def _fetch_from_journal(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        return await self._fetch(SESSION_SETTINGS_SQL, query, *args, timeout=timeout)

    async def _fetch_orders(self, query: str, *args: Any) -> list[asyncpg.Record]:
        return await self._fetch(_ORDER_SETTINGS_SQL, query, *args)

    async def list_orders(self, wanted: OrderFilter) -> OrderPage:
        """A page of orders, newest first. A search has one page."""
        if wanted.search is None:
            return await self._list_page(wanted)
        if wanted.owner is None:
            row = first_row(await self._fetch_orders(_FIND_SQL, wanted.search, wanted.status, wanted.limit, SEARCH_TIME))
            return OrderPage(row["orders"][: wanted.limit], None, row["complete"], position_of(row))
        return await self._search_own_orders(wanted, wanted.search.lower())

    async def _list_page(self, wanted: OrderFilter) -> OrderPage:
        sort_value, key = wanted.after or (None, None)
        bounds = (wanted.limit + 1, wanted.status, sort_value, key)
        if wanted.owner is None:
            rows = await self._fetch_orders(_LIST_SQL, *bounds)
        else:
            rows = await self._fetch_orders(_LIST_OWN_SQL, *bounds, wanted.owner.subject, list(wanted.owner.keys))
        found = [row for row in rows if row["key"] is not None]
        listed = found[: wanted.limit]
        next_cursor = ListCursor(listed[-1]["sort_value"], listed[-1]["key"]) if len(found) > wanted.limit else None
        return OrderPage([row["order_json"] for row in listed], next_cursor, True, position_of(first_row(rows)))

    async def _search_own_orders(self, wanted: OrderFilter, search: str) -> OrderPage:
        """Among the newest MAX_SEARCHED orders of a customer, who has few."""
        assert wanted.owner is not None
        rows = await self._fetch_orders(
            _LIST_OWN_SQL, MAX_SEARCHED + 1, wanted.status, None, None, wanted.owner.subject, list(wanted.owner.keys)
        )
        found = [
            row["order_json"]
            for row in rows[:MAX_SEARCHED]
            if any(search in (row[name] or "").lower() for name in ("number", "customer_name", "key"))
        ]
        return OrderPage(found[: wanted.limit], None, len(rows) <= MAX_SEARCHED, position_of(first_row(rows)))

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
        return ShopInfo.from_map(json.loads(orders["map"]), orders["table_name"], list(attached))

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


def _time_limit(timeout: float | None, usual: float) -> str:
    return f"{usual:g} s (DATABASE_TIMEOUT_SECONDS)" if timeout is None else f"{timeout:g} s"
