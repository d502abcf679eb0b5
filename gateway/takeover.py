"""The WebSocket handshake, and how a connection becomes ours after it: the only place that reaches into aiohttp.

aiohttp reads the handshake like any request. Then its protocol and its handler are let go, and a protocol of our own stands on
the transport: of aiohttp nothing is left for this connection. The answer is ours, so that it goes out together with the first
frames: a packet less, and a system call. That takes two attributes that are not public
(``_message_tail``, ``_task_handler``), so aiohttp is pinned, and ``prove`` tries all of it at every start.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import socket

from aiohttp import web

__all__ = ["Answered", "CannotTakeOver", "accept", "answer", "prove", "take_over"]

# RFC 6455 section 1.3.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PROOF_SECONDS = 5.0


class CannotTakeOver(Exception):
    """This version of aiohttp does not let go of a connection as ours expects."""


def accept(request: web.Request) -> str | None:
    """What answers the key of the client's handshake; None when it is none (section 4.2.1)."""
    headers = request.headers
    connection = ",".join(headers.getall("Connection", ())).lower().split(",")
    if request.method != "GET" or request.version < (1, 1) or "upgrade" not in map(str.strip, connection):
        return None
    if headers.get("Upgrade", "").strip().lower() != "websocket" or headers.get("Sec-WebSocket-Version", "").strip() != "13":
        return None
    try:
        key = headers.get("Sec-WebSocket-Key", "").strip().encode("ascii")
        if len(base64.b64decode(key, validate=True)) != 16:
            return None
    except (UnicodeEncodeError, binascii.Error):
        return None
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()


def answer(accepted: str, protocol: str | None, extension: str | None = None) -> bytes:
    """What goes first on a connection that has been taken over: the client may go on in frames (section 4.2.2)."""
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accepted}",
    ]
    if protocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {protocol}")
    if extension is not None:
        lines.append(f"Sec-WebSocket-Extensions: {extension}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Answered(web.StreamResponse):
    """For aiohttp, which wants a response: there is nothing left to send."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Not prepared."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Not sent."""


def take_over(request: web.Request, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
    """From here on the transport talks to ``protocol``; returned with what the client had already sent behind its request.

    Raises ConnectionResetError when the client has left. The handler has nothing left to do but to return ``Answered``.
    """
    theirs, transport = request.protocol, request.transport
    if transport is None:
        raise ConnectionResetError
    early, theirs._message_tail = bytes(theirs._message_tail), b""
    transport.set_protocol(protocol)
    # As far as aiohttp knows the connection has ended: it forgets it, its timers and its parser. It must neither close the
    # transport nor cancel the handler, which is running.
    theirs.transport = None
    theirs._task_handler = None
    theirs.connection_lost(None)
    transport.resume_reading()  # a client that has sent much meanwhile was told to wait
    return transport, early


class _Echo(asyncio.Protocol):
    """For the proof: sends back what comes in."""

    transport: asyncio.Transport | None = None

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


async def prove() -> None:
    """Take over a connection, over a pair of sockets, and see that both directions are ours. Raises CannotTakeOver."""
    echo = _Echo()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        echo.transport, early = take_over(request, echo)  # type: ignore[arg-type]
        echo.data_received(answer("x", None) + early)
        return Answered()

    loop = asyncio.get_running_loop()
    server = web.Server(handler, handler_cancellation=True, access_log=None)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        await loop.connect_accepted_socket(server, theirs)
        await loop.sock_sendall(ours, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        got = b""
        async with asyncio.timeout(PROOF_SECONDS):
            while not got.endswith(b"\r\n\r\nearly"):
                got += await _some(loop, ours)
            await loop.sock_sendall(ours, b"later")
            while not got.endswith(b"\r\n\r\nearlylater"):
                got += await _some(loop, ours)
        if server.connections:
            raise CannotTakeOver("aiohttp keeps the connection")
    except (AttributeError, TimeoutError, ConnectionError) as error:
        raise CannotTakeOver(f"aiohttp does not let go of a connection: {error!r}") from error
    finally:
        ours.close()
        if echo.transport is not None:
            echo.transport.abort()
        await server.shutdown(1.0)


async def _some(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    data = await loop.sock_recv(sock, 4096)
    if not data:
        raise ConnectionResetError("closed")
    return data
