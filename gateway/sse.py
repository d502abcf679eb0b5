"""Sessions over Server-Sent Events (HTML standard, section 9.2)."""

from __future__ import annotations

import asyncio
import json
import socket
from functools import lru_cache

from aiohttp import web

from gateway.keys import SETTINGS
from gateway.shell import Shell, refuse_before_start
from push.frames import Close
from push.session import MISSED_HEARTBEATS, PING

__all__ = ["sse"]

# How long a browser waits before it reconnects.
RETRY = b"retry: 1000\n\n"
HEARTBEAT = b": ping\n\n"


async def sse(request: web.Request) -> web.StreamResponse:
    """``GET /api/sse``: one session, until either side ends it."""
    refuse_before_start(request)
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would hold events back
        }
    )

    async def answer() -> None:
        await response.prepare(request)
        _bound_silence(request, (MISSED_HEARTBEATS + 1) * request.app[SETTINGS].heartbeat_seconds)
        await response.write(RETRY)

    await _SseShell(request, response).run(answer)
    return response


def _bound_silence(request: web.Request, seconds: float) -> None:
    """Let the kernel end the connection of a client that takes nothing for so long.

    The kernel's buffer goes on accepting heartbeats, megabytes of them, when the client has long gone without a word.
    """
    sock = request.transport.get_extra_info("socket") if request.transport is not None else None
    if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def _position(cursor: str) -> bytes:
    """A cursor without an event: it is kept by the browser, and nothing is dispatched (section 9.2.6)."""
    return f"id: {cursor}\n\n".encode()


class _SseShell(Shell):
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
