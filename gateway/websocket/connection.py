"""One WebSocket connection after its handshake: reads, closes, and is told when the transport is full. Knows no sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.net.transports import Transport
from gateway.websocket.frames import (
    NO_STATUS_RCVD,
    NORMAL_CLOSURE,
    OP_CLOSE,
    OP_PING,
    OP_PONG,
    FrameReader,
    Message,
    ProtocolError,
    close_frame,
    pong_frame,
)

__all__ = ["CLOSE_TIMEOUT_SECONDS", "LINGER_SECONDS", "WebSocketProtocol"]

# How long a client may take to accept the end before the connection is cut; and one that is not listened to any more, to read
# ours: a connection that is cut while data waits in it ends with a reset, which may overtake the close frame.
CLOSE_TIMEOUT_SECONDS = 5.0
LINGER_SECONDS = 1.0
# Messages of one client that are worked on in one turn of the loop: who sends many holds up nobody else.
MAX_MESSAGES_PER_TICK = 10


class WebSocketProtocol(asyncio.Protocol):
    """Stands on a line, as on a transport. What comes in goes to ``check_rate`` and ``on_message``, the end to ``gone``."""

    __slots__ = (
        "_abort_timer",
        "_on_transport_lost",
        "_paused",
        "_pending_pong",
        "_reader",
        "_transport",
        "closing",
        "write_paused",
    )

    def __init__(
        self, max_message_bytes: int, on_transport_lost: Callable[[Transport | None], None], *, compression: bool = False
    ) -> None:
        self._reader = FrameReader(max_message_bytes, compression=compression)
        self._on_transport_lost = on_transport_lost
        self._transport: Transport | None = None
        self._abort_timer: asyncio.TimerHandle | None = None
        # The answer to the client's newest ping, while it takes nothing (RFC 6455 section 5.5.3 asks for no other).
        self._pending_pong: bytes | None = None
        # Something is being done for the client: it is not read meanwhile.
        self._paused = False
        # The transport still holds something: nothing more is written to it.
        self.write_paused = False
        # A close frame has been sent: nothing follows it.
        self.closing = False

    # ---------------------------------------------------------------- for whoever is on top

    def check_rate(self, size: int, frames: int) -> bool:
        """Whether the client may send so many bytes in so many frames. If not, it is not read any more."""
        raise NotImplementedError

    def on_message(self, message: Message) -> None:
        """A message, which is not empty words: no ping, no pong, no close."""
        raise NotImplementedError

    def on_protocol_error(self, error: ProtocolError) -> None:
        """The client did what it must not. It is not read any more."""
        self.close(error.code, str(error))

    def on_close_received(self) -> None:
        """The client has sent a close frame, and has its answer."""

    def flush(self) -> None:
        """Write what waits, as far as the transport is not full."""

    def on_connection_lost(self) -> None:
        """The connection has ended."""

    # ---------------------------------------------------------------- what it can be told

    def start(self, transport: Transport, response: bytes, early: bytes) -> None:
        """The line is ours. ``head``: what goes out first. ``early``: what the client had already sent behind its request."""
        self._transport = transport
        transport.write(response)
        if early:
            self.data_received(early)

    def pause(self) -> None:
        """Read no further until ``resume``."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self._paused = False
        if self._transport is not None:
            self._transport.resume_reading()
        self._process_messages()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame, behind whatever the transport still holds. The client has a while to answer it."""
        if self.closing or self._transport is None:
            return
        self.closing = True
        self._transport.write(close_frame(code, reason))
        if self._reader.closed and self._transport.can_write_eof():
            with suppress(OSError):  # it has left already
                self._transport.write_eof()  # its answer will not be heard: it may hang up at once
        self._abort_later()
        if self._paused:
            self.resume()  # its answer is awaited

    def _abort_later(self) -> None:
        """Unless it ends by itself before long, the connection is cut."""
        if self._abort_timer is not None:
            self._abort_timer.cancel()
        if self._transport is not None:
            seconds = LINGER_SECONDS if self._reader.closed else CLOSE_TIMEOUT_SECONDS
            self._abort_timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    # ---------------------------------------------------------------- what the transport says

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._reader.feed(data)
        if not self._paused:
            self._process_messages()

    def _process_messages(self) -> None:
        messages = 0
        try:
            while not self._paused and (message := self._reader.next_message(self.check_rate)) is not None:
                if message.opcode == OP_CLOSE:
                    self._on_close_frame(message.code)
                elif message.opcode == OP_PING:
                    self._send_pong(message.payload)
                elif message.opcode != OP_PONG and not self.closing:
                    self.on_message(message)
                messages += 1
                if messages == MAX_MESSAGES_PER_TICK and not self._paused:
                    self.pause()
                    asyncio.get_running_loop().call_soon(self.resume)
            if self._reader.closed and self._transport is not None and not self._transport.is_closing():
                self._transport.pause_reading()  # it is not to send any more: what is not read costs nothing
        except ProtocolError as breach:
            if not self.closing:
                self.on_protocol_error(breach)

    def _send_pong(self, payload: bytes) -> None:
        if self.closing or self._transport is None:
            return
        if self.write_paused:
            self._pending_pong = payload
        else:
            self._transport.write(pong_frame(payload))

    def _on_close_frame(self, code: int) -> None:
        """Section 5.5.1: answered with the same code, unless it is the answer. Section 7.1.1: the server hangs up."""
        if self._transport is None:
            return
        if not self.closing:
            self.flush()
            self.close(NORMAL_CLOSURE if code == NO_STATUS_RCVD else code, "")
            self.on_close_received()
        self._transport.close()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self.write_paused = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self.write_paused = False
        if self._pending_pong is not None and not self.closing:
            payload, self._pending_pong = self._pending_pong, None
            self._send_pong(payload)
        if not self.closing:
            self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        transport, self._transport = self._transport, None
        if self._abort_timer is not None:
            self._abort_timer.cancel()
            self._abort_timer = None
        self.closing = True
        self._on_transport_lost(transport)
        self.on_connection_lost()
