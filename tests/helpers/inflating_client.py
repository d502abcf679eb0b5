"""A hub, its fan-out, and clients of theirs that inflate what they are written. For tests."""

from __future__ import annotations

import asyncio
import json
import zlib
from types import SimpleNamespace
from typing import Any, cast

from gateway.net.transports import TransportBackend
from gateway.websocket.broadcast import Broadcaster
from gateway.websocket.connection import WebSocketProtocol
from gateway.websocket.endpoint import _SessionClient
from gateway.websocket.shared_deflate import Segment
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.journal.totals import Totals
from push.metrics import Metrics
from push.protocol.access import ANALYTICS_TOPIC, ANONYMOUS_GRANT, ORDERS_TOPIC
from tests.fuzz.octets import COMPRESSED, FINAL, PING, TEXT, split_frames
from tests.helpers.builders import make_event

__all__ = ["BOTH", "Browser", "House", "Line"]

BOTH = frozenset({ORDERS_TOPIC, ANALYTICS_TOPIC})


class Browser:
    """The other end: what it has read. One window for the whole connection."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-15)
        self.frames: list[Any] = []
        self.compressed = 0
        self.bytes = 0

    def read(self, data: bytes) -> None:
        self.bytes += len(data)
        for head, payload in split_frames(data):
            if head == FINAL | PING:
                continue
            if head == FINAL | COMPRESSED | TEXT:
                payload = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
                self.compressed += 1
            else:
                assert head == FINAL | TEXT
            self.frames.append(json.loads(payload))


class Line(_SessionClient):
    """A client as the server has it, with no connection below: its browser reads what is written. It may be ``full``."""

    def __init__(self, hub: Hub, fanout: Broadcaster, *, compression: bool = True, conflate: int | None = None) -> None:
        WebSocketProtocol.__init__(self, 1000, lambda _: None, compression=compression)
        self.browser = Browser()
        self.conflates = conflate is not None
        self._transport = cast(Any, SimpleNamespace(write=self.browser.read))
        self._broadcaster = fanout
        self._flush_scheduled = False
        self._compression = compression
        self.segment = None
        self.session = self._session = Session(SendQueue(1000, 10**6), self, conflate_above=conflate)
        self.adapter = cast(Any, SimpleNamespace(record_close=lambda: None, connection_lost=lambda: hub.remove(self.session)))
        hub.add(self.session)
        self.session.apply_grant(ANONYMOUS_GRANT, BOTH)
        self.session.send_initial_message(hub.totals_batch)
        hub.go_live(self.session)

    def close(self, code: int, reason: str) -> None:
        """Nobody waits for the goodbye."""

    def _abort_later(self) -> None:
        """Nor for the rest."""

    def abort(self) -> None:
        raise AssertionError("a fault of our own")

    @property
    def stands_at(self) -> Segment | None:
        """Where it has got to in the stream, by itself or in a crowd."""
        crowd = self.session.cohort
        return self.segment if crowd is None else cast(Any, crowd).segment

    @property
    def events(self) -> list[int]:
        return [frame["n"] for frame in self.browser.frames if frame["type"] == "event"]

    @property
    def told(self) -> list[int]:
        """The totals that came, and the number of the event before each."""
        return [frame["total_orders"] for frame in self.browser.frames if frame["type"] == "analytics_update"]


class House:
    """The hub and its fan-out."""

    def __init__(self, max_frames: int = 100) -> None:
        self.hub = Hub(max_messages=max_frames)
        self.fanout = Broadcaster(Metrics(), self.hub, TransportBackend())
        self.published = 0

    def line(self, *, compression: bool = True, conflate: int | None = None) -> Line:
        return Line(self.hub, self.fanout, compression=compression, conflate=conflate)

    def publish(self, count: int = 1, size: int = 150) -> None:
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

    async def turns(self, count: int = 4) -> None:
        for _ in range(count):
            await asyncio.sleep(0)
