"""One connected client, whatever the transport. Does no I/O: what the client sends goes in, frames to send come out."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence

from push.frames import Close, ErrorFrame, Ping, Pong, encode
from push.sendqueue import SendQueue

__all__ = ["MISSED_HEARTBEATS", "PING", "Session"]

PING = encode(Ping())
PONG = encode(Pong())

# How many heartbeats a client may leave unanswered before it counts as gone.
MISSED_HEARTBEATS = 2


class Session:
    """State of one client: its send queue, its heartbeat, and how it ends.

    Whoever carries the frames (the shell) sets ``on_output`` and calls ``take`` until it is empty; then, if ``close`` is set,
    closes the transport with that code.
    """

    __slots__ = ("_cut", "_missed", "_on_output", "_queue", "_room", "_totals_due", "_totals_frame", "close")

    def __init__(self, queue: SendQueue, on_output: Callable[[], None]) -> None:
        self.close: Close | None = None
        self._queue = queue
        self._on_output = on_output
        self._totals_frame: Callable[[], bytes] | None = None
        self._totals_due = False
        self._missed = 0
        self._cut = False
        self._room = asyncio.Event()
        self._room.set()

    # ---------------------------------------------------------------- from the client

    def receive_text(self, text: str) -> None:
        """A frame that is not understood gets an error, and nothing else happens."""
        self.alive()
        try:
            message = json.loads(text)
        except (ValueError, RecursionError):
            self._error("bad_json", "the frame is not JSON")
            return
        match message:
            case {"type": "ping"}:
                self.send([PONG])
            case {"type": "pong"}:
                pass
            case {"type": str(name)}:
                self._error("unknown_type", f"unknown type: {name[:40]}")
            case _:
                self._error("bad_frame", 'expected an object with a string "type"')

    def receive_binary(self) -> None:
        """There are no binary frames in this protocol."""
        self.end(Close.UNSUPPORTED)

    def alive(self) -> None:
        """The client gave a sign of life: a frame, or the transport's own pong."""
        self._missed = 0

    def _error(self, code: str, message: str) -> None:
        self.send([encode(ErrorFrame(code, message))])

    # ---------------------------------------------------------------- from the hub

    def open(self, totals_frame: Callable[[], bytes]) -> None:
        """The first frame is the totals; later ones come as ``totals_changed`` says, always the newest."""
        self._totals_frame = totals_frame
        self.send([totals_frame()])

    def send(self, frames: Sequence[bytes]) -> None:
        """Queue frames. Never waits: a client that does not keep up is ended."""
        if self.close is not None:
            return
        if not self._queue.offer(frames):
            self.end(Close.SLOW_CONSUMER, flush=False)
            return
        if self._queue.pressed:
            self._room.clear()
        self._on_output()

    def totals_changed(self) -> None:
        """A slot, not an entry of the queue: whenever it is this client's turn, it gets the totals of that moment."""
        self._totals_due = True
        self._on_output()

    def beat(self) -> None:
        """One heartbeat interval is over."""
        if self._missed >= MISSED_HEARTBEATS:
            self.end(Close.NO_PONG, flush=False)
            return
        self._missed += 1
        self.send([PING])

    def end(self, close: Close, *, flush: bool = True) -> None:
        """The only way into the closed state. ``flush``: what is queued still goes out first."""
        if self.close is not None:
            return
        self.close = close
        self._cut = not flush
        if not flush:
            self._queue.clear()
            self._totals_due = False
        self._room.set()
        self._on_output()

    # ---------------------------------------------------------------- to the transport

    def take(self, about_bytes: int) -> list[bytes]:
        """The next frames to send. The totals come last, when all events that they include have been taken."""
        frames = self._queue.take(about_bytes)
        if not self._queue.pressed:
            self._room.set()
        if self._totals_due and not self._queue and self._totals_frame is not None:
            self._totals_due = False
            frames.append(self._totals_frame())
        return frames

    async def room(self) -> None:
        """Return once another batch can be sent without too much waiting, or the session has ended."""
        await self._room.wait()

    @property
    def cut(self) -> bool:
        """Whether the session has ended without flushing: what the shell is sending is not worth waiting for."""
        return self._cut

    @property
    def pressed(self) -> bool:
        """Whether so much waits for the transport that another batch could be too much."""
        return self._queue.pressed
