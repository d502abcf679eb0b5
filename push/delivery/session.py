"""One connected client, whatever the transport: what it may see, what waits for it, whether it is alive, how it is closed.

A session does no I/O and runs no task. The hub and the session manager call it, and its transport takes what is to be sent
(``take``). All calls come from the event loop's thread.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from push.delivery.batch import Batch, in_chunks
from push.delivery.broadcast_log import BroadcastLog
from push.delivery.conflation import Conflation
from push.delivery.rate_limit import INITIALLY_FULL, RateLimits
from push.delivery.send_queue import SendQueue
from push.delivery.session_transport import SessionTransport
from push.delivery.subscription import Subscription
from push.journal.events import Event
from push.protocol.access import Grant
from push.protocol.messages import CloseCode, ErrorMessage, Ping, ServerMessage, Subscribed, encode

__all__ = ["MAX_MISSED_HEARTBEATS", "PING_BATCH", "PING_MESSAGE", "CohortMembership", "Session"]

PING_MESSAGE = encode(Ping())
PING_BATCH = Batch([PING_MESSAGE])

# Heartbeats in a row that a client may leave unanswered. At the next one the session is closed.
MAX_MISSED_HEARTBEATS = 2

_NO_TOPICS = Subscription.of(frozenset(), None)


class CohortMembership(Protocol):
    """What a session needs of the cohort that it is a member of."""

    @property
    def is_caught_up(self) -> bool:
        """Whether the members have been sent everything that is published."""

    def leave(self, session: Session) -> tuple[int, int]:
        """Remove the session; returns the offset in the broadcast log and the version of the totals at which it continues."""


class Session:
    """The state of one client. Its transport makes it, the hub holds it from ``Hub.add`` to ``Hub.remove``.

    Messages for this client alone wait in its send queue and go first; what is published to all is read from the broadcast
    log. A live session is either a member of a cohort, which tracks the offset in the log for all its members, or *detached*,
    and tracks its own.

    A process has up to tens of thousands of sessions, hence the slots; ``deliver_broadcast`` and ``take`` run for each detached
    one in every pass of the hub, so they compare offsets themselves instead of calling methods for it.
    """

    __slots__ = (
        "_broadcast_log",
        "_bytes_full_at",
        "_close_timer",
        "_conflation",
        "_frames_full_at",
        "_get_totals",
        "_missed_heartbeats",
        "_on_admitted",
        "_queue",
        "_rate_limits",
        "_totals_seen",
        "_transport",
        "_writable",
        "aborted",
        "close_code",
        "cohort",
        "expires_at",
        "grant",
        "offset",
        "subscription",
    )

    def __init__(
        self,
        queue: SendQueue,
        transport: SessionTransport,
        rate_limits: RateLimits | None = None,
        on_admitted: Callable[[], None] | None = None,
        conflate_above: int | None = None,
    ) -> None:
        """``rate_limits``: None for no limits. ``on_admitted`` is called once, with the first grant. ``conflate_above``: number
        of waiting events above which the client prefers one ``bulk`` message to the events; None for never.
        """
        # Once it is set, the session takes no more messages, and the transport closes when ``take`` has returned everything.
        self.close_code: CloseCode | None = None
        # Closed without flushing: the transport need not wait for what it is sending.
        self.aborted = False
        # None until the client has authenticated.
        self.grant: Grant | None = None
        self.expires_at = math.inf
        self.subscription = _NO_TOPICS
        self._queue = queue
        self._transport = transport
        self._on_admitted = on_admitted
        self._rate_limits = rate_limits
        # State of two token buckets (see TokenBucketRate); bucket objects would be 0.3 KiB.
        self._frames_full_at = self._bytes_full_at = INITIALLY_FULL
        self._get_totals: Callable[[], Batch] | None = None
        # None unless the session is live. While it is in a cohort, ``offset`` and ``_totals_seen`` are out of date.
        self._broadcast_log: BroadcastLog | None = None
        self.offset = 0
        # Version of the totals that the client was sent last; 0 if the totals are due whatever their version. While the session
        # is not live, any other value means that they are not due.
        self._totals_seen = 1
        self.cohort: CohortMembership | None = None
        self._conflation = None if conflate_above is None else Conflation(conflate_above)
        self._missed_heartbeats = 0
        self._close_timer: asyncio.TimerHandle | None = None
        self._writable: asyncio.Future[None] | None = None

    # ---------------------------------------------------------------- grant, topics, expiry

    @property
    def topics(self) -> frozenset[str]:
        """The topics that the session subscribes to."""
        return self.subscription.topics

    def start_auth_timeout(self, seconds: float) -> None:
        """Close the session after ``seconds`` unless ``apply_grant`` is called before."""
        self._close_after(seconds, CloseCode.NOT_AUTHENTICATED)

    def apply_grant(self, grant: Grant, topics: frozenset[str]) -> None:
        """Set or replace the grant. The session is closed when it expires."""
        self.grant = grant
        self.expires_at = grant.expires_at
        self.set_topics(topics)
        self._close_after(grant.expires_at - time.time(), CloseCode.TOKEN_EXPIRED)
        if self._on_admitted is not None:
            on_admitted, self._on_admitted = self._on_admitted, None
            on_admitted()

    def set_topics(self, topics: frozenset[str]) -> None:
        """Replace the subscription. What was published before is still delivered by the old one.

        If the session is in a hub, the caller has to call ``Hub.topics_changed`` afterwards.
        """
        broadcast_log = self._broadcast_log
        slow = not self._leave_broadcast()
        self.subscription = Subscription.of(topics, self.grant)
        if broadcast_log is not None and not slow:
            self.go_live(broadcast_log)

    def visible(self, events: Iterable[Event]) -> list[Event]:
        """The events that the client subscribes to and may see now."""
        return [] if self.grant is None else self.subscription.visible(events, self.grant, time.time())

    def close_if_expired(self, now: float) -> bool:
        """Close the session if its grant has expired; ``now`` in Unix seconds. Returns whether the session is closed.

        The timer of ``apply_grant`` runs on the monotonic clock and does not notice when the wall clock is set.
        """
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

    # ---------------------------------------------------------------- signs of life

    def mark_alive(self) -> None:
        """The client has sent or taken something: its missed heartbeats are forgotten."""
        self._missed_heartbeats = 0

    def charge_rate_limit(self, size: int, frames: int = 1) -> bool:
        """Count a frame of ``size`` bytes that the client has begun to send. False if that exceeds a rate limit, which closes
        the session.

        Also marks the client alive: every frame, data or control, shows it, and the transport makes no second call for that.
        ``frames`` is 0 when a frame that has been counted turns out to be ``size`` bytes larger.
        """
        self.mark_alive()
        if self._rate_limits is None:
            return True
        charged = self._rate_limits.charge(self._frames_full_at, self._bytes_full_at, frames, size, time.monotonic())
        if charged is None:
            self.close(CloseCode.TOO_FAST, flush=False)
            return False
        self._frames_full_at, self._bytes_full_at = charged
        return True

    def ping(self) -> None:
        """Send a heartbeat, or close the session. Called by the hub once per heartbeat interval."""
        if self.record_ping():
            self.send(PING_BATCH)

    def record_ping(self) -> bool:
        """Count a heartbeat as unanswered. False if it must not be sent: after too many, which closes the session."""
        if self.grant is None:
            return False  # it receives nothing yet, and ``start_auth_timeout`` bounds its time
        if self._missed_heartbeats >= MAX_MISSED_HEARTBEATS:
            self.close(CloseCode.NO_PONG, flush=False)
            return False
        self._missed_heartbeats += 1
        return True

    # ---------------------------------------------------------------- messages for this client alone

    def send_initial_message(self, get_totals: Callable[[], Batch]) -> None:
        """Send the totals, or the list of topics if they do not include the totals. ``get_totals`` is kept for later totals."""
        self._get_totals = get_totals
        subscription = self.subscription
        self.send(get_totals() if subscription.receives_totals else Batch([encode(Subscribed(subscription.topics))]))

    def send(self, *batches: Batch) -> None:
        """Queue all batches or none. Never waits: if too much is waiting already, the session is closed as a slow consumer."""
        if self.close_code is not None or not batches:
            return
        self.detach()
        if self._queue.offer(*batches):
            self._transport.schedule_flush()
        else:
            self.close_as_slow_consumer()

    def send_message(self, message: ServerMessage) -> None:
        """Queue one message."""
        self.send(Batch([encode(message)]))

    def send_error(self, code: str, message: str) -> None:
        """Queue an ``error`` message: a request of the client was not carried out."""
        self.send_message(ErrorMessage(code, message))

    def schedule_totals(self) -> None:
        """Send the totals after everything that waits now. They are not queued: they are read when the transport takes them."""
        self.detach()
        self._totals_seen = 0
        self._transport.schedule_flush()

    # ---------------------------------------------------------------- what is published to all

    def go_live(self, broadcast_log: BroadcastLog) -> None:
        """From now on deliver what is published, as far as the subscription goes."""
        self._broadcast_log = broadcast_log
        self.offset = broadcast_log.end_offset
        if self._conflation is not None:
            self._conflation.advance(broadcast_log, self.offset)
        if self._totals_seen:
            self._totals_seen = broadcast_log.totals_version

    def _leave_broadcast(self) -> bool:
        """Stop reading the log; move what waits there to the queue. False if the session had overflowed, which closes it."""
        self.detach()
        broadcast_log, self._broadcast_log = self._broadcast_log, None
        if broadcast_log is None:
            return True
        if self._totals_seen != broadcast_log.totals_version:
            self._totals_seen = 0
        if self.subscription.receives_all_orders and self.offset != broadcast_log.end_offset:
            replacement = self._conflation and self._conflation.replacement(broadcast_log, self.offset)
            if not replacement and self.offset < broadcast_log.first_offset:
                self.close_as_slow_consumer()
                return False
            self._queue.extend(replacement or broadcast_log.since(self.offset))
        return True

    def send_apart(self, events: Iterable[Event]) -> bool:
        """Queue the visible ones of these events, behind what waits in the log, and stop reading it. False if that has closed
        the session.

        For a publication with events of streams that this session selects, while the log gets those of orders only: the client
        has to get both in the order of the journal, since a cursor stands for everything before its event. ``go_live`` has to
        follow once the log has its part.
        """
        if self._leave_broadcast():
            self.send(*in_chunks([event.payload for event in self.visible(events)]))
        return self.close_code is None

    def deliver_broadcast(self, now: float) -> int:
        """Have the transport write a chunk of what is new in the log; returns the number of bytes. Closes the session if it has
        overflowed or its grant has expired.

        Called by the hub in every pass while the session is detached; ``now`` in Unix seconds.
        """
        broadcast_log = self._broadcast_log
        if broadcast_log is None or (now >= self.expires_at and self.close_if_expired(now)):
            return 0
        if self.subscription.receives_all_orders and self.offset != broadcast_log.end_offset:
            if self.offset < broadcast_log.first_offset and self._conflation is None:
                self.close_as_slow_consumer()
                return 0
        elif self._totals_seen == broadcast_log.totals_version:
            return 0
        return self._transport.flush_broadcast()

    def retain_for_conflation(self, entries: Iterable[tuple[int, Event]]) -> None:
        """Retain those of the new (offset, event) in the log that are of the session's single orders: conflation never leaves
        them out. Does nothing unless the session conflates.
        """
        grant, conflation = self.grant, self._conflation
        if conflation is None:
            return
        assert grant is not None
        if self._queue.exceeds_max_messages(conflation.pending_own):
            self.close_as_slow_consumer()
            return
        selected = self.subscription.selected
        conflation.add_own(
            (offset, seen.payload)
            for offset, event in entries
            if event.order_key in selected and (seen := grant.view(event)) is not None
        )

    # ---------------------------------------------------------------- cohort

    @property
    def is_caught_up(self) -> bool:
        """Whether nothing waits, and the session receives all that is published, unchanged: then it may join a cohort."""
        broadcast_log = self._broadcast_log
        return (
            broadcast_log is not None
            and self.subscription.receives_everything
            and self._conflation is None
            and self.offset == broadcast_log.end_offset
            and self._totals_seen == broadcast_log.totals_version
            and not self._queue
        )

    def detach(self) -> None:
        """Leave the cohort, if any, and continue with an offset of its own: this session differs from the other members."""
        if self.cohort is not None:
            cohort, self.cohort = self.cohort, None
            self.offset, self._totals_seen = cohort.leave(self)

    # ---------------------------------------------------------------- closing

    def fail(self) -> None:
        """Close after an error of our own that leaves unknown what the client has received."""
        self.close(CloseCode.INTERNAL_ERROR, flush=False)

    def close_as_slow_consumer(self) -> None:
        """Close because the client does not take its messages: the send queue or the broadcast log has overflowed, or a replay
        has stalled. What waits is dropped.
        """
        self.close(CloseCode.SLOW_CONSUMER, flush=False)

    def close(self, close_code: CloseCode, *, flush: bool = True) -> None:
        """Close the session; has no effect if it is closed. ``flush``: what waits is still sent."""
        if self.close_code is not None:
            return
        self.detach()
        if flush:
            if not self._leave_broadcast():
                return
            self._queue_totals()
        self.close_code = close_code
        self.aborted = not flush
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None
        if not flush:
            self._queue.clear()
            self._broadcast_log = None
            self._totals_seen = 1
        self._wake_writer()
        self._transport.schedule_flush()

    def _queue_totals(self) -> None:
        """Queue the totals if they are due: while the rest of the output is written, those that are read then would come to
        include events that this client is not sent.
        """
        if not self._totals_seen:
            self._totals_seen = 1
            if self.subscription.receives_totals and self._get_totals is not None:
                self._queue.extend([self._get_totals()])

    # ---------------------------------------------------------------- transport

    def take(self, about_bytes: int) -> list[Batch]:
        """What to send next, up to about ``about_bytes``; empty if nothing waits. Called by the transport when it can write.

        Detaches the session from its cohort. Closes it as a slow consumer if the log has overflowed; the result is then empty.
        First the queue, then the log, then the totals: only when all events that they include have been taken.
        """
        if self.cohort is not None:
            self.detach()
        batches: list[Batch] = []
        queue = self._queue
        if queue:
            batches = queue.take(about_bytes)
            if self._writable is not None and not queue.is_congested:
                self._wake_writer()
            if queue:
                return batches
        subscription, broadcast_log = self.subscription, self._broadcast_log
        if broadcast_log is None:
            if self._totals_seen:
                return batches
            self._totals_seen = 1
        else:
            if subscription.receives_all_orders and self.offset != broadcast_log.end_offset:
                conflation = self._conflation
                if conflation is not None and (replacement := conflation.replacement(broadcast_log, self.offset)):
                    batches += replacement
                    self.offset = broadcast_log.end_offset
                elif self.offset < broadcast_log.first_offset:
                    self.close_as_slow_consumer()
                    return []
                else:
                    batch, self.offset = broadcast_log.read(self.offset, about_bytes)
                    batches.append(batch)
                if conflation is not None:
                    conflation.advance(broadcast_log, self.offset)
                if self.offset != broadcast_log.end_offset:
                    return batches
            if self._totals_seen == broadcast_log.totals_version:
                return batches
            self._totals_seen = broadcast_log.totals_version
        if subscription.receives_totals and self._get_totals is not None:
            batches.append(self._get_totals())
        return batches

    @property
    def has_output(self) -> bool:
        """Whether ``take`` would return something."""
        if self.cohort is not None:
            return not self.cohort.is_caught_up
        if self._queue or not self._totals_seen:
            return True
        broadcast_log = self._broadcast_log
        return broadcast_log is not None and (
            (self.subscription.receives_all_orders and self.offset != broadcast_log.end_offset)
            or (self.subscription.receives_totals and self._totals_seen != broadcast_log.totals_version)
        )

    # ---------------------------------------------------------------- back-pressure

    @property
    def is_congested(self) -> bool:
        """Whether more than half of what may wait is waiting, in the queue or in the log."""
        if self._queue.is_congested:
            return True
        broadcast_log = self._broadcast_log
        return (
            broadcast_log is not None
            and self.subscription.receives_all_orders
            and self._conflation is None
            and broadcast_log.is_behind(self.offset)
        )

    async def wait_writable(self) -> None:
        """Return when the queue is not congested, or the session is closed. Only one task at a time may wait."""
        while self._queue.is_congested and self.close_code is None:
            self._writable = asyncio.get_running_loop().create_future()
            await self._writable

    def _wake_writer(self) -> None:
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None
