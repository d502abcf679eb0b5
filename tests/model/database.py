"""A model of PostgreSQL and the SQL of this project, in memory: transactions, snapshots, locks, a crash, and the journal.

It is the specification that push/ is tested against. The visibility rule is written out here instead of being imported from
push.journal.events, so that an error there is found.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from push.errors import ConnectionLost
from push.journal.events import Cursor, Event, EventId, JournalIdentity, Page, Position, Snapshot, event_tag
from push.journal.queries import Baseline, EventCount, EventOwner, JournalConnection, JournalQueries
from push.journal.totals import Totals

EPOCH = "0a0b0c0d"
ROW_BYTES = 300
MAX_TRANSACTIONS = 120
# The rows of the stream, and the orders that they belong to.
STREAM = "stock"
STREAM_ROWS = {-1: "1", -2: None}


def visible(txid: int, snapshot: Snapshot) -> bool:
    """The function pg_visible_in_snapshot."""
    return txid < snapshot.xmax and txid not in snapshot.xip


@dataclass(eq=False)
class Transaction:
    """A transaction that is still open."""

    # Under REPEATABLE READ: the snapshot of all its statements.
    fixed: Snapshot | None
    # Assigned at the first write.
    txid: int | None = None
    rows: list[Event] = field(default_factory=list)
    # The next step of orderwire.may_skip_notify() or, at the end, of orderwire.leaves_notify_to_lease(), each of which is one
    # lock function; None: neither runs just now.
    lock_check: str | None = None
    # Whether it has a notice for its deferred trigger.
    has_notice: bool = False
    notifies: bool = False
    skipping: bool = False


class ModelDatabase:
    def __init__(self) -> None:
        self.open: list[Transaction] = []
        self.journal: list[Event] = []
        self.connections: list[ModelConnection] = []
        self.epoch = EPOCH
        self.trimmed_txid = 0
        self.identity_version = 0
        # Whether delivered events may be missing, after ``put_back``. How often that was: it shows in the times of events.
        self.can_be_put_back = False
        self._history = 0
        self.crashes = 0
        self._next_txid = 100
        self._latest_ended = 99
        self._next_id = 1
        # The locks of sql/functions/02_notify.sql; the third one is ``skipping`` of each transaction.
        self.notify_required: set[ModelConnection] = set()
        self.notifier: ModelConnection | None = None
        self.lease_holds = False
        # The write-ahead log: the transactions of its records in order, and how many of these are on disk.
        self.wal: list[int] = []
        self.flushed = 0

    # ---------------------------------------------------------------- writers

    def skip_transactions(self, count: int) -> None:
        """As if so many transactions had ended that wrote nothing to the journal."""
        self._next_txid += count
        self._latest_ended = self._next_txid - 1

    def begin(self, repeatable_read: bool) -> Transaction:
        transaction = Transaction(self.snapshot() if repeatable_read else None)
        self.open.append(transaction)
        return transaction

    def write(self, transaction: Transaction, number: int) -> bool:
        """Run a statement that changes one order, or for a number below 0 a row of a stream: STREAM_ROWS has their orders.

        False if it would wait for a lock or fail in PostgreSQL.
        """
        key = str(number)
        if any(row.key == key for other in self.open if other is not transaction for row in other.rows):
            return False  # the row is locked
        if transaction.fixed is not None and any(
            row.key == key and not visible(row.txid, transaction.fixed) for row in self.journal
        ):
            self.rollback(transaction)  # could not serialize access due to concurrent update
            return False
        if transaction.txid is None:
            transaction.txid = self.draw_txid()
        writer_snapshot = transaction.fixed or self.snapshot(transaction.txid)
        self.wal.append(transaction.txid)
        row_id = self._next_id
        self._next_id += 1
        at = datetime(2024, 1, 1, microsecond=self._history, tzinfo=UTC)
        cursor = Cursor(EPOCH, EventId(transaction.txid, row_id, event_tag(at)))
        payload = {"type": "order_update", "id": str(cursor), "row": number, "n": row_id}
        transaction.rows.append(
            Event(
                txid=transaction.txid,
                id=row_id,
                stream=STREAM if number < 0 else None,
                key=key,
                order_key=STREAM_ROWS[number] if number < 0 else key,
                customer_id=None,
                writer_snapshot=writer_snapshot,
                at=at,
                orders_delta=int(number >= 0),
                pending_delta=row_id % 2 if number >= 0 else 0,
                previous_revenue=Decimal(0),
                revenue=Decimal(row_id if number >= 0 else 0),
                previous_currency=None,
                currency=None,
                payload=json.dumps(payload).encode(),
            )
        )
        if transaction.lock_check is None:
            transaction.lock_check = "check"
        return True

    def step_lock_check(self, transaction: Transaction) -> None:
        """Run the next lock function: of a statement, or else of the end of the transaction (SET CONSTRAINTS … IMMEDIATE)."""
        match transaction.lock_check:
            case "check" if self.notify_required or not self.lease_holds:
                transaction.lock_check, transaction.has_notice = None, True
            case "check":
                transaction.lock_check = "register"
            case "register":
                transaction.lock_check, transaction.skipping = "recheck", True
            case "recheck":
                transaction.lock_check = None
                transaction.has_notice |= bool(self.notify_required)
            case None if transaction.has_notice:
                transaction.has_notice = False
                if self.notify_required:
                    transaction.notifies = True
                else:
                    transaction.lock_check = "take lease"
            case "take lease" if self.lease_holds:
                transaction.lock_check = "register at the end"
            case "take lease":
                transaction.lock_check, transaction.notifies, self.lease_holds = None, True, True
            case "register at the end":
                transaction.lock_check, transaction.skipping = "recheck at the end", True
            case "recheck at the end":
                transaction.lock_check = None
                transaction.notifies |= bool(self.notify_required)

    def commit(self, transaction: Transaction, *, notify: bool) -> None:
        """Without ``notify`` the session has set orders.notify = off."""
        while transaction.lock_check is not None or transaction.has_notice:
            self.step_lock_check(transaction)
        self.journal += transaction.rows
        self.rollback(transaction)
        if transaction.rows:
            self.flush()
        if notify and transaction.notifies:
            self.notify()

    def notify(self, sender: ModelConnection | None = None) -> None:
        for connection in self.connections:
            if connection is not sender:
                connection.notified.set()

    def rollback(self, transaction: Transaction) -> None:
        self.open.remove(transaction)
        if transaction.txid is not None:
            self._end(transaction.txid)

    def _end(self, txid: int) -> None:
        self.wal.append(txid)
        self._latest_ended = max(self._latest_ended, txid)

    def flush(self) -> None:
        """Write the log to disk, as the log writer and every commit do."""
        self.flushed = len(self.wal)

    def crash(self) -> None:
        """Lose the open transactions and the end of the log: its transaction ids will be assigned again."""
        self.crashes += 1
        self.open.clear()
        self.notifier = None
        del self.wal[self.flushed :]
        self._next_txid = max(self.wal, default=99) + 1
        self._latest_ended = self._next_txid - 1
        for connection in list(self.connections):
            connection.cut()

    def draw_epoch(self) -> None:
        """The journal lacks events that were delivered, or is a copy."""
        assert self.can_be_put_back, "events were delivered that the journal does not have"
        self.epoch = f"{int(self.epoch, 16) + 1:08x}"
        self.identity_version += 1

    def put_back(self, kept: int) -> None:
        """Crash, and come back as a backup of the files from when the journal had so many events, with the same epoch."""
        self.flush()
        self.crash()
        self.can_be_put_back = True
        del self.journal[kept:]
        # Transaction ids and ids of rows are given out again.
        self._next_txid = max((row.txid for row in self.journal), default=99) + 1
        self._latest_ended = self._next_txid - 1
        self._next_id = max((row.id for row in self.journal), default=0) + 1
        self.wal = [row.txid for row in self.journal]
        self.flush()
        self._history += 1

    def draw_txid(self) -> int:
        self._next_txid += 1
        return self._next_txid - 1

    def end_without_rows(self) -> None:
        """Assign and end a transaction id without a row: a savepoint that is rolled back, or a transaction that fails."""
        self._end(self.draw_txid())

    # ---------------------------------------------------------------- readers

    def snapshot(self, own: int | None = None) -> Snapshot:
        """Take a snapshot as GetSnapshotData does: ``own`` is not in xip, but counts for xmin."""
        xmax = self._latest_ended + 1
        running = sorted(t.txid for t in self.open if t.txid is not None and t.txid < xmax)
        return Snapshot(min([xmax, *running]), xmax, tuple(txid for txid in running if txid != own))

    def totals(self) -> Totals:
        return Totals().plus(self.journal)

    def identity(self) -> JournalIdentity:
        return JournalIdentity(self.epoch, self.trimmed_txid, self.identity_version)

    def newest_event(self, upto: Snapshot) -> EventId | None:
        return max((row.event_id for row in self.journal if visible(row.txid, upto)), default=None)

    def newest(self) -> int:
        return max((row.txid for row in self.journal), default=0)

    def missed(self, after: Position, upto: Snapshot, past_id: int) -> list[Event]:
        """The three branches of orderwire.unseen."""
        xmax, xip, own = after.snapshot.xmax, after.snapshot.xip, after.txid
        rows = [
            row
            for row in self.journal
            # First what few rows are: most are older than the position.
            if ((txid := row.txid) >= xmax or txid in xip or txid == own)
            and (txid != own or (after.id is not None and row.id > after.id))
            and row.id > past_id
            and visible(txid, upto)
        ]
        return sorted(rows, key=lambda row: row.id)


class ModelReader(JournalQueries):
    """Reads of the journal; each takes a snapshot between two points at which other tasks run."""

    def __init__(self, database: ModelDatabase) -> None:
        self.database = database

    async def round_trip(self) -> None:
        """Let other tasks run, as during a round trip to the server."""
        await asyncio.sleep(0)

    async def writer_snapshot(self, event_id: EventId) -> Snapshot | None:
        await self.round_trip()
        found = [row.writer_snapshot for row in self.database.journal if row.event_id == event_id]
        await self.round_trip()
        return found[0] if found else None

    async def max_transactions(self) -> int:
        await self.round_trip()
        return MAX_TRANSACTIONS

    async def count(self, after: Position, upto: Snapshot, past_id: int, limit: int) -> EventCount:
        await self.round_trip()
        found = self.database.missed(after, upto, past_id)[:limit]
        await self.round_trip()
        return EventCount(len(found), sum(row.stream is None for row in found), self.database.identity())

    async def identity(self, epoch: str | None, delivered: Sequence[EventId]) -> JournalIdentity:
        await self.round_trip()
        if epoch == self.database.epoch and not {row.event_id for row in self.database.journal} >= set(delivered):
            self.database.draw_epoch()
        await self.round_trip()
        return self.database.identity()

    async def newest_event(self, upto: Snapshot) -> EventId | None:
        await self.round_trip()
        newest = self.database.newest_event(upto)
        await self.round_trip()
        return newest

    async def scan_totals(self) -> Baseline:
        await self.round_trip()
        baseline = Baseline(self.database.totals(), self.database.snapshot(), self.database.newest())
        await self.round_trip()
        return baseline

    async def baseline(self) -> Baseline:
        return await self.scan_totals()

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        return await self._page(lambda row: True, after, upto, past_id, max_events, max_bytes)

    async def customer_page(
        self, owner: EventOwner, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int
    ) -> Page:
        return await self._page(
            lambda row: row.order_key in owner.keys or (owner.subject is not None and row.customer_id == owner.subject),
            after,
            upto,
            past_id,
            max_events,
            max_bytes,
        )

    async def _page(
        self,
        wanted: Callable[[Event], bool],
        after: Position,
        upto: Snapshot | None,
        past_id: int,
        max_events: int,
        max_bytes: int,
    ) -> Page:
        await self.round_trip()
        upto = upto or self.database.snapshot()
        rows = [row for row in self.database.missed(after, upto, past_id) if wanted(row)]
        page_rows = rows[: min(max_events, -(-max_bytes // ROW_BYTES))]
        await self.round_trip()
        return Page(page_rows, upto, len(page_rows) < len(rows), self.database.identity())


class ModelConnection(ModelReader, JournalConnection):
    """A connection that listens, and that can be cut at any moment."""

    def __init__(self, database: ModelDatabase) -> None:
        super().__init__(database)
        self.notified = asyncio.Event()
        self._cut = False
        self._guaranteed = False
        database.connections.append(self)

    def cut(self) -> None:
        self._cut = True
        self.notified.set()
        self.database.connections.remove(self)
        self._release_locks()

    def _release_locks(self) -> None:
        self.database.notify_required.discard(self)
        if self.database.notifier is self:
            self.database.notifier = None

    async def round_trip(self) -> None:
        await super().round_trip()
        if self._cut:
            raise ConnectionLost("cut")

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        if upto is None:
            self.notified.clear()
        if self._cut:
            raise ConnectionLost("cut")
        return await super().page(after, upto, past_id, max_events, max_bytes)

    async def require_notify(self) -> bool:
        if self._guaranteed:
            return True
        if self not in self.database.notify_required:
            await self.round_trip()
            self._release_locks()
            self.database.notify_required.add(self)
        await self.round_trip()
        self._guaranteed = not any(transaction.skipping for transaction in self.database.open)
        await self.round_trip()
        return self._guaranteed

    async def release_notify(self) -> None:
        self._guaranteed = False
        if self.database.notifier is not self:
            await self.round_trip()
            self._release_locks()
            if self.database.notifier is None:
                self.database.notifier = self
            await self.round_trip()
        if self.database.notifier is self:
            self.database.lease_holds = True

    async def notify_waiters(self) -> int:
        await self.round_trip()
        return 0

    async def notify_on_behalf(self, event_count: int) -> None:
        if self.database.notifier is self:
            await self.round_trip()
            self.database.notify(self)
            await self.round_trip()

    def wake(self) -> None:
        self.notified.set()

    async def wait_for_notify(self, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.notified.wait()
        except TimeoutError:
            return
        await self.round_trip()
