"""What WebSockets stand on: descriptors of our own, written to by one call or each by its own, or asyncio's transports.

Which it is, is chosen at the start, by trying.
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

__all__ = ["ASYNCIO_TRANSPORT", "TRANSPORTS", "BackendUnavailable", "Transport", "TransportBackend", "TransportGroup"]

log = logging.getLogger("orderwire.http")

AUTO, DESCRIPTOR, ASYNCIO_TRANSPORT = "auto", "descriptor", "transport"
# The best first.
BATCH_SENDERS: dict[str, Callable[[], BatchSender]] = {IoUringSender.name: IoUringSender, LinuxAioSender.name: LinuxAioSender}
SELF_TEST_TIMEOUT_SECONDS = 5.0
SELF_TEST_BYTES = 4096

# What is below a WebSocket. Over the one or the other it does the same.
Transport = asyncio.Transport | FdTransport


class BackendUnavailable(Exception):
    """What is wanted cannot be had here; the text says why."""


class TransportBackend:
    """All of this process. What is written within ``with`` goes out by its end, by one system call if that can be had."""

    def __init__(self, fd_transports: FdTransports | None = None) -> None:
        """``descriptors``: what ``select`` may find."""
        self.name = ASYNCIO_TRANSPORT
        self._fd_transports = fd_transports

    async def select(self, mode: str) -> None:
        """The best there is, or just what is wanted. Raises CannotHave."""
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
        """Whether there are descriptors of our own to be had."""
        return self._fd_transports is not None

    def adopt(self, sock: socket.socket, protocol: asyncio.Protocol) -> FdTransport | None:
        """A connection that stands on a descriptor of our own from its beginning. None when it has been closed instead."""
        assert self._fd_transports is not None
        try:
            line = self._fd_transports.adopt(sock.fileno(), protocol)
        except OSError as error:
            log.warning("a connection could not be taken: %s", error.strerror)
            sock.close()
            return None
        sock.detach()
        return line

    def attach(self, transport: Transport, protocol: asyncio.Protocol) -> Transport:
        """What a WebSocket stands on from here on, and ``protocol`` is its owner."""
        transport.set_protocol(protocol)
        return transport if isinstance(transport, FdTransport) else self._replace_asyncio_transport(transport, protocol)

    def _replace_asyncio_transport(self, transport: asyncio.Transport, protocol: asyncio.Protocol) -> Transport:
        if self._fd_transports is not None:
            line = _move_to_fd(transport, protocol, self._fd_transports)
            if line is not None:
                return line
        # Full as soon as it holds anything: what waits, waits in the session's queue, where it is counted and shared.
        # (Not 0: asyncio's TLS takes a buffer that holds as much as the limit for full.)
        transport.set_write_buffer_limits(high=1, low=0)
        # The addresses, with which aiohttp has done: 0.4 KiB. (Not public; another transport has it elsewhere, and keeps it.)
        getattr(transport, "_extra", {}).clear()
        return transport

    def group(self, transports: Sequence[Transport]) -> TransportGroup:
        """What is written to all of them is prepared once."""
        return TransportGroup(self._fd_transports, transports)

    def close(self) -> None:
        """Called once, after the last connection is closed: the epoll and the batch sender are released."""
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
    """Lines that are written the same, which hold nothing back. Each time begins with another: nobody is always the last."""

    def __init__(self, fd_transports: FdTransports | None, transports: Sequence[Transport]) -> None:
        self._fd_transports = fd_transports
        self._fd_members = [line for line in transports if isinstance(line, FdTransport)]
        self._fds = array("I", (line.fd for line in self._fd_members))
        self._asyncio_members = [line for line in transports if not isinstance(line, FdTransport)]

    def write(self, data: bytes, rotation: int) -> None:
        """To all, as ``Transport.write``. It is the ``time``-th time."""
        if self._fd_transports is not None and self._fds:
            first = rotation_start(rotation, len(self._fds))
            descriptors, numbers = self._fd_members, self._fds
            self._fd_transports.write_all(descriptors[first:] + descriptors[:first], numbers[first:] + numbers[:first], data)
        first = rotation_start(rotation, len(self._asyncio_members))
        for transport in self._asyncio_members[first:] + self._asyncio_members[:first]:
            try:
                transport.write(data)
            except Exception:
                log.exception("a client could not be written to")
                transport.abort()


_NULL_PROTOCOL = asyncio.Protocol()


def _move_to_fd(transport: asyncio.Transport, protocol: asyncio.Protocol, fd_transports: FdTransports) -> FdTransport | None:
    """The connection on a descriptor of our own, if nothing is in the way. What it has still to read is in the kernel."""
    if transport.is_closing() or transport.get_write_buffer_size() or transport.get_extra_info("sslcontext") is not None:
        return None
    try:
        number = os.dup(transport.get_extra_info("socket").fileno())
    except OSError:
        return None
    try:
        line = fd_transports.adopt(number, protocol)
    except OSError:
        os.close(number)
        return None
    # asyncio closes its own descriptor, which ends nothing: the connection ends with the last one.
    transport.set_protocol(_NULL_PROTOCOL)
    transport.abort()
    return line


async def _probe(name: str) -> FdTransports:
    """Raises CannotHave."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, asyncio.SelectorEventLoop):
        raise BackendUnavailable(f"only asyncio's own event loop is known, and this is {type(loop).__module__}")
    if not hasattr(select, "epoll"):
        raise BackendUnavailable("there is no epoll here")
    try:
        sends = BATCH_SENDERS[name]() if name in BATCH_SENDERS else None
    except BatchSendUnavailable as error:
        raise BackendUnavailable(str(error)) from error
    descriptors = FdTransports(sends)
    try:
        await _self_test(descriptors)
        if sends is not None and sends.broken:
            raise ConnectionError("it is refused")
    except (OSError, TimeoutError) as error:
        descriptors.close()
        raise BackendUnavailable(f"it does not do what it should: {error!r}") from error
    except BaseException:
        descriptors.close()
        raise
    return descriptors


class _ProbeProtocol(asyncio.Protocol):
    """For the proof: keeps what comes in, and knows whether the other side takes anything."""

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
    """Move a connection, over a pair of sockets: both directions, the order, and that who takes nothing is not waited for."""
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SELF_TEST_BYTES)
    try:
        transport, witness = await loop.connect_accepted_socket(_ProbeProtocol, theirs)
        line = _move_to_fd(transport, witness, fd_transports)
        if line is None:
            raise ConnectionError("the connection cannot be moved")
        async with asyncio.timeout(SELF_TEST_TIMEOUT_SECONDS):
            await loop.sock_sendall(ours, b"ping")
            if await witness.received != b"ping":
                raise ConnectionError("not what was sent")
            written = 0
            while not witness.write_paused and written < 1000:
                with fd_transports:
                    line.write(b"%04d" % written + b"x" * SELF_TEST_BYTES)
                written += 1
            line.close()
            got = b""
            while data := await loop.sock_recv(ours, 65536):
                got += data
            await witness.lost.wait()
        if got != b"".join(b"%04d" % number + b"x" * SELF_TEST_BYTES for number in range(written)) or written == 1000:
            raise ConnectionError("not what was sent")
    finally:
        ours.close()
