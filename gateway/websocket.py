"""Sessions over WebSocket (RFC 6455)."""

from __future__ import annotations

from aiohttp import WSMsgType, web

from gateway.shell import CLOSE_SECONDS, Shell, refuse_before_start
from push.frames import Close
from push.session import PING

__all__ = ["websocket"]

MAX_FRAME_BYTES = 64 * 1024


async def websocket(request: web.Request) -> web.StreamResponse:
    """``GET /api/ws``: one session, until either side ends it."""
    # aiohttp refuses what has max_msg_size bytes, not only what has more.
    # No compression: a deflate context per client costs 150 KiB and two to three times the CPU.
    ws = web.WebSocketResponse(max_msg_size=MAX_FRAME_BYTES + 1, autoping=False, compress=False, timeout=CLOSE_SECONDS)
    if not ws.can_prepare(request):
        raise web.HTTPBadRequest(text="this is a WebSocket endpoint: connect with Upgrade: websocket")
    refuse_before_start(request)
    await _WebSocketShell(request, ws).run(lambda: ws.prepare(request))
    return ws


class _WebSocketShell(Shell):
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
                    self.session.receive_text(message.data)
                case WSMsgType.BINARY:
                    self.session.receive_binary()
                case WSMsgType.PING:
                    self.session.alive()
                    await self._ws.pong(message.data)
                case WSMsgType.PONG:
                    self.session.alive()
                case _:
                    return

    async def say_goodbye(self, close: Close) -> None:
        await self._ws.close(code=close, message=close.reason.encode())
