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
from typing import Generic, Protocol, TypeVar

from push.errors import BadCursor, StoreError
from push.events import Cursor, Event, EventPlace, Page, Position, Snapshot
from push.relay import Relay

__all__ = ["Archive", "GapError", "History", "HistoryPage", "Replay"]

# More than this is not replayed: fetching anew is quicker for everybody.
MOST_REPLAYED = 10_000
PAGE_EVENTS = 500
PAGE_BYTES = 256 * 1024
# How long a resume waits for a large change to be delivered far enough.
REACH_SECONDS = 10.0
# So many reads of the journal at a time for all clients together.
READS = 2
# Answers that are kept for others who stand at the same position.
KEPT = 32
KEPT_SECONDS = 1.0

K = TypeVar("K")
V = TypeVar("V")


class GapError(Exception):
    """The gap cannot be closed: another epoch, a trimmed or unknown position, or too much to replay."""


class Archive(Protocol):
    """The journal, read beside the live connection. Raises StoreError."""

    async def seen_at(self, place: EventPlace) -> Snapshot | None:
        """What the writer of the event saw as committed; None when the event is not in the journal."""

    async def count(self, after: Position, upto: Snapshot, past_id: int, at_most: int) -> tuple[int, int]:
        """How many events there are between the two, counted up to ``at_most``; and the journal's trimmed_txid."""

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        """See Journal.page."""


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """A page for ``GET /api/events``."""

    events: Sequence[Event]
    next: Cursor
    more: bool


@dataclass(frozen=True, slots=True)
class _Span:
    """Events that ``after`` misses and ``upto`` sees, from id ``past_id`` on."""

    after: Position
    upto: Snapshot
    past_id: int


@dataclass(frozen=True, slots=True)
class Replay:
    """What a cursor misses: ``count`` events in all, first the remembered ones, or else those of the spans.

    After them comes whatever the ring has from ``ring_number`` on.
    """

    count: int
    remembered: Sequence[Event]
    spans: Sequence[_Span]
    ring_number: int


