"""Replays for clients that resume, and pages of history: the events that a cursor misses.

They come from memory or from the journal, on any server, after any restart: servers remember nothing about a client. The
journal knows what the writer of the cursor's event saw as committed, and hence what the client may lack
(docs/explanation/delivery.md). The client may have some of these events already, and drops them by their ids.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, NamedTuple, TypeVar

from push.errors import BadCursor, StoreError
from push.journal.events import Cursor, Event, EventId, JournalIdentity, Page, Position, Snapshot
from push.journal.queries import EventOwner, JournalQueries
from push.journal.read_slots import ReadKind, ReadSlots
from push.journal.relay import Relay

__all__ = ["GapError", "HistoryPage", "Replay", "ReplayPlanner"]

# A client that misses more events than this has to fetch anew, which is quicker for both sides.
MAX_REPLAYED = 10_000
# The size of a page of a replay, in events and in bytes of JSON. A page of history may have four times the bytes.
PAGE_EVENTS = 500
PAGE_BYTES = 256 * 1024
# Events of the memory that are compared with a cursor before other tasks run.
COMPARED_EVENTS = 1000
# A cursor may name so many running transactions without a question to the database how many it can have: its default.
USUAL_TRANSACTIONS = 100
# Seconds that a resume waits for the relay to complete a read that is larger than its memory.
WATERMARK_WAIT_TIMEOUT = 10.0
# Reads of the journal at one time, for all clients together.
MAX_CONCURRENT_READS = 2
# Answers kept for other clients that resume from the same position.
CACHE_SIZE = 32
CACHE_TTL_SECONDS = 1.0

K = TypeVar("K")
V = TypeVar("V")


class GapError(Exception):
    """The missed events cannot be replayed: another epoch, a trimmed or unknown position, or too many events."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page of ``GET /api/events``. ``next_cursor`` leads to the next page; ``more``: there is something to fetch now."""

    events: Sequence[Event]
    next_cursor: Cursor
    more: bool


@dataclass(frozen=True, slots=True)
class _Span:
    """The events of ``epoch`` with an id above ``past_id`` that ``after`` misses and ``upto`` sees."""

    epoch: str
    after: Position
    upto: Snapshot
    past_id: int


@dataclass(frozen=True, slots=True)
class Replay:
    """The plan of a replay: ``count`` events, either all from memory or all from the spans of the journal.

    ``order_event_count`` of them are of orders, the others of streams. After them comes what ``RecentEvents`` holds from
    ``next_seq`` on.
    """

    count: int
    order_event_count: int
    from_memory: Sequence[Event]
    from_journal: Sequence[_Span]
    next_seq: int


class _Turn(NamedTuple):
    """What ``ReadSlots.take`` is to know of a read."""

    kind: ReadKind
    client: Hashable


