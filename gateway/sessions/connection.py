"""The connection of one client after its request: back-pressure, and a bounded time to close. Knows no sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.net.transports import Transport

__all__ = ["ClientConnection"]


class ClientConnection(asyncio.Protocol):
    """The protocol of one connection, on an asyncio transport or an FdTransport. Runs on the event loop only.

    Subclasses override the methods of the first section. ``on_transport_lost`` is called with the transport when the connection
    is lost, before ``on_connection_lost``.
    """

    __slots__ = ("_abort_timer", "_on_transport_lost", "_transport", "closing", "write_paused")

    def __init__(self, on_transport_lost: Callable[[Transport | None], None]) -> None:
        self._on_transport_lost = on_transport_lost
        # None until the connection is this client's, and after it is lost.
        self._transport: Transport | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        # The transport holds unsent data, so nothing more is written to it.
        self.write_paused = False
        # The end has been written, for a WebSocket a close frame; nothing may follow it.
        self.closing = False

    # ---------------------------------------------------------------- overridden by subclasses

    def on_writable(self) -> None:
        """The transport has written what it held, and nothing ends the connection."""

    def on_connection_lost(self) -> None:
        """The connection is lost, or has never become this client's."""

    # ---------------------------------------------------------------- called by subclasses and by the broadcaster

    @property
    def transport(self) -> Transport | None:
        """What is written to; None until the connection is this client's, and after it is lost."""
        return self._transport

    def abort(self) -> None:
        """Close the connection without writing what the transport holds."""
        if self._transport is not None:
            self._transport.abort()

    def _abort_after(self, seconds: float) -> None:
        """Abort the connection unless it is closed by then. Replaces an earlier time."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        if self._transport is not None:
            self._abort_timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    # ---------------------------------------------------------------- called by the transport

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False
        if not self.closing:
            self.on_writable()

    def connection_lost(self, error: Exception | None) -> None:
        transport, self._transport = self._transport, None
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None
        self.closing = True
        self._on_transport_lost(transport)
        self.on_connection_lost()
