"""Reading the journal over one connection, with the driver's errors typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from push.events import Event, EventPlace, Identity, Page, Position, Snapshot
from push.relay import Baseline
from push.totals import Totals

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

__all__ = ["CENSUS_SECONDS", "JournalReader"]

# No operator or function of somebody else's, who may create them in `public`, is ever meant.
# A short sequence of index scans is always right here; statistics that lag behind a growing journal would say otherwise.
# Plain SET, not start-up parameters: connection poolers refuse those.
PLANNING = """
set search_path = pg_catalog, pg_temp;
set plan_cache_mode = force_generic_plan;
set enable_seqscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set jit = off;
"""

_PAGE = """
select s.upto, i.epoch, i.trimmed_txid, p.*
from (select coalesce($4, pg_current_snapshot()) as upto) as s
cross join orderwire.journal_identity as i
left join lateral orderwire.journal_page($1, $2, $3, s.upto, $5, $6, $7) as p on true
"""

# A scan takes as long as the table is large.
CENSUS_SECONDS = 300.0

_NEWEST = """
select coalesce(
    (select j.txid from orderwire.journal as j where pg_visible_in_snapshot(j.txid, $1) order by j.txid desc limit 1), '0'
)
"""

_COUNT = """
select orderwire.journal_count($1, $2, $3, $4, $5, $6) as found, i.trimmed_txid
from orderwire.journal_identity as i
"""

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]"


class JournalReader:
    """The journal, read over one connection. Raises what the driver raises: the caller owns the seam."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def prepare(self) -> None:
        """Set the connection up for reading the journal."""
        await self._connection.execute(PLANNING)

    async def identity(self, epoch: str | None, delivered: Sequence[EventPlace]) -> Identity:
        """Epoch and trimming of the journal; it draws a new epoch if it is a copy, or lacks what was delivered."""
        row = await self._connection.fetchrow(
            "select epoch, trimmed_txid from orderwire.identify($1, $2, $3)",
            epoch,
            [place.txid for place in delivered],
            [place.id for place in delivered],
        )
        assert row is not None
        return Identity(row["epoch"], row["trimmed_txid"])

    async def baseline(self) -> Baseline:
        """Totals and snapshot of one moment: from the checkpoint and the journal since, or by a scan."""
        folded = await self._connection.fetchrow("select * from orderwire.fold_journal()")
        return await self.census() if folded is None else _baseline(folded, counted=False)

    async def census(self) -> Baseline:
        """Totals and snapshot of one moment, by a scan; from then on it is the checkpoint."""
        counted = await self._connection.fetchrow("select * from orderwire.count_orders()", timeout=CENSUS_SECONDS)
        assert counted is not None
        return _baseline(counted, counted=True)

    async def seen_at(self, place: EventPlace) -> Snapshot | None:
        """What the writer of the event saw as committed; None when the event is not in the journal."""
        seen = await self._connection.fetchval("select orderwire.seen_at($1, $2)", place.txid, place.id)
        return None if seen is None else Snapshot(*seen)

    async def count(self, after: Position, upto: Snapshot, past_id: int, at_most: int) -> tuple[int, int]:
        """How many events there are between the two, counted up to ``at_most``; and the journal's trimmed_txid."""
        row = await self._connection.fetchrow(_COUNT, after.seen, after.txid, after.id, upto, past_id, at_most)
        assert row is not None
        return row["found"], row["trimmed_txid"]

    async def newest_txid(self, upto: Snapshot) -> int:
        """The newest transaction with an event that ``upto`` sees; 0 without any."""
        found: int = await self._connection.fetchval(_NEWEST, upto)
        return found

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        """The events that ``after`` misses and ``upto`` (None: now) sees, from id ``past_id`` on."""
        rows = await self._connection.fetch(_PAGE, after.seen, after.txid, after.id, upto, past_id, max_events, max_bytes)
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
        first = rows[0]
        return Page(
            events,
            upto=Snapshot(*first["upto"]),
            more=bool(rows[-1]["more"]),
            epoch=first["epoch"],
            trimmed_txid=first["trimmed_txid"],
        )


def _baseline(row: asyncpg.Record, *, counted: bool) -> Baseline:
    totals = Totals(row["total_orders"], row["total_revenue"], row["pending_orders"])
    return Baseline(totals, Snapshot(*row["snapshot"]), row["newest_txid"], counted)
