"""Accepted connections until their kind is known: count them, read the first bytes, and dispatch.

A plain WebSocket upgrade request is answered here, under the rules of ``websocket.handshake``; every other connection is handed
to aiohttp with all bytes that were read.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from aiohttp import web

import logs
from gateway.app_keys import SETTINGS
from gateway.http.request_head import RequestHead
from gateway.net.connection_limits import TOO_MANY_REQUESTS_RESPONSE, Connection, ConnectionLimiter
from gateway.net.fd_transport import FdTransport
from gateway.net.transports import TRANSPORTS, Transport
from gateway.sessions.background_tasks import BACKGROUND_TASKS
from gateway.websocket.endpoint import admit_client, check_upgrade, start
from gateway.websocket.handshake import Handshake, parse_upgrade_head, request_line_prefixes
from push.errors import StoreError

__all__ = ["Acceptor", "InboundConnection", "InboundConnections"]

log = logging.getLogger("orderwire.inbound")

# An event takes several ticks of the event loop from PostgreSQL to the clients. So the work for new connections is bounded per
# tick: the number of accepts, and the time for parsing upgrade requests. The rest waits in the backlog and in a queue.
MAX_ACCEPTS_PER_TICK = 8
INSPECT_BUDGET_SECONDS = 0.001
# Reading is paused when a client that is not admitted yet has sent more.
MAX_EARLY_BYTES = 64 * 1024
# Pause of accepting when file descriptors or memory are exhausted.
ACCEPT_RETRY_SECONDS = 1.0


class InboundConnections:
    """The connections whose kind is not known yet; asyncio's protocol factory for the listening socket."""

    def __init__(
        self, app: web.Application, limiter: ConnectionLimiter, make_http_protocol: Callable[[], asyncio.Protocol]
    ) -> None:
        """``make_http_protocol``: makes the protocol of a connection that sends HTTP requests: aiohttp's server."""
        self.app = app
        self.limiter = limiter
        self.make_http_protocol = make_http_protocol
        self.settings = app[SETTINGS]
        self.request_line_prefixes = request_line_prefixes(self.settings.base_path)
        self.pending: set[InboundConnection] = set()
        self.closed = False
        self._inspect_queue: deque[InboundConnection] = deque()

    def __call__(self) -> InboundConnection:
        return InboundConnection(self)

    def schedule_inspection(self, connection: InboundConnection) -> None:
        """The connection has sent its first bytes: inspect it in one of the next ticks, in order of arrival."""
        if not self._inspect_queue:
            asyncio.get_running_loop().call_soon(self._inspect_queued)
        self._inspect_queue.append(connection)

    def _inspect_queued(self) -> None:
        deadline = time.perf_counter() + INSPECT_BUDGET_SECONDS
        while self._inspect_queue:
            self._inspect_queue.popleft().inspect()
            if time.perf_counter() > deadline:
                break
        if self._inspect_queue:
            asyncio.get_running_loop().call_soon(self._inspect_queued)

    def close(self) -> None:
        """Admit no more connections, and abort those that are not admitted yet."""
        self.closed = True
        for connection in list(self.pending):
            connection.abort()


