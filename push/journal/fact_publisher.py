"""Sends what the relay reads to the edges, as facts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import time
from collections import deque
from dataclasses import replace
from typing import NamedTuple, Never

from push.errors import BusUnavailable
from push.journal.bus import Bus
from push.journal.events import Event, Snapshot
from push.journal.facts import Fact, FactHead, ReadAnswer, Term, encode, encode_answer
from push.journal.page_observer import PageObserver, PublishedPage
from push.journal.queries import JournalConnection
from push.journal.relay import PAGE_BYTES, PAGE_EVENTS, Relay

__all__ = ["FactPublisher"]

log = logging.getLogger("orderwire.facts")

# All times are in seconds. An edge takes 1.5 s without a fact for a gap (fact_journal.SILENCE).
HEARTBEAT_INTERVAL = 0.3
# After a fact, what is read for so long becomes one fact: a message costs an edge more than the events in it.
JOIN_INTERVAL = 0.0035
# A heartbeat says that the journal is being read. The relay reads it once a second at least; one that has not for so long may
# be waiting for a database that does not answer.
MAX_READ_AGE = 1.3
# How much may wait to be sent before the relay waits.
MAX_WAITING_BYTES = 4 * 1024**2
# A fact of more bytes is divided, by an estimate that is not below the truth. NATS takes messages of 1 MiB.
MAX_FACT_BYTES = 896 * 1024
# For a read on behalf of an edge. It reads PostgreSQL itself when that takes longer.
READ_TIMEOUT = 0.2


class FactPublisher(PageObserver):
    """One per process that can become the relay. Sends only while ``follow`` runs.

    A message that the bus does not take is dropped: the edges see the gap and read PostgreSQL.
    """

    def __init__(self, bus: Bus, relay: Relay, node: str) -> None:
        """``node`` names this process among those of the bus."""
        self._bus = bus
        self._relay = relay
        self._node = node
        self._term: Term | None = None
        self._seq = 0
        # Everything visible in it has been told in this term; None where there is nothing to continue from.
        self._told: Snapshot | None = None
        # Where the latest complete read ended.
        self._reached: Snapshot | None = None
        # The latest complete read, and when it was published, by the loop's clock.
        self._latest: PublishedPage | None = None
        self._latest_at = 0.0
        self._sent_at = -math.inf
        self._heartbeat_due = False
        self._waiting: deque[_Waiting] = deque()
        self._waiting_bytes = 0
        self._state: str | None = None
        self._state_due = False
        self._is_sending = False
        # Between two pages of one read.
        self._in_read = False
        # Set when there is something to send, and whenever something was sent.
        self._due = asyncio.Event()
        self._sent = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        relay.observer = self
        bus.serve_reads(self.answer_read)

    def set_state(self, state: str) -> None:
        """Results of what the relay alone asks the database, for all edges; an opaque text. Sent when it has changed, and with
        every heartbeat.
        """
        if state != self._state:
            self._state, self._state_due = state, True
            self._due.set()

    # ---------------------------------------------------------------- PageObserver

    @property
    def is_active(self) -> bool:
        return self._term is not None

    def page_published(self, page: PublishedPage) -> None:
        self._in_read = page.more
        if page.after != self._reached:  # the relay has begun anew, from the totals: nothing leads here
            self._told = None
        if not page.more:
            self._reached = page.upto
            self._latest, self._latest_at = page, asyncio.get_running_loop().time()
        if not page.events and not page.past_id:
            return  # the next fact begins where the last one ended, so that it tells of this read too
        for part in _divided(replace(page, after=self._told or page.after)):
            self._waiting.append(part)
            self._waiting_bytes += part.size
        if not page.more:
            self._told = page.upto
        if self._waiting_bytes >= MAX_WAITING_BYTES:
            self._writable.clear()
        self._due.set()

    async def wait_writable(self) -> None:
        await self._writable.wait()

    # ---------------------------------------------------------------- the relay's term

    async def follow(self, connection: JournalConnection) -> Never:
        """Let the relay follow the connection, and send what it reads until it fails with ConnectionLost."""
        self._term = Term(time.time(), self._node, secrets.token_hex(4))
        self._seq, self._told, self._reached, self._latest = 0, None, None, None
        self._in_read, self._state_due = False, self._state is not None
        try:
            await self._relay.follow(connection)
        finally:
            self._term = None
            self._forget_waiting()

    async def run(self) -> Never:
        """Send facts as they come, and heartbeats in between, until this task is cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(HEARTBEAT_INTERVAL):
                    await self._due.wait()
            self._due.clear()
            has_sent_events = False
            while (term := self._term) is not None and (page := self._next_page()) is not None:
                await self._send(term, page)
                has_sent_events |= bool(page.events)
            self._forget_waiting()
            if has_sent_events:
                await asyncio.sleep(JOIN_INTERVAL)

    async def _send(self, term: Term, page: PublishedPage) -> None:
        self._seq += 1
        self._sent_at = asyncio.get_running_loop().time()
        last_id = page.events[-1].id if page.more else None
        head = FactHead(
            term=term,
            seq=self._seq,
            identity=page.identity,
            after=page.after,
            upto=page.upto,
            past_id=page.past_id,
            last_id=last_id,
            newest_before=page.newest_before,
            totals=page.totals,
            verified=page.totals_verified,
            read_began_at=page.read_began_at,
            event_count=len(page.events),
            byte_count=0,  # counted by ``encode``
            state=self._state if self._state_due or not page.events else None,
        )
        self._state_due = False
        self._is_sending = True
        try:
            await self._bus.publish(encode(Fact(head, page.events)))
        except BusUnavailable as error:
            log.debug("a fact is lost: %s", error)
        finally:
            self._is_sending = False
            self._sent.set()

    def _next_page(self) -> PublishedPage | None:
        """What to send next: pages that wait, as many as fit into one fact, else a heartbeat if one is due."""
        if not self._waiting:
            return self._heartbeat()
        first, size = self._waiting.popleft()
        last, events = first, list(first.events)
        while self._waiting and _is_whole(last) and _follows(last, self._waiting[0].page):
            size += self._waiting[0].size
            if size > PAGE_BYTES or len(events) + len(self._waiting[0].page.events) > PAGE_EVENTS:
                break
            last = self._waiting.popleft().page
            events += last.events
        return replace(last, after=first.after, past_id=first.past_id, newest_before=first.newest_before, events=events)

    def _heartbeat(self) -> PublishedPage | None:
        """A fact without events, up to the latest read; None if none is due, or if the journal is not being read."""
        now, latest = asyncio.get_running_loop().time(), self._latest
        is_due = self._state_due or self._heartbeat_due or now - self._sent_at >= 0.9 * HEARTBEAT_INTERVAL
        if latest is None or self._in_read or not is_due or now - self._latest_at > MAX_READ_AGE:
            return None
        self._heartbeat_due = False
        after, self._told = self._told or latest.after, latest.upto
        relay = self._relay
        # The totals are those of now: the audit may have corrected them since the read.
        return replace(
            latest,
            after=after,
            past_id=0,
            events=(),
            newest_before=relay.watermark.newest_event,
            totals=relay.totals,
            totals_verified=relay.totals_verified,
        )

    def _forget_waiting(self) -> None:
        """Everything is sent, or will not be."""
        if self._term is None:
            self._waiting.clear()
        if not self._waiting:
            self._waiting_bytes = 0
            self._writable.set()

    async def answer_read(self) -> bytes:
        """Read the journal, send what is new, and answer up to where. Raises BusUnavailable if this is not the relay now."""
        term, relay = self._term, self._relay
        if term is None:
            raise BusUnavailable("this process is not the relay")
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                await relay.wait_until_published(Snapshot(0, 0))
                upto = relay.watermark.snapshot
                self._heartbeat_due = True  # it tells of a read that found nothing
                self._due.set()
                while self._waiting or self._is_sending or self._told is None or not self._told.covers(upto):
                    self._sent.clear()
                    await self._sent.wait()
        except TimeoutError:
            raise BusUnavailable("the journal cannot be read in time") from None
        if term != self._term or relay.epoch is None:
            raise BusUnavailable("this process is not the relay any more")
        return encode_answer(ReadAnswer(term, relay.epoch, upto))


