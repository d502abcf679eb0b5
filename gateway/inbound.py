"""How a connection comes in: it is counted, and its first bytes say whose it is. A WebSocket's opening is answered at once, by
the rules that ``websocket_handler`` has for all of them; whatever else it is, aiohttp gets it, from its first byte on.
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
from gateway.http.request_head import RequestHead, parse_upgrade_head
from gateway.net.connection_limits import TOO_MANY_REQUESTS_RESPONSE, Connection, ConnectionLimiter
from gateway.net.fd_transport import FdTransport
from gateway.net.transports import TRANSPORTS, Transport
from gateway.sessions.background_tasks import BACKGROUND_TASKS
from gateway.websocket.endpoint import Handshake, admit_client, check_upgrade, start
from push.errors import StoreError

__all__ = ["Acceptor", "InboundConnection", "InboundConnections"]

log = logging.getLogger("orderwire.http")

# An event takes several turns of the loop from PostgreSQL to the clients. What is done in one of them for those who come in is
# bounded: so many are accepted, and for so long openings are looked at. The rest waits, in the kernel and here.
MAX_ACCEPTS_PER_TICK = 8
INSPECT_BUDGET_SECONDS = 0.001
# A client that has sent more is not read until it is let in.
MAX_EARLY_BYTES = 64 * 1024
# How long nobody is accepted when there are no more descriptors to be had.
ACCEPT_RETRY_SECONDS = 1.0


class InboundConnections:
    """All that have come in, and of which it is not known yet what they want."""

    def __init__(
        self, app: web.Application, limiter: ConnectionLimiter, protocol_factory: Callable[[], asyncio.Protocol]
    ) -> None:
        """``make``: aiohttp's factory of protocols."""
        self.app = app
        self.limiter = limiter
        self.protocol_factory = protocol_factory
        self.settings = app[SETTINGS]
        self.pending: set[InboundConnection] = set()
        self.closed = False
        self._inspect_queue: deque[InboundConnection] = deque()

    def __call__(self) -> InboundConnection:
        """A factory of protocols, for asyncio."""
        return InboundConnection(self)

    def schedule_inspection(self, connection: InboundConnection) -> None:
        """It has sent something: it is looked at when it is its turn."""
        if not self._inspect_queue:
            asyncio.get_running_loop().call_soon(self._inspect_queued)
        self._inspect_queue.append(connection)

    def _inspect_queued(self) -> None:
        until = time.perf_counter() + INSPECT_BUDGET_SECONDS
        while self._inspect_queue:
            self._inspect_queue.popleft().inspect()
            if time.perf_counter() > until:
                break
        if self._inspect_queue:
            asyncio.get_running_loop().call_soon(self._inspect_queued)

    def close(self) -> None:
        """Nobody is let in any more."""
        self.closed = True
        for arrival in list(self.pending):
            arrival.abort()


