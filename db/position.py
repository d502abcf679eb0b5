"""The position of a read, as a cursor: the events that it includes are those that its snapshot sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from db.errors import SchemaMissing
from push.journal.events import Cursor, EventId, Snapshot

if TYPE_CHECKING:
    import asyncpg

__all__ = ["POSITION_SQL", "first_row", "position_of"]

# To be part of the statement that reads. Of the newest transaction that has an event, one event.
POSITION_SQL = """
select
    i.epoch, pg_current_snapshot() as snapshot, i.integer_keys, i.trimmed_txid,
    newest.txid as newest_txid, newest.id as newest_id, newest.tag as newest_tag
from orderwire.journal_identity as i
left join lateral (
    select j.txid, j.id, orderwire.event_tag(j.at) as tag from orderwire.journal as j order by j.txid desc limit 1
) as newest on true
"""


def first_row(rows: list[asyncpg.Record]) -> asyncpg.Record:
    """The first of the rows that a query with POSITION_SQL gives, however few orders there are. Raises SchemaMissing."""
    if not rows:
        raise SchemaMissing("orderwire.journal_identity has no row: is a dump being restored?")
    return rows[0]


def position_of(row: asyncpg.Record) -> Cursor:
    """The position of a read, from a row with the columns of POSITION_SQL. As much of its snapshot as a crash of the database
    leaves: see ``Relay.crash_safe``.
    """
    newest = None
    if row["newest_txid"] is not None:
        newest = EventId(row["newest_txid"], row["newest_id"], row["newest_tag"])
    newest_txid = max(row["trimmed_txid"], newest.txid if newest else 0)
    return Cursor(row["epoch"], Snapshot(*row["snapshot"]).capped_at(newest_txid + 1), witness=newest)
