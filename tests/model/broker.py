"""A broker on the virtual clock that shuffles, doubles, delays and drops messages, and forgets its stream."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from push.errors import BusUnavailable
from push.journal.bus import Bus

__all__ = ["ModelBroker", "ModelBus"]

STREAM_MESSAGES = 12


class ModelBroker:
    def __init__(self, choose: random.Random) -> None:
        self.choose = choose
        self.buses: list[ModelBus] = []
        self.stream: deque[bytes] = deque(maxlen=STREAM_MESSAGES)
        # Chances that a message for one receiver is lost, doubled or late; that the stream does not get it.
        self.loss = self.doubling = self.delay = self.forgetting = 0.0
        self.is_down = False
        self._sent = 0

    def deliver(self, message: bytes) -> None:
        if self.choose.random() >= self.forgetting:
            self.stream.append(message)
        loop = asyncio.get_running_loop()
        for bus in self.buses:
            if self.choose.random() < self.loss:
                continue
            for _ in range(2 if self.choose.random() < self.doubling else 1):
                late = self.choose.random() < self.delay
                self._sent += 1  # what is not late keeps its order
                delay = self.choose.choice([0.001, 0.02, 2.0]) if late else 0.0005 + self._sent * 1e-9
                loop.call_later(delay, bus.receive, message)


class ModelBus(Bus):
    """The end of one process. ``is_cut``: the network does not lead to the broker."""

    def __init__(self, broker: ModelBroker) -> None:
        self.broker = broker
        self.is_cut = False
        self.serves = False
        self._receive: Callable[[bytes], None] = lambda _message: None
        self._read: Callable[[], Awaitable[bytes]] | None = None
        broker.buses.append(self)

    def close(self) -> None:
        self.broker.buses.remove(self)

    def receive(self, message: bytes) -> None:
        if not self.is_cut and self in self.broker.buses:
            self._receive(message)

    def _require_broker(self) -> None:
        if self.is_cut or self.broker.is_down:
            raise BusUnavailable("no broker")

    def subscribe(self, receive: Callable[[bytes], None]) -> None:
        self._receive = receive

    async def publish(self, message: bytes) -> None:
        self._require_broker()
        self.broker.deliver(message)
        await asyncio.sleep(0)

    async def stored(self, count: int) -> Sequence[bytes]:
        await asyncio.sleep(0.001)
        self._require_broker()
        return list(self.broker.stream)[-count:]

    def serve_reads(self, read: Callable[[], Awaitable[bytes]]) -> None:
        self._read = read

    async def request_read(self) -> bytes:
        await asyncio.sleep(0.001)
        self._require_broker()
        serving = [bus for bus in self.broker.buses if bus.serves and not bus.is_cut and bus._read is not None]
        if not serving:
            raise BusUnavailable("no relay")
        read = self.broker.choose.choice(serving)._read
        assert read is not None
        return await read()
