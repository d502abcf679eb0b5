"""Sessions over Server-Sent Events (HTML standard, section 9.2)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence

from aiohttp import web

from gateway.door import DOOR, Seat
from gateway.keys import METRICS
from gateway.opening import OPENING, Opening
from gateway.shell import Shell, before_start
from gateway.wire import CLOSE_SECONDS
from push.access import Role
from push.batch import CHUNK_BYTES
from push.session import PING

__all__ = ["sse"]

log = logging.getLogger("orderwire.session")

# How long a browser waits before it reconnects.
RETRY = b"retry: 1000\n\n"
HEARTBEAT = b": ping\n\n"


async def sse(request: web.Request) -> web.StreamResponse:
    """``GET /api/sse``: one session, until either side ends it."""
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would hold events back
        }
    )
    if (trouble := before_start(request.app)) is not None:
        # A browser comes back to a stream that ends, and to a server that is not there; never to one that says 503 (section
        # 9.2.3, "fail the connection").
        await response.prepare(request)
        await response.write(f": {trouble}\n".encode() + RETRY)
        await response.write_eof()
        return response
    door, opening = request.app[DOOR], request[OPENING]
    grant = await door.admit(opening, *Role)
    seat = door.seat(opening)
    try:
        client = _Client(request.app, opening, seat, response)
        await client.shell.let_in(grant)
    except BaseException:
        seat.give_back()
        raise
    try:
        await response.prepare(request)
        await response.write(RETRY)
        await client.carry()
    finally:
        client.shell.end()
        if request.transport is not None:
            # A client that does not read would keep the transport, and what is buffered in it, alive for ever.
            request.transport.abort()
    return response


def _position(cursor: str) -> bytes:
    """A cursor without an event: it is kept by the browser, and nothing is dispatched (section 9.2.6)."""
    return f"id: {cursor}\n\n".encode()


class _Client:
    """Carries the frames of one session."""

    def __init__(self, app: web.Application, opening: Opening, seat: Seat, response: web.StreamResponse) -> None:
        self._response = response
        self._output = asyncio.Event()
        self._cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.shell = Shell(app, opening, seat, "sse", self, _position)
        self._session = self.shell.session
        metrics = app[METRICS]
        self._frames = metrics.frames.labels("sse")
        self._bytes = metrics.bytes.labels("sse")

    def output(self) -> None:
        """See Carrier."""
        self._output.set()
        if self._session.cut and not self._cut.done():
            self._cut.set_result(None)

    def round(self) -> None:
        """See Carrier."""
        self.output()

    async def carry(self) -> None:
        """Until the session ends. aiohttp cancels it when the client leaves."""
        sender = asyncio.create_task(self._send(), name="session sender")
        try:
            # The sender may be waiting for a client that does not read. It must not be cancelled before the end is told: it
            # would take aiohttp's future for "writable again" with it, and the goodbye waits for the same one.
            await asyncio.wait({sender, self._cut}, return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._response.write_eof()
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            if not sender.cancelled() and (error := sender.exception()) and not isinstance(error, ConnectionError):
                log.error("a session ended unexpectedly", exc_info=error)

    async def _send(self) -> None:
        while True:
            while batches := self._session.take(CHUNK_BYTES):
                await self._response.write(b"".join(batch.encoded(_events) for batch in batches))
                # There is no pong: that the client takes what is sent is its sign of life.
                self._session.alive()
                self._frames.inc(sum(batch.count for batch in batches))
                self._bytes.inc(sum(batch.size for batch in batches))
            if self._session.close is not None:
                return
            await self._output.wait()
            self._output.clear()


def _events(frames: Sequence[bytes]) -> bytes:
    return b"".join(map(_event, frames))


def _event(frame: bytes) -> bytes:
    if frame == PING:
        return HEARTBEAT
    if frame.startswith(b"id: "):
        return frame
    fields = json.loads(frame)
    cursor = f"id: {fields['id']}\n" if "id" in fields else ""
    return f"event: {fields['type']}\n{cursor}data: ".encode() + frame + b"\n\n"
