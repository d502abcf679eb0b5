"""Exports: all orders that a filter names, read in one snapshot over connections that serve nothing else."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Hashable, Sequence
from contextlib import aclosing, asynccontextmanager

from db.connect import Connection
from db.errors import role_of, wrap_driver_errors
from db.journal import TEXT_SETTINGS_SQL
from db.order_lists import filter_arguments
from push.errors import TooManyExports
from push.protocol.order_csv import ExportedOrder, OrderExport
from push.protocol.order_list import OrderFilter, OrderOwner

__all__ = ["OrderExports"]

# Each export has a connection and a snapshot of its own, which keeps VACUUM from removing what it still sees. A client has one
# at a time, so that it leaves one to the others.
MAX_EXPORTS = 2
ROWS_PER_BATCH = 500
# The caller limits the time of the whole. PostgreSQL does for the case that this process stops without closing the connection.
_SETTINGS_SQL = f"""
{TEXT_SETTINGS_SQL}
set search_path = pg_catalog, pg_temp;
set statement_timeout = '900s';
set idle_in_transaction_session_timeout = '60s';
"""
_MEMBERS_SQL = """
select
    case jsonb_typeof(a.map -> 'data')
        when 'array' then array(select jsonb_array_elements_text(a.map -> 'data'))
        when 'object' then array(select jsonb_object_keys(a.map -> 'data'))
    end
from orderwire.attached_tables as a
where a.name = 'orders'
"""


class OrderExports:
    """At most MAX_EXPORTS exports at a time, and one of each client.

    ``connect`` opens a connection to the database that the process follows.
    """

    def __init__(self, connect: Callable[[], Awaitable[Connection]]) -> None:
        self._connect = connect
        # The clients whose exports are running.
        self._running: set[Hashable] = set()

    @asynccontextmanager
    async def open(self, wanted: OrderFilter, owner: OrderOwner | None, client: Hashable) -> AsyncIterator[OrderExport]:
        """The export, which must be read within the block: its connection is closed at the end. ``client``: who asks for it.

        Raises TooManyExports and DatabaseError, the latter also while it is read.
        """
        if client in self._running:
            raise TooManyExports("another export of yours is running: wait for its end, or break it off")
        if len(self._running) >= MAX_EXPORTS:
            raise TooManyExports(f"{MAX_EXPORTS} exports are running, which is the most at a time: try again later")
        self._running.add(client)
        try:
            with wrap_driver_errors():
                connection = await self._connect()
            try:
                members, query = await _begin(connection, wanted, owner)
                async with aclosing(_read(connection, query)) as batches:
                    yield OrderExport(members, batches)
            finally:
                connection.terminate()
        finally:
            self._running.remove(client)


async def _begin(connection: Connection, wanted: OrderFilter, owner: OrderOwner | None) -> tuple[Sequence[str], str | None]:
    """Begin the transaction; returns the names of the map's data, and the query (None: no table is attached)."""
    with wrap_driver_errors(role_of(connection)):
        await connection.execute(_SETTINGS_SQL)
        await connection.execute("begin isolation level repeatable read, read only")
        members = await connection.fetchval(_MEMBERS_SQL)
        query = await connection.fetchval(
            "select orderwire.export_query($1, $2, $3, $4, $5, $6)",
            *filter_arguments(wanted),
            None if owner is None else owner.subject,
            None if owner is None else list(owner.keys),
        )
    return members or (), query


async def _read(connection: Connection, query: str | None) -> AsyncGenerator[list[ExportedOrder], None]:
    """Nothing is read ahead: PostgreSQL waits while the caller does."""
    if query is None:
        return
    with wrap_driver_errors(role_of(connection)):
        cursor = await connection.cursor(query)
    while True:
        with wrap_driver_errors(role_of(connection)):
            rows = await cursor.fetch(ROWS_PER_BATCH)
        if not rows:
            return
        yield [ExportedOrder(*row) for row in rows]
