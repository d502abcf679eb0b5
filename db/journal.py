"""The SQL of ``JournalQueries``, and of those methods of ``JournalConnection`` that only read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from push.journal.events import Event, EventId, JournalIdentity, Page, Position, Snapshot
from push.journal.queries import Baseline, EventCount, EventOwner, JournalQueries
from push.journal.totals import Totals

if TYPE_CHECKING:
    import asyncpg

__all__ = ["SESSION_SETTINGS_SQL", "Fetch", "JournalReader"]

# search_path without `public`: any role may have created operators and functions there that match better than PostgreSQL's.
# Planner settings: a short sequence of index scans is always the best plan here; statistics lag behind a growing journal.
# SET, not start-up parameters, because connection poolers reject those.
SESSION_SETTINGS_SQL = """
set search_path = pg_catalog, pg_temp;
set plan_cache_mode = force_generic_plan;
set enable_seqscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set jit = off;
"""

_PAGE_SQL, _CUSTOMER_PAGE_SQL = (
    f"""
select s.upto, i.epoch, i.trimmed_txid, p.*
from (select coalesce($4, pg_current_snapshot()) as upto) as s
cross join orderwire.journal_identity as i
left join lateral orderwire.journal_page($1, $2, $3, s.upto, $5, $6, $7{more}) as p on true
"""
    for more in ("", ", true, $8, $9")
)

# A scan reads the whole table, and many events may follow a checkpoint.
SCAN_TIMEOUT_SECONDS = 300.0

_NEWEST_TXID_SQL = """
select coalesce(
    (select j.txid from orderwire.journal as j where pg_visible_in_snapshot(j.txid, $1) order by j.txid desc limit 1), '0'
)
"""

# Every process that can have a transaction, and prepared ones.
_MAX_TRANSACTIONS_SQL = """
select sum(s.setting::integer)
from pg_settings as s
where
    s.name in (
        'max_connections', 'max_prepared_transactions', 'max_worker_processes', 'max_wal_senders', 'autovacuum_max_workers',
        'autovacuum_worker_slots'
    )
"""

_COUNT_SQL = """
select c.events, c.order_events, i.trimmed_txid
from orderwire.journal_identity as i, orderwire.journal_count($1, $2, $3, $4, $5, $6) as c
"""


class Fetch(Protocol):
    """Runs a query on a connection that has SESSION_SETTINGS_SQL, and returns all its rows. ``timeout`` is in seconds."""

    async def __call__(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """Without ``timeout`` the usual one of the connection applies."""


class JournalReader(JournalQueries):
    """Reads the journal through a ``Fetch``, which decides on the connection, and on what the driver's errors become."""

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch

    async def identity(self, epoch: str | None, delivered: Sequence[EventId]) -> JournalIdentity:
        (row,) = await self._fetch(
            "select epoch, trimmed_txid from orderwire.identify($1, $2, $3)",
            epoch,
            [event_id.txid for event_id in delivered],
            [event_id.id for event_id in delivered],
        )
        return JournalIdentity(row["epoch"], row["trimmed_txid"])

    async def baseline(self) -> Baseline:
        """The method of ``JournalConnection``."""
        rows = await self._fetch("select * from orderwire.totals_from_checkpoint()", timeout=SCAN_TIMEOUT_SECONDS)
        return _baseline_from_row(rows[0], from_scan=False) if rows else await self.scan_totals()

    async def scan_totals(self) -> Baseline:
        (row,) = await self._fetch("select * from orderwire.scan_totals()", timeout=SCAN_TIMEOUT_SECONDS)
        return _baseline_from_row(row, from_scan=True)

    async def writer_snapshot(self, event_id: EventId) -> Snapshot | None:
        (row,) = await self._fetch("select orderwire.writer_snapshot($1, $2)", event_id.txid, event_id.id)
        return None if row[0] is None else Snapshot(*row[0])

    async def max_transactions(self) -> int:
        (row,) = await self._fetch(_MAX_TRANSACTIONS_SQL)
        most: int = row[0]
        return most

    async def count(self, after: Position, upto: Snapshot, past_id: int, limit: int) -> EventCount:
        (row,) = await self._fetch(_COUNT_SQL, after.snapshot, after.txid, after.id, upto, past_id, limit)
        return EventCount(row["events"], row["order_events"], row["trimmed_txid"])

    async def newest_txid(self, upto: Snapshot) -> int:
        """The method of ``JournalConnection``."""
        (row,) = await self._fetch(_NEWEST_TXID_SQL, upto)
        txid: int = row[0]
        return txid

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        return _page_from_rows(
            await self._fetch(_PAGE_SQL, after.snapshot, after.txid, after.id, upto, past_id, max_events, max_bytes)
        )

    async def customer_page(
        self, owner: EventOwner, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int
    ) -> Page:
        limits = (past_id, max_events, max_bytes)
        return _page_from_rows(
            await self._fetch(
                _CUSTOMER_PAGE_SQL, after.snapshot, after.txid, after.id, upto, *limits, owner.subject, list(owner.keys)
            )
        )


def _page_from_rows(rows: list[asyncpg.Record]) -> Page:
    events = [
        Event(
            txid=row["txid"],
            id=row["id"],
            stream=row["stream"],
            key=row["key"],
            order_key=row["order_key"] if row["stream"] is not None else row["key"],  # one object instead of two
            customer_id=row["customer_id"],
            writer_snapshot=Snapshot(*row["seen_by_writer"]),
            at=row["at"],
            orders_delta=row["orders"],
            pending_delta=row["pending"],
            previous_revenue=row["previous_revenue"],
            revenue=row["revenue"],
            previous_currency=row["previous_currency"],
            currency=row["currency"],
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
    by_currency: str | None = row["revenue_by_currency"]
    if by_currency is None:
        totals = Totals(row["total_orders"], row["total_revenue"], row["pending_orders"])
    else:
        numbers = json.loads(by_currency, parse_int=Decimal, parse_float=Decimal)
        totals = Totals(row["total_orders"], Decimal(0), row["pending_orders"], numbers)
    return Baseline(totals, Snapshot(*row["snapshot"]), row["newest_txid"], from_scan)