class InboundConnection(asyncio.Protocol):
    """The protocol of one connection until a WebSocketProtocol replaces it. For HTTP it stays, and passes every call on to
    aiohttp's protocol.

    A rejected connection is not parsed: its first bytes are read, since unread input would turn the close into a reset, and get
    a prepared 429 response.
    """

    __slots__ = ("_buffer", "_connection", "_http_protocol", "_idle_timer", "_inbound", "_remote", "_task", "_transport")

    def __init__(self, inbound: InboundConnections) -> None:
        self._inbound = inbound
        self._remote: str | None = None
        self._transport: Transport | None = None
        # None: rejected.
        self._connection: Connection | None = None
        # Bytes received before the connection is dispatched.
        self._buffer = b""
        # Aborts a connection whose first request does not arrive.
        self._idle_timer: asyncio.TimerHandle | None = None
        # The admission of a WebSocket, or the move to an asyncio transport.
        self._task: asyncio.Task[None] | None = None
        # aiohttp's protocol, once the connection is handed over.
        self._http_protocol: asyncio.Protocol | None = None

    # ---------------------------------------------------------------- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        new_transport = cast(asyncio.Transport, transport)
        if self._transport is not None:
            self._inbound.limiter.rebind(self._transport, new_transport)
            self._transport = new_transport
            self._start_http_protocol(new_transport)
            return
        peername = new_transport.get_extra_info("peername")
        self.register(new_transport, peername[0] if peername else None)

    def register(self, transport: Transport, remote: str | None) -> None:
        """Count the connection; reject it if it exceeds a limit. ``remote``: address of the TCP peer."""
        self._transport, self._remote = transport, remote
        if self._inbound.closed:  # asyncio was accepting it when the server stopped
            transport.abort()
            return
        limiter = self._inbound.limiter
        self._connection = limiter.admit(transport, remote)
        seconds = self._inbound.settings.idle_seconds if self._connection is not None else limiter.track_rejected(transport)
        if seconds:
            self._inbound.pending.add(self)
            self._idle_timer = asyncio.get_running_loop().call_later(seconds, self._abort_idle)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._http_protocol is not None:
            self._http_protocol.data_received(data)
            return
        transport = self._transport
        assert transport is not None
        if self._connection is None:
            if not transport.is_closing():
                transport.write(TOO_MANY_REQUESTS_RESPONSE)
                transport.close()
            return
        first = not self._buffer
        self._buffer += data
        if first:
            self._inbound.schedule_inspection(self)
        elif len(self._buffer) > MAX_EARLY_BYTES:
            transport.pause_reading()

    def eof_received(self) -> bool | None:
        return self._http_protocol.eof_received() if self._http_protocol is not None else None

    def connection_lost(self, error: Exception | None) -> None:
        transport, self._transport = self._transport, None
        self._cancel_idle_timer()
        self._inbound.pending.discard(self)
        if self._task is not None:
            self._task.cancel()
        self._inbound.limiter.connection_lost(transport)
        if self._http_protocol is not None:
            self._http_protocol.connection_lost(error)

    def pause_writing(self) -> None:
        if self._http_protocol is not None:
            self._http_protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._http_protocol is not None:
            self._http_protocol.resume_writing()

    def _abort_idle(self) -> None:
        """Abort the connection, unless aiohttp has read its first request: aiohttp waits for the next one by itself."""
        self._idle_timer = None
        if self._connection is None or not self._connection.has_request:
            self.abort()

    def _cancel_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    # ---------------------------------------------------------------- dispatch

    def inspect(self) -> None:
        """Decide from the first bytes what the connection is for."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        try:
            self._dispatch(transport)
        except Exception:
            log.exception("inspecting a new connection failed, aborting it")
            transport.abort()

    def _dispatch(self, transport: Transport) -> None:
        connection, settings, app = self._connection, self._inbound.settings, self._inbound.app
        assert connection is not None
        request = parse_upgrade_head(self._buffer, settings.max_header_bytes, self._inbound.request_line_prefixes)
        if request is not None:
            message, size = request
            secure = isinstance(transport, asyncio.BaseTransport) and transport.get_extra_info("sslcontext") is not None
            head = RequestHead.from_message(message, self._remote, settings, connection, secure=secure)
            handshake = check_upgrade(app, head)
            if handshake is not None:
                self._cancel_idle_timer()
                self._task = app[BACKGROUND_TASKS].spawn(self._admit(head, handshake, size), "session handshake")
                return
        self._hand_to_aiohttp(transport)

    async def _admit(self, head: RequestHead, handshake: Handshake, head_size: int) -> None:
        app, transport = self._inbound.app, self._transport
        if transport is None:
            return
        logs.connection_id.set(head.connection.id)  # in this task's context
        try:
            client = await admit_client(app, head, handshake)
        except StoreError:
            self._task = None
            self._hand_to_aiohttp(transport)  # its error middleware sends the response
            return
        except Exception:
            transport.abort()
            raise
        self._inbound.pending.discard(self)
        transport.resume_reading()
        try:
            start(app, transport, client, handshake, self._buffer[head_size:])
        except BaseException:
            transport.abort()
            raise

    # ---------------------------------------------------------------- hand over to aiohttp

    def _hand_to_aiohttp(self, transport: Transport) -> None:
        if transport.is_closing():
            return
        self._inbound.pending.discard(self)
        if isinstance(transport, FdTransport):
            self._task = self._inbound.app[BACKGROUND_TASKS].spawn(
                self._move_to_asyncio_transport(transport.detach_socket()), "connection"
            )
        else:
            self._start_http_protocol(transport)

    async def _move_to_asyncio_transport(self, sock: socket.socket) -> None:
        """asyncio makes a transport and calls ``connection_made`` a second time."""
        self._task = None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self, sock)
        except OSError as error:
            sock.close()
            self.connection_lost(error)

    def _start_http_protocol(self, transport: asyncio.Transport) -> None:
        self._http_protocol = self._inbound.make_http_protocol()
        self._http_protocol.connection_made(transport)
        transport.resume_reading()  # before aiohttp gets data: it may pause reading
        data, self._buffer = self._buffer, b""
        self._http_protocol.data_received(data)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Acceptor:
    """Accepts connections as FdTransports, without the task and the asyncio transport that asyncio's server makes for each.

    Owns the listening sockets.
    """

    def __init__(self, sockets: list[socket.socket], inbound: InboundConnections) -> None:
        self._sockets = sockets
        self._inbound = inbound
        for sock in sockets:
            sock.setblocking(False)
            self._start_accepting(sock)

    def _start_accepting(self, sock: socket.socket) -> None:
        if sock in self._sockets:
            asyncio.get_running_loop().add_reader(sock.fileno(), self._accept, sock)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(MAX_ACCEPTS_PER_TICK):
            try:
                sock, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    raise
                log.error("cannot accept connections: %s; retrying in %g s", error.strerror, ACCEPT_RETRY_SECONDS)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening.fileno())
                loop.call_later(ACCEPT_RETRY_SECONDS, self._start_accepting, listening)
                return
            sock.setblocking(False)
            self._adopt(sock, address[0])

    def _adopt(self, sock: socket.socket, remote: str) -> None:
        connection = InboundConnection(self._inbound)
        transport = self._inbound.app[TRANSPORTS].adopt(sock, connection)
        if transport is not None:
            connection.register(transport, remote)

    def close(self) -> None:
        """Stop accepting and close the listening sockets."""
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        self._sockets = []
