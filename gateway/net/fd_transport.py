"""Transports on bare file descriptors: what asyncio's socket transport does, in a tenth of the memory. Linux only (epoll).

A closed file descriptor's number can be reused for another connection. So each one is closed in one place only,
``FdTransport._call_connection_lost``, which only the event loop calls. By then the fd is out of the epoll and the batched
writes to it are done: a batch never outlives its tick (``FdTransports.__exit__``). An event that epoll had reported before
finds no entry in the table, or a new transport whose read then returns EAGAIN.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import select
import socket
from array import array
from collections.abc import Sequence
from contextlib import suppress

from gateway.net.batch_send import BatchSender
from push.delivery.batch import CHUNK_BYTES

__all__ = ["FdTransport", "FdTransports"]

log = logging.getLogger("orderwire.fd_transport")

READ_BYTES = 64 * 1024
# Events that are handled in one tick of the event loop. epoll reports ready descriptors in turn (round robin).
MAX_EPOLL_EVENTS = 100
# Larger writes are not batched: more data is likely to follow, and the writer must know before whether the socket took this.
MAX_BATCHED_BYTES = CHUNK_BYTES

# States of a transport; each can only change to a later one. HALF_CLOSED: no more writes. CLOSING: no more reads either, closed
# once the buffer is written. CLOSED: only ``connection_lost`` and closing the descriptor are left.
OPEN, HALF_CLOSED, CLOSING, CLOSED = range(4)


class FdTransports:
    """All FdTransports of one process, in an epoll of their own, which is one descriptor in the event loop's epoll.

    A context manager: writes inside ``with`` are batched and sent at its end, by one system call if there is a ``sender``.
    Without one they are still sent back to back, which keeps the kernel's code and ours in the CPU caches. Runs on the event
    loop only.
    """

    def __init__(self, sender: BatchSender | None = None) -> None:
        self._epoll = select.epoll()
        # Indexed by fd: these are small numbers, and a list takes a tenth of the memory of a dict.
        self._by_fd: list[FdTransport | None] = []
        self._sender = sender  # owned: closed here
        # The batch: each transport at most once, its fd, its data. ``generation`` is incremented when a batch is sent; a
        # transport that is in the current batch has this generation.
        self.batching = False
        self.generation = 0
        self.batched_transports: list[FdTransport] = []
        self.batched_fds: list[int] = []
        self.batched_buffers: list[bytes] = []
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._dispatch_events)

    def adopt(self, fd: int, protocol: asyncio.Protocol) -> FdTransport:
        """Make a transport of a connected, non-blocking socket and own its fd. Raises OSError, and then does not own it."""
        transport = FdTransport(self, fd, protocol)
        self._epoll.register(fd, select.EPOLLIN)
        if fd >= len(self._by_fd):
            self._by_fd += [None] * (fd + 1 - len(self._by_fd))
        self._by_fd[fd] = transport
        return transport

    def update_interest(self, fd: int, old_events: int, new_events: int) -> None:
        """Change the epoll events of the fd. Raises OSError."""
        if not old_events:
            self._epoll.register(fd, new_events)
        elif new_events:
            self._epoll.modify(fd, new_events)
        else:  # an fd that stays registered would still report errors, in every tick
            self._epoll.unregister(fd)

    def discard(self, fd: int) -> None:
        """Forget the fd, which is about to be closed or handed over."""
        self._by_fd[fd] = None

    def _dispatch_events(self) -> None:
        for fd, events in self._epoll.poll(0, MAX_EPOLL_EVENTS):
            transport = self._by_fd[fd]
            if transport is not None:
                transport.on_events(events)

    # ---------------------------------------------------------------- batching

    def __enter__(self) -> None:
        self.batching = True

    def __exit__(self, *_: object) -> None:
        self.batching = False
        self.flush_batch()

    def flush_batch(self) -> None:
        """Send the batch; each transport buffers what its socket did not take."""
        transports, fds, buffers = self.batched_transports, self.batched_fds, self.batched_buffers
        if not transports:
            return
        self.generation += 1
        self.batched_transports, self.batched_fds, self.batched_buffers = [], [], []
        self._send_batch(transports, fds, buffers, list(map(len, buffers)))

    def write_all(self, transports: Sequence[FdTransport], fds: array[int], data: bytes) -> None:
        """Write the same data to all of these transports at once. None of them may have unsent data; ``fds`` are theirs, in
        order.

        Faster than calling ``FdTransport.write`` for each: no transport is touched unless its socket does not take everything.
        """
        self.flush_batch()
        count = len(fds)
        self._send_batch(transports, fds, [data] * count, [len(data)] * count)

    def _send_batch(
        self, transports: Sequence[FdTransport], fds: Sequence[int], buffers: Sequence[bytes], sizes: Sequence[int]
    ) -> None:
        try:
            results = self._sender.send(fds, buffers) if self._sender is not None else _send_individually(fds, buffers)
        except OSError:
            log.exception("the results of a batch of writes are unknown: aborting these connections, their clients resume")
            for transport in transports:
                transport.abort()
            results = []
        if self._sender is not None and self._sender.broken:
            log.warning("the kernel refuses %s: writing without it from now on", self._sender.name)
            self._sender.close()
            self._sender = None
        if results != sizes:
            for transport, data, size, result in zip(transports, buffers, sizes, results, strict=False):
                if result != size:
                    transport.on_sent(data, result)

    def close(self) -> None:
        """Close the epoll and the sender; transports must be closed before."""
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()
        if self._sender is not None:
            self._sender.close()


def _send_individually(fds: Sequence[int], buffers: Sequence[bytes]) -> list[int]:
    """As ``BatchSender.send``, by one system call each."""
    write, results = os.write, []
    for fd, data in zip(fds, buffers, strict=True):
        try:
            results.append(write(fd, data))
        except OSError as error:
            results.append(-(error.errno or errno.EIO))
    return results


class FdTransport:
    """The transport of one connection: the methods of asyncio.Transport that a session uses, with the same semantics.

    The write buffer's high-water mark is 1 byte, the low-water mark 0: the protocol is paused as soon as anything is buffered.
    """

    __slots__ = (
        "_fd_transports",
        "_generation",
        "_interest",
        "_protocol",
        "_reading",
        "_state",
        "_unsent",
        "_unsent_offset",
        "fd",
    )

    def __init__(self, fd_transports: FdTransports, fd: int, protocol: asyncio.Protocol) -> None:
        self._fd_transports = fd_transports
        self.fd = fd
        self._protocol = protocol
        self._state = OPEN
        self._reading = True
        # The events that are registered with the epoll.
        self._interest = select.EPOLLIN
        # The write buffer: what was written and the kernel did not take. Whole: many clients are written the same object, and a
        # slice would be a copy for each of those that do not read. Of the first one ``_unsent_offset`` bytes are sent.
        self._unsent: tuple[bytes, ...] = ()
        self._unsent_offset = 0
        # Generation of the last batch that this transport was in.
        self._generation = -1

    # ---------------------------------------------------------------- methods of asyncio.Transport

    def write(self, data: bytes) -> None:
        if self._state != OPEN:
            return
        owner = self._fd_transports
        if owner.batching and self._generation != owner.generation and not self._unsent and len(data) < MAX_BATCHED_BYTES:
            self._generation = owner.generation
            owner.batched_transports.append(self)
            owner.batched_fds.append(self.fd)
            owner.batched_buffers.append(data)
            return
        self._flush_batch_first()
        if self._unsent:
            self._unsent += (data,)
        else:
            self._buffer_unsent(data, self._try_write(data, 0))

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        self._protocol = protocol

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Shut down the write side behind what has been written. Raises OSError if the peer has reset the connection."""
        if self._state == OPEN:
            self._flush_batch_first()
            if self._state == OPEN:
                self._state = HALF_CLOSED
                if not self._unsent:
                    self._shutdown_write()

    def pause_reading(self) -> None:
        self._reading = False
        self._update_interest()

    def resume_reading(self) -> None:
        if self._state < CLOSING:
            self._reading = True
            self._update_interest()

    def is_closing(self) -> bool:
        return self._state >= CLOSING

    def close(self) -> None:
        """Close once the write buffer is written."""
        if self._state < CLOSING:
            self._flush_batch_first()
            self._reading = False
            if self._unsent:
                self._state = CLOSING
                self._update_interest()
            else:
                self._finish(None)

    def abort(self) -> None:
        """Close without writing the buffer."""
        self._finish(None)

    def detach_socket(self) -> socket.socket:
        """Give the fd away, before anything has been written. The protocol gets no more calls."""
        self._state = CLOSED
        self._update_interest()
        fd, self.fd = self.fd, -1
        self._fd_transports.discard(fd)
        return socket.socket(fileno=fd)

    # ---------------------------------------------------------------- writing

    def on_sent(self, data: bytes, result: int) -> None:
        """The result of a batched write of ``data``: bytes that the socket took, or a negative errno."""
        if result in (-errno.EAGAIN, -errno.EINTR):
            result = 0
        if result < 0:
            self._finish(OSError(-result, os.strerror(-result)))
        else:
            self._buffer_unsent(data, result)

    def _flush_batch_first(self) -> None:
        """Keep the order of writes: send the current batch if this transport is in it."""
        if self._generation == self._fd_transports.generation:
            self._fd_transports.flush_batch()

    def _try_write(self, data: bytes, offset: int) -> int:
        """Write ``data`` from ``offset`` on to the socket; returns the offset behind what it took."""
        if self._state == CLOSED:
            return len(data)
        try:
            return offset + os.write(self.fd, memoryview(data)[offset:] if offset else data)
        except (BlockingIOError, InterruptedError):
            return offset
        except OSError as error:
            self._finish(error)
            return len(data)

    def _buffer_unsent(self, data: bytes, offset: int) -> None:
        """Buffer ``data`` from ``offset`` on, if anything is left of it."""
        if offset < len(data) and self._state != CLOSED:
            self._unsent, self._unsent_offset = (data,), offset
            self._update_interest()
            self._protocol.pause_writing()

    def _shutdown_write(self) -> None:
        with socket.socket(fileno=self.fd) as borrowed:
            try:
                borrowed.shutdown(socket.SHUT_WR)
            finally:
                borrowed.detach()

    # ---------------------------------------------------------------- the event loop

    def on_events(self, events: int) -> None:
        """Handle epoll events. EPOLLERR and EPOLLHUP count as both readable and writable: read and write raise the error."""
        try:
            if self._reading and events & ~select.EPOLLOUT:
                self._read()
            if self._unsent and events & ~select.EPOLLIN:
                self._flush_unsent()
        except Exception as error:
            log.exception("handling input of a client failed, closing its connection")
            self._finish(error)

    def _read(self) -> None:
        try:
            data = os.read(self.fd, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._finish(error)
            return
        if data:
            self._protocol.data_received(data)
        else:
            self.close()

    def _flush_unsent(self) -> None:
        while self._unsent:
            first = self._unsent[0]
            self._unsent_offset = self._try_write(first, self._unsent_offset)
            if self._unsent_offset < len(first):
                break
            self._unsent, self._unsent_offset = self._unsent[1:], 0
        if not self._unsent and self._state != CLOSED:
            self._protocol.resume_writing()
        if self._unsent:
            return
        if self._state == HALF_CLOSED:
            with suppress(OSError):  # the peer has reset the connection
                self._shutdown_write()
        elif self._state == CLOSING:
            self._finish(None)
        self._update_interest()

    def _update_interest(self) -> None:
        events = 0
        if self._state != CLOSED:
            events = (select.EPOLLIN if self._reading else 0) | (select.EPOLLOUT if self._unsent else 0)
        if events != self._interest:
            old_events, self._interest = self._interest, events
            try:
                self._fd_transports.update_interest(self.fd, old_events, events)
            except OSError as error:
                self._interest = 0
                self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        """Close. The protocol's ``connection_lost`` is called in the next tick, not in the middle of its own method."""
        if self._state != CLOSED:
            self._state = CLOSED
            self._reading = False
            self._unsent = ()
            self._update_interest()
            asyncio.get_running_loop().call_soon(self._call_connection_lost, error)

    def _call_connection_lost(self, error: Exception | None) -> None:
        fd, self.fd = self.fd, -1
        try:
            self._protocol.connection_lost(error)
        finally:
            self._fd_transports.discard(fd)
            os.close(fd)
