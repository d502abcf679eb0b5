"""What the server changes in orders: their status, where the map allows it, and test orders on the embedded database.

It has connections of its own, so that a change that waits for a lock does not keep reads waiting, nor reads a change.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from db.demo import CUSTOMER_NAMES
from db.errors import DatabaseError, DatabaseTimeout, DatabaseUnavailable, first_line
from db.identity import FollowedDatabase
from db.pool import ConnectionPool
from push.protocol.order_changes import ChangeOutcome, ChangeResult, CreatedOrder, StatusChange

__all__ = ["OrderWriter"]

log = logging.getLogger("orderwire.database")

MAX_CONNECTIONS = 2
# How long a change waits for one of the connections, and then for the lock of the row; and how long it may take in all, the
# shop's triggers included.
CONNECTION_WAIT_SECONDS = 2.0
LOCK_WAIT_SECONDS = 2.0
STATEMENT_SECONDS = 4.0
# For an answer of PostgreSQL, which ends a statement by itself after STATEMENT_SECONDS.
ANSWER_SECONDS = 6.0

# Whatever the role's or the database's defaults are. READ COMMITTED: the check after a wait for the lock sees what the other
# transaction has written.
_SETTINGS_SQL = f"""
set transaction isolation level read committed, read write;
set local search_path = pg_catalog, pg_temp;
set local lock_timeout = '{LOCK_WAIT_SECONDS:g}s';
set local statement_timeout = '{STATEMENT_SECONDS:g}s';
"""
_CHANGE_SQL = "select c.* from orderwire.change_order_status($1, $2, $3, $4, $5) as c"
_IS_STARTER_SQL = """
select coalesce(obj_description(a.relation, 'pg_class') like 'Starter table of Orderwire.%', false)
from orderwire.attached_tables as a
where a.name = 'orders' and a.relation = to_regclass('public.orders')
"""
_CREATE_SQL = "insert into public.orders (customer_name, total) values ($1, $2) returning id::text"

# An error during a change is a refusal by the shop's table, whose triggers may raise any SQLSTATE, but for these classes
# (connection, transaction rollback, resources, operator intervention, system) and SQLSTATEs (read-only transaction, lock not
# available).
_FAULT_CLASSES = ("08", "40", "53", "57", "58")
_FAULTS = ("25006", "55P03")
# A missing privilege, table, function or schema is a refusal only inside a function of the shop. It is none where PostgreSQL
# names no function as its context, or one of ours as the innermost.
_MISSING = ("42501", "42P01", "42883", "3F000")
_OWN_CONTEXT = re.compile(r'PL/pgSQL function orderwire\.|SQL function "(?:lock_order|set_order_status|orders_by_key)"')
_MAX_DETAIL_LENGTH = 300


class OrderLocked(DatabaseUnavailable):
    """Another transaction holds the row, or the database cannot take another change now. A retry may succeed."""

    public_text = "the order is being changed by another transaction: try again"


class TooManyChanges(DatabaseUnavailable):
    """All connections for changes are in use."""

    public_text = "other changes of orders wait for the database: try again"


class OrderWriter(ConnectionPool):
    """Changes orders, each in a transaction of its own. One per process. Every method raises DatabaseError."""

    def __init__(self, followed: FollowedDatabase) -> None:
        super().__init__(followed, ANSWER_SECONDS, MAX_CONNECTIONS)
        self._free_connections = asyncio.Semaphore(MAX_CONNECTIONS)

    async def change_status(self, change: StatusChange) -> ChangeResult:
        """Change the status of one order. After a DatabaseError it is not known whether the change was made."""
        arguments = (change.key, change.from_status, change.to_status, change.author, change.undone_event)
        has_begun = False
        try:
            async with self._transaction() as connection:
                has_begun = True
                row = await connection.fetchrow(_CHANGE_SQL, *arguments)
        except DatabaseError as error:
            if not has_begun:
                raise
            return _refused(error)
        assert row is not None
        return ChangeResult(
            ChangeOutcome(row["outcome"]), row["event_id"], row["order_json"], row["present_status"], row["actor"]
        )

    async def create_test_order(self) -> CreatedOrder | None:
        """Insert an order; None if the starter table is not attached. For the embedded database alone."""
        async with self._transaction() as connection:
            if not await connection.fetchval(_IS_STARTER_SQL):
                return None
            total = Decimal(random.randint(500, 30000)) / 100
            key = await connection.fetchval(_CREATE_SQL, random.choice(CUSTOMER_NAMES), total)
            event_id = await connection.fetchval("select orderwire.own_event_id($1)", key)
        return CreatedOrder(key, event_id)

    async def _give_back(self, connection: PoolConnectionProxy[asyncpg.Record]) -> None:
        """Close it where a trigger of the shop has made a temporary table. The session keeps a temporary schema, also when the
        table is gone, and orderwire.change_order_status refuses such sessions.
        """
        try:
            if await connection.fetchval("select pg_my_temp_schema() <> 0"):
                await connection.close(timeout=ANSWER_SECONDS)
        finally:
            await super()._give_back(connection)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[PoolConnectionProxy[asyncpg.Record]]:
        try:
            async with asyncio.timeout(CONNECTION_WAIT_SECONDS):
                await self._free_connections.acquire()
        except TimeoutError:
            raise TooManyChanges(f"no connection for a change of an order was free for {CONNECTION_WAIT_SECONDS:g} s") from None
        try:
            async with self._acquire() as connection, connection.transaction():
                await connection.execute(_SETTINGS_SQL)
                yield connection
        except DatabaseError as error:
            raise _translated(error) from error.__cause__
        finally:
            self._free_connections.release()


def _translated(error: DatabaseError) -> DatabaseError:
    match error.__cause__:
        case asyncpg.LockNotAvailableError():
            return OrderLocked(f"another transaction has held an order for {LOCK_WAIT_SECONDS:g} s")
        case asyncpg.DeadlockDetectedError() | asyncpg.SerializationError():
            return OrderLocked(f"a change of an order has met another one: {error}")
        case asyncpg.QueryCanceledError():
            timeout = DatabaseTimeout(f"a change of an order took longer than {STATEMENT_SECONDS:g} s: {error}")
            timeout.public_text = f"the change took longer than {STATEMENT_SECONDS:g} s, and was not made: try again"
            return timeout
    return error


def _refused(error: DatabaseError) -> ChangeResult:
    """What the table itself says. Raises the error if it is about anything else."""
    cause = error.__cause__
    if not isinstance(cause, asyncpg.PostgresError) or not _is_refusal(cause):
        raise error
    log.warning("the database has refused a change of an order's status: %s", first_line(cause))
    return ChangeResult(ChangeOutcome.REFUSED, detail=first_line(cause)[:_MAX_DETAIL_LENGTH])


def _is_refusal(cause: asyncpg.PostgresError) -> bool:
    state = cause.sqlstate or ""
    # A cached plan has become invalid: a retry makes another.
    if state.startswith(_FAULT_CLASSES) or state in _FAULTS or isinstance(cause, asyncpg.InvalidCachedStatementError):
        return False
    if state not in _MISSING:
        return True
    # A policy has the SQLSTATE of a missing privilege.
    is_policy = getattr(cause, "server_source_function", None) == "ExecWithCheckOptions"
    context = getattr(cause, "context", None) or ""
    return is_policy or not (context == "" or _OWN_CONTEXT.match(context))
