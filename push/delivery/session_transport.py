"""What a session needs of the connection that carries it. Implemented by the gateway, once for each kind of transport."""

from __future__ import annotations

from typing import Protocol

__all__ = ["SessionTransport"]


class SessionTransport(Protocol):
    """The connection of one session.

    It calls ``Session.take`` until that returns nothing and writes the batches. Then, if ``Session.close_code`` is set, it
    closes the connection with that code.
    """

    def schedule_flush(self) -> None:
        """Schedule a flush: batches are waiting, or the session has closed. Called from anywhere, so it must not call back."""

    def flush_broadcast(self) -> int:
        """Write a chunk of what waits if the connection accepts data, and schedule a flush for the rest. Returns the number of
        bytes. Called once per session in a pass of the hub, in the order of the pass.
        """
