"""One connected client, whatever the transport. Does no I/O: what the client sends goes in, frames to send come out."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from push.delivery.batch import Batch
from push.delivery.broadcast_log import BroadcastLog
from push.delivery.conflation import Conflation
from push.delivery.rate_limit import INITIALLY_FULL, TokenBucketRate
from push.delivery.send_queue import SendQueue
from push.journal.events import Event
from push.protocol.access import ANALYTICS_TOPIC, ORDERS_TOPIC, Grant, order_ids
from push.protocol.commands import InvalidMessage, parse_message
from push.protocol.messages import (
    CloseCode,
    Command,
    ErrorMessage,
    Ping,
    Pong,
    ServerMessage,
    Subscribe,
    Subscribed,
    Unsubscribe,
    encode,
)

if TYPE_CHECKING:
    from push.delivery.cohort import Cohort

__all__ = ["MAX_MISSED_HEARTBEATS", "PING_BATCH", "PING_MESSAGE", "RateLimits", "Session", "SessionTransport"]

PING_MESSAGE = encode(Ping())
# Made once, for everybody.
PING_BATCH = Batch([PING_MESSAGE])
_PONG_BATCH = Batch([encode(Pong())])

# How many heartbeats a client may leave unanswered before it counts as gone.
MAX_MISSED_HEARTBEATS = 2


class RateLimits:
    """How much a client may send in a second."""

    __slots__ = ("bytes", "frames")

    def __init__(self, frames_per_second: float = 1e12, bytes_per_second: float = 1e12) -> None:
        self.frames = TokenBucketRate(frames_per_second)
        self.bytes = TokenBucketRate(bytes_per_second)


class SessionTransport(Protocol):
    """Carries one session's frames: calls ``update`` until it is empty; then, if ``close_code`` is set, closes with that code."""

    def notify_pending(self) -> None:
        """There is something to do."""

    def flush_broadcast(self) -> None:
        """The same, when it is this session's turn among all that are told of something new: who can write at once does it."""


# One for all: each would be 216 bytes.
_NO_ORDERS: frozenset[int] = frozenset()


