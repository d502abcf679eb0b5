"""How a connection becomes ours when aiohttp has read the handshake: the only place that reaches into aiohttp.

aiohttp reads the handshake like any request. Then its protocol and its handler are let go, and a protocol of our own stands on
the transport: of aiohttp nothing is left for this connection. The answer is ours, so that it goes out together with the first
frames: a packet less, and a system call. That takes two attributes that are not public
(``_message_tail``, ``_task_handler``), so aiohttp is pinned, and ``self_test`` tries all of it at every start.
"""

from __future__ import annotations

import asyncio
import socket

from aiohttp import web

from gateway.http.request_head import switching_protocols

__all__ = ["DetachedResponse", "UpgradeUnsupported", "detach_transport", "self_test"]

SELF_TEST_TIMEOUT_SECONDS = 5.0


class UpgradeUnsupported(Exception):
    """This version of aiohttp does not let go of a connection as ours expects."""


class DetachedResponse(web.StreamResponse):
    """For aiohttp, which wants a response: there is nothing left to send."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Not prepared."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Not sent."""


def detach_transport(request: web.Request, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
    """From here on the transport talks to ``subprotocol``; returned with what the client had already sent behind its request.

    Raises ConnectionResetError when the client has left. The handler has nothing left to do but to return ``DetachedResponse``.
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


class _EchoProtocol(asyncio.Protocol):
    """For the proof: sends back what comes in."""

    transport: asyncio.Transport | None = None

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


async def self_test() -> None:
    """Take over a connection, over a pair of sockets, and see that both directions are ours. Raises CannotTakeOver."""
    echo = _EchoProtocol()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        echo.transport, early = detach_transport(request, echo)  # type: ignore[arg-type]
        echo.data_received(switching_protocols("x", None) + early)
        return DetachedResponse()

    loop = asyncio.get_running_loop()
    server = web.Server(handler, handler_cancellation=True, access_log=None)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        await loop.connect_accepted_socket(server, theirs)
        await loop.sock_sendall(ours, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly")
        got = b""
        async with asyncio.timeout(SELF_TEST_TIMEOUT_SECONDS):
            while not got.endswith(b"\r\n\r\nearly"):
                got += await _receive(loop, ours)
            await loop.sock_sendall(ours, b"later")
            while not got.endswith(b"\r\n\r\nearlylater"):
                got += await _receive(loop, ours)
        if server.connections:
            raise UpgradeUnsupported("aiohttp keeps the connection")
    except (AttributeError, TimeoutError, ConnectionError) as error:
        raise UpgradeUnsupported(f"aiohttp does not let go of a connection: {error!r}") from error
    finally:
        ours.close()
        if echo.transport is not None:
            echo.transport.abort()
        await server.shutdown(1.0)


async def _receive(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    data = await loop.sock_recv(sock, 4096)
    if not data:
        raise ConnectionResetError("closed")
    return data
