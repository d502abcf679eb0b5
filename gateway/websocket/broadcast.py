"""Writes of all WebSockets.

What becomes pending for one client in a tick of the event loop is written in the next, by one write. What is published to a
cohort is written within the hub's slice, by one call for all its members. The system calls are those of gateway/net.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

from aiohttp import web

from gateway.net.transports import Transport, TransportBackend, TransportGroup
from gateway.websocket.frames import text_frames
from gateway.websocket.shared_deflate import Follower, Segment, SharedDeflate
from push.delivery.batch import Batch, concat
from push.delivery.broadcast_log import BroadcastLog
from push.delivery.cohort import Cohort
from push.delivery.hub import Hub
from push.delivery.session import PING_MESSAGE, Session
from push.delivery.session_transport import SessionTransport
from push.delivery.slices import SLICE_SIZE
from push.metrics import Metrics

__all__ = ["BROADCASTER", "Broadcaster", "CohortClient"]

log = logging.getLogger("orderwire.broadcast")


class Flushable(Protocol):
    """A client with pending data, as ``Broadcaster.schedule_flush`` takes it."""

    def flush(self) -> None:
        """Write the pending data until the transport is full."""

    def abort(self) -> None:
        """Abort the connection, after ``flush`` has raised."""


class CohortClient(SessionTransport, Protocol):
    """A client whose session can join a cohort."""

    # As in Follower; None while the client is in a cohort, whose ``segment`` counts then.
    segment: Segment | None

    @property
    def transport(self) -> Transport | None:
        """What its frames are written to; None after the connection is lost."""


class Broadcaster:
    """Encodes messages and flushes the WebSockets of one process. One per application."""

    def __init__(self, metrics: Metrics, hub: Hub, backend: TransportBackend) -> None:
        self._flush_queue: deque[Flushable] = deque()
        self._hub = hub
        self._backend = backend
        # By whether broadcast messages are compressed for its members.
        self._cohorts: dict[bool, list[_WebSocketCohort]] = {True: [], False: []}
        self._scheduled = False
        self._frames_counter = metrics.sent_messages.labels("websocket")
        self._bytes_counter = metrics.sent_bytes.labels("websocket")
        self._sent_frames = self._sent_bytes = 0
        # Cache: the batches of the last client and their concatenation. The next client usually has the same batches.
        self._last_batches: list[Batch] = []
        self._last_combined = Batch(())
        self._shared_deflate = SharedDeflate()

    def schedule_flush(self, client: Flushable) -> None:
        """Flush the client in the next tick. Must not be called again before that flush."""
        self._flush_queue.append(client)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._flush_slice)

    def join_cohort(self, session: Session, client: CohortClient, *, compressed: bool) -> None:
        """Add a caught-up session, whose client is writable, to a cohort; its members are written to by one call."""
        cohorts = self._cohorts[compressed]
        with_room = [cohort for cohort in cohorts if not cohort.is_full]
        if not with_room:
            with_room = [self._hub.create_cohort(lambda *parts: _WebSocketCohort(self, self._backend, compressed, *parts))]
            cohorts += with_room
        # No cohort may be joinable right now (behind the log, or at another deflate segment): retried after the next flush.
        any(cohort.join(session, client) for cohort in with_room)

    def encode(self, batches: list[Batch], follower: Follower | None = None, client_count: int = 1) -> tuple[bytes, int]:
        """Encode the batches as frames; return these and the payload size before compression.

        Clients with the same batches share the result. The batches count as sent to ``client_count`` clients. A ``follower``
        gets broadcast messages compressed, once it has joined the shared deflate stream.
        """
        if not self._scheduled:
            self._schedule()  # even without a client to flush: the slice publishes the counters and clears the caches
        if len(batches) == 1:
            combined = batches[0]
        else:
            if batches != self._last_batches:
                self._last_batches = batches
                self._last_combined = concat(batches)
            combined = self._last_combined
        self._sent_frames += combined.count * client_count
        self._sent_bytes += combined.size * client_count
        if follower is not None:
            return self._shared_deflate.encode(batches, follower, _encode_plain), combined.size
        return _encode_plain(combined), combined.size

    def on_blocked(self, follower: Follower) -> None:
        """The follower's transport is full: see ``SharedDeflate.on_blocked``."""
        self._shared_deflate.on_blocked(follower)

    def remove_follower(self, follower: Follower) -> None:
        """The follower is gone, or stops following."""
        self._shared_deflate.remove(follower)

    def _flush_slice(self) -> None:
        with self._backend:
            for _ in range(min(SLICE_SIZE, len(self._flush_queue))):
                client = self._flush_queue.popleft()
                try:
                    client.flush()
                except Exception:
                    log.exception("writing to a client failed, aborting its connection")
                    client.abort()
        # Once per slice: incrementing a counter costs as much as a write.
        self._frames_counter.inc(self._sent_frames)
        self._bytes_counter.inc(self._sent_bytes)
        self._sent_frames = self._sent_bytes = 0
        self._scheduled = bool(self._flush_queue)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._flush_slice)
        else:
            self._last_batches, self._last_combined = [], Batch(())
            self._shared_deflate.clear_cache()


class _WebSocketCohort(Cohort[CohortClient]):
    """A cohort whose members are also at the same segment of the shared deflate stream.

    While a client is a member, the cohort is the follower of the stream, and holds the segment for all members.
    """

    def __init__(
        self,
        broadcaster: Broadcaster,
        backend: TransportBackend,
        compressed: bool,
        broadcast_log: BroadcastLog,
        detached: set[Session],
        get_totals: Callable[[], Batch],
    ) -> None:
        super().__init__(broadcast_log, detached, get_totals)
        self._broadcaster = broadcaster
        self._backend = backend
        self._compressed = compressed
        self.segment: Segment | None = None
        # The members' transports; None after a change of the members.
        self._group: TransportGroup | None = None
        self._write_count = 0

    @property
    def client_count(self) -> int:
        return len(self.members)

    def join(self, session: Session, client: CohortClient) -> bool:
        if not self.members:
            self.segment = client.segment
        if client.segment is not self.segment or not super().join(session, client):
            return False
        client.segment = None
        self._group = None
        return True

    def leave(self, session: Session) -> tuple[int, int]:
        self.members[session].segment = self.segment
        self._group = None
        offset_and_totals = super().leave(session)
        if not self.members:
            self.segment = None  # a segment references all later ones: it would keep them in memory
        return offset_and_totals

    def write_all(self, batches: list[Batch]) -> None:
        frames, _ = self._broadcaster.encode(batches, self if self._compressed else None, len(self.members))
        if self._group is None:
            self._group = self._backend.group(
                [client.transport for client in self.members.values() if client.transport is not None]
            )
        self._write_count += 1
        self._group.write(frames, self._write_count)


BROADCASTER = web.AppKey("BROADCASTER", Broadcaster)


def _encode_plain(batch: Batch) -> bytes:
    return batch.encoded(_encode_text_frames)


def _encode_text_frames(payloads: Sequence[bytes]) -> bytes:
    return text_frames(payloads, ping_after=PING_MESSAGE)
