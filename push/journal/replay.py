"""Closing a client's gap: what a cursor misses, from the ring or from the journal, on any server, after any restart.

The server remembers nothing of a client. A cursor's event says what its writer saw as committed, so what its holder may lack
is a question to the journal alone (docs/explanation/delivery.md). Some of it they may have already, and drop by its id.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from push.errors import BadCursor, StoreError
from push.journal.events import Cursor, Event, Page, Position, Snapshot
from push.journal.queries import JournalQueries
from push.journal.relay import Relay

__all__ = ["GapError", "HistoryPage", "Replay", "ReplayPlanner"]

# More than this is not replayed: fetching anew is quicker for everybody.
MAX_REPLAYED = 10_000
PAGE_EVENTS = 500
PAGE_BYTES = 256 * 1024
# How long a resume waits for a large change to be delivered far enough.
WATERMARK_WAIT_TIMEOUT = 10.0
# So many reads of the journal at a time for all clients together.
MAX_CONCURRENT_READS = 2
# Answers that are kept for others who stand at the same position.
CACHE_SIZE = 32
CACHE_TTL_SECONDS = 1.0

K = TypeVar("K")
V = TypeVar("V")


class GapError(Exception):
    """The gap cannot be closed: another epoch, a trimmed or unknown position, or too much to replay."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page for ``GET /api/events``."""

    events: Sequence[Event]
    next_cursor: Cursor
    more: bool


@dataclass(frozen=True, slots=True)
class _Span:
    """Events that ``start_index`` misses and ``upto`` sees, from id ``past_id`` on."""

    after: Position
    upto: Snapshot
    past_id: int


@dataclass(frozen=True, slots=True)
class Replay:
    """What a cursor misses: ``count_rejection`` events in all, first the remembered ones, or else those of the spans.

    After them comes whatever the ring has from ``next_seq`` on.
    """

    count: int
    from_memory: Sequence[Event]
    from_journal: Sequence[_Span]
    next_seq: int


