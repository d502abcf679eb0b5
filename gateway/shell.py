"""What every transport of a session has in common: a task that resumes, one that sends, one that receives, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from gateway.keys import ENTRANCE, HUB, RELAY, SETTINGS
from push.frames import Close
from push.sendqueue import SendQueue
from push.session import Session

__all__ = ["CLOSE_SECONDS", "Shell", "refuse_before_start"]

log = logging.getLogger("orderwire.session")

# Taken from the session at a time: what is taken can no longer be dropped from its queue.
CHUNK_BYTES = 64 * 1024
# How long a client may take to accept the end before the connection is cut.
CLOSE_SECONDS = 5.0


class Shell(ABC):
    """Carries the frames of one session over one connection, decides nothing."""

    # Makes a frame of a cursor that is no event's, for a transport that can carry it.
    position_frame: Callable[[str], bytes] | None = None

    def __init__(self, request: web.Request) -> None:
        app = request.app
        settings = app[SETTINGS]
        self._request = request
        self._cursor = _cursor_of(request)
        self._hub = app[HUB]
        self._entrance = app[ENTRANCE]
        self._output = asyncio.Event()
        self._cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.session = Session(SendQueue(settings.send_queue_frames, settings.send_queue_bytes), self._on_output)

    async def run(self, answer: Callable[[], Awaitable[object]]) -> None:
        """From the first frame to the last; returns when the session has ended and its client has been told.

        ``answer`` tells the client that it is connected; by then everything that happens is kept for it.
        """
        await self._entrance.knock()
        self._entrance.enter(self.session, self._cursor, self.position_frame)
        try:
            await answer()
            with _cut_at_the_end(self._request):
                await self._carry()
        finally:
            self._hub.leave(self.session)

    async def _carry(self) -> None:
        sender = asyncio.create_task(self._send(), name="session sender")
        receiver = asyncio.create_task(self.receive(), name="session receiver")
        resume = asyncio.create_task(self._resume(), name="session resume")
        try:
            # The sender may be waiting for a client that does not read. It must not be cancelled before the end is told: it
            # would take aiohttp's future for "writable again" with it, and the goodbye waits for the same one.
            await asyncio.wait({receiver, sender, self._cut}, return_when=asyncio.FIRST_COMPLETED)
            self.session.end(Close.NORMAL, flush=False)  # no effect if the session has ended already
            assert self.session.close is not None
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.say_goodbye(self.session.close)
        finally:
            tasks = (resume, receiver, sender)
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception) and not isinstance(result, ConnectionError):
                    log.error("a session ended unexpectedly", exc_info=result)

    async def _resume(self) -> None:
        if self._cursor is None:
            return
        try:
            await self._entrance.resume(self.session, self._cursor, self.position_frame)
        except Exception:
            self.session.end(Close.INTERNAL_ERROR)
            raise

    def _on_output(self) -> None:
        self._output.set()
        if self.session.cut and not self._cut.done():
            self._cut.set_result(None)

    async def _send(self) -> None:
        while True:
            while frames := self.session.take(CHUNK_BYTES):
                await self.send(frames)
            if self.session.close is not None:
                return
            await self._output.wait()
            self._output.clear()

    @abstractmethod
    async def send(self, frames: list[bytes]) -> None:
        """Write the frames; waits while the client does not take them."""

    @abstractmethod
    async def receive(self) -> None:
        """Hand what comes in to the session; returns when the client has left."""

    @abstractmethod
    async def say_goodbye(self, close: Close) -> None:
        """Tell the client why, if the transport can."""


def _cursor_of(request: web.Request) -> str | None:
    """Where the client stood: a browser's EventSource says it in a header, everybody may in the query."""
    cursor = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
    return cursor or None


def refuse_before_start(request: web.Request) -> None:
    """Before the first totals have been taken there is nothing to say."""
    relay = request.app[RELAY]
    if relay.epoch is None:
        raise web.HTTPServiceUnavailable(text=relay.trouble, headers={"Retry-After": "1"})


@contextlib.contextmanager
def _cut_at_the_end(request: web.Request) -> Iterator[None]:
    """A client that does not read would keep the transport, and what is buffered in it, alive for ever."""
    transport = request.transport
    try:
        yield
    finally:
        if transport is not None:
            transport.abort()
