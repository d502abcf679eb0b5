"""One WebSocket connection after its handshake: reads, closes, and is told when the transport is full. Knows no sessions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from gateway.framing import CLOSE, NO_CODE, NORMAL, PING, PONG, Breach, Message, Reader, close_frame, pong_frame
from gateway.lines import Line

__all__ = ["CLOSE_SECONDS", "DEAF_SECONDS", "WebSocket"]

# How long a client may take to accept the end before the connection is cut; and one that is not listened to any more, to read
# ours: a connection that is cut while data waits in it ends with a reset, which may overtake the close frame.
CLOSE_SECONDS = 5.0
DEAF_SECONDS = 1.0
# Messages of one client that are worked on in one turn of the loop: who sends many holds up nobody else.
AT_ONCE = 10


class WebSocket(asyncio.Protocol):
    """Stands on a line, as on a transport. What comes in goes to ``allow`` and ``received``, the end to ``gone``."""

    __slots__ = ("_busy", "_on_lost", "_pong", "_reader", "_timer", "_transport", "closing", "full")

    def __init__(self, most_bytes: int, on_lost: Callable[[Line | None], None], *, compression: bool = False) -> None:
        self._reader = Reader(most_bytes, compression=compression)
        self._on_lost = on_lost
        self._transport: Line | None = None
        self._timer: asyncio.TimerHandle | None = None
        # The answer to the client's newest ping, while it takes nothing (RFC 6455 section 5.5.3 asks for no other).
        self._pong: bytes | None = None
        # Something is being done for the client: it is not read meanwhile.
        self._busy = False
        # The transport still holds something: nothing more is written to it.
        self.full = False
        # A close frame has been sent: nothing follows it.
        self.closing = False

    # ---------------------------------------------------------------- for whoever is on top

    def allow(self, size: int, frames: int) -> bool:
        """Whether the client may send so many bytes in so many frames. If not, it is not read any more."""
        raise NotImplementedError

    def received(self, message: Message) -> None:
        """A message, which is not empty words: no ping, no pong, no close."""
        raise NotImplementedError

    def breached(self, breach: Breach) -> None:
        """The client did what it must not. It is not read any more."""
        self.end(breach.code, str(breach))

    def left(self) -> None:
        """The client has sent a close frame, and has its answer."""

    def flush(self) -> None:
        """Write what waits, as far as the transport is not full."""

    def gone(self) -> None:
        """The connection has ended."""

    # ---------------------------------------------------------------- what it can be told

    def begin(self, line: Line, head: bytes, early: bytes) -> None:
        """The line is ours. ``head``: what goes out first. ``early``: what the client had already sent behind its request."""
        self._transport = line
        line.write(head)
        if early:
            self.data_received(early)

    def hold(self) -> None:
        """Read no further until ``go_on``."""
        self._busy = True
        if self._transport is not None:
            self._transport.pause_reading()

    def go_on(self) -> None:
        """Read on."""
        self._busy = False
        if self._transport is not None:
            self._transport.resume_reading()
        self._read()

    def end(self, code: int, reason: str) -> None:
        """Send a close frame, behind whatever the transport still holds. The client has a while to answer it."""
        if self.closing or self._transport is None:
            return
        self.closing = True
        self._transport.write(close_frame(code, reason))
        if self._reader.over and self._transport.can_write_eof():
            with suppress(OSError):  # it has left already
                self._transport.write_eof()  # its answer will not be heard: it may hang up at once
        self.cut_soon()
        if self._busy:
            self.go_on()  # its answer is awaited

    def cut_soon(self) -> None:
        """Unless it ends by itself before long, the connection is cut."""
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            seconds = DEAF_SECONDS if self._reader.over else CLOSE_SECONDS
            self._timer = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    # ---------------------------------------------------------------- what the transport says

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._reader.feed(data)
        if not self._busy:
            self._read()

    def _read(self) -> None:
        messages = 0
        try:
            while not self._busy and (message := self._reader.next(self.allow)) is not None:
                if message.opcode == CLOSE:
                    self._hear_goodbye(message.code)
                elif message.opcode == PING:
                    self._answer_ping(message.payload)
                elif message.opcode != PONG and not self.closing:
                    self.received(message)
                messages += 1
                if messages == AT_ONCE and not self._busy:
                    self.hold()
                    asyncio.get_running_loop().call_soon(self.go_on)
            if self._reader.over and self._transport is not None and not self._transport.is_closing():
                self._transport.pause_reading()  # it is not to send any more: what is not read costs nothing
        except Breach as breach:
            if not self.closing:
                self.breached(breach)

    def _answer_ping(self, payload: bytes) -> None:
        if self.closing or self._transport is None:
            return
        if self.full:
            self._pong = payload
        else:
            self._transport.write(pong_frame(payload))

    def _hear_goodbye(self, code: int) -> None:
        """Section 5.5.1: answered with the same code, unless it is the answer. Section 7.1.1: the server hangs up."""
        if self._transport is None:
            return
        if not self.closing:
            self.flush()
            self.end(NORMAL if code == NO_CODE else code, "")
            self.left()
        self._transport.close()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self.full = True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self.full = False
        if self._pong is not None and not self.closing:
            payload, self._pong = self._pong, None
            self._answer_ping(payload)
        if not self.closing:
            self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        transport, self._transport = self._transport, None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self.closing = True
        self._on_lost(transport)
        self.gone()
