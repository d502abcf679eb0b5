"""The journal as facts tell of it: what an edge's relay follows in place of a connection that listens.

What the facts do not answer, PostgreSQL does, by the same questions over a pool. The rules, and why they lose nothing, are in
docs/explanation/facts.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from push.errors import BadFact, BusUnavailable, ConnectionLost, StoreError
from push.journal.bus import Bus
from push.journal.events import Event, EventId, JournalIdentity, Page, Position, Snapshot
from push.journal.fact_queue import FactQueue, NextPage
from push.journal.facts import Fact, FactHead, Term, decode, decode_answer
from push.journal.queries import Baseline, FactReads, JournalConnection, RelayedPage
from push.metrics import Metrics

__all__ = ["FactJournalConnection"]

log = logging.getLogger("orderwire.facts")

T = TypeVar("T")

# All times are in seconds. The relay sends something at least every 0.3 s: no fact for so long is a gap.
SILENCE = 1.5
# At the start, for a fact: a relay sends one every 0.3 s. Without one PostgreSQL is asked for the totals: the facts in the
# stream may be old.
START_TIMEOUT = 0.5
# Between two reads of PostgreSQL while there are no facts.
SILENT_POLL_INTERVAL = 0.15
# The stream is not asked again before this: what it did not have it will not have, so PostgreSQL is read.
REFILL_INTERVAL = 3.0
STORED_FACTS = 1000
# At the start and for a fresh read, facts are joined into one page of up to so many events.
MAX_JOINED_EVENTS = 10_000
MAX_JOINED_BYTES = 16 * 1024**2
# For the relay's answer to a request for a read, and then for the facts up to it. Without them PostgreSQL is read, and the
# relay is not asked again for a while.
ANSWER_TIMEOUT = 0.15
ARRIVAL_TIMEOUT = 0.05
ANSWER_RETRY_INTERVAL = 1.0
# Facts that no client waits for are published after this, all together.
GATHER_INTERVAL = 1.0
# Facts of another epoch than PostgreSQL's are ignored; whether it still has another one is asked so often.
RECHECK_INTERVAL = 1.0


class FactJournalConnection(JournalConnection):
    """One per process, for as long as it lives. ``Relay.follow`` may be called with it again and again.

    The facts of one term are believed at a time. Another term is taken up if it has begun later, or if the believed one has
    been silent. ``identity`` then asks PostgreSQL whether the journal still has what was delivered, because between two terms
    the database may have crashed or been put back. The same happens when facts tell of another epoch.

    ``node`` names this process; its own messages are ignored. ``on_state`` is called with each ``FactHead.state`` that arrives.
    ``is_awaited`` says whether a client waits for one of these events: facts without such an event are left to gather, so that
    many of them cost little more than one.
    """

    def __init__(
        self,
        bus: Bus,
        reads: FactReads,
        metrics: Metrics | None = None,
        *,
        node: str,
        on_state: Callable[[str], None] = lambda _state: None,
        is_awaited: Callable[[Sequence[Event]], bool] = lambda _events: True,
    ) -> None:
        self._bus = bus
        self._reads = reads
        self._metrics = metrics or Metrics()
        self._node = node
        self._on_state = on_state
        self._is_awaited = is_awaited
        # Facts of the believed term and epoch, from the first one that was heard on. All three are set by ``_believe``.
        self._queue = FactQueue()
        self._term: Term | None = None
        self._epoch = ""
        self._first_seq = 0
        # ``identity`` is to be asked before a fact is used; its last answer, and when that was (times are of the loop's clock).
        self._check_due = False
        self._identity: JournalIdentity | None = None
        self._checked_at = -math.inf
        # The connections that the pool had opened by then: over another one the database may be another one.
        self._checked_connections = -1
        # When a fact that can be believed has arrived last, and its end.
        self.heard_at = -math.inf
        self._heard_upto: Snapshot | None = None
        self._refilled_at = -math.inf
        self._unanswered_at = -math.inf
        # The end of the last baseline, and an event of the newest transaction there; None if PostgreSQL has answered.
        self._newest_told: tuple[Snapshot, EventId | None] | None = None
        # The newest fact that ends where the reader is: its totals hold there.
        self._current: FactHead | None = None
        # Unix time at which the read began up to which the reader is.
        self._read_began_at = 0.0
        # The reader is where the facts ended at its baseline: its first read finds nothing, and need not ask PostgreSQL.
        self._is_at_told_end = False
        # A read that begins after ``wake`` is wanted.
        self._fresh_read_due = False
        # PostgreSQL is being read: because of a gap, and within a read of several pages.
        self._in_gap = False
        self._in_own_read = False
        self._notified = asyncio.Event()
        # Ends the wait for facts that no client awaits.
        self._gathered: asyncio.TimerHandle | None = None
        # A page of a read, or the end of a fresh one, is being waited for: every fact counts.
        self._is_waiting = False
        self._reported: set[str] = set()
        bus.subscribe(self.receive)

    # ---------------------------------------------------------------- what arrives

    def receive(self, message: bytes) -> None:
        """Take a message of the bus."""
        if (fact := self._decode(message)) is None or fact.head.term.node == self._node:
            return
        head, now = fact.head, self._now()
        if head.term != self._term:
            if self._term is not None and head.term.started_at <= self._term.started_at and not self._is_silent:
                return  # of a relay that has been replaced, or soon will be
            self._believe(head)
        elif head.identity.epoch != self._epoch:
            if head.seq < self._first_seq:
                return  # from before the change of the epoch
            self._believe(head)
        elif not self._is_believed:
            if now - self._checked_at < RECHECK_INTERVAL:
                return
            self._believe(head)
        self.heard_at = now
        self._queue.add(fact)
        if head.state is not None:
            self._on_state(head.state)
        follows, self._heard_upto = head.after == self._heard_upto, head.upto
        if self._is_waiting or not follows or self._is_urgent(fact):
            self._notified.set()
        elif self._gathered is None:
            self._gathered = asyncio.get_running_loop().call_later(GATHER_INTERVAL, self._notified.set)

    def _is_urgent(self, fact: Fact) -> bool:
        if fact.head.more or fact.head.past_id:
            return True
        try:
            return fact.head.event_count > 0 and self._is_awaited(fact.events)
        except BadFact:
            return True  # ``page`` deals with it

    def _decode(self, message: bytes) -> Fact | None:
        try:
            return decode(message)
        except BadFact as error:
            kind = type(error).__name__
            if kind not in self._reported:
                self._reported.add(kind)
                log.warning("%s", error)
            return None

    def _believe(self, head: FactHead) -> None:
        """From now on use facts of this one's term and epoch, once ``identity`` has been asked."""
        self._queue.clear()
        self._term, self._epoch, self._first_seq = head.term, head.identity.epoch, head.seq
        self._check_due = True
        self._current = None

    @property
    def _is_believed(self) -> bool:
        """False if PostgreSQL has another epoch than the facts."""
        return self._check_due or self._identity is None or self._identity.epoch == self._epoch

    @property
    def _is_silent(self) -> bool:
        return self._now() - self.heard_at > SILENCE

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _refill(self) -> None:
        """Add what the stream has of the believed term."""
        self._refilled_at = self._now()
        try:
            messages = await self._bus.stored(STORED_FACTS)
        except BusUnavailable as error:
            log.debug("the stream cannot be read: %s", error)
            return
        facts = [fact for message in messages if (fact := self._decode(message)) is not None]
        for fact in facts:
            if (fact.head.term, fact.head.identity.epoch) == (self._term, self._epoch):
                self._queue.add(fact)

    # ---------------------------------------------------------------- JournalConnection

    @property
    def asks_database(self) -> bool:
        return self._in_gap  # facts with events come at a bounded rate: the relay that sends them joins them

    async def identity(self, epoch: str | None, delivered: Sequence[EventId]) -> JournalIdentity:
        if epoch is None and self._is_silent:
            await self._wait_for_any_fact(START_TIMEOUT)
        term = self._term, self._epoch
        connections = self._reads.connections_opened
        self._identity = await self._ask(self._reads.identity(epoch, delivered))
        self._checked_connections = connections
        if term == (self._term, self._epoch):
            self._check_due, self._checked_at = False, self._now()
            if not self._is_believed:
                self._queue.clear()
        return self._identity

    async def baseline(self) -> Baseline:
        """From the facts, while the relay sends some: then the memory of recent events is full from the start."""
        self._newest_told = None
        if self._is_silent:
            return await self._ask(self._reads.baseline())
        await self._refill()
        try:
            told = self._told_baseline()
        except BadFact as error:
            log.warning("%s", error)
            self._queue.clear()
            told = None
        return await self._ask(self._reads.baseline()) if told is None else told

    def _told_baseline(self) -> Baseline | None:
        """The totals at the end of the facts that have arrived; None without facts that lead anywhere. Raises BadFact."""
        start = self._queue.start(MAX_JOINED_EVENTS) if self._can_use_facts else None
        if start is None:
            return None
        after, newest = start.head.after, start.head.newest_before
        found = self._queue.take(after, None, 0, MAX_JOINED_EVENTS, MAX_JOINED_BYTES)
        history: list[Event] = []
        while found is not None:
            history += found.events
            page = self._page_of(found)
            if not page.more:
                break
            found = self._queue.take(after, page.upto, history[-1].id, MAX_JOINED_EVENTS, MAX_JOINED_BYTES)
        if found is None:
            return None
        if history and (newest is None or max(event.txid for event in history) >= newest.txid):
            newest = max(history, key=lambda event: event.txid).event_id
        head = found.head
        self._newest_told, self._is_at_told_end = (head.upto, newest), True
        return Baseline(head.totals, head.upto, head.upto.xmax - 1, head.verified, after, history)

    async def newest_event(self, upto: Snapshot) -> EventId | None:
        if self._newest_told is not None and self._newest_told[0] == upto:
            return self._newest_told[1]
        return await self._ask(self._reads.newest_event(upto))

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        if self._check_due:
            return self._empty_page(after.snapshot, reconnected=True)
        if upto is None:
            return await self._new_read(after.snapshot, max_events, max_bytes)
        return await self._next_of_read(after.snapshot, upto, past_id, max_events, max_bytes)

    async def _new_read(self, watermark: Snapshot, max_events: int, max_bytes: int) -> Page:
        self._notified.clear()
        if self._gathered is not None:
            self._gathered.cancel()
            self._gathered = None
        self._in_own_read = False
        is_at_told_end, self._is_at_told_end = self._is_at_told_end, False
        limits = max_events, max_bytes
        if self._fresh_read_due:
            limits = MAX_JOINED_EVENTS, MAX_JOINED_BYTES
            self._fresh_read_due = False  # before the read: another request may come while it is under way
            is_read = False
            try:
                if not await self._reach_fresh_read(watermark):
                    own = await self._read_itself(watermark, None, 0, max_events, max_bytes)
                    is_read = not (isinstance(own, RelayedPage) and own.reconnected)
                    return own
                is_read = True
            finally:
                self._fresh_read_due |= not is_read
        if (page := self._take(watermark, None, 0, *limits)) is not None:
            self._in_gap = False
            return page
        is_gap = self._queue.leads_beyond(watermark)
        if is_gap and self._now() - self._refilled_at >= REFILL_INTERVAL:
            await self._refill()
            if (page := self._take(watermark, None, 0, *limits)) is not None:
                self._metrics.fact_gaps.labels("stream").inc()
                return page
        if is_gap or not self._can_use_facts or (self._is_silent and not is_at_told_end):
            return await self._read_itself(watermark, None, 0, max_events, max_bytes)
        self._in_gap = False
        return self._empty_page(watermark)

    async def _next_of_read(self, watermark: Snapshot, upto: Snapshot, past_id: int, max_events: int, max_bytes: int) -> Page:
        """The relay sends the pages of one read in order, so the next one is waited for, unless something else comes."""
        while True:
            self._notified.clear()
            if (page := self._take(watermark, upto, past_id, max_events, max_bytes)) is not None:
                return page
            if self._check_due:
                return self._empty_page(watermark, reconnected=True)
            if self._in_own_read or self._is_silent or not self._can_use_facts or self._queue.leads_beyond(watermark):
                return await self._read_itself(watermark, upto, past_id, max_events, max_bytes)
            await self._wait_for_any_fact(SILENCE)

    async def _read_itself(
        self, watermark: Snapshot, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int
    ) -> Page:
        if not self._in_gap:
            self._in_gap = True
            self._metrics.fact_gaps.labels("postgres").inc()
        page = await self._ask(self._reads.page(Position(watermark), upto, past_id, max_events, max_bytes))
        if self._reads.connections_opened != self._checked_connections:
            return self._empty_page(watermark, reconnected=True)
        self._in_own_read = page.more
        return page

    async def _reach_fresh_read(self, watermark: Snapshot) -> bool:
        """Have the relay read, and wait for the facts up to there. False: PostgreSQL has to be read instead."""
        if self._is_silent or not self._can_use_facts or self._now() - self._unanswered_at < ANSWER_RETRY_INTERVAL:
            return False
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answer = decode_answer(await self._bus.request_read())
        except (BusUnavailable, BadFact, TimeoutError) as error:
            log.debug("the relay does not answer: %s", error)
            self._unanswered_at = self._now()
            return False
        deadline = self._now() + ARRIVAL_TIMEOUT
        while (answer.term, answer.epoch) == (self._term, self._epoch) and not self._check_due:
            if self._queue.end(watermark).covers(answer.upto):
                return True
            if self._now() >= deadline:
                break
            self._notified.clear()
            await self._wait_for_any_fact(deadline - self._now())
        return False

    def _take(self, watermark: Snapshot, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page | None:
        """The page that follows, if the facts have it."""
        if not self._can_use_facts:
            return None
        current = self._queue.drop_old(watermark)
        if current is not None and (self._current is None or current.seq > self._current.seq):
            self._current = current
        try:
            found = self._queue.take(watermark, upto, past_id, max_events, max_bytes)
        except BadFact as error:
            log.warning("%s", error)
            self._queue.clear()
            found = None
        self._metrics.facts_old.inc(self._queue.old_count)
        self._queue.old_count = 0
        return None if found is None else self._page_of(found)

    def _page_of(self, found: NextPage) -> Page:
        assert self._identity is not None
        head = found.head
        self._metrics.facts_used.inc(found.facts)
        self._metrics.facts_joined.inc(found.facts - 1)
        if self._queue.leads_beyond(head.upto):
            self._notified.set()
        self._current = None if head.more else head
        self._read_began_at = head.read_began_at
        totals = None if head.more else head.totals
        return RelayedPage(
            found.events,
            head.upto,
            head.more,
            self._identity,
            read_began_at=head.read_began_at,
            totals=totals,
            verified=head.verified,
        )

    def _empty_page(self, watermark: Snapshot, *, reconnected: bool = False) -> Page:
        """Nothing new: the reader has everything that the relay has told of."""
        assert self._identity is not None
        current = self._current
        if current is not None and not current.upto.covers(watermark):
            current = self._current = None  # PostgreSQL has been read since
        if current is not None:
            self._read_began_at = current.read_began_at
        return RelayedPage(
            (),
            watermark,
            False,
            self._identity,
            read_began_at=self._read_began_at,
            totals=None if current is None else current.totals,
            verified=current is not None and current.verified,
            reconnected=reconnected,
        )

    @property
    def _can_use_facts(self) -> bool:
        return self._term is not None and not self._check_due and self._is_believed

    async def _ask(self, query: Awaitable[T]) -> T:
        """What PostgreSQL answers; its errors as those of a connection."""
        try:
            return await query
        except StoreError as error:
            raise ConnectionLost(str(error)) from error

    def wake(self) -> None:
        self._fresh_read_due = True
        self._notified.set()

    async def wait_for_notify(self, timeout_seconds: float) -> None:
        if self._fresh_read_due:  # asked for while a page was waited for, which has cleared ``_notified``
            return
        if self._is_silent:
            await self._wait_for_fact(SILENT_POLL_INTERVAL)
        else:
            until_silent = self.heard_at + SILENCE - self._now()
            await self._wait_for_fact(min(timeout_seconds, until_silent + 0.01))

    async def _wait_for_any_fact(self, seconds: float) -> None:
        self._is_waiting = True
        try:
            await self._wait_for_fact(seconds)
        finally:
            self._is_waiting = False

    async def _wait_for_fact(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._notified.wait()

    async def require_notify(self) -> bool:
        return True  # each fact is a notification, and silence is noticed

    async def release_notify(self) -> None:
        """Writers are the relay's concern."""

    async def notify_waiters(self) -> int:
        return 0

    async def notify_on_behalf(self, event_count: int) -> None:
        """See ``release_notify``."""
