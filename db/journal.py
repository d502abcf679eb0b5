"""The SQL of ``JournalQueries``, and of those methods of ``JournalConnection`` that only read."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

from db.errors import DatabaseTimeout, UnreadableData
from push.errors import StoreError
from push.journal.events import Event, EventId, JournalIdentity, Page, Position, Snapshot
from push.journal.queries import Baseline, EventCount, EventOwner, JournalQueries
from push.journal.totals import Totals

if TYPE_CHECKING:
    import asyncpg

__all__ = ["SESSION_SETTINGS_SQL", "TEXT_SETTINGS_SQL", "Fetch", "JournalReader", "PageGuard"]

# Values that go through text, like a cursor, have to come back as they were, whatever the defaults of the database or the
# role are. PostgreSQL does not read all that it writes in other styles of dates, and rounds numbers with 0 extra digits.
TEXT_SETTINGS_SQL = """
set datestyle = 'ISO, MDY';
set intervalstyle = 'postgres';
set timezone = 'UTC';
set extra_float_digits = 1;
"""
# search_path without `public`: any role may have created operators and functions there that match better than PostgreSQL's.
# Planner settings: a short sequence of index scans is always the best plan here; statistics lag behind a growing journal.
# SET, not start-up parameters, because connection poolers reject those.
SESSION_SETTINGS_SQL = f"""
{TEXT_SETTINGS_SQL}
set search_path = pg_catalog, pg_temp;
set plan_cache_mode = force_generic_plan;
set enable_seqscan = off;
set enable_hashjoin = off;
set enable_mergejoin = off;
set jit = off;
"""

_PAGE_TEMPLATE = """
select s.upto, i.epoch, i.trimmed_txid, i.xmin as version, p.*
from (select coalesce($4, pg_current_snapshot()) as upto) as s
cross join orderwire.journal_identity as i
left join lateral orderwire.{} as p on true
"""
_BOUNDS = "$1, $2, $3, s.upto, $5, $6, $7"
_PAGE_SQL = _PAGE_TEMPLATE.format(f"journal_page({_BOUNDS})")
# For a position that is just a snapshot: what follows a transaction of its own is left out of the plan.
_SNAPSHOT_PAGE_SQL = _PAGE_TEMPLATE.replace("$4", "$2").format("journal_page($1, null, null, s.upto, $3, $4, $5)")
# The same where no transaction was running in that snapshot.
_QUIET_PAGE_SQL = _PAGE_TEMPLATE.replace("$4", "$2").format("journal_page($1, null, null, s.upto, $3, $4, $5, false)")
_CUSTOMER_PAGE_SQL = _PAGE_TEMPLATE.format(f"journal_page({_BOUNDS}, true, true, $8, $9)")
# Row by row: a row that cannot be read then has a placeholder.
_GUARDED_PAGE_SQL = _PAGE_TEMPLATE.format(f"journal_page_guarded({_BOUNDS}, $8)")
_GUARDED_CUSTOMER_PAGE_SQL = _PAGE_TEMPLATE.format(f"journal_page_guarded({_BOUNDS}, $8, true, $9, $10)")
# How long such a read goes on before it returns what it has.
GUARDED_TIME_LIMIT = timedelta(seconds=0.5)
# No event is longer, as JSON.
MAX_EVENT_BYTES = 16 * 1024

# A scan reads the whole table, and many events may follow a checkpoint.
SCAN_TIMEOUT_SECONDS = 300.0

_NEWEST_EVENT_SQL = """
select j.txid, j.id, orderwire.event_tag(j.at) as tag
from orderwire.journal as j
where j.txid < pg_snapshot_xmax($1) and pg_visible_in_snapshot(j.txid, $1)
order by j.txid desc
limit 1
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
select c.events, c.order_events, i.epoch, i.trimmed_txid, i.xmin as version
from orderwire.journal_identity as i, orderwire.journal_count($1, $2, $3, $4, $5, $6) as c
"""


class Fetch(Protocol):
    """Runs a query on a connection that has SESSION_SETTINGS_SQL, and returns all its rows. ``timeout`` is in seconds."""

    async def __call__(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """Without ``timeout`` the usual one of the connection applies."""


class PageGuard:
    """Whether the next page has to be read row by row, since the last one took too long.

    It outlives the connection, which a time-out ends.
    """

    def __init__(self) -> None:
        self.is_due = False


class JournalReader(JournalQueries):
    """Reads the journal through a ``Fetch``, which decides on the connection, and on what the driver's errors become."""

    def __init__(self, fetch: Fetch, guard: PageGuard | None = None) -> None:
        self._fetch = fetch
        self._guard = guard or PageGuard()

    async def _fetch_with_identity(self, query: str, *args: Any) -> list[asyncpg.Record]:
        """The rows of a query that joins journal_identity, which has a row except while a dump is restored."""
        while not (rows := await self._fetch(query, *args)):
            await self.identity(None, ())  # raises an error that says so, unless it has its row by now
        return rows

    async def identity(self, epoch: str | None, delivered: Sequence[EventId]) -> JournalIdentity:
        (row,) = await self._fetch(
            "select epoch, trimmed_txid, version from orderwire.identify($1, $2, $3, $4)",
            epoch,
            [event_id.txid for event_id in delivered],
            [event_id.id for event_id in delivered],
            [event_id.tag for event_id in delivered],
        )
        return _identity_from_row(row)

    async def newest_event(self, upto: Snapshot) -> EventId | None:
        rows = await self._fetch(_NEWEST_EVENT_SQL, upto)
        return EventId(rows[0]["txid"], rows[0]["id"], rows[0]["tag"]) if rows else None

    async def baseline(self) -> Baseline:
        """The method of ``JournalConnection``."""
        rows = await self._fetch("select * from orderwire.totals_from_checkpoint()", timeout=SCAN_TIMEOUT_SECONDS)
        return _baseline_from_row(rows[0], from_scan=False) if rows else await self.scan_totals()

    async def scan_totals(self) -> Baseline:
        (row,) = await self._fetch("select * from orderwire.scan_totals()", timeout=SCAN_TIMEOUT_SECONDS)
        return _baseline_from_row(row, from_scan=True)

    async def writer_snapshot(self, event_id: EventId) -> Snapshot | None:
        (row,) = await self._fetch("select orderwire.writer_snapshot($1, $2, $3)", *event_id)
        return None if row[0] is None else Snapshot(*row[0])

    async def max_transactions(self) -> int:
        (row,) = await self._fetch(_MAX_TRANSACTIONS_SQL)
        most: int = row[0]
        return most

    async def count(self, after: Position, upto: Snapshot, past_id: int, limit: int) -> EventCount:
        (row,) = await self._fetch_with_identity(_COUNT_SQL, after.snapshot, after.txid, after.id, upto, past_id, limit)
        return EventCount(row["events"], row["order_events"], _identity_from_row(row))

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        bounds: tuple[Any, ...] = (after.snapshot, after.txid, after.id, upto, past_id, max_events, max_bytes)
        query, args = _PAGE_SQL, bounds
        if after.txid is None:
            query = _SNAPSHOT_PAGE_SQL if after.snapshot.xip else _QUIET_PAGE_SQL
            args = (after.snapshot, upto, past_id, max_events, max_bytes)
        return await self._guarded_page(query, args, _GUARDED_PAGE_SQL, (*bounds, GUARDED_TIME_LIMIT))

    async def customer_page(
        self, owner: EventOwner, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int
    ) -> Page:
        bounds = (after.snapshot, after.txid, after.id, upto, past_id, max_events, max_bytes)
        customer = (owner.subject, list(owner.keys))
        return await self._guarded_page(
            _CUSTOMER_PAGE_SQL,
            (*bounds, *customer),
            _GUARDED_CUSTOMER_PAGE_SQL,
            (*bounds, GUARDED_TIME_LIMIT, *customer),
        )

    async def _guarded_page(self, query: str, args: tuple[Any, ...], guarded_query: str, guarded_args: tuple[Any, ...]) -> Page:
        """By ``guarded_query`` where ``query`` fails or returns what no event may be, and after it took too long."""
        if not self._guard.is_due:
            try:
                page = _page_from_rows(await self._fetch_with_identity(query, *args))
            except StoreError as error:
                # The listener's errors have that of the driver as their cause.
                causes = (error, error.__cause__)
                self._guard.is_due = any(isinstance(cause, DatabaseTimeout) for cause in causes)
                if not any(isinstance(cause, UnreadableData) for cause in causes):
                    raise
            else:
                if all(len(event.payload) <= MAX_EVENT_BYTES for event in page.events):
                    return page
        started_at = time.monotonic()
        rows = await self._fetch_with_identity(guarded_query, *guarded_args)
        page = _page_from_rows(rows)
        self._guard.is_due &= page.more and time.monotonic() - started_at >= GUARDED_TIME_LIMIT.total_seconds()
        return page