class ReplayPlanner:
    """Answers the resumes and the history requests of all clients of this process.

    At most MAX_CONCURRENT_READS reads of the journal run at a time, and clients with the same cursor share them. That bounds
    what a reconnect storm costs the database. Who is next: see ReadSlots. ``client`` is anything hashable that is equal for all
    requests of one client.
    """

    def __init__(self, relay: Relay, queries: JournalQueries, max_replayed: int = MAX_REPLAYED) -> None:
        self._relay = relay
        self._queries = queries
        self._max_replayed = max_replayed
        self._read_slots = ReadSlots(MAX_CONCURRENT_READS)
        self._replay_cache: _SingleFlightCache[tuple[str, Cursor], Replay] = _SingleFlightCache()
        self._page_cache: _SingleFlightCache[_Span, Page] = _SingleFlightCache()
        self._max_transactions: _SingleFlightCache[None, int] = _SingleFlightCache()

    async def plan(self, cursor_text: str, client: Hashable) -> Replay:
        """Find out what the client with this cursor misses. Raises GapError, or StoreError if the database cannot answer."""
        try:
            cursor = Cursor.parse(cursor_text)
        except BadCursor as error:
            raise GapError(str(error)) from error
        epoch = self._relay.epoch
        if epoch is None or cursor.epoch != epoch:
            raise GapError("another epoch")
        await self._reject_impossible_cursor(cursor, _Turn(ReadKind.RESUME, client))
        return await self._plan_from_memory(cursor) or await self._replay_cache.get(
            (epoch, cursor), lambda: self._plan_from_journal(cursor, _Turn(ReadKind.RESUME, client))
        )

    async def _plan_from_memory(self, cursor: Cursor) -> Replay | None:
        recent_events = self._relay.recent_events
        if cursor.upto is not None or self._is_ahead(cursor):
            return None
        if isinstance(cursor.after, Snapshot):
            if cursor.witness is None or not (
                cursor.witness == self._relay.watermark.newest_event or recent_events.find(cursor.witness)
            ):
                return None
            position = Position(cursor.after)
        else:
            event = recent_events.find(cursor.after)
            if event is None:
                return None
            position = Position(event.writer_snapshot, event.txid, event.id)
        # Both of the same moment: what is published from here on has a higher number.
        possible, next_seq = recent_events.possibly_missed(position), recent_events.next_seq
        if possible is None:
            return None
        missed: list[Event] = []
        for start in range(0, len(possible), COMPARED_EVENTS):
            if start:
                await asyncio.sleep(0)
            missed += position.missing(possible[start : start + COMPARED_EVENTS])
        if len(missed) > self._max_replayed:
            raise GapError("too much to replay")
        return Replay(len(missed), sum(event.stream is None for event in missed), missed, (), next_seq)

    async def _plan_from_journal(self, cursor: Cursor, turn: _Turn) -> Replay:
        await self._reject_future_cursor(cursor, turn)
        try:
            async with asyncio.timeout(WATERMARK_WAIT_TIMEOUT):
                await self._relay.wait_until_watermark_retained()
        except TimeoutError:
            raise StoreError("a large change is being published") from None
        # One value: what this snapshot does not see is in memory from next_seq on.
        watermark, next_seq, _ = self._relay.watermark
        spans = []
        start = await self._resolve_cursor(cursor, turn)
        unproved_txid = await self._unproved_txid(cursor, turn)
        if cursor.upto is not None:
            spans.append(_Span(cursor.epoch, start, cursor.upto, cursor.past_id))
            start = Position(cursor.upto)
        spans.append(_Span(cursor.epoch, start, watermark, 0))
        count = order_event_count = 0
        for span in spans:
            async with self._read_slots.take(*turn):
                found = await self._queries.count(span.after, span.upto, span.past_id, self._max_replayed + 1)
            _require_position(span.after, span.epoch, found.identity, unproved_txid)
            count += found.events
            order_event_count += found.order_events
        if count > self._max_replayed:
            raise GapError("too much to replay")
        return Replay(count, order_event_count, (), spans, next_seq)

    async def read_events(self, replay: Replay, client: Hashable) -> AsyncIterator[Sequence[Event]]:
        """Yield the events of a replay in pages. Raises GapError if they are trimmed meanwhile, or StoreError."""
        for start in range(0, len(replay.from_memory), PAGE_EVENTS):
            if start:
                await asyncio.sleep(0)  # nothing else here waits for anything
            yield replay.from_memory[start : start + PAGE_EVENTS]
        turn = _Turn(ReadKind.RESUME, client)
        for first in replay.from_journal:
            span: _Span | None = first
            while span is not None:
                page = await self._page_cache.get(span, lambda span=span: self._read_page(span, turn))  # type: ignore[misc]
                if page.events:
                    yield page.events
                span = replace(span, past_id=page.events[-1].id) if page.more else None

    async def history_page(
        self, cursor_text: str | None, limit: int, client: Hashable, owner: EventOwner | None = None
    ) -> HistoryPage:
        """Return a page of history, oldest first: after the cursor, or without one from the oldest event on.

        With ``owner`` only the events of that customer; then neither the page nor its cursor tells how many others there are.
        Raises BadCursor, GapError or StoreError.
        """
        epoch = self._relay.epoch
        if epoch is None:
            raise StoreError(self._relay.not_ready_reason or "starting")
        turn = _Turn(ReadKind.HISTORY, client)
        if cursor_text is None:
            trimmed = await self._trimmed_txid(turn)
            cursor = Cursor(epoch, Snapshot(trimmed + 1, trimmed + 1))
        else:
            cursor = Cursor.parse(cursor_text)
        if cursor.epoch != epoch:
            raise GapError("another epoch")
        await self._reject_impossible_cursor(cursor, turn)
        await self._relay.read_barrier.wait_for_fresh_read()
        await self._reject_future_cursor(cursor, turn)
        start = await self._resolve_cursor(cursor, turn)
        unproved_txid = 0 if cursor_text is None else await self._unproved_txid(cursor, turn)
        async with self._read_slots.take(*turn):
            span = (start, cursor.upto, cursor.past_id, limit, PAGE_BYTES * 4)
            page = await (self._queries.page(*span) if owner is None else self._queries.customer_page(owner, *span))
        _require_position(start, epoch, page.identity, unproved_txid)
        upto = self._relay.crash_safe(page.upto, max((event.txid for event in page.events), default=0))
        async with self._read_slots.take(*turn):
            witness = await self._queries.newest_event(upto)
        if page.more:
            return HistoryPage(page.events, Cursor(epoch, cursor.after, upto, page.events[-1].id, witness), True)
        # The pages ended in the snapshot of the first one: what has come since is still to be fetched.
        return HistoryPage(page.events, Cursor(epoch, upto, witness=witness), cursor.upto is not None)

    async def _read_page(self, span: _Span, turn: _Turn) -> Page:
        async with self._read_slots.take(*turn):
            page = await self._queries.page(span.after, span.upto, span.past_id, PAGE_EVENTS, PAGE_BYTES)
        _require_position(span.after, span.epoch, page.identity)
        return page

    async def _resolve_cursor(self, cursor: Cursor, turn: _Turn) -> Position:
        if isinstance(cursor.after, Snapshot):
            return Position(cursor.after)
        async with self._read_slots.take(*turn):
            snapshot = await self._queries.writer_snapshot(cursor.after)
        if snapshot is None:
            raise GapError("the event is not in the journal")
        return Position(snapshot, cursor.after.txid, cursor.after.id)

    async def _unproved_txid(self, cursor: Cursor, turn: _Turn) -> int:
        """A transaction whose events, if they are not trimmed, would be in the journal that the cursor is of; 0 if they are.

        Proves the snapshots of the cursor. An event in it is proved by ``_resolve_cursor``.
        """
        newest = cursor.upto or cursor.after
        if isinstance(newest, EventId):
            return 0
        if cursor.witness is None:
            return newest.xmax - 1
        async with self._read_slots.take(*turn):
            is_there = await self._queries.writer_snapshot(cursor.witness) is not None
        return 0 if is_there else cursor.witness.txid

    def _is_ahead(self, cursor: Cursor) -> bool:
        """Whether the cursor holds a newer snapshot than any this process knows: from a server that is ahead, or made up."""
        return max(snapshot.xmax for snapshot in _cursor_snapshots(cursor)) > self._relay.read_snapshot.xmax

    async def _reject_future_cursor(self, cursor: Cursor, turn: _Turn) -> None:
        """Raise GapError if the cursor holds a snapshot of the future, which would hide events that are still to come."""
        if not self._is_ahead(cursor):
            return
        newest = max(_cursor_snapshots(cursor), key=lambda snapshot: snapshot.xmax)
        async with self._read_slots.take(*turn):
            now = (await self._queries.page(Position(newest), None, 0, 1, 1)).upto
        if newest.xmax > now.xmax:
            raise GapError("from the future")

    async def _reject_impossible_cursor(self, cursor: Cursor, turn: _Turn) -> None:
        """Raise GapError if the cursor names more running transactions than the database can have: it is made up, and costs as
        much to compare as it is long.
        """
        running = max(len(snapshot.xip) for snapshot in _cursor_snapshots(cursor))
        if running > USUAL_TRANSACTIONS and running > await self._max_transactions.get(
            None, lambda: self._read_max_transactions(turn)
        ):
            raise GapError("more running transactions than the database can have")

    async def _read_max_transactions(self, turn: _Turn) -> int:
        async with self._read_slots.take(*turn):
            return await self._queries.max_transactions()

    async def _trimmed_txid(self, turn: _Turn) -> int:
        empty = Snapshot(1, 1)
        async with self._read_slots.take(*turn):
            return (await self._queries.page(Position(empty), empty, 0, 1, 1)).identity.trimmed_txid


