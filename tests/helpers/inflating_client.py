"""A hub, its broadcaster, and WebSocket clients that decompress what is written to them. No sockets."""

from __future__ import annotations

import asyncio
import json
import zlib
from types import SimpleNamespace
from typing import Any, cast

from gateway.net.transports import TransportBackend
from gateway.websocket.broadcast import WebSocketBroadcaster
from gateway.websocket.connection import WebSocketProtocol
from gateway.websocket.endpoint import _SessionClient
from gateway.websocket.permessage_deflate import Agreement
from gateway.websocket.shared_deflate import Segment
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.journal.totals import Totals
from push.metrics import Metrics
from push.protocol.access import ANALYTICS_TOPIC, ANONYMOUS_GRANT, ORDERS_TOPIC
from tests.helpers.builders import make_event
from tests.helpers.websocket_frames import COMPRESSED, FINAL, PING, TEXT, split_frames

__all__ = ["ALL_TOPICS", "BroadcastSetup", "InflatingClient", "InflatingReceiver"]

ALL_TOPICS = frozenset({ORDERS_TOPIC, ANALYTICS_TOPIC})


class InflatingReceiver:
    """The client's side of one connection: parses the frames, and decompresses with one window for the whole connection."""

    def __init__(self) -> None:
        self._decompressor = zlib.decompressobj(-15)
        self.messages: list[Any] = []
        self.compressed = 0
        self.bytes = 0

    def receive(self, data: bytes) -> None:
        self.bytes += len(data)
        for first_byte, payload in split_frames(data):
            if first_byte == FINAL | PING:
                continue
            if first_byte == FINAL | COMPRESSED | TEXT:
                payload = self._decompressor.decompress(payload + b"\x00\x00\xff\xff")
                self.compressed += 1
            else:
                assert first_byte == FINAL | TEXT
            self.messages.append(json.loads(payload))


class InflatingClient(_SessionClient):
    """The server's client object, with an InflatingReceiver as its transport. ``pause_writing`` makes it a slow client."""

    def __init__(
        self, hub: Hub, broadcaster: WebSocketBroadcaster, *, compression: bool = True, conflate: int | None = None
    ) -> None:
        WebSocketProtocol.__init__(self, 1000, lambda _: None, Agreement("", 0) if compression else None)
        self.receiver = InflatingReceiver()
        self.closed_with: tuple[int, str] | None = None
        self.conflates = conflate is not None
        self._transport = cast(Any, SimpleNamespace(write=self.receiver.receive))
        self._broadcaster = broadcaster
        self._flush_scheduled = False
        self._compression = compression
        self._close_reason = None
        self.segment = None
        self.session = self._session = Session(SendQueue(1000, 10**6), self, conflate_above=conflate)
        self.adapter = cast(Any, SimpleNamespace(record_close=lambda: None, connection_lost=lambda: hub.remove(self.session)))
        hub.add(self.session)
        self.session.apply_grant(ANONYMOUS_GRANT, ALL_TOPICS)
        self.session.send_initial_message(hub.totals_batch)
        hub.go_live(self.session)

    def close(self, code: int, reason: str) -> None:
        """There is no connection to close."""
        self.closed_with = (code, reason)

    def _abort_later(self) -> None:
        """Nor one to abort."""

    def abort(self) -> None:
        raise AssertionError("the broadcaster aborts a client whose flush has raised")

    @property
    def current_segment(self) -> Segment | None:
        """The last segment of the shared stream that it has, its own or its cohort's."""
        cohort = self.session.cohort
        return self.segment if cohort is None else cast(Any, cohort).segment

    @property
    def events(self) -> list[int]:
        """The numbers of the events that it has received."""
        return [message["n"] for message in self.receiver.messages if message["type"] == "event"]

    @property
    def totals(self) -> list[int]:
        """The totals that it has received; each equals the number of the last event that it includes."""
        return [message["total_orders"] for message in self.receiver.messages if message["type"] == "analytics_update"]


class BroadcastSetup:
    """A hub with a broadcaster. Events are numbered from 1."""

    def __init__(self, max_messages: int = 100) -> None:
        self.hub = Hub(max_messages=max_messages)
        self.broadcaster = WebSocketBroadcaster(Metrics(), self.hub, TransportBackend())
        self.published = 0

    def add_client(self, *, compression: bool = True, conflate: int | None = None) -> InflatingClient:
        return InflatingClient(self.hub, self.broadcaster, compression=compression, conflate=conflate)

    def publish(self, count: int = 1, size: int = 150) -> None:
        """Publish ``count`` events of about ``size`` bytes, and the totals after them."""
        events = []
        for _ in range(count):
            self.published += 1
            text = json.dumps(
                {
                    "type": "event",
                    "id": str(self.published),
                    "n": self.published,
                    "text": f"x{self.published % 7} " * (size // 4),
                }
            )
            events.append(make_event(payload=text.encode()))
        self.hub.publish(events, Totals(self.published))

    async def run_ticks(self, count: int = 4) -> None:
        """Run ``count`` ticks of the event loop."""
        for _ in range(count):
            await asyncio.sleep(0)
