"""What sessions are written through: FdTransports with batched writes, FdTransports without, or asyncio's transports.

The backend is selected at startup; each candidate must pass a self-test.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
from array import array
from collections.abc import Callable, Sequence

from aiohttp import web

from gateway.net.batch_send import BatchSender, BatchSendUnavailable
from gateway.net.fd_transport import FdTransport, FdTransports
from gateway.net.io_uring import IoUringSender
from gateway.net.linux_aio import LinuxAioSender
from push.delivery.slices import rotation_start

__all__ = [
    "ASYNCIO_TRANSPORT",
    "CLOSE_TIMEOUT_SECONDS",
    "TRANSPORTS",
    "BackendUnavailable",
    "Transport",
    "TransportBackend",
    "TransportGroup",
]

log = logging.getLogger("orderwire.transports")

AUTO, DESCRIPTOR, ASYNCIO_TRANSPORT = "auto", "descriptor", "transport"
# In order of preference.
BATCH_SENDERS: dict[str, Callable[[], BatchSender]] = {IoUringSender.name: IoUringSender, LinuxAioSender.name: LinuxAioSender}
SELF_TEST_TIMEOUT_SECONDS = 5.0
SELF_TEST_BYTES = 4096

# How long the client of a session that is closing has to read the rest and, over WebSocket, to answer the close frame. Then the
# connection is aborted.
CLOSE_TIMEOUT_SECONDS = 5.0

# The transport of a session. Both classes behave the same.
Transport = asyncio.Transport | FdTransport


class BackendUnavailable(Exception):
    """This system does not support the backend; the text is the reason."""


class TransportBackend:
    """The transports of one process. Owned by the application.

    A context manager: writes to FdTransports inside ``with`` are batched and sent at its end.
    """

    def __init__(self, fd_transports: FdTransports | None = None) -> None:
        self.name = ASYNCIO_TRANSPORT
        self._fd_transports = fd_transports

    async def select(self, mode: str) -> None:
        """Use the best backend that works (mode ``auto``), or the given one. Raises BackendUnavailable."""
        for name in (*BATCH_SENDERS, DESCRIPTOR):
            if mode not in (AUTO, name):
                continue
            try:
                self._fd_transports = await _probe(name)
            except BackendUnavailable as error:
                if mode == name:
                    raise
                log.debug("no %s for WebSockets: %s", name, error)
            else:
                self.name = name
                break
        log.debug("WebSockets are written to by %s", self.name)

    @property
    def has_fd_transports(self) -> bool:
        """Whether the selected backend can adopt sockets."""
        return self._fd_transports is not None

    def adopt(self, sock: socket.socket, protocol: asyncio.Protocol) -> FdTransport | None:
        """Make an FdTransport of an accepted socket. On an error the socket is closed, and None returned."""
        assert self._fd_transports is not None
        try:
            transport = self._fd_transports.adopt(sock.fileno(), protocol)
        except OSError as error:
            log.warning("cannot adopt a connection: %s", error.strerror)
            sock.close()
            return None
        sock.detach()
        return transport

    def attach(self, transport: Transport, protocol: asyncio.Protocol) -> Transport:
        """Make ``protocol`` the protocol of a session's connection. Returns the transport to use, which may be a new one."""
        transport.set_protocol(protocol)
        return transport if isinstance(transport, FdTransport) else self._replace_asyncio_transport(transport, protocol)

    def _replace_asyncio_transport(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> Transport:
        if self._fd_transports is not None:
            fd_transport = _move_to_fd(transport, protocol, self._fd_transports)
            if fd_transport is not None:
                return fd_transport
        # Signal back-pressure at the first buffered byte, so that pending data stays in the bounded, shared send queue.
        # (Not 0: asyncio's TLS transport counts a buffer of exactly the limit as full.)
        transport.set_write_buffer_limits(high=1, low=0)
        # Free the addresses, 0.4 KiB, which only aiohttp uses. (Private attribute; transports without it keep transport_sock.)
        getattr(transport, "_extra", {}).clear()
        return transport

    def group(self, transports: Sequence[Transport]) -> TransportGroup:
        """A group whose members are written the same data by one call."""
        return TransportGroup(self._fd_transports, transports)

    def close(self) -> None:
        """Close the epoll and the batch sender. Called once, after the last connection is closed."""
        if self._fd_transports is not None:
            self._fd_transports.close()
            self._fd_transports = None

    def __enter__(self) -> None:
        if self._fd_transports is not None:
            self._fd_transports.__enter__()

    def __exit__(self, *_: object) -> None:
        if self._fd_transports is not None:
            self._fd_transports.__exit__()


TRANSPORTS = web.AppKey("TRANSPORTS", TransportBackend)


class TransportGroup:
    """Transports that are written the same data, none of which has unsent data.

    Each write starts at another member, so that none is always served last.
    """

    def __init__(self, fd_transports: FdTransports | None, transports: Sequence[Transport]) -> None:
        self._fd_transports = fd_transports
        self._fd_members = [transport for transport in transports if isinstance(transport, FdTransport)]
        self._fds = array("I", (transport.fd for transport in self._fd_members))
        self._asyncio_members = [transport for transport in transports if not isinstance(transport, FdTransport)]

    def write(self, data: bytes, rotation: int) -> None:
        """Write to all members. ``rotation``: the number of this write, which decides the first member."""
        if self._fd_transports is not None and self._fds:
            first = rotation_start(rotation, len(self._fds))
            members, fds = self._fd_members, self._fds
            self._fd_transports.write_all(members[first:] + members[:first], fds[first:] + fds[:first], data)
        first = rotation_start(rotation, len(self._asyncio_members))
        for transport in self._asyncio_members[first:] + self._asyncio_members[:first]:
            try:
                transport.write(data)
            except Exception:
                log.exception("writing to a client failed, aborting its connection")
                transport.abort()


_NULL_PROTOCOL = asyncio.Protocol()


def _move_to_fd(transport: asyncio.Transport, protocol: asyncio.Protocol, fd_transports: FdTransports) -> FdTransport | None:
    """Move the connection to an FdTransport; None if that is not possible. Unread input stays in the kernel's buffer."""
    if transport.is_closing() or transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
        return None
    try:
        fd = os.dup(transport.get_extra_info("socket").fileno())
    except OSError:
        return None
    try:
        fd_transport = fd_transports.adopt(fd, protocol)
    except OSError:
        os.close(fd)
        return None
    # asyncio closes its own fd; the connection stays open until the last fd of the socket is closed.
    transport.set_protocol(_NULL_PROTOCOL)
    transport.abort()
    return fd_transport


async def _probe(name: str) -> FdTransports:
    """Set up the backend and run the self-test. Raises BackendUnavailable."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.SelectorEventLoop):
        raise BackendUnavailable(f"only asyncio's own event loop is known, and this is {type(loop).__module__}")
    if not hasattr(select, "epoll"):
        raise BackendUnavailable("there is no epoll here")
    try:
        sender = BATCH_SENDERS[name]() if name in BATCH_SENDERS else None
    except BatchSendUnavailable as error:
        raise BackendUnavailable(str(error)) from error
    fd_transports = FdTransports(sender)
    try:
        await _self_test(fd_transports)
        if sender is not None and sender.broken:
            raise ConnectionError("the kernel refuses it")
    except (OSError, TimeoutError) as error:
        fd_transports.close()
        raise BackendUnavailable(f"the self-test failed: {error!r}") from error
    except BaseException:
        fd_transports.close()
        raise
    return fd_transports


class _ProbeProtocol(asyncio.Protocol):
    """For the self-test: records input and back-pressure."""

    def __init__(self) -> None:
        self.received = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()
        self.write_paused = False

    def data_received(self, data: bytes) -> None:
        self.received.set_result(data)

    def pause_writing(self) -> None:
        self.write_paused = True

    def resume_writing(self) -> None:
        self.write_paused = False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


async def _self_test(fd_transports: FdTransports) -> None:
    """Move a connection over a socket pair; test reading, the order of writes, and that a full socket does not block."""
    loop = asyncio.get_running_loop()
    test_sock, transport_sock = socket.socketpair()
    test_sock.setblocking(False)
    transport_sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SELF_TEST_BYTES)
    try:
        transport, probe = await loop.connect_accepted_socket(_ProbeProtocol, transport_sock)
        fd_transport = _move_to_fd(transport, probe, fd_transports)
        if fd_transport is None:
            raise ConnectionError("the connection cannot be moved")
        async with asyncio.timeout(SELF_TEST_TIMEOUT_SECONDS):
            await loop.sock_sendall(test_sock, b"ping")
            if await probe.received != b"ping":
                raise ConnectionError("the received data differ from what was sent")
            written = 0
            while not probe.write_paused and written < 1000:
                with fd_transports:
                    fd_transport.write(b"%04d" % written + b"x" * SELF_TEST_BYTES)
                written += 1
            fd_transport.close()
            received = b""
            while data := await loop.sock_recv(test_sock, 65536):
                received += data
            await probe.lost.wait()
        if received != b"".join(b"%04d" % index + b"x" * SELF_TEST_BYTES for index in range(written)) or written == 1000:
            raise ConnectionError("the received data differ from what was sent")
    finally:
        test_sock.close()
