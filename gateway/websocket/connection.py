"""One WebSocket connection after its handshake: reading, pongs, back-pressure, the closing handshake. Knows no sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.net.transports import CLOSE_TIMEOUT_SECONDS, Transport
from gateway.sessions.connection import ClientConnection
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
from gateway.websocket.permessage_deflate import Agreement

__all__ = ["LINGER_SECONDS", "WebSocketProtocol"]

# After the server has stopped reading, how long the client has to read the close frame. Aborting with unread input in the
# receive buffer sends RST, which can overtake the close frame.
LINGER_SECONDS = 1.0
# Messages that are handled per client in one tick of the event loop; the next ones wait for the next tick.
MAX_MESSAGES_PER_TICK = 10


class WebSocketProtocol(ClientConnection):
    """The protocol of one upgraded connection. Subclasses override the methods of the first section, and those of
    ``ClientConnection``.
    """

    __slots__ = ("_paused", "_pending_pong", "_reader")

    def __init__(
        self, max_message_bytes: int, on_transport_lost: Callable[[Transport | None], None], extension: Agreement | None = None
    ) -> None:
        super().__init__(on_transport_lost)
        self._reader = FrameReader(max_message_bytes, extension)
        # Payload of the newest ping that arrived while writing was paused. Older ones need no pong (RFC 6455 section 5.5.3).
        self._pending_pong: bytes | None = None
        # Reading is paused: a command of the client is running, or its messages of this tick are used up.
        self._paused = False

    # ---------------------------------------------------------------- overridden by subclasses

    def check_rate(self, size: int, frames: int) -> bool:
        """Charge ``size`` bytes and ``frames`` frames to the client's rate limit. If False, nothing more is read."""
        raise NotImplementedError

    def on_message(self, message: Message) -> None:
        """Handle a text or binary message."""
        raise NotImplementedError

    def on_protocol_error(self, error: ProtocolError) -> None:
        """The client violated the protocol. Nothing more is read."""
        self.close(error.code, str(error))

    def on_close_received(self) -> None:
        """The client has started the closing handshake; our close frame has been sent."""

    # ---------------------------------------------------------------- called by subclasses and by the endpoint

    def start(self, transport: Transport, response: bytes, early: bytes) -> None:
        """Begin on this transport. ``response``: the 101 response. ``early``: bytes that were received after the request."""
        self._transport = transport
        transport.write(response)
        if early:
            self.data_received(early)

    def pause(self) -> None:
        """Stop reading until ``resume``."""
        self._paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        self._paused = False
        if self._transport is not None:
            self._transport.resume_reading()
        self._process_messages()

    def close(self, code: int, reason: str) -> None:
        """Send a close frame behind the data that the transport still holds. The client has a limited time to answer it."""
        if self.closing or self._transport is None:
            return
        self.closing = True
        self._transport.write(close_frame(code, reason))
        if self._reader.closed and self._transport.can_write_eof():
            with suppress(OSError):  # the client has closed the socket
                self._transport.write_eof()  # its close frame will not be read, so it need not wait for ours to be answered
        self._abort_later()
        if self._paused:
            self.resume()  # to read the client's close frame

    def _abort_later(self) -> None:
        """Abort the connection unless it is closed within CLOSE_TIMEOUT_SECONDS, or LINGER_SECONDS if nothing is read and all
        is written.
        """
        self._abort_after(LINGER_SECONDS if self._reader.closed and not self.write_paused else CLOSE_TIMEOUT_SECONDS)

    # ---------------------------------------------------------------- called by the transport

    def data_received(self, data: bytes) -> None:
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
                self._transport.pause_reading()  # so that further input costs no CPU time
        except ProtocolError as error:
            if not self.closing:
                self.on_protocol_error(error)

    def _send_pong(self, payload: bytes) -> None:
        if self.closing or self._transport is None:
            return
        if self.write_paused:
            self._pending_pong = payload
        else:
            self._transport.write(pong_frame(payload))

    def _on_close_frame(self, code: int) -> None:
        """Answer with the same code if the client started the closing handshake (section 5.5.1), then close (section 7.1.1).

        Nothing that is still queued is written before: some clients drop the connection when a frame comes that they do not
        expect any more. Frames that the transport has begun to write are finished.
        """
        if self._transport is None:
            return
        if not self.closing:
            self.close(NORMAL_CLOSURE if code == NO_STATUS_RCVD else code, "")
            self.on_close_received()
        self._transport.close()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self._pending_pong is not None and not self.closing:
            payload, self._pending_pong = self._pending_pong, None
            self._send_pong(payload)  # which may fill the transport again
        if not self.closing and not self.write_paused:
            self.on_writable()
