"""Writes of all sessions of one kind: WebSockets, or Server-Sent Events.

What becomes pending for one client in a tick of the event loop is written in the next, by one write. What is published to a
cohort is written within the hub's slice, by one call for all its members. The system calls are those of gateway/net.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from gateway.net.transports import Transport, TransportBackend, TransportGroup
from push.delivery.batch import CHUNK_BYTES, Batch, concat
from push.delivery.broadcast_log import BroadcastLog
from push.delivery.cohort import Cohort
from push.delivery.hub import Hub
from push.delivery.session import Session
from push.delivery.session_transport import SessionTransport
from push.delivery.slices import SLICE_BYTES, SLICE_SIZE
from push.metrics import Metrics

__all__ = ["BroadcastClient", "Broadcaster", "CohortParts", "TransportCohort"]

log = logging.getLogger("orderwire.broadcast")


class Flushable(Protocol):
    """A client with pending data, as ``Broadcaster.schedule_flush`` takes it."""

    def flush(self) -> int:
        """Write a chunk of the pending data, and schedule another flush if there is more. Returns the number of bytes."""

    def abort(self) -> None:
        """Abort the connection, after ``flush`` has raised."""


class BroadcastClient(SessionTransport, Protocol):
    """A client that writes the messages of one session to its transport."""

    # The transport holds unsent data.
    write_paused: bool

    @property
    def transport(self) -> Transport | None:
        """What is written to; None after the connection is lost."""

    @property
    def variant(self) -> bool:
        """By which of two encodings messages are sent to it. Clients of one cohort have the same."""

    def encode(self, batches: list[Batch]) -> tuple[bytes, int]:
        """What to write for the batches, and their payload size."""


T = TypeVar("T", bound=BroadcastClient)
# The arguments of ``Cohort``.
CohortParts = tuple[BroadcastLog, set[Session], Callable[[], Batch]]


class Broadcaster(Generic[T]):
    """Flushes and counts the sessions of one kind, in one process. One per kind and application."""

    def __init__(self, transport_name: str, metrics: Metrics, hub: Hub, backend: TransportBackend) -> None:
        """``transport_name``: the label of the metrics."""
        self._flush_queue: deque[Flushable] = deque()
        self._hub = hub
        self._backend = backend
        # By the variant of their members.
        self._cohorts: defaultdict[bool, list[TransportCohort[T]]] = defaultdict(list)
        self._scheduled = False
        self._messages_counter = metrics.sent_messages.labels(transport_name)
        self._bytes_counter = metrics.sent_bytes.labels(transport_name)
        self._sent_messages = self._sent_bytes = 0
        # Cache: the batches of the last client and their concatenation. The next client usually has the same batches.
        self._last_batches: list[Batch] = []
        self._last_combined = Batch(())

    # ---------------------------------------------------------------- overridden by subclasses

    def create_cohort(self, variant: bool, *parts: *CohortParts) -> TransportCohort[T]:
        """Make a cohort of clients of this variant."""
        raise NotImplementedError

    def clear_cache(self) -> None:
        """Drop what was kept for clients with the same batches. Called when all scheduled flushes are done."""
        self._last_batches, self._last_combined = [], Batch(())

    # ---------------------------------------------------------------- called by clients and cohorts

    def schedule_flush(self, client: Flushable) -> None:
        """Flush the client in the next tick. Must not be called again before that flush."""
        self._flush_queue.append(client)
        if not self._scheduled:
            self._schedule()

    def write_pending(self, session: Session, client: T) -> int:
        """Write a chunk of what the session has queued, unless the client's transport is full; returns the number of bytes.

        Schedules a flush for the rest. A session that is caught up joins a cohort.
        """
        written = size = 0
        if not client.write_paused and (batches := session.take(CHUNK_BYTES)):
            data, size = client.encode(batches)
            written = len(data)
            assert client.transport is not None
            client.transport.write(data)
        if not client.write_paused:
            if size >= CHUNK_BYTES:  # else the queue is empty
                client.schedule_flush()
            elif session.close_code is None and session.is_caught_up:
                self._join_cohort(session, client)
        return written

    def combine(self, batches: list[Batch], client_count: int = 1) -> Batch:
        """The batches as one, which counts as sent to ``client_count`` clients. Clients with the same batches share it."""
        if not self._scheduled:
            self._schedule()  # even without a client to flush: the slice publishes the counters and clears the caches
        if len(batches) == 1:
            combined = batches[0]
        else:
            if batches != self._last_batches:
                self._last_batches = batches
                self._last_combined = concat(batches)
            combined = self._last_combined
        self._sent_messages += combined.count * client_count
        self._sent_bytes += combined.size * client_count
        return combined

    def _join_cohort(self, session: Session, client: T) -> None:
        variant = client.variant
        cohorts = self._cohorts[variant]
        with_room = [cohort for cohort in cohorts if not cohort.is_full]
        if not with_room:
            with_room = [self._hub.create_cohort(lambda *parts: self.create_cohort(variant, *parts))]
            cohorts += with_room
        # No cohort may be joinable right now (behind the log, or at another deflate segment): retried after the next flush.
        any(cohort.join(session, client) for cohort in with_room)

    # ---------------------------------------------------------------- slices

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._flush_slice)

    def _flush_slice(self) -> None:
        with self._backend:
            written = 0
            for _ in range(min(SLICE_SIZE, len(self._flush_queue))):
                client = self._flush_queue.popleft()
                try:
                    written += client.flush()
                except Exception:
                    log.exception("writing to a client failed, aborting its connection")
                    client.abort()
                if written >= SLICE_BYTES:
                    break
        # Once per slice: incrementing a counter costs as much as a write.
        self._messages_counter.inc(self._sent_messages)
        self._bytes_counter.inc(self._sent_bytes)
        self._sent_messages = self._sent_bytes = 0
        self._scheduled = bool(self._flush_queue)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._flush_slice)
        else:
            self.clear_cache()


class TransportCohort(Cohort[T]):
    """A cohort whose members' transports are written the same bytes by one call."""

    def __init__(self, backend: TransportBackend, *parts: *CohortParts) -> None:
        super().__init__(*parts)
        self._backend = backend
        # The members' transports; None after a change of the members.
        self._group: TransportGroup | None = None
        self._write_count = 0

    def encode(self, batches: list[Batch]) -> bytes:
        """What to write to all members for the batches, which counts as sent to each."""
        raise NotImplementedError

    def join(self, session: Session, client: T) -> bool:
        joined = super().join(session, client)
        if joined:
            self._group = None
        return joined

    def leave(self, session: Session) -> tuple[int, int]:
        self._group = None
        return super().leave(session)

    def write_all(self, batches: list[Batch]) -> None:
        data = self.encode(batches)
        if self._group is None:
            self._group = self._backend.group(
                [client.transport for client in self.members.values() if client.transport is not None]
            )
        self._write_count += 1
        self._group.write(data, self._write_count)