def _page_from_rows(rows: Sequence[asyncpg.Record]) -> Page:
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
            previous_customer_id=row["previous_customer_id"],
            customer_payload=_encoded(row["customer_event"]),
            previous_customer_payload=_encoded(row["previous_customer_event"]),
        )
        for row in rows
        if row["id"] is not None
    ]
    first = rows[0]
    is_guarded = "is_placeholder" in first
    return Page(
        events,
        upto=Snapshot(*first["upto"]),
        more=bool(rows[-1]["more"]),
        identity=_identity_from_row(first),
        placeholders=sum(bool(row["is_placeholder"]) for row in rows) if is_guarded else 0,
        exact=not is_guarded or all(row["exact"] is not False for row in rows),
    )


def _encoded(text: str | None) -> bytes | None:
    return None if text is None else text.encode()


def _identity_from_row(row: asyncpg.Record) -> JournalIdentity:
    return JournalIdentity(row["epoch"], row["trimmed_txid"], row["version"])


def _baseline_from_row(row: asyncpg.Record, *, from_scan: bool) -> Baseline:
    by_currency: str | None = row["revenue_by_currency"]
    if by_currency is None:
        totals = Totals(row["total_orders"], row["total_revenue"], row["pending_orders"])
    else:
        numbers = json.loads(by_currency, parse_int=Decimal, parse_float=Decimal)
        totals = Totals(row["total_orders"], Decimal(0), row["pending_orders"], numbers)
    return Baseline(totals, Snapshot(*row["snapshot"]), row["newest_txid"], from_scan)