class Session:
    """State of one client: what it may see, its send queue, its heartbeat, and how it ends.

    ``on_admitted`` is called once, when the client has been let in.
    """

    __slots__ = (
        *(
            "_bytes_full_at",
            "_transport",
            "_conflation",
            "_aborted",
            "_broadcast_log",
            "_frames_full_at",
            "_missed_heartbeats",
            "_on_admitted",
            "_rate_limits",
        ),
        *("_offset", "_queue", "_writable", "_close_timer", "_get_totals", "_totals_seen"),
        *("close_code", "cohort", "expires_at", "sees_everything", "grant", "order_ids", "sees_all_events", "topics"),
    )

    def __init__(
        self,
        queue: SendQueue,
        transport: SessionTransport,
        rate_limits: RateLimits | None = None,
        on_admitted: Callable[[], None] | None = None,
        conflate_above: int | None = None,
    ) -> None:
        """``rate_limits``: None for as fast as it likes. ``conflate_above``: if more than so many events wait, the client wants to be told
        just that.
        """
        self.close_code: CloseCode | None = None
        # None until the client has shown a token, where one is needed.
        self.grant: Grant | None = None
        self.expires_at = math.inf
        self.topics: frozenset[str] = frozenset()
        # Those of the topics that are single orders.
        self.order_ids: frozenset[int] = frozenset()
        # Whether ``visible`` would leave nothing out: then all such sessions share what is sent.
        self.sees_all_events = False
        # The totals too: then it gets whatever goes to everybody.
        self.sees_everything = False
        self._queue = queue
        self._transport = transport
        self._on_admitted = on_admitted
        self._rate_limits = rate_limits
        # See TokenBucketRate: two numbers, where two buckets would be 0.3 KiB.
        self._frames_full_at = self._bytes_full_at = INITIALLY_FULL
        self._get_totals: Callable[[], Batch] | None = None
        # What is published to all, from when this session is live; its place in it, and the turn of the totals that it was told
        # last (0: they are due, whatever the feed says).
        self._broadcast_log: BroadcastLog | None = None
        self._offset = 0
        self._totals_seen = 1
        # Those with whom it stands at one place: while there are any, that is kept there.
        self.cohort: Cohort[Any] | None = None
        self._conflation = None if conflate_above is None else Conflation(conflate_above)
        self._missed_heartbeats = 0
        self._aborted = False
        self._close_timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None

    # ---------------------------------------------------------------- what it may see

    def start_auth_timeout(self, seconds: float) -> None:
        """End the session if nobody has admitted it by then."""
        self._close_after(seconds, CloseCode.NOT_AUTHENTICATED)

    def apply_grant(self, grant: Grant, topics: frozenset[str]) -> None:
        """From here on it is this grant that counts, until it expires."""
        self.grant = grant
        self.expires_at = grant.expires_at
        self.set_topics(topics)
        self._close_after(grant.expires_at - time.time(), CloseCode.TOKEN_EXPIRED)
        if self._on_admitted is not None:
            on_admitted, self._on_admitted = self._on_admitted, None
            on_admitted()

    def set_topics(self, topics: frozenset[str]) -> None:
        """These are the topics now. What has been published until now still comes by the old ones."""
        feed = self._broadcast_log
        slow = not self._leave_broadcast()
        self.topics = topics
        self.order_ids = order_ids(topics)
        self.sees_all_events = ORDERS_TOPIC in topics
        self.sees_everything = self.sees_all_events and ANALYTICS_TOPIC in topics
        if feed is not None and not slow:
            self.go_live(feed)

    def visible(self, events: Iterable[Event]) -> list[Event]:
        """What of the events this client follows, and may see: for live, replayed and historical ones alike."""
        grant = self.grant
        if grant is None or grant.expired(time.time()):
            return []
        everything = self.sees_all_events
        return [event for event in events if (everything or event.order_id in self.order_ids) and grant.may_see(event)]

    def close_if_expired(self, now: float) -> bool:
        """End it if the grant has run out; a clock that jumped is noticed here, where the timer does not."""
        if now >= self.expires_at:
            self.close(CloseCode.TOKEN_EXPIRED, flush=False)
        return self.close_code is not None

    def _close_after(self, seconds: float, close_code: CloseCode) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        if seconds < math.inf and self.close_code is None:
            self._close_timer = asyncio.get_running_loop().call_later(
                max(0.0, seconds), lambda: self.close(close_code, flush=False)
            )

    # ---------------------------------------------------------------- from the client

    def receive_text(self, text: str) -> Command | None:
        """Returns what the client asks for that is not answered here. What is not understood gets an error, and no more."""
        if self.close_code is not None:
            return None
        try:
            command = parse_message(text)
        except InvalidMessage as error:
            self.send_error(error.code, str(error))
            return None
        match command:
            case Ping():
                self.send(_PONG_BATCH)
            case Pong():
                pass
            case Subscribe() | Unsubscribe() if self.grant is None:
                self.send_error("not_authenticated", 'send {"type":"auth","token":…} first')
            case _:
                return command
        return None

    def receive_binary(self) -> None:
        """There are no binary frames in this protocol."""
        self.close(CloseCode.UNSUPPORTED)

    def mark_alive(self) -> None:
        """The client gave a sign of life."""
        self._missed_heartbeats = 0

    def charge_rate_limit(self, size: int, frames: int = 1) -> bool:
        """The client begins a frame of so many bytes: a sign of life. False when that is too much, and the session ends.

        ``frames`` 0: a frame that has begun has turned out to be so much larger.
        """
        self.mark_alive()
        pace, now = self._rate_limits, time.monotonic()
        if pace is None:
            return True
        frames_full_at = pace.frames.take(self._frames_full_at, frames, now)
        bytes_full_at = pace.bytes.take(self._bytes_full_at, size, now)
        if frames_full_at is None or bytes_full_at is None:
            self.close(CloseCode.TOO_FAST, flush=False)
            return False
        self._frames_full_at, self._bytes_full_at = frames_full_at, bytes_full_at
        return True

    def send_error(self, code: str, message: str) -> None:
        """What the client asked for was not done."""
        self.send_message(ErrorMessage(code, message))

    # ---------------------------------------------------------------- from the hub

    def send_initial_message(self, get_totals: Callable[[], Batch]) -> None:
        """The first frame is the totals; later ones come as ``schedule_totals`` says, always the newest.

        Whoever does not follow the totals is told instead what it does follow.
        """
        self._get_totals = get_totals
        self.send(get_totals() if ANALYTICS_TOPIC in self.topics else Batch([encode(Subscribed(self.topics))]))

    def send(self, *batches: Batch) -> None:
        """Queue them, all or none. Never waits: a client that does not keep up is ended."""
        if self.close_code is not None or not batches:
            return
        self.detach()
        if self._queue.offer(*batches):
            self._transport.notify_pending()
        else:
            self.close(CloseCode.SLOW_CONSUMER, flush=False)

    def send_message(self, message: ServerMessage) -> None:
        """Queue a frame that is for this client alone."""
        self.send(Batch([encode(message)]))

    def schedule_totals(self) -> None:
        """A slot, not an entry of the queue: whenever it is this client's turn, it gets the totals of that moment."""
        self.detach()
        self._totals_seen = 0
        self._transport.notify_pending()

    def go_live(self, broadcast_log: BroadcastLog) -> None:
        """From here on what is published to all comes to this session too, as far as its topics go."""
        self._broadcast_log = broadcast_log
        self._offset = broadcast_log.end_offset
        if self._conflation is not None:
            self._conflation.advance(broadcast_log, self._offset)
        if self._totals_seen:
            self._totals_seen = broadcast_log.totals_version

    def _leave_broadcast(self) -> bool:
        """What has been published until now still comes; nothing of what will be. False when the client was too slow for it."""
        self.detach()
        feed, self._broadcast_log = self._broadcast_log, None
        if feed is None:
            return True
        if self._totals_seen != feed.totals_version:
            self._totals_seen = 0
        if self.sees_all_events and self._offset != feed.end_offset:
            instead = self._conflation and self._conflation.replacement(feed, self._offset)
            if not instead and self._offset < feed.first_offset:
                self.close(CloseCode.SLOW_CONSUMER, flush=False)
                return False
            self._queue.extend(instead or feed.since(self._offset))
        return True

    @property
    def is_caught_up(self) -> bool:
        """Whether there is nothing to take, and what comes next comes to everybody else, too."""
        feed = self._broadcast_log
        return (
            feed is not None
            and self.sees_everything
            and self._conflation is None
            and self._offset == feed.end_offset
            and self._totals_seen == feed.totals_version
            and not self._queue
        )

    def detach(self) -> None:
        """From here on it stands by itself where its crowd stood, if it was in one: it gets something that is its own, or
        cannot be written to.
        """
        if self.cohort is not None:
            crowd, self.cohort = self.cohort, None
            self._offset, self._totals_seen = crowd.leave(self)

    @property
    def indexed_orders(self) -> frozenset[int]:
        """The orders whose events have to be found for it: it does not get all, or would not get all one by one."""
        return _NO_ORDERS if self.sees_all_events and self._conflation is None else self.order_ids

    def retain_for_conflation(self, entries: Iterable[tuple[int, Event]]) -> None:
        """Events that have come to the feed, with their places: those of its own orders come one by one in any case."""
        grant, conflation = self.grant, self._conflation
        assert grant is not None
        assert conflation is not None
        if self._queue.exceeds_limit(conflation.pending_own):
            self.close(CloseCode.SLOW_CONSUMER, flush=False)
            return
        conflation.add_own(
            (place, event.payload) for place, event in entries if event.order_id in self.order_ids and grant.may_see(event)
        )

    def deliver_broadcast(self, now: float) -> None:
        """There is something new in the feed. A client that has not kept up is ended, and so is one whose grant has run out."""
        feed = self._broadcast_log
        # (Asked here first: this is done for everybody, at every event.)
        if feed is None or (now >= self.expires_at and self.close_if_expired(now)):
            return
        if self.sees_all_events and self._offset != feed.end_offset:
            if self._offset < feed.first_offset and self._conflation is None:
                self.close(CloseCode.SLOW_CONSUMER, flush=False)
                return
        elif self._totals_seen == feed.totals_version:
            return
        self._transport.flush_broadcast()

    def fail(self) -> None:
        """It is not known what its client has got."""
        self.close(CloseCode.INTERNAL_ERROR, flush=False)

    def ping(self) -> None:
        """One heartbeat interval is over."""
        if self.record_ping():
            self.send(PING_BATCH)

    def record_ping(self) -> bool:
        """Count one that has not been answered yet: whether it is to be sent, since there have not been too many."""
        if self.grant is None:
            return False  # its time is bounded anyway, and until there is a token it gets nothing
        if self._missed_heartbeats >= MAX_MISSED_HEARTBEATS:
            self.close(CloseCode.NO_PONG, flush=False)
            return False
        self._missed_heartbeats += 1
        return True

    def close(self, close_code: CloseCode, *, flush: bool = True) -> None:
        """The only way into the closed state. ``flush``: what is queued still goes out first."""
        if self.close_code is not None:
            return
        self.detach()
        if flush and not self._leave_broadcast():
            return
        self.close_code = close_code
        self._aborted = not flush
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        if not flush:
            self._queue.clear()
            self._broadcast_log = None
            self._totals_seen = 1
        self._wake_writer()
        self._transport.notify_pending()

    # ---------------------------------------------------------------- to the transport

    def take(self, about_bytes: int) -> list[Batch]:
        """What to send next. The totals come last, when all events that they include have been taken."""
        self.detach()
        queue = self._queue
        batches = queue.take(about_bytes) if queue else []
        if self._writable is not None and not queue.is_congested:
            self._wake_writer()
        if queue:
            return batches
        feed = self._broadcast_log
        if feed is None:
            if self._totals_seen:
                return batches
        else:
            if self.sees_all_events and self._offset != feed.end_offset:
                conflation = self._conflation
                if conflation is not None and (instead := conflation.replacement(feed, self._offset)):
                    batches += instead
                    self._offset = feed.end_offset
                elif self._offset < feed.first_offset:
                    self.close(CloseCode.SLOW_CONSUMER, flush=False)
                    return []
                else:
                    batch, self._offset = feed.read(self._offset, about_bytes)
                    batches.append(batch)
                if conflation is not None:
                    conflation.advance(feed, self._offset)
                if self._offset != feed.end_offset:
                    return batches
            if self._totals_seen == feed.totals_version:
                return batches
        self._totals_seen = 1 if feed is None else feed.totals_version
        if self._get_totals is not None and ANALYTICS_TOPIC in self.topics:
            batches.append(self._get_totals())
        return batches

    @property
    def has_pending(self) -> bool:
        """Whether there is something to take."""
        if self.cohort is not None:
            return not self.cohort.is_caught_up
        feed = self._broadcast_log
        if self._queue or not self._totals_seen:
            return True
        return feed is not None and (
            (self.sees_all_events and self._offset != feed.end_offset) or self._totals_seen != feed.totals_version
        )

    async def wait_writable(self) -> None:
        """Return once another batch can be sent without too much waiting, or the session has ended. One at a time may ask."""
        while self._queue.is_congested and self.close_code is None:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable

    def _wake_writer(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    @property
    def aborted(self) -> bool:
        """Whether the session has ended without flushing: what is being sent is not worth waiting for."""
        return self._aborted

    @property
    def offset(self) -> int:
        """How far it has got in what is published to all, while it stands apart."""
        return self._offset

    @property
    def is_congested(self) -> bool:
        """Whether so much waits for the transport that another batch could be too much."""
        if self._queue.is_congested:
            return True
        feed = self._broadcast_log
        return feed is not None and self.sees_all_events and self._conflation is None and feed.is_behind(self._offset)
