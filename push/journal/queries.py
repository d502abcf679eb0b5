"""What this package asks of the database: Protocols, which ``db`` implements. No logic.

| Protocol          | reads over                                  | used by               | implemented by                     |
|-------------------|---------------------------------------------|-----------------------|------------------------------------|
| JournalConnection | one long-lived connection that also listens | the relay             | _ListenConnection (db/listener.py) |
| JournalQueries    | any connection of a pool                    | replays and the audit | JournalReader (db/journal.py)      |
| JournalReads      | either: what the two have in common         |                       | JournalReader (db/journal.py)      |
| FactReads         | any connection of a pool                    | an edge, for gaps     | PoolJournal (db/database.py)       |
| SeriesQueries     | any connection of a pool                    | the series            | SeriesReader (db/series.py)        |

Implementations inherit from these classes, so that mypy finds a method that was renamed or whose signature changed on one side
only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from push.journal.events import Event, EventId, JournalIdentity, Page, Position, Snapshot
from push.journal.series import OrderCounts
from push.journal.totals import Totals

__all__ = [
    "Baseline",
    "EventCount",
    "EventOwner",
    "FactReads",
    "JournalConnection",
    "JournalQueries",
    "JournalReads",
    "RelayedPage",
    "SeriesQueries",
]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Totals together with the snapshot in which they hold, read by one statement, or told by another process.

    ``newest_txid`` is the newest transaction that has an event in that snapshot, 0 without any. ``from_scan`` says that the
    totals were counted from the table of orders; otherwise they are the last checkpoint plus the events since.

    ``history``: events that are in the totals and that clients may ask for: all that ``snapshot`` sees and ``history_after``,
    where that is known, does not. They are for the memory of recent events, and not to be published.
    """

    totals: Totals
    snapshot: Snapshot
    newest_txid: int
    from_scan: bool = True
    history_after: Snapshot | None = None
    history: Sequence[Event] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayedPage(Page):
    """A page that another process has read. ``upto`` holds after a crash of the database.

    ``read_began_at`` is the Unix time at which its read began. ``totals`` are those after the page, None if they are not known;
    ``verified``: an audit has compared them with the table. ``reconnected``: since the last page, that process or its
    connection to the database is another one. The database may have crashed in between, so such a page is not to be used.
    """

    read_began_at: float
    totals: Totals | None = None
    verified: bool = False
    reconnected: bool = False


@dataclass(frozen=True, slots=True)
class EventCount:
    """How many events a page without limits would have, how many of these are of orders, and the journal's identity."""

    events: int
    order_events: int
    identity: JournalIdentity


@dataclass(frozen=True, slots=True)
class EventOwner:
    """The customer whose events are asked for: those with ``subject`` as customer_id, and those of the orders ``keys``."""

    subject: str | None
    keys: frozenset[str]


class JournalReads(Protocol):
    """What both ways to the journal can read."""

    async def identity(self, epoch: str | None, delivered: Sequence[EventId]) -> JournalIdentity:
        """Return the epoch of the journal and how far it may have been trimmed.

        ``epoch`` is the epoch that the caller knows (None: none yet), ``delivered`` are events that it has published. The
        database draws a new epoch if it is a copy, or if one of these events is missing from a journal of that epoch. It also
        does so on another timeline (a promoted standby), unless the caller knows the epoch and all its events are there.
        """

    async def newest_event(self, upto: Snapshot) -> EventId | None:
        """Return an event of the newest transaction that has one and that ``upto`` sees; None if there is none."""

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        """Return the events with an id above ``past_id`` that ``after`` misses and ``upto`` (None: now) sees, by ascending id.

        At most ``max_events``, and about ``max_bytes`` of JSON, but at least one event if there is any. ``Page.more`` says
        that some were left out.
        """


class FactReads(JournalReads, Protocol):
    """What a process that is fed by facts reads itself. Any method may raise StoreError."""

    @property
    def connections_opened(self) -> int:
        """How many connections the pool has opened. Over one that was open before, the database is still the same."""

    async def baseline(self) -> Baseline:
        """The method of ``JournalConnection``."""


class JournalConnection(JournalReads, Protocol):
    """One live connection that listens for notifications. Any method may raise ConnectionLost, after which it is useless."""

    @property
    def asks_database(self) -> bool:
        """Whether reads are queries, so that the relay bounds how often it reads."""
        return True

    async def baseline(self) -> Baseline:
        """Return the totals of now: from the last checkpoint and the journal since, or else by a scan."""

    async def wait_for_notify(self, timeout_seconds: float) -> None:
        """Return at the next notification, at a call of ``wake``, when the connection ends, or after the timeout."""

    def wake(self) -> None:
        """Make the current or next ``wait_for_notify`` return."""

    async def require_notify(self) -> bool:
        """Ask writers to notify for every transaction (sql/functions/02_notify.sql).

        True: a transaction that the next read does not see will notify. False: a writer may still be at work that skips its
        notification, so the caller has to poll, and to call this again before its next read.
        """

    async def release_notify(self) -> None:
        """Allow writers to skip NOTIFY, and try to become the one that notifies on their behalf.

        To be called before every read for as long as the caller polls: while another process is the notifier, this one
        remains a candidate.
        """

    async def notify_waiters(self) -> int:
        """Return how many transactions of the cluster wait at the moment for another one's notifying commit."""

    async def notify_on_behalf(self, event_count: int) -> None:
        """If this connection is the notifier: tell other listeners of ``event_count`` events whose writers did not notify."""


class JournalQueries(JournalReads, Protocol):
    """The journal over a pool of connections, for replays and the audit. Any method may raise StoreError."""

    async def customer_page(
        self, owner: EventOwner, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int
    ) -> Page:
        """As ``page``, but only the events of that customer."""

    async def count(self, after: Position, upto: Snapshot, past_id: int, limit: int) -> EventCount:
        """Count what ``page`` would return without limits, up to ``limit``."""

    async def writer_snapshot(self, event_id: EventId) -> Snapshot | None:
        """Return what the event's writer saw as committed; None if the event is not in the journal."""

    async def max_transactions(self) -> int:
        """Return how many transactions can run at one time, at most: no snapshot of this database names more of them."""

    async def scan_totals(self) -> Baseline:
        """Count the totals from the table of orders, and store them as the checkpoint for processes that start later."""


class SeriesQueries(Protocol):
    """Counts of the orders. Any method may raise StoreError."""

    async def count_orders(self, now: datetime, bounds: Sequence[datetime]) -> OrderCounts:
        """Count all orders of the table, by the intervals between ``bounds`` in which they were created. May take minutes."""

    async def orders_since(self, counts: OrderCounts) -> OrderCounts | None:
        """Bring counts up to date by the events since. None where these are not all known, or too many: count again."""
