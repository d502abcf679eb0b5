"""Sessions over Server-Sent Events (HTML standard, section 9.2)."""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache

from aiohttp import web

from gateway.door import DOOR
from gateway.shell import Shell, refuse_before_start
from push.access import Refused, Role
from push.frames import Close
from push.session import PING

__all__ = ["sse"]

# How long a browser waits before it reconnects.
RETRY = b"retry: 1000\n\n"
HEARTBEAT = b": ping\n\n"


async def sse(request: web.Request) -> web.StreamResponse:
    """``GET /api/sse``: one session, until either side ends it."""
    refuse_before_start(request)
    door = request.app[DOOR]
    grant = await door.admit(request, *Role)
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would hold events back
        }
    )

    async def answer() -> None:
        await response.prepare(request)
        await response.write(RETRY)

    with door.session(request) as within_limits:
        if not within_limits:
            raise Refused(Close.TOO_MANY_CONNECTIONS, Close.TOO_MANY_CONNECTIONS.reason)
        await _SseShell(request, response).run(grant, answer)
    return response


def _position(cursor: str) -> bytes:
    """A cursor without an event: it is kept by the browser, and nothing is dispatched (section 9.2.6)."""
    return f"id: {cursor}\n\n".encode()


class _SseShell(Shell):
    transport = "sse"
    position_frame = staticmethod(_position)

    def __init__(self, request: web.Request, response: web.StreamResponse) -> None:
        super().__init__(request)
        self._response = response

    async def send(self, frames: list[bytes]) -> None:
        await self._response.write(b"".join(map(_event, frames)))
        # There is no pong: that the client takes what is sent is its sign of life.
        self.session.alive()

    async def receive(self) -> None:
        # Nothing ever comes in; aiohttp cancels the handler when the client disconnects.
        await asyncio.get_running_loop().create_future()

    async def say_goodbye(self, close: Close) -> None:
        await self._response.write_eof()


def _event(frame: bytes) -> bytes:
    return _encoded_once(frame) if len(frame) < 4096 else _encoded(frame)


def _encoded(frame: bytes) -> bytes:
    if frame == PING:
        return HEARTBEAT
    if frame.startswith(b"id: "):
        return frame
    fields = json.loads(frame)
    cursor = f"id: {fields['id']}\n" if "id" in fields else ""
    return f"event: {fields['type']}\n{cursor}data: ".encode() + frame + b"\n\n"


# The same frame goes to every client.
_encoded_once = lru_cache(maxsize=4096)(_encoded)
