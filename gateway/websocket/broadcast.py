"""Writes of all WebSockets: messages as text frames, compressed by the shared deflate stream for clients that follow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from aiohttp import web

from gateway.net.transports import TransportBackend
from gateway.sessions.broadcast import BroadcastClient, Broadcaster, CohortParts, TransportCohort
from gateway.websocket.frames import text_frames
from gateway.websocket.shared_deflate import Follower, Segment, SharedDeflate
from push.delivery.batch import Batch
from push.delivery.hub import Hub
from push.delivery.session import PING_MESSAGE, Session
from push.metrics import Metrics

__all__ = ["BROADCASTER", "CohortClient", "WebSocketBroadcaster"]


class CohortClient(BroadcastClient, Protocol):
    """A WebSocket. ``variant``: whether broadcast messages are compressed for it."""

    # As in Follower; None while the client is in a cohort, whose ``segment`` counts then.
    segment: Segment | None


class WebSocketBroadcaster(Broadcaster[CohortClient]):
    """Encodes messages as frames, and flushes the WebSockets of one process. One per application."""

    def __init__(self, metrics: Metrics, hub: Hub, backend: TransportBackend) -> None:
        super().__init__("websocket", metrics, hub, backend)
        self._shared_deflate = SharedDeflate()

    def encode(self, batches: list[Batch], follower: Follower | None = None, client_count: int = 1) -> tuple[bytes, int]:
        """Encode the batches as frames; return these and the payload size before compression.

        Clients with the same batches share the result. The batches count as sent to ``client_count`` clients. A ``follower``
        gets broadcast messages compressed, once it has joined the shared deflate stream.
        """
        combined = self.combine(batches, client_count)
        if follower is not None:
            return self._shared_deflate.encode(batches, follower, _encode_plain), combined.size
        return _encode_plain(combined), combined.size

    def on_blocked(self, follower: Follower) -> None:
        """The follower's transport is full: see ``SharedDeflate.on_blocked``."""
        self._shared_deflate.on_blocked(follower)

    def remove_follower(self, follower: Follower) -> None:
        """The follower is gone, or stops following."""
        self._shared_deflate.remove(follower)

    def create_cohort(self, variant: bool, *parts: *CohortParts) -> TransportCohort[CohortClient]:
        return _WebSocketCohort(self, variant, self._backend, *parts)

    def clear_cache(self) -> None:
        super().clear_cache()
        self._shared_deflate.clear_cache()


class _WebSocketCohort(TransportCohort[CohortClient]):
    """A cohort whose members are also at the same segment of the shared deflate stream.

    While a client is a member, the cohort is the follower of the stream, and holds the segment for all members.
    """

    def __init__(
        self, broadcaster: WebSocketBroadcaster, compressed: bool, backend: TransportBackend, *parts: *CohortParts
    ) -> None:
        super().__init__(backend, *parts)
        self._broadcaster = broadcaster
        self._compressed = compressed
        self.segment: Segment | None = None

    @property
    def client_count(self) -> int:
        return len(self.members)

    def encode(self, batches: list[Batch]) -> bytes:
        return self._broadcaster.encode(batches, self if self._compressed else None, len(self.members))[0]

    def join(self, session: Session, client: CohortClient) -> bool:
        if not self.members:
            self.segment = client.segment
        if client.segment is not self.segment or not super().join(session, client):
            return False
        client.segment = None
        return True

    def leave(self, session: Session) -> tuple[int, int]:
        self.members[session].segment = self.segment
        offset_and_totals = super().leave(session)
        if not self.members:
            self.segment = None  # a segment references all later ones: it would keep them in memory
        return offset_and_totals


BROADCASTER = web.AppKey("BROADCASTER", WebSocketBroadcaster)


def _encode_plain(batch: Batch) -> bytes:
    return batch.encoded(_encode_text_frames)


def _encode_text_frames(payloads: Sequence[bytes]) -> bytes:
    return text_frames(payloads, ping_after=PING_MESSAGE)
