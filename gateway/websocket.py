"""The WebSocket transport: carries the frames of one session, decides nothing."""

from __future__ import annotations

import asyncio
import contextlib

from aiohttp import WSMsgType, web

from gateway.keys import HUB, RELAY, SETTINGS
from push.frames import Close
from push.sendqueue import SendQueue
from push.session import PING, Session

__all__ = ["websocket"]

MAX_FRAME_BYTES = 64 * 1024
# Taken from the session at a time: what is taken can no longer be dropped from its queue.
CHUNK_BYTES = 64 * 1024
# How long a client may take to accept the close frame and answer it before the connection is cut.
CLOSE_SECONDS = 5.0


async def websocket(request: web.Request) -> web.StreamResponse:
    """``GET /api/ws``: one session, until either side ends it."""
    # aiohttp refuses what has max_msg_size bytes, not only what has more.
    # No compression: a deflate context per client costs 150 KiB and two to three times the CPU.
    ws = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES + 1, autoping=False, compress=False, timeout=CLOSE_SECONDS)
    if not ws.can_prepare(request):
        raise web.HTTPBadRequest(text="this is a WebSocket endpoint: connect with Upgrade: websocket")
    relay = request.app[RELAY]
    if not relay.started:
        raise web.HTTPServiceUnavailable(text=relay.trouble, headers={"Retry-After": "1"})
    await ws.prepare(request)
    transport = request.transport
    try:
        await _Shell(ws, request.app).run()
    finally:
        # A client that does not read would keep the transport, and what is buffered in it, alive for ever.
        if transport is not None:
            transport.abort()
    return ws


class _Shell:
    """One socket and its session: a task that reads, a task that sends, and the close."""

    def __init__(self, ws: web.WebSocketResponse, app: web.Application) -> None:
        settings = app[SETTINGS]
        self._ws = ws
        self._hub = app[HUB]
        self._output = asyncio.Event()
        self._session = Session(SendQueue(settings.send_queue_frames, settings.send_queue_bytes), self._on_output)
        self._sender: asyncio.Task[None] | None = None

    async def run(self) -> None:
        reader = asyncio.create_task(self._read(), name="websocket reader")
        self._sender = asyncio.create_task(self._send(), name="websocket sender")
        self._hub.join(self._session)
        try:
            await asyncio.wait({reader, self._sender}, return_when=asyncio.FIRST_COMPLETED)
            self._session.end(Close.NORMAL, flush=False)  # no effect if the session has ended already
            await self._close()
        finally:
            self._hub.leave(self._session)
            for task in (reader, self._sender):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, ConnectionError):
                    await task

    def _on_output(self) -> None:
        self._output.set()
        if self._session.cut and self._sender is not None:
            self._sender.cancel()  # it may be waiting for a client that does not read

    async def _read(self) -> None:
        async for message in self._ws:
            match message.type:
                case WSMsgType.TEXT:
                    self._session.receive_text(message.data)
                case WSMsgType.BINARY:
                    self._session.receive_binary()
                case WSMsgType.PING:
                    self._session.alive()
                    await self._ws.pong(message.data)
                case WSMsgType.PONG:
                    self._session.alive()
                case _:
                    return

    async def _send(self) -> None:
        while True:
            while frames := self._session.take(CHUNK_BYTES):
                for frame in frames:
                    await self._ws.send_frame(frame, WSMsgType.TEXT)
                    if frame is PING:
                        await self._ws.ping()
            if self._session.close is not None:
                return
            await self._output.wait()
            self._output.clear()

    async def _close(self) -> None:
        close = self._session.close
        assert close is not None
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._ws.close(code=close, message=close.reason.encode())
