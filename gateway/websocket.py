"""Sessions over WebSocket (RFC 6455)."""

from __future__ import annotations

from aiohttp import WSMsgType, web

from gateway.door import DOOR, chosen_protocol
from gateway.keys import SETTINGS
from gateway.shell import CLOSE_SECONDS, Shell, refuse_before_start
from push.access import Refused
from push.frames import Close
from push.session import PING

__all__ = ["websocket"]


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
    if not ws.can_prepare(request):
        raise web.HTTPBadRequest(text="this is a WebSocket endpoint: connect with Upgrade: websocket")
    refuse_before_start(request)
    door = request.app[DOOR]
    with door.session(request) as within_limits:
        try:
            if not within_limits:
                raise Refused(Close.TOO_MANY_CONNECTIONS, Close.TOO_MANY_CONNECTIONS.reason)
            grant = await door.grant(request)
            await _WebSocketShell(request, ws).run(grant, lambda: ws.prepare(request))
        except Refused as refusal:
            door.count(refusal.close.name.lower())
            await ws.prepare(request)
            await ws.close(code=refusal.close, message=str(refusal).encode()[:MOST_REASON_BYTES])
    return ws


# A control frame holds 125 bytes, two of them the code (RFC 6455 section 5.5). Our reasons are ASCII.
MOST_REASON_BYTES = 123


class _WebSocketShell(Shell):
    transport = "websocket"

    def __init__(self, request: web.Request, ws: web.WebSocketResponse) -> None:
        super().__init__(request)
        self._ws = ws

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
                case WSMsgType.PING if self.session.heard(len(message.data)):
                    await self._ws.pong(message.data)
                case WSMsgType.PONG if self.session.heard(len(message.data)):
                    pass
                case _:
                    return

    async def say_goodbye(self, close: Close) -> None:
        await self._ws.close(code=close, message=close.reason.encode())