class ReplayPlanner:
    """Answers resumes and history requests of all clients of this process."""

    def __init__(self, relay: Relay, queries: JournalQueries, max_replayed: int = MAX_REPLAYED) -> None:
        self._relay = relay
        self._queries = queries
        self._max_replayed = max_replayed
        self._read_slots = asyncio.Semaphore(MAX_CONCURRENT_READS)
        self._replay_cache: _SingleFlightCache[tuple[str, Cursor], Replay] = _SingleFlightCache()
        self._page_cache: _SingleFlightCache[_Span, Page] = _SingleFlightCache()

    async def plan(self, cursor_text: str) -> Replay:
        """What to replay to whoever holds this cursor. Raises GapError, or StoreError when the database is away."""
        try:
            cursor = Cursor.parse(cursor_text)
        except BadCursor as error:
            raise GapError(str(error)) from error
        epoch = self._relay.epoch
        if epoch is None or cursor.epoch != epoch:
            raise GapError("another epoch")
        return self._plan_from_memory(cursor) or await self._replay_cache.get(
            (epoch, cursor), lambda: self._plan_from_journal(cursor)
        )

    def _plan_from_memory(self, cursor: Cursor) -> Replay | None:
        ring = self._relay.recent_events
        if cursor.upto is not None or self._is_ahead(cursor):
            return None
        if isinstance(cursor.after, Snapshot):
            position = Position(cursor.after)
        else:
            event = ring.find(cursor.after)
            if event is None:
                return None
            position = Position(event.writer_snapshot, event.txid, event.id)
        missed = ring.missed(position)
        if missed is None:
            return None
        if len(missed) > self._max_replayed:
            raise GapError("too much to replay")
        return Replay(len(missed), missed, (), ring.next_seq)

    async def _plan_from_journal(self, cursor: Cursor) -> Replay:
        await self._reject_future_cursor(cursor)
        try:
            async with asyncio.timeout(WATERMARK_WAIT_TIMEOUT):
                await self._relay.wait_until_watermark_retained()
        except TimeoutError:
            raise StoreError("a change larger than the ring is being delivered") from None
        # Both at once: what the snapshot does not cover is in the ring from there on.
        watermark, ring_number = self._relay.watermark
        spans = []
        start = await self._resolve_cursor(cursor)
        if cursor.upto is not None:
            spans.append(_Span(start, cursor.upto, cursor.past_id))
            start = Position(cursor.upto)
        spans.append(_Span(start, watermark, 0))
        count = 0
        for span in spans:
            async with self._read_slots:
                found, trimmed = await self._queries.count(span.after, span.upto, span.past_id, self._max_replayed + 1)
            _reject_trimmed(trimmed, span.after)
            count += found
        if count > self._max_replayed:
            raise GapError("too much to replay")
        return Replay(count, (), spans, ring_number)

    async def read_events(self, replay: Replay) -> AsyncIterator[Sequence[Event]]:
        """The events of a replay, in pages. Raises GapError when they are trimmed while somebody reads them."""
        for start in range(0, len(replay.from_memory), PAGE_EVENTS):
            yield replay.from_memory[start : start + PAGE_EVENTS]
        for first in replay.from_journal:
            span: _Span | None = first
            while span is not None:
                page = await self._page_cache.get(span, lambda span=span: self._read_page(span))  # type: ignore[misc]
                if page.events:
                    yield page.events
                span = _Span(span.after, span.upto, page.events[-1].id) if page.more else None

    async def history_page(self, cursor_text: str | None, limit: int) -> HistoryPage:
        """A page of history, oldest first: after a cursor, or from the oldest event on.

        Raises BadCursor, GapError or StoreError.
        """
        epoch = self._relay.epoch
        if epoch is None:
            raise StoreError(self._relay.not_ready_reason or "starting")
        if cursor_text is None:
            trimmed = await self._trimmed_txid()
            cursor = Cursor(epoch, Snapshot(trimmed + 1, trimmed + 1))
        else:
            cursor = Cursor.parse(cursor_text)
        if cursor.epoch != epoch:
            raise GapError("another epoch")
        await self._relay.wait_for_fresh_read()
        await self._reject_future_cursor(cursor)
        start = await self._resolve_cursor(cursor)
        async with self._read_slots:
            page = await self._queries.page(start, cursor.upto, cursor.past_id, limit, PAGE_BYTES * 4)
        _reject_trimmed(page.trimmed_txid, start)
        upto = self._relay.crash_safe(page.upto, max((event.txid for event in page.events), default=0))
        if page.more:
            return HistoryPage(page.events, Cursor(epoch, cursor.after, upto, page.events[-1].id), True)
        # A client that paged up to a snapshot of a while ago has not seen what has come since.
        return HistoryPage(page.events, Cursor(epoch, upto), cursor.upto is not None)

    async def _read_page(self, span: _Span) -> Page:
        async with self._read_slots:
            page = await self._queries.page(span.after, span.upto, span.past_id, PAGE_EVENTS, PAGE_BYTES)
        _reject_trimmed(page.trimmed_txid, span.after)
        return page

    async def _resolve_cursor(self, cursor: Cursor) -> Position:
        if isinstance(cursor.after, Snapshot):
            return Position(cursor.after)
        async with self._read_slots:
            seen = await self._queries.writer_snapshot(cursor.after)
        if seen is None:
            raise GapError("the event is not in the journal")
        return Position(seen, cursor.after.txid, cursor.after.id)

    def _is_ahead(self, cursor: Cursor) -> bool:
        """Whether it holds a snapshot newer than all that we know of: from a server that is ahead, or from nowhere."""
        return max(snapshot.xmax for snapshot in _cursor_snapshots(cursor)) > self._relay.read_snapshot.xmax

    async def _reject_future_cursor(self, cursor: Cursor) -> None:
        """A snapshot that cannot have been given out yet would hide what is still to come."""
        if not self._is_ahead(cursor):
            return
        newest = max(_cursor_snapshots(cursor), key=lambda snapshot: snapshot.xmax)
        async with self._read_slots:
            now = (await self._queries.page(Position(newest), None, 0, 1, 1)).upto
        if newest.xmax > now.xmax:
            raise GapError("from the future")

    async def _trimmed_txid(self) -> int:
        nothing = Snapshot(1, 1)
        async with self._read_slots:
            return (await self._queries.page(Position(nothing), nothing, 0, 1, 1)).trimmed_txid


def _cursor_snapshots(cursor: Cursor) -> list[Snapshot]:
    """Those that it holds, and one that is older than all."""
    return [Snapshot(1, 1), *(part for part in (cursor.after, cursor.upto) if isinstance(part, Snapshot))]


def _reject_trimmed(trimmed_txid: int, position: Position) -> None:
    """Whatever ``position`` may lack must still be in the journal."""
    if trimmed_txid >= position.snapshot.xmin:
        raise GapError("older than the journal")


class _SingleFlightCache(Generic[K, V]):
    """Answers that several ask for at once are worked out once, and kept for a moment."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[K, tuple[float, asyncio.Task[V]]] = OrderedDict()

    async def get(self, key: K, compute: Callable[[], Awaitable[V]]) -> V:
        now = time.monotonic()
        while self._tasks and (len(self._tasks) >= CACHE_SIZE or next(iter(self._tasks.values()))[0] < now - CACHE_TTL_SECONDS):
            self._tasks.popitem(last=False)
        if key not in self._tasks:
            task = asyncio.create_task(_as_coroutine(compute), name="read for replay")
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, even if all have left
            self._tasks[key] = (now, task)
        # One client that goes away must not take the answer from the others.
        return await asyncio.shield(self._tasks[key][1])


async def _as_coroutine(compute: Callable[[], Awaitable[V]]) -> V:
    return await compute()
