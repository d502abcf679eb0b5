"""Detach a connection from aiohttp: after it has read the request that opens a WebSocket, or written the head of a stream.

aiohttp parses such a request like any other. ``detach_transport`` then replaces aiohttp's protocol on the transport, and
aiohttp frees its protocol, parser and timers, which saves their memory for every open session. For a WebSocket aiohttp writes
nothing: the 101 response shares a packet with the first frames. This needs two private attributes of aiohttp's RequestHandler
(``_message_tail``, ``_task_handler``): the version of aiohttp is pinned, and ``self_test`` runs at every start.
(gateway/http/expect.py is the other module that uses private names of aiohttp.)
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import cast

from aiohttp import web

__all__ = ["DetachUnsupported", "DetachedResponse", "detach_transport", "self_test"]

SELF_TEST_TIMEOUT_SECONDS = 5.0


class DetachUnsupported(Exception):
    """``detach_transport`` does not work with the installed version of aiohttp."""


class DetachedResponse(web.StreamResponse):
    """The handler's return value for aiohttp: a response that writes nothing."""

    async def prepare(self, request: web.BaseRequest) -> None:
        """Send no headers."""

    async def write_eof(self, data: bytes = b"") -> None:
        """Send no body."""


def detach_transport(request: web.Request, protocol: asyncio.Protocol) -> tuple[asyncio.Transport, bytes]:
    """Make ``protocol`` the protocol of the request's transport; return the transport and the bytes that aiohttp has read
    beyond the request.

    Raises ConnectionResetError if the connection is already lost. The handler must return a ``DetachedResponse``.
    """
    request_handler, transport = request.protocol, request.transport
    if transport is None:
        raise ConnectionResetError
    early, request_handler._message_tail = bytes(request_handler._message_tail), b""
    transport.set_protocol(protocol)
    # For aiohttp the connection is lost now: it drops its references, timers and parser. Both attributes are None so that it
    # neither closes the transport nor cancels the running handler.
    request_handler.transport = None
    request_handler._task_handler = None
    request_handler.connection_lost(None)
    transport.resume_reading()  # aiohttp pauses reading when much data follows the request
    return transport, early


class _EchoProtocol(asyncio.Protocol):
    """For the self-test: sends back what it receives."""

    transport: asyncio.Transport | None = None

    def data_received(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


async def self_test() -> None:
    """Detach connections over socket pairs, and test reading and writing. Raises DetachUnsupported."""
    await _test_detaching(_echo_upgraded, b"Connection: Upgrade\r\nUpgrade: websocket\r\n", early=b"early")
    await _test_detaching(_echo_streamed, b"", early=b"")


async def _echo_upgraded(request: web.Request, echo: _EchoProtocol) -> None:
    """As the handler of WebSockets: aiohttp writes nothing."""
    echo.transport, early = detach_transport(request, echo)
    echo.data_received(b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + early)


async def _echo_streamed(request: web.Request, echo: _EchoProtocol) -> None:
    """As the handler of Server-Sent Events: aiohttp writes the head and a first chunk."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"first")
    echo.transport, _ = detach_transport(request, echo)


async def _test_detaching(
    detach: Callable[[web.Request, _EchoProtocol], Awaitable[None]], headers: bytes, *, early: bytes
) -> None:
    echo = _EchoProtocol()

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        await detach(cast(web.Request, request), echo)
        return DetachedResponse()

    loop = asyncio.get_running_loop()
    server = web.Server(handler, handler_cancellation=True, access_log=None)
    client_sock, server_sock = socket.socketpair()
    client_sock.setblocking(False)
    try:
        await loop.connect_accepted_socket(server, server_sock)
        await loop.sock_sendall(client_sock, b"GET / HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + early)
        received = b""
        async with asyncio.timeout(SELF_TEST_TIMEOUT_SECONDS):
            while not received.endswith(b"\r\n\r\nearly" if early else b"\r\n\r\n5\r\nfirst\r\n"):
                received += await _receive(loop, client_sock)
            head = received
            await loop.sock_sendall(client_sock, b"later")
            while received != head + b"later":
                received += await _receive(loop, client_sock)
        if server.connections:
            raise DetachUnsupported("aiohttp keeps the connection")
    except (AttributeError, TimeoutError, ConnectionError) as error:
        raise DetachUnsupported(f"aiohttp does not let go of a connection: {error!r}") from error
    finally:
        client_sock.close()
        if echo.transport is not None:
            echo.transport.abort()
        await server.shutdown(1.0)


async def _receive(loop: asyncio.AbstractEventLoop, sock: socket.socket) -> bytes:
    data = await loop.sock_recv(sock, 4096)
    if not data:
        raise ConnectionResetError("closed")
    return data
