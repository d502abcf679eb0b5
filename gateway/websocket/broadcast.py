"""The writing to all WebSockets: what comes up in one turn of the event loop goes out in the next, in one write per client."""

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
from push.delivery.batch import Batch
from push.delivery.broadcast_log import BroadcastLog
from push.delivery.cohort import Cohort
from push.delivery.hub import Hub
from push.delivery.session import PING_MESSAGE, Session
from push.delivery.session_transport import SessionTransport
from push.delivery.slices import SLICE_SIZE
from push.metrics import Metrics

__all__ = ["BROADCASTER", "Broadcaster", "CohortClient"]

log = logging.getLogger("orderwire.session")


class Flushable(Protocol):
    """Whoever has something to write."""

    def flush(self) -> None:
        """Write it, as far as it can be written."""

    def abort(self) -> None:
        """End at once."""


class CohortClient(SessionTransport, Protocol):
    """Who may be one of a crowd."""

    # See Follower.
    segment: Segment | None

    @property
    def transport(self) -> Transport | None:
        """What it is written to."""


class Broadcaster:
    """One for all. No system call is made where events are published: they are only queued there, and written here."""

    def __init__(self, metrics: Metrics, hub: Hub, backend: TransportBackend) -> None:
        self._flush_queue: deque[Flushable] = deque()
        self._hub = hub
        self._backend = backend
        # Of clients that get compressed what goes to everybody, and of others.
        self._cohorts: dict[bool, list[_WebSocketCohort]] = {True: [], False: []}
        self._scheduled = False
        self._frames_counter = metrics.sent_messages.labels("websocket")
        self._bytes_counter = metrics.sent_bytes.labels("websocket")
        self._sent_frames = self._sent_bytes = 0
        # The last clients' batches, and all of them as one: mostly the next client has the same.
        self._last_batches: list[Batch] = []
        self._last_combined = Batch(())
        self._shared_deflate = SharedDeflate()

    def schedule_flush(self, client: Flushable) -> None:
        """The client has something to write; not to be said again before it has been flushed."""
        self._flush_queue.append(client)
        if not self._scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_soon(self._flush_slice)

    def join_cohort(self, session: Session, client: CohortClient, *, compressed: bool) -> None:
        """The session is at rest, and its client can be written to: from here on, with others, by one call for all."""
        crowds = self._cohorts[compressed]
        having_room = [crowd for crowd in crowds if not crowd.is_full]
        if not having_room:
            having_room = [self._hub.create_cohort(lambda *parts: _WebSocketCohort(self, self._backend, compressed, *parts))]
            crowds += having_room
        # (All of them may be behind, as what has just been published has not been told to them yet; or it is the client that
        # has not come yet to where the stream is. Then it joins next time.)
        any(crowd.join(session, client) for crowd in having_room)

    def encode(self, batches: list[Batch], follower: Follower | None = None, client_count: int = 1) -> tuple[bytes, int]:
        """The batches as bytes for a WebSocket, worked out once for all clients that have the same; and their size, plain.
        They count as sent, to so many.

        A ``follower`` gets compressed what goes to everybody, once it has joined the stream.
        """
        if not self._scheduled:
            self._schedule()
        if len(batches) == 1:
            whole = batches[0]
        else:
            if batches != self._last_batches:
                self._last_batches = batches
                self._last_combined = Batch([frame for batch in batches for frame in batch.messages])
            whole = self._last_combined
        self._sent_frames += whole.count * client_count
        self._sent_bytes += whole.size * client_count
        if follower is not None:
            return self._shared_deflate.encode(batches, follower, _encode_plain), whole.size
        return _encode_plain(whole), whole.size

    def on_blocked(self, follower: Follower) -> None:
        """It cannot be written to."""
        self._shared_deflate.on_blocked(follower)

    def remove_follower(self, follower: Follower) -> None:
        """It is not written to any more."""
        self._shared_deflate.remove(follower)

    def _flush_slice(self) -> None:
        with self._backend:
            for _ in range(min(SLICE_SIZE, len(self._flush_queue))):
                client = self._flush_queue.popleft()
                try:
                    client.flush()
                except Exception:
                    log.exception("a client could not be written to")
                    client.abort()
        # Once for all of them: a counter of these costs as much as a write.
        self._frames_counter.inc(self._sent_frames)
        self._bytes_counter.inc(self._sent_bytes)
        self._sent_frames = self._sent_bytes = 0
        self._scheduled = bool(self._flush_queue)
        if self._scheduled:
            asyncio.get_running_loop().call_soon(self._flush_slice)
        else:
            self._last_batches, self._last_combined = [], Batch(())
            self._shared_deflate.end_pass()


class _WebSocketCohort(Cohort[CohortClient]):
    """Clients at one place in the feed, and in the compressed stream."""

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
        # See Follower: of all members.
        self.segment: Segment | None = None
        # Their lines, until somebody comes or goes.
        self._group: TransportGroup | None = None
        self._write_count = 0

    @property
    def client_count(self) -> int:
        """See Follower."""
        return len(self.members)

    def join(self, session: Session, transport: CohortClient) -> bool:
        """See Cohort."""
        if not self.members:
            self.segment = transport.segment
        if transport.segment is not self.segment or not super().join(session, transport):
            return False
        transport.segment = None
        self._group = None
        return True

    def leave(self, session: Session) -> tuple[int, int]:
        """See Cohort."""
        self.members[session].segment = self.segment
        self._group = None
        place = super().leave(session)
        if not self.members:
            self.segment = None  # it would keep all of the stream that comes
        return place

    def write_all(self, batches: list[Batch]) -> None:
        """See Cohort."""
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
