"""Sessions over WebSocket (RFC 6455)."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from aiohttp import WSMsgType, web

from gateway.door import DOOR, chosen_protocol
from gateway.errors import error_response
from gateway.framing import FrameWatch
from gateway.keys import SETTINGS
from gateway.shell import CLOSE_SECONDS, Shell, refuse_before_start
from push.access import Refused
from push.frames import Close
from push.session import PING

__all__ = ["websocket"]

VERSION = "13"
DEAF_SECONDS = 1.0
# What a client that was not let in may still send until it has heard of it, its own goodbye included.
MOST_LAST_WORDS = 100


async def websocket(request: web.Request) -> web.StreamResponse:
    """``GET /api/ws``: one session, until either side ends it.

    A browser's page learns nothing of an HTTP status, so whoever is not let in is told by a close code, after the handshake.
    """
    # aiohttp refuses what has max_msg_size bytes, not only what has more.
    # No compression: a deflate context per client costs 150 KiB and two to three times the CPU.
    ws = web.WebSocketResponse(
        protocols=chosen_protocol(request),
        max_msg_size=request.app[SETTINGS].max_frame_bytes + 1,
        autoping=False,
        compress=False,
        timeout=CLOSE_SECONDS,
    )
    version = request.headers.get("Sec-WebSocket-Version", VERSION)
    if version.strip() != VERSION and "Upgrade" in request.headers:
        # RFC 6455 section 4.2.2: the answer names the version that is understood.
        mend = {"Sec-WebSocket-Version": VERSION, "Upgrade": "websocket"}
        return error_response(426, "only version 13 of the WebSocket protocol is spoken here", "bad_version", **mend)
    if not _is_handshake(ws, request):
        raise web.HTTPBadRequest(text="this is a WebSocket endpoint: connect with Upgrade: websocket")
    refuse_before_start(request)
    door = request.app[DOOR]
    with door.session(request) as within_limits:
        try:
            if not within_limits:
                raise Refused(Close.TOO_MANY_CONNECTIONS, Close.TOO_MANY_CONNECTIONS.reason)
            grant = await door.grant(request)
            shell = _WebSocketShell(request, ws)
            await shell.run(grant, shell.answer)
        except Refused as refusal:
            door.count(refusal.close.name.lower())
            words = itertools.count()
            await _open(request, ws, lambda _size: next(words) < MOST_LAST_WORDS)
            await ws.close(code=refusal.close, message=_reason(str(refusal)))
    return ws


async def _open(request: web.Request, ws: web.WebSocketResponse, take: Callable[[int], bool]) -> None:
    """Answer the handshake; from here on each frame is asked about before it is worked on."""
    watch = FrameWatch(request.app[SETTINGS].max_frame_bytes, take)
    # What has come behind the request already; aiohttp takes it up together with what follows.
    request.protocol._message_tail = watch.feed(request.protocol._message_tail)
    request.app[DOOR].watch(request, watch.feed)
    await ws.prepare(request)


# A control frame holds 125 bytes, two of them the code (RFC 6455 section 5.5).
MOST_REASON_BYTES = 123


def _reason(text: str) -> bytes:
    """As much of it as a close frame holds, in whole letters: it may repeat what the client sent, and must be UTF-8."""
    return text.encode(errors="replace")[:MOST_REASON_BYTES].decode(errors="ignore").encode()


def _is_handshake(ws: web.WebSocketResponse, request: web.Request) -> bool:
    try:
        return bool(ws.can_prepare(request))
    except ValueError:  # what aiohttp makes of a Sec-WebSocket-Key that is not ASCII
        return False


class _WebSocketShell(Shell):
    transport = "websocket"

    def __init__(self, request: web.Request, ws: web.WebSocketResponse) -> None:
        super().__init__(request)
        self._ws = ws

    async def answer(self) -> None:
        """The handshake's."""
        await _open(self._request, self._ws, self.session.heard)

    async def send(self, frames: list[bytes]) -> None:
        for frame in frames:
            await self._ws.send_frame(frame, WSMsgType.TEXT)
            if frame is PING:
                await self._ws.ping()

    async def receive(self) -> None:
        async for message in self._ws:
            match message.type:
                case WSMsgType.TEXT:
                    await self.obey(self.session.receive_text(message.data))
                case WSMsgType.BINARY:
                    self.session.receive_binary()
                case WSMsgType.PING:
                    await self._ws.pong(message.data)
                case WSMsgType.PONG:
                    pass
                case _:
                    return

    async def say_goodbye(self, close: Close) -> None:
        # Whoever was too fast is not listened to any more, so its answer will not be heard. It gets a moment to read ours: a
        # connection that is cut while data waits in it ends with a reset, which may overtake the close frame.
        async with asyncio.timeout(DEAF_SECONDS if close is Close.TOO_FAST else None):
            await self._ws.close(code=close, message=close.reason.encode())
