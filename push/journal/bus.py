"""What the fact journal asks of a broker: a Protocol, which the package bus implements. No logic."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

__all__ = ["Bus"]


class Bus(Protocol):
    """Carries the facts of one cluster from the relay to its edges. It may lose, double and reorder messages."""

    def subscribe(self, receive: Callable[[bytes], None]) -> None:
        """Call ``receive`` with every message that arrives from now on, also with those that this process publishes.

        Must be called before the bus is opened.
        """

    async def publish(self, message: bytes) -> None:
        """Send a message to all, and store it in the bounded stream. Returns when it is stored. Raises BusUnavailable."""

    async def stored(self, count: int) -> Sequence[bytes]:
        """The newest ``count`` messages of the stream, oldest first. Raises BusUnavailable."""

    def serve_reads(self, read: Callable[[], Awaitable[bytes]]) -> None:
        """Answer requests for a fresh read with what ``read`` returns, while this process is the relay."""

    async def request_read(self) -> bytes:
        """Ask the relay to read the journal now; its answer. Raises BusUnavailable, also if there is no relay."""