class InboundConnection(asyncio.Protocol):
    """One connection, on whatever line. One that is turned away is never looked at: what it sends is read, so that the answer
    is not lost in a reset, and answered by ready-made bytes.
    """

    __slots__ = ("_buffer", "_connection", "_http_protocol", "_idle_timer", "_inbound", "_remote", "_task", "_transport")

    def __init__(self, inbound: InboundConnections) -> None:
        self._inbound = inbound
        self._remote: str | None = None
        self._transport: Transport | None = None
        # None: it is turned away.
        self._connection: Connection | None = None
        # What it has sent, until it is known what it wants.
        self._buffer = b""
        # Cuts it when it keeps silent.
        self._idle_timer: asyncio.TimerHandle | None = None
        # It is being let in, or handed over.
        self._task: asyncio.Task[None] | None = None
        # aiohttp's, once it has it.
        self._http_protocol: asyncio.Protocol | None = None

    # ---------------------------------------------------------------- what the line says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        line = cast(asyncio.Transport, transport)
        if self._transport is not None:
            self._inbound.limiter.rebind(self._transport, line)
            self._transport = line
            self._start_http_protocol(line)
            return
        peername = line.get_extra_info("peername")
        self.register(line, peername[0] if peername else None)

    def register(self, transport: Transport, remote: str | None) -> None:
        """It stands on this line, and comes from there."""
        self._transport, self._remote = transport, remote
        if self._inbound.closed:  # asyncio may have been in the middle of accepting it
            transport.abort()
            return
        connections = self._inbound.limiter
        self._connection = connections.connection_made(transport, remote)
        patience = self._inbound.settings.idle_seconds if self._connection is not None else connections.reject(transport)
        if patience:
            self._inbound.pending.add(self)
            self._idle_timer = asyncio.get_running_loop().call_later(patience, transport.abort)
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if self._http_protocol is not None:
            self._http_protocol.data_received(data)
            return
        line = self._transport
        assert line is not None
        if self._connection is None:
            if not line.is_closing():
                line.write(TOO_MANY_REQUESTS_RESPONSE)
                line.close()
            return
        first = not self._buffer
        self._buffer += data
        if first:
            self._cancel_idle_timer()
            self._inbound.schedule_inspection(self)
        elif len(self._buffer) > MAX_EARLY_BYTES:
            line.pause_reading()

    def eof_received(self) -> bool | None:
        """See asyncio.Protocol."""
        return self._http_protocol.eof_received() if self._http_protocol is not None else None

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        line, self._transport = self._transport, None
        self._cancel_idle_timer()
        self._inbound.pending.discard(self)
        if self._task is not None:
            self._task.cancel()
        self._inbound.limiter.connection_lost(line)
        if self._http_protocol is not None:
            self._http_protocol.connection_lost(error)

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._http_protocol is not None:
            self._http_protocol.pause_writing()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        if self._http_protocol is not None:
            self._http_protocol.resume_writing()

    def _cancel_idle_timer(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    # ---------------------------------------------------------------- what it wants

    def inspect(self) -> None:
        """At what it has sent."""
        line = self._transport
        if line is None or line.is_closing():
            return
        try:
            self._dispatch(line)
        except Exception:
            log.exception("a connection could not be looked at")
            line.abort()

    def _dispatch(self, transport: Transport) -> None:
        connection, settings, app = self._connection, self._inbound.settings, self._inbound.app
        assert connection is not None
        request = parse_upgrade_head(self._buffer, settings.max_header_bytes)
        if request is not None:
            message, size = request
            secure = isinstance(transport, asyncio.BaseTransport) and transport.get_extra_info("sslcontext") is not None
            opening = RequestHead.from_message(message, self._remote, settings, connection, secure=secure)
            handshake = check_upgrade(app, opening)
            if handshake is not None:
                self._task = app[BACKGROUND_TASKS].spawn(self._admit(opening, handshake, size), "session opening")
                return
        self._hand_to_aiohttp(transport)

    async def _admit(self, head: RequestHead, handshake: Handshake, head_size: int) -> None:
        app, line = self._inbound.app, self._transport
        if line is None:
            return
        logs.connection_id.set(head.connection.id)  # this task's
        try:
            client = await admit_client(app, head, handshake)
        except StoreError:
            self._task = None
            self._hand_to_aiohttp(line)  # which tells it
            return
        except Exception:
            line.abort()
            raise
        self._inbound.pending.discard(self)
        line.resume_reading()
        try:
            start(app, line, client, handshake, self._buffer[head_size:])
        except BaseException:
            line.abort()
            raise

    # ---------------------------------------------------------------- what is not ours

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
        """asyncio takes it, and calls ``connection_made``."""
        self._task = None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: self, sock)
        except OSError as error:
            sock.close()
            self.connection_lost(error)

    def _start_http_protocol(self, transport: asyncio.Transport) -> None:
        self._http_protocol = self._inbound.protocol_factory()
        self._http_protocol.connection_made(transport)
        transport.resume_reading()  # before aiohttp may want it paused, when requests come faster than it answers them
        got, self._buffer = self._buffer, b""
        self._http_protocol.data_received(got)

    def abort(self) -> None:
        """It will not be let in."""
        if self._transport is not None:
            self._transport.abort()


class Acceptor:
    """Accepts connections onto descriptors of our own: no task, no transport, and no copy of the descriptor for each."""

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
                log.error("no connection can be accepted for now: %s", error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listening.fileno())
                loop.call_later(ACCEPT_RETRY_SECONDS, self._start_accepting, listening)
                return
            sock.setblocking(False)
            self._adopt(sock, address[0])

    def _adopt(self, sock: socket.socket, remote: str) -> None:
        arrival = InboundConnection(self._inbound)
        line = self._inbound.app[TRANSPORTS].adopt(sock, arrival)
        if line is not None:
            arrival.register(line, remote)

    def close(self) -> None:
        """Accept no more."""
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock.fileno())
            sock.close()
        self._sockets = []
