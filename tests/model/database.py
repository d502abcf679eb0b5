"""What PostgreSQL and sql/006_reading.sql promise, in memory: transactions, snapshots, and a journal read between two of them.

This is the specification that push/ is tested against. Its visibility rule is written out here on purpose, and not borrowed
from push.journal.events.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal

from push.errors import ConnectionLost
from push.journal.events import Event, EventId, JournalIdentity, Page, Position, Snapshot
from push.journal.queries import Baseline, JournalConnection, JournalQueries
from push.journal.totals import Totals

EPOCH = "0a0b0c0d"
ROW_BYTES = 300


def visible(txid: int, snapshot: Snapshot) -> bool:
    """pg_visible_in_snapshot."""
    return txid < snapshot.xmax and txid not in snapshot.xip


@dataclass(eq=False)
class Transaction:
    """One that is still open."""

    # Set under REPEATABLE READ: what every statement sees.
    fixed: Snapshot | None
    # Given out at the first write, as PostgreSQL does.
    txid: int | None = None
    rows: list[Event] = field(default_factory=list)
    # Where it stands in orderwire.may_skip_notify(), between two lock functions; None: it does not ask just now.
    asking: str | None = None
    rings: bool = False
    silent: bool = False


class ModelDatabase:
    def __init__(self) -> None:
        self.open: list[Transaction] = []
        self.journal: list[Event] = []
        self.links: list[ModelLink] = []
        self._next_txid = 100
        self._latest_ended = 99
        self._next_id = 1
        # The locks of sql/011_gate.sql, beside `silent` of each transaction.
        self.wanted: set[ModelLink] = set()
        self.turn: Transaction | ModelLink | None = None
        # The write-ahead log: whose records it holds, in order, and how many of them are on disk.
        self.log: list[int] = []
        self.flushed = 0

    # ---------------------------------------------------------------- writers

    def begin(self, repeatable_read: bool) -> Transaction:
        transaction = Transaction(self.snapshot() if repeatable_read else None)
        self.open.append(transaction)
        return transaction

    def write(self, transaction: Transaction, order_id: int) -> bool:
        """One statement that changes one order. False when a real one would wait for a lock, or fail."""
        if any(row.order_id == order_id for other in self.open if other is not transaction for row in other.rows):
            return False  # the row is locked
        if transaction.fixed is not None and any(
            row.order_id == order_id and not visible(row.txid, transaction.fixed) for row in self.journal
        ):
            self.rollback(transaction)  # could not serialize access due to concurrent update
            return False
        if transaction.txid is None:
            transaction.txid = self.draw_txid()
        seen = transaction.fixed or self.snapshot(transaction.txid)
        self.log.append(transaction.txid)
        row_id = self._next_id
        self._next_id += 1
        frame = {"type": "order_update", "id": f"{EPOCH}-{transaction.txid}-{row_id}", "order_id": order_id, "n": row_id}
        transaction.rows.append(
            Event(
                txid=transaction.txid,
                id=row_id,
                order_id=order_id,
                customer_id=None,
                writer_snapshot=seen,
                at=datetime(2024, 1, 1, tzinfo=UTC),
                orders_delta=1,
                revenue_delta=Decimal(row_id),
                pending_delta=row_id % 2,
                payload=json.dumps(frame).encode(),
            )
        )
        if transaction.asking is None:
            transaction.asking = "look"
        return True

    def ask_on(self, transaction: Transaction) -> None:
        """One lock function of orderwire.may_skip_notify()."""
        match transaction.asking:
            case "look" if self.wanted:
                transaction.asking, transaction.rings = None, True
            case "look" if self.turn in (None, transaction):
                self.turn = transaction
                transaction.asking, transaction.rings = None, True
            case "look":
                transaction.asking = "register"
            case "register":
                transaction.asking, transaction.silent = "look again", True
            case "look again":
                transaction.asking = None
                transaction.rings |= bool(self.wanted)

    def commit(self, transaction: Transaction, *, ring: bool) -> None:
        """``ring``: unless the session has switched that off."""
        while transaction.asking is not None:
            self.ask_on(transaction)
        self.journal += transaction.rows
        self.rollback(transaction)
        if transaction.rows:
            self.flush()
        if ring and transaction.rings:
            self.notify()

    def notify(self, sender: ModelLink | None = None) -> None:
        for link in self.links:
            if link is not sender:
                link.rung.set()

    def rollback(self, transaction: Transaction) -> None:
        self.open.remove(transaction)
        if self.turn is transaction:
            self.turn = None
        if transaction.txid is not None:
            self._end(transaction.txid)

    def _end(self, txid: int) -> None:
        self.log.append(txid)
        self._latest_ended = max(self._latest_ended, txid)

    def flush(self) -> None:
        """The log writer's round, or a commit's."""
        self.flushed = len(self.log)

    def crash(self) -> None:
        """What is not on disk is gone: open transactions, and the numbers that only the rest of the log knew of."""
        self.open.clear()
        self.turn = None
        del self.log[self.flushed :]
        self._next_txid = max(self.log, default=99) + 1
        self._latest_ended = self._next_txid - 1
        for link in list(self.links):
            link.cut()

    def draw_txid(self) -> int:
        self._next_txid += 1
        return self._next_txid - 1

    def end_empty(self) -> None:
        """A savepoint that is rolled back, or a transaction that fails at once."""
        self._end(self.draw_txid())

    # ---------------------------------------------------------------- readers

    def snapshot(self, own: int | None = None) -> Snapshot:
        """As GetSnapshotData builds it: one's own transaction is not in xip, yet xmin takes it into account."""
        xmax = self._latest_ended + 1
        running = sorted(t.txid for t in self.open if t.txid is not None and t.txid < xmax)
        return Snapshot(min([xmax, *running]), xmax, tuple(txid for txid in running if txid != own))

    def totals(self) -> Totals:
        return Totals().plus(self.journal)

    def newest(self) -> int:
        return max((row.txid for row in self.journal), default=0)

    def unseen(self, after: Position, upto: Snapshot, past_id: int) -> list[Event]:
        """The three branches of orderwire.journal_page, before its limits."""
        rows = [
            row
            for row in self.journal
            if row.id > past_id
            and visible(row.txid, upto)
            and (
                (row.txid >= after.snapshot.xmax and row.txid != after.txid)
                or (row.txid in after.snapshot.xip and row.txid != after.txid)
                or (row.txid == after.txid and after.id is not None and row.id > after.id)
            )
        ]
        return sorted(rows, key=lambda row: row.id)