def _encoded_size(event: Event) -> int:
    """At least the bytes that the event takes in a fact, with a snapshot of its own."""
    payloads = (event.payload, event.customer_payload, event.previous_customer_payload)
    names = (event.stream, event.key, event.order_key, event.customer_id, event.previous_customer_id)
    size = 240 + 20 * len(event.writer_snapshot.xip) + sum(map(len, filter(None, payloads)))
    # A character of JSON takes up to six bytes: \\u0001.
    return size + sum(len(name) if name.isalnum() and name.isascii() else 6 * len(name) for name in names if name)


class _Waiting(NamedTuple):
    """A page that waits to be sent, and at least the bytes that its events take in a fact."""

    page: PublishedPage
    size: int


def _divided(page: PublishedPage) -> list[_Waiting]:
    """The page as pages of the same read, each of which fits into a fact."""
    events = page.events
    count = size = 0
    for event in events:
        event_size = _encoded_size(event)
        if count and size + event_size > MAX_FACT_BYTES:
            break
        size += event_size
        count += 1
    if count == len(events):
        return [_Waiting(page, size)]
    rest = events[count:]
    first = replace(page, events=events[:count], more=True, totals=page.totals.minus(rest))
    return [_Waiting(first, size), *_divided(replace(page, events=rest, past_id=events[count - 1].id))]


def _is_whole(page: PublishedPage) -> bool:
    """Whether it is a whole read, not one of several pages."""
    return not page.more and not page.past_id


def _follows(last: PublishedPage, page: PublishedPage) -> bool:
    """Whether ``page`` is a whole read that begins where ``last`` ends, in the same journal."""
    return _is_whole(page) and page.after == last.upto and page.identity.epoch == last.identity.epoch
