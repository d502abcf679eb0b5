"""Reading the journal over one connection, with the driver's errors typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from push.journal.events import Event, EventId, JournalIdentity, Page, Position, Snapshot
from push.journal.relay import Baseline
from push.journal.totals import Totals

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

__all__ = ["SCAN_TIMEOUT_SECONDS", "JournalReader"]

# No operator or function of somebody else's, who may create them in `public`, is ever meant.
# A short sequence of index scans is always right here; statistics that lag behind a growing journal would say otherwise.
# Plain SET, not start-up parameters: connection poolers refuse those.
SESSION_SETTINGS_SQL = """
set search_path = pg_catalog, pg_temp;
set plan_cache_mode = force_generic_plan;
set enable_seqscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set jit = off;
"""

_PAGE_SQL = """
select s.upto, i.epoch, i.trimmed_txid, p.*
from (select coalesce($4, pg_current_snapshot()) as upto) as s
cross join orderwire.journal_identity as i
left join lateral orderwire.journal_page($1, $2, $3, s.upto, $5, $6, $7) as p on true
"""

# A scan takes as long as the table is large.
SCAN_TIMEOUT_SECONDS = 300.0

_NEWEST_TXID_SQL = """
select coalesce(
    (select j.txid from orderwire.journal as j where pg_visible_in_snapshot(j.txid, $1) order by j.txid desc limit 1), '0'
)
"""

_COUNT_SQL = """
select orderwire.journal_count($1, $2, $3, $4, $5, $6) as found, i.trimmed_txid
from orderwire.journal_identity as i
"""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"


class JournalReader:
    """The journal, read over one connection. Raises what the driver raises: the caller owns the seam."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def configure_session(self) -> None:
        """Set the connection up for reading the journal."""
        await self._connection.execute(SESSION_SETTINGS_SQL)

    async def identity(self, epoch: str | None, delivered: Sequence[EventId]) -> JournalIdentity:
        """Epoch and trimming of the journal; it draws a new epoch if it is a copy, or lacks what was delivered."""
        row = await self._connection.fetchrow(
            "select epoch, trimmed_txid from orderwire.identify($1, $2, $3)",
            epoch,
            [place.txid for place in delivered],
            [place.id for place in delivered],
        )
        assert row is not None
        return JournalIdentity(row["epoch"], row["trimmed_txid"])

    async def baseline(self) -> Baseline:
        """Totals and snapshot of one moment: from the checkpoint and the journal since, or by a scan."""
        folded = await self._connection.fetchrow("select * from orderwire.totals_from_checkpoint()")
        return await self.scan_totals() if folded is None else _baseline_from_row(folded, from_scan=False)

    async def scan_totals(self) -> Baseline:
        """Totals and snapshot of one moment, by a scan; from then on it is the checkpoint."""
        counted = await self._connection.fetchrow("select * from orderwire.scan_totals()", timeout=SCAN_TIMEOUT_SECONDS)
        assert counted is not None
        return _baseline_from_row(counted, from_scan=True)

    async def writer_snapshot(self, event_id: EventId) -> Snapshot | None:
        """What the writer of the event saw as committed; None when the event is not in the journal."""
        seen = await self._connection.fetchval("select orderwire.writer_snapshot($1, $2)", event_id.txid, event_id.id)
        return None if seen is None else Snapshot(*seen)

    async def count(self, after: Position, upto: Snapshot, past_id: int, limit: int) -> tuple[int, int]:
        """How many events there are between the two, counted up to ``limit``; and the journal's trimmed_txid."""
        row = await self._connection.fetchrow(_COUNT_SQL, after.snapshot, after.txid, after.id, upto, past_id, limit)
        assert row is not None
        return row["found"], row["trimmed_txid"]

    async def newest_txid(self, upto: Snapshot) -> int:
        """The newest transaction with an event that ``upto`` sees; 0 without any."""
        found: int = await self._connection.fetchval(_NEWEST_TXID_SQL, upto)
        return found

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        """The events that ``start_index`` misses and ``upto`` (None: now) sees, from id ``past_id`` on."""
        rows = await self._connection.fetch(
            _PAGE_SQL, after.snapshot, after.txid, after.id, upto, past_id, max_events, max_bytes
        )
        events = [
            Event(
                txid=row["txid"],
                id=row["id"],
                order_id=row["order_id"],
                customer_id=row["customer_id"],
                writer_snapshot=Snapshot(*row["seen_by_writer"]),
                at=row["at"],
                orders_delta=row["orders"],
                revenue_delta=row["revenue"],
                pending_delta=row["pending"],
                payload=row["event"].encode(),
            )
            for row in rows
            if row["id"] is not None
        ]
        first = rows[0]
        return Page(
            events,
            upto=Snapshot(*first["upto"]),
            more=bool(rows[-1]["more"]),
            epoch=first["epoch"],
            trimmed_txid=first["trimmed_txid"],
        )


def _baseline_from_row(row: asyncpg.Record, *, from_scan: bool) -> Baseline:
    totals = Totals(row["total_orders"], row["total_revenue"], row["pending_orders"])
    return Baseline(totals, Snapshot(*row["snapshot"]), row["newest_txid"], from_scan)
