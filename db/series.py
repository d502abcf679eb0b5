"""The SQL of ``SeriesQueries``: counts of the orders by status, currency and time of creation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from db.errors import UnreadableData
from db.journal import SESSION_SETTINGS_SQL, TEXT_SETTINGS_SQL
from db.position import POSITION_SQL, first_row, position_of
from push.journal.queries import SeriesQueries
from push.journal.series import OrderCounts, OrderGroup

if TYPE_CHECKING:
    import asyncpg

__all__ = ["FetchWithSettings", "SeriesReader", "TooManyGroups"]

COUNT_TIMEOUT_SECONDS = 120.0
# Groups of orders that one count may have: statuses can be any text.
MAX_GROUPS = 50_000
# So many events are added to a count in any case. Beyond that, adding them must cost less than to count again: an event costs
# about as much as four orders.
MIN_EVENTS_TO_FOLD = 10_000

# The position must not be older than the lock on the table (see orderwire.scan_totals). PostgreSQL takes the snapshot of a
# statement after its locks under READ COMMITTED, and only there. The time limit is for a server that dies meanwhile.
_COUNT_SETTINGS_SQL = f"""
{TEXT_SETTINGS_SQL}
set search_path = pg_catalog, pg_temp;
set plan_cache_mode = force_custom_plan;
set max_parallel_workers_per_gather = 0;
set jit = off;
set default_transaction_isolation = 'read committed';
set statement_timeout = '{COUNT_TIMEOUT_SECONDS + 10:.0f}s';
"""
_COUNT_SQL = f"""
select p.*, c.*
from ({POSITION_SQL}) as p left join lateral (select g.* from orderwire.count_orders($1) as g limit $2) as c on true
"""
_CHANGES_SQL = f"""
select p.*, c.*
from ({POSITION_SQL}) as p left join lateral orderwire.orders_since($1, $2, $3) as c on true
where p.epoch = $4 and p.trimmed_txid < pg_snapshot_xmin($1)
"""


class TooManyGroups(UnreadableData):
    """The orders have too many different statuses or currencies."""

    public_text = "the orders have too many different statuses or currencies"


class FetchWithSettings(Protocol):
    """Runs a query on a connection of its own after the settings, and returns all its rows. ``timeout`` is in seconds."""

    async def __call__(self, settings_sql: str, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """Without ``timeout`` the usual one of the connection applies."""


class SeriesReader(SeriesQueries):
    """Reads through a ``FetchWithSettings``, which decides on the connection, and on what the driver's errors become."""

    def __init__(self, fetch: FetchWithSettings) -> None:
        self._fetch = fetch

    async def count_orders(self, now: datetime, bounds: Sequence[datetime]) -> OrderCounts:
        rows = await self._fetch(_COUNT_SETTINGS_SQL, _COUNT_SQL, bounds, MAX_GROUPS + 1, timeout=COUNT_TIMEOUT_SECONDS)
        if len(rows) > MAX_GROUPS:
            raise TooManyGroups(
                f"they have more than {MAX_GROUPS} combinations of status, currency and time: is the map's status one?"
            )
        return OrderCounts(now, bounds, _groups(rows), position_of(first_row(rows)))

    async def orders_since(self, counts: OrderCounts) -> OrderCounts | None:
        after = counts.position.after
        max_events = max(MIN_EVENTS_TO_FOLD, counts.orders // 4)
        rows = await self._fetch(SESSION_SETTINGS_SQL, _CHANGES_SQL, after, counts.bounds, max_events, counts.position.epoch)
        if not rows or sum(row["events"] or 0 for row in rows) > max_events:
            return None
        changed = counts.plus(_groups(rows), position_of(rows[0]))
        return changed if len(changed.groups) <= MAX_GROUPS else None


def _groups(rows: Sequence[asyncpg.Record]) -> list[OrderGroup]:
    return [
        OrderGroup(row["status"], row["currency"], row["interval_number"], row["orders"], row["revenue"])
        for row in rows
        if row["status"] is not None
    ]
