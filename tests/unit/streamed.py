"""A hub, its fan-out, and clients of theirs that inflate what they are written. For tests."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Iterator
from typing import Any

from gateway.fanout import Fanout
from gateway.stream import Segment
from push.access import ANALYTICS, ANYBODY, ORDERS
from push.batch import CHUNK_BYTES
from push.hub import Hub
from push.metrics import Metrics
from push.sendqueue import SendQueue
from push.session import Session
from push.totals import Totals
from tests.fuzz.octets import COMPRESSED, FINAL, PING, TEXT
from tests.unit.test_positions import an_event

__all__ = ["BOTH", "Browser", "House", "Line"]

BOTH = frozenset({ORDERS, ANALYTICS})


class Browser:
    """The other end: what it has read. One window for the whole connection."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(-15)
        self.frames: list[Any] = []
        self.compressed = 0
        self.bytes = 0

    def read(self, data: bytes) -> None:
        self.bytes += len(data)
        for head, payload in self._split(data):
            if head == FINAL | PING:
                continue
            if head == FINAL | COMPRESSED | TEXT:
                payload = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
                self.compressed += 1
            else:
                assert head == FINAL | TEXT
            self.frames.append(json.loads(payload))

    @staticmethod
    def _split(data: bytes) -> Iterator[tuple[int, bytes]]:
        while data:
            size, start = data[1], 2
            if size > 125:
                start = 4 if size == 126 else 10
                size = int.from_bytes(data[2:start], "big")
            yield data[0], data[start : start + size]
            data = data[start + size :]


class Line:
    """A client of the fan-out, as gateway.websocket has it, whose transport can be full."""

    def __init__(self, hub: Hub, fanout: Fanout, *, compression: bool = True, conflate: int | None = None) -> None:
        self.at: Segment | None = None
        self.browser = Browser()
        self.full = False
        self._fanout = fanout
        self._compression = compression
        self.conflates = conflate is not None
        self._due = False
        self.session = Session(SendQueue(1000, 10**6), self._on_output, on_round=self.flush, conflate=conflate)
        hub.enter(self.session)
        self.session.admit(ANYBODY, BOTH)
        self.session.open(hub.totals_batch)
        hub.go_live(self.session)

    def _on_output(self) -> None:
        if not self._due:
            self._due = True
            self._fanout.due(self)

    def flush(self) -> None:
        self._due = False
        session = self.session
        while not self.full and (batches := session.take(CHUNK_BYTES)):
            follower = self if self._compression and session.gets_all else None
            if follower is None and self.at is not None:
                self._fanout.leave(self)
            frames, size = self._fanout.encoded(batches, follower)
            self.browser.read(frames)
            if size < CHUNK_BYTES:
                break
        if self.full:
            self._fanout.stuck(self)

    def cut(self) -> None:
        raise AssertionError("a fault of our own")

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
        self.hub = Hub(max_frames=max_frames)
        self.fanout = Fanout(Metrics())
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
            events.append(an_event(frame=text.encode()))
        self.hub.publish(events, Totals(self.published))

    async def turns(self, count: int = 4) -> None:
        for _ in range(count):
            await asyncio.sleep(0)
