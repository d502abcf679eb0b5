"""Reading the journal over one connection, with the driver's errors typed."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeAlias

import asyncpg

from push.events import Event, Page, Position, Snapshot
from push.relay import Baseline, Identity
from push.totals import Totals

__all__ = ["JournalReader"]

# A short sequence of index scans is always right here; statistics that lag behind a growing journal would say otherwise.
_PLANNING = """
set plan_cache_mode = force_generic_plan;
set enable_seqscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set jit = off;
"""

_PAGE = """
select s.upto, p.*
from (select coalesce($4, pg_current_snapshot()) as upto) as s
left join lateral orderwire.journal_page($1, $2, $3, s.upto, $5, $6, $7) as p on true
"""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


class JournalReader:
    """The journal as the relay and the history want it. Raises what the driver raises: the caller owns the seam."""

    def __init__(self, connection: Connection, page: asyncpg.prepared_stmt.PreparedStatement[asyncpg.Record]) -> None:
        self._connection = connection
        self._page = page

    @classmethod
    async def on(cls, connection: Connection) -> JournalReader:
        """Prepare a connection for reading the journal."""
        await connection.execute(_PLANNING)
        return cls(connection, await connection.prepare(_PAGE))

    async def identity(self) -> Identity:
        """Epoch and trimming of the journal; a restored copy draws a new epoch here."""
        row = await self._connection.fetchrow("select epoch, trimmed_txid from orderwire.identify()")
        assert row is not None
        return Identity(row["epoch"], row["trimmed_txid"])

    async def baseline(self) -> Baseline:
        """Totals and snapshot by one statement, hence of one moment."""
        async with self._connection.transaction():
            await self._connection.execute("set local enable_seqscan = on")
            row = await self._connection.fetchrow("select *, pg_current_snapshot() as snapshot from order_analytics")
        assert row is not None
        totals = Totals(row["total_orders"], Decimal(row["total_revenue"]), row["pending_orders"])
        return Baseline(totals, Snapshot(*row["snapshot"]))

    async def page(
        self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int, timeout: float
    ) -> Page:
        """The events that ``after`` misses and ``upto`` (None: now) sees, from id ``past_id`` on."""
        rows = await self._page.fetch(after.seen, after.txid, after.id, upto, past_id, max_events, max_bytes, timeout=timeout)
        events = [
            Event(
                txid=row["txid"],
                id=row["id"],
                order_id=row["order_id"],
                customer_id=row["customer_id"],
                seen=Snapshot(*row["seen_by_writer"]),
                at=row["at"],
                orders=row["orders"],
                revenue=row["revenue"],
                pending=row["pending"],
                frame=row["event"].encode(),
            )
            for row in rows
            if row["id"] is not None
        ]
        return Page(events, Snapshot(*rows[0]["upto"]), bool(rows[-1]["more"]))
