"""Processes at a broker, as tests see them: what they have received, and waiting for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from bus.connection import BrokerOptions
from bus.nats import NatsBus
from tests.support import within

__all__ = ["Member", "member"]

# Of a database that does not exist.
DATABASE = (7_000_000_000_000_000_000, 16384)


class Member:
    """A bus with the messages that it has received."""

    def __init__(self, bus: NatsBus) -> None:
        self.bus = bus
        self.received: list[bytes] = []
        self._changed = asyncio.Event()

    def receive(self, message: bytes) -> None:
        self.received.append(message)
        self._changed.set()

    async def wait_for(self, message: bytes) -> None:
        async def wait() -> None:
            while message not in self.received:
                self._changed.clear()
                await self._changed.wait()

        await within(30, wait(), f"{message!r} among {self.received[-5:]!r}")

    async def wait_until(self, condition: Callable[[], object], what: str) -> None:
        async def wait() -> None:
            while not condition():
                await asyncio.sleep(0.02)

        await within(30, wait(), what)

    async def wait_lost(self) -> None:
        await self.wait_until(lambda: not self.bus.connected.is_set(), "the loss of the connection")

    async def wait_connected(self) -> None:
        await within(30, self.bus.connected.wait(), "a connection to the broker")


@asynccontextmanager
async def member(
    urls: str, *, timeline: int = 1, relays: bool = False, database: tuple[int, int] = DATABASE, **options: object
) -> AsyncIterator[Member]:
    """A process of the cluster, connected. ``relays``: it publishes as the relay of ``timeline``."""
    bus = NatsBus(BrokerOptions(tuple(urls.split(","))), **options)  # type: ignore[arg-type]
    found = Member(bus)
    bus.subscribe(found.receive)
    bus.use_database(*database, timeline)
    if relays:
        bus.set_relaying(timeline)
    task = asyncio.create_task(bus.run(), name="bus")
    try:
        await found.wait_connected()
        yield found
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