class ModelReader(JournalQueries):
    def __init__(self, database: ModelDatabase) -> None:
        self.database = database

    async def turn(self) -> None:
        """A round trip: others may go on meanwhile."""
        await asyncio.sleep(0)

    async def writer_snapshot(self, event_id: EventId) -> Snapshot | None:
        await self.turn()
        found = [row.writer_snapshot for row in self.database.journal if (row.txid, row.id) == event_id]
        await self.turn()
        return found[0] if found else None

    async def count(self, after: Position, upto: Snapshot, past_id: int, limit: int) -> tuple[int, int]:
        await self.turn()
        found = len(self.database.unseen(after, upto, past_id))
        await self.turn()
        return min(found, limit), 0

    async def identity(self, epoch: str | None, delivered: Sequence[EventId]) -> JournalIdentity:
        await self.turn()
        assert {(row.txid, row.id) for row in self.database.journal} >= set(delivered)
        await self.turn()
        return JournalIdentity(EPOCH, 0)

    async def scan_totals(self) -> Baseline:
        await self.turn()
        baseline = Baseline(self.database.totals(), self.database.snapshot(), self.database.newest())
        await self.turn()
        return baseline

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        await self.turn()
        upto = upto or self.database.snapshot()
        rows = self.database.unseen(after, upto, past_id)
        taken = rows[: min(max_events, -(-max_bytes // ROW_BYTES))]
        await self.turn()
        return Page(taken, upto, len(taken) < len(rows), EPOCH, 0)


class ModelLink(ModelReader, JournalConnection):
    """One connection, which can be cut at any moment."""

    def __init__(self, database: ModelDatabase) -> None:
        super().__init__(database)
        self.rung = asyncio.Event()
        self._cut = False
        self._certain = False
        database.links.append(self)

    def cut(self) -> None:
        self._cut = True
        self.rung.set()
        self.database.links.remove(self)
        self._let_go()

    def _let_go(self) -> None:
        self.database.wanted.discard(self)
        if self.database.turn is self:
            self.database.turn = None

    async def turn(self) -> None:
        await super().turn()
        if self._cut:
            raise ConnectionLost("cut")

    async def baseline(self) -> Baseline:
        return await self.scan_totals()

    async def newest_txid(self, upto: Snapshot) -> int:
        await self.turn()
        newest = max((row.txid for row in self.database.journal if visible(row.txid, upto)), default=0)
        await self.turn()
        return newest

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        if upto is None:
            self.rung.clear()
        if self._cut:
            raise ConnectionLost("cut")
        return await super().page(after, upto, past_id, max_events, max_bytes)

    async def require_notify(self) -> bool:
        if self._certain:
            return True
        if self not in self.database.wanted:
            await self.turn()
            self._let_go()
            self.database.wanted.add(self)
        await self.turn()
        self._certain = not any(transaction.silent for transaction in self.database.open)
        await self.turn()
        return self._certain

    async def release_notify(self) -> None:
        self._certain = False
        if self.database.turn is not self:
            await self.turn()
            self._let_go()
            if self.database.turn is None:
                self.database.turn = self
            await self.turn()

    async def notify_on_behalf(self, event_count: int) -> None:
        if self.database.turn is self:
            await self.turn()
            self.database.notify(self)
            await self.turn()

    def wake(self) -> None:
        self.rung.set()

    async def wait_for_notify(self, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self.rung.wait()
        except TimeoutError:
            return
        await self.turn()