def _cursor_snapshots(cursor: Cursor) -> list[Snapshot]:
    """The snapshots that the cursor holds, after one that is older than any other: so there is at least one."""
    return [Snapshot(1, 1), *(part for part in (cursor.after, cursor.upto) if isinstance(part, Snapshot))]


def _require_position(position: Position, epoch: str, journal: JournalIdentity, unproved_txid: int = 0) -> None:
    """Raise GapError unless ``position`` is one of ``epoch`` in this journal, and all that it misses is still there.

    ``unproved_txid``: no event of this transaction is in the journal, which may only be because they are trimmed.
    """
    if journal.epoch != epoch:
        raise GapError("another epoch")
    if journal.trimmed_txid >= position.snapshot.xmin:
        raise GapError("older than the journal")
    if unproved_txid > journal.trimmed_txid:
        raise GapError("of another history: the database has been put back")


class _SingleFlightCache(Generic[K, V]):
    """Computes the answer to a key once for all that ask at the same time, and keeps it for CACHE_TTL_SECONDS."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[K, tuple[float, asyncio.Task[V]]] = OrderedDict()

    async def get(self, key: K, compute: Callable[[], Awaitable[V]]) -> V:
        now = time.monotonic()
        while self._tasks and (len(self._tasks) >= CACHE_SIZE or next(iter(self._tasks.values()))[0] < now - CACHE_TTL_SECONDS):
            self._tasks.popitem(last=False)
        if key not in self._tasks:
            task = asyncio.create_task(_as_coroutine(compute), name="read for replay")
            # Retrieve the exception, so that asyncio does not log it if all callers have been cancelled.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._tasks[key] = (now, task)
        # The cancellation of one caller must not take the answer from the others.
        return await asyncio.shield(self._tasks[key][1])


async def _as_coroutine(compute: Callable[[], Awaitable[V]]) -> V:
    return await compute()