class History:
    """Answers resumes and history requests of all clients of this process."""

    def __init__(self, relay: Relay, archive: Archive, most_replayed: int = MOST_REPLAYED) -> None:
        self._relay = relay
        self._archive = archive
        self._most_replayed = most_replayed
        self._reads = asyncio.Semaphore(READS)
        self._replays: _Shared[tuple[str, Cursor], Replay] = _Shared()
        self._pages: _Shared[_Span, Page] = _Shared()

    async def replay(self, cursor_text: str) -> Replay:
        """What to replay to whoever holds this cursor. Raises GapError, or StoreError when the database is away."""
        try:
            cursor = Cursor.parse(cursor_text)
        except BadCursor as error:
            raise GapError(str(error)) from error
        epoch = self._relay.epoch
        if epoch is None or cursor.epoch != epoch:
            raise GapError("another epoch")
        return self._from_ring(cursor) or await self._replays.get((epoch, cursor), lambda: self._from_journal(cursor))

    def _from_ring(self, cursor: Cursor) -> Replay | None:
        ring = self._relay.ring
        if cursor.upto is not None or self._ahead_of_us(cursor):
            return None
        if isinstance(cursor.place, Snapshot):
            position = Position(cursor.place)
        else:
            event = ring.find(cursor.place)
            if event is None:
                return None
            position = Position(event.seen, event.txid, event.id)
        missed = ring.missed(position)
        if missed is None:
            return None
        if len(missed) > self._most_replayed:
            raise GapError("too much to replay")
        return Replay(len(missed), missed, (), ring.end)

    async def _from_journal(self, cursor: Cursor) -> Replay:
        await self._refuse_future(cursor)
        try:
            async with asyncio.timeout(REACH_SECONDS):
                await self._relay.watermark_in_reach()
        except TimeoutError:
            raise StoreError("a change larger than the ring is being delivered") from None
        # Both at once: what the snapshot does not cover is in the ring from there on.
        watermark, ring_number = self._relay.watermark
        spans = []
        start = await self._position(cursor)
        if cursor.upto is not None:
            spans.append(_Span(start, cursor.upto, cursor.past_id))
            start = Position(cursor.upto)
        spans.append(_Span(start, watermark, 0))
        count = 0
        for span in spans:
            async with self._reads:
                found, trimmed = await self._archive.count(span.after, span.upto, span.past_id, self._most_replayed + 1)
            _refuse_trimmed(trimmed, span.after)
            count += found
        if count > self._most_replayed:
            raise GapError("too much to replay")
        return Replay(count, (), spans, ring_number)

    async def events(self, replay: Replay) -> AsyncIterator[Sequence[Event]]:
        """The events of a replay, in pages. Raises GapError when they are trimmed while somebody reads them."""
        for start in range(0, len(replay.remembered), PAGE_EVENTS):
            yield replay.remembered[start : start + PAGE_EVENTS]
        for first in replay.spans:
            span: _Span | None = first
            while span is not None:
                page = await self._pages.get(span, lambda span=span: self._read(span))  # type: ignore[misc]
                if page.events:
                    yield page.events
                span = _Span(span.after, span.upto, page.events[-1].id) if page.more else None

    async def page(self, cursor_text: str | None, limit: int) -> HistoryPage:
        """A page of history, oldest first: after a cursor, or from the oldest event on.

        Raises BadCursor, GapError or StoreError.
        """
        epoch = self._relay.epoch
        if epoch is None:
            raise StoreError(self._relay.trouble or "starting")
        if cursor_text is None:
            trimmed = await self._trimmed()
            cursor = Cursor(epoch, Snapshot(trimmed + 1, trimmed + 1))
        else:
            cursor = Cursor.parse(cursor_text)
        if cursor.epoch != epoch:
            raise GapError("another epoch")
        await self._relay.fresh()
        await self._refuse_future(cursor)
        start = await self._position(cursor)
        async with self._reads:
            page = await self._archive.page(start, cursor.upto, cursor.past_id, limit, PAGE_BYTES * 4)
        _refuse_trimmed(page.trimmed_txid, start)
        upto = self._relay.lasting(page.upto, max((event.txid for event in page.events), default=0))
        if page.more:
            return HistoryPage(page.events, Cursor(epoch, cursor.place, upto, page.events[-1].id), True)
        # A client that paged up to a snapshot of a while ago has not seen what has come since.
        return HistoryPage(page.events, Cursor(epoch, upto), cursor.upto is not None)

    async def _read(self, span: _Span) -> Page:
        async with self._reads:
            page = await self._archive.page(span.after, span.upto, span.past_id, PAGE_EVENTS, PAGE_BYTES)
        _refuse_trimmed(page.trimmed_txid, span.after)
        return page

    async def _position(self, cursor: Cursor) -> Position:
        if isinstance(cursor.place, Snapshot):
            return Position(cursor.place)
        async with self._reads:
            seen = await self._archive.seen_at(cursor.place)
        if seen is None:
            raise GapError("the event is not in the journal")
        return Position(seen, cursor.place.txid, cursor.place.id)

    def _ahead_of_us(self, cursor: Cursor) -> bool:
        """Whether it holds a snapshot newer than all that we know of: from a server that is ahead, or from nowhere."""
        return max(snapshot.xmax for snapshot in _snapshots(cursor)) > self._relay.read_upto.xmax

    async def _refuse_future(self, cursor: Cursor) -> None:
        """A snapshot that cannot have been given out yet would hide what is still to come."""
        if not self._ahead_of_us(cursor):
            return
        newest = max(_snapshots(cursor), key=lambda snapshot: snapshot.xmax)
        async with self._reads:
            now = (await self._archive.page(Position(newest), None, 0, 1, 1)).upto
        if newest.xmax > now.xmax:
            raise GapError("from the future")

    async def _trimmed(self) -> int:
        nothing = Snapshot(1, 1)
        async with self._reads:
            return (await self._archive.page(Position(nothing), nothing, 0, 1, 1)).trimmed_txid


def _snapshots(cursor: Cursor) -> list[Snapshot]:
    """Those that it holds, and one that is older than all."""
    return [Snapshot(1, 1), *(part for part in (cursor.place, cursor.upto) if isinstance(part, Snapshot))]


def _refuse_trimmed(trimmed_txid: int, position: Position) -> None:
    """Whatever ``position`` may lack must still be in the journal."""
    if trimmed_txid >= position.seen.xmin:
        raise GapError("older than the journal")


class _Shared(Generic[K, V]):
    """Answers that several ask for at once are worked out once, and kept for a moment."""

    def __init__(self) -> None:
        self._tasks: OrderedDict[K, tuple[float, asyncio.Task[V]]] = OrderedDict()

    async def get(self, key: K, work_out: Callable[[], Awaitable[V]]) -> V:
        now = time.monotonic()
        while self._tasks and (len(self._tasks) >= KEPT or next(iter(self._tasks.values()))[0] < now - KEPT_SECONDS):
            self._tasks.popitem(last=False)
        if key not in self._tasks:
            task = asyncio.create_task(_awaited(work_out), name="read for replay")
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, even if all have left
            self._tasks[key] = (now, task)
        # One client that goes away must not take the answer from the others.
        return await asyncio.shield(self._tasks[key][1])


async def _awaited(work_out: Callable[[], Awaitable[V]]) -> V:
    return await work_out()
