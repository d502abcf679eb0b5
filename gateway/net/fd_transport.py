"""A connection on a descriptor of our own: what asyncio's transport does for a connection, in a tenth of the memory. Linux.

No number of a descriptor is used once it has been closed, when it could be another connection's: it is closed in one place
only, ``FdTransport._end``, which nobody calls but the loop. By then it has left the epoll, and what was gathered has been sent:
that is done in the same turn (``FdTransports.__exit__``). An event that was fetched from the epoll before finds nobody in the
table, or somebody new, who then reads nothing (EAGAIN).
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

log = logging.getLogger("orderwire.session")

READ_BYTES = 64 * 1024
# Connections that are seen to in one go; what else is going on gets a turn in between. The epoll lets them take turns.
MAX_EPOLL_EVENTS = 100
# What is larger is written at once: more may come behind it, and then it has to be known whether this has found room.
MAX_BATCHED_BYTES = CHUNK_BYTES

# What has become of a connection: each is final but for a later one. Half: nothing more is written; closing: nothing is read
# either, and it ends when all is written; over: all that is left is to close the descriptor.
OPEN, HALF_CLOSED, CLOSING, CLOSED = range(4)


class FdTransports:
    """All of this process. The event loop knows them as one: an epoll in its own.

    What is written within ``with`` is gathered, and sent at the end: with ``sender`` by one call, else one by one, which is
    better than in between all the same, since neither the kernel's code nor ours gets out of the processor's caches.
    """

    def __init__(self, sender: BatchSender | None = None) -> None:
        self._epoll = select.epoll()
        # By number, which are small: a list, which takes a tenth of a dict.
        self._by_fd: list[FdTransport | None] = []
        self._sender = sender  # ours from here on
        # What is gathered: by whom, at most once for each, the number and the bytes. The turn changes with each call: who has
        # taken part in this one has its number.
        self.batching = False
        self.generation = 0
        self.batched_transports: list[FdTransport] = []
        self.batched_fds: list[int] = []
        self.batched_buffers: list[bytes] = []
        asyncio.get_running_loop().add_reader(self._epoll.fileno(), self._dispatch_events)

    def adopt(self, fd: int, protocol: asyncio.Protocol) -> FdTransport:
        """The connection with this descriptor, which is ours from here on. Raises OSError, and then it is not."""
        descriptor = FdTransport(self, fd, protocol)
        self._epoll.register(fd, select.EPOLLIN)
        if fd >= len(self._by_fd):
            self._by_fd += [None] * (fd + 1 - len(self._by_fd))
        self._by_fd[fd] = descriptor
        return descriptor

    def update_interest(self, fd: int, old_events: int, new_events: int) -> None:
        """Be told of these events. Raises OSError."""
        if not old_events:
            self._epoll.register(fd, new_events)
        elif new_events:
            self._epoll.modify(fd, new_events)
        else:  # else it would still be told of errors, all the time
            self._epoll.unregister(fd)

    def discard(self, fd: int) -> None:
        """It is about to be closed."""
        self._by_fd[fd] = None

    def _dispatch_events(self) -> None:
        for number, events in self._epoll.poll(0, MAX_EPOLL_EVENTS):
            descriptor = self._by_fd[number]
            if descriptor is not None:
                descriptor.on_events(events)

    # ---------------------------------------------------------------- gathering

    def __enter__(self) -> None:
        self.batching = True

    def __exit__(self, *_: object) -> None:
        self.batching = False
        self.flush_batch()

    def flush_batch(self) -> None:
        """Send what has been gathered, and tell those who could not be sent all."""
        senders, numbers, datas = self.batched_transports, self.batched_fds, self.batched_buffers
        if not senders:
            return
        self.generation += 1
        self.batched_transports, self.batched_fds, self.batched_buffers = [], [], []
        self._send_batch(senders, numbers, datas, list(map(len, datas)))

    def write_all(self, transports: Sequence[FdTransport], fds: array[int], data: bytes) -> None:
        """As ``FdTransport.write`` to each of them, and at once, with no look at any. None holds anything back; ``numbers`` are
        theirs.
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
            log.exception("what was sent by one call is not known to have arrived: these clients have to resume")
            for sender in transports:
                sender.abort()
            results = []
        if self._sender is not None and self._sender.broken:
            log.warning("%s is refused by now: writing goes on without it", self._sender.name)
            self._sender.close()
            self._sender = None
        if results != sizes:
            for sender, data, size, result in zip(transports, buffers, sizes, results, strict=False):
                if result != size:
                    sender.on_sent(data, result)

    def close(self) -> None:
        """Give back what is not a connection's."""
        asyncio.get_running_loop().remove_reader(self._epoll.fileno())
        self._epoll.close()
        if self._sender is not None:
            self._sender.close()


def _send_individually(fds: Sequence[int], buffers: Sequence[bytes]) -> list[int]:
    """As ``BatchSender.flush_batch``."""
    write, results = os.write, []
    for number, data in zip(fds, buffers, strict=True):
        try:
            results.append(write(number, data))
        except OSError as error:
            results.append(-(error.errno or errno.EIO))
    return results


class FdTransport:
    """One connection. Has the methods of asyncio.Transport that a WebSocket uses, and the same manners.

    Its owner is told to write no more as soon as anything is held back here, and to go on when nothing is.
    """

    __slots__ = ("_fd_transports", "_generation", "_interest", "_protocol", "_reading", "_state", "_unsent", "fd")

    def __init__(self, fd_transports: FdTransports, fd: int, protocol: asyncio.Protocol) -> None:
        self._fd_transports = fd_transports
        self.fd = fd
        self._protocol = protocol
        self._state = OPEN
        self._reading = True
        # What the epoll has been told to watch for.
        self._interest = select.EPOLLIN
        # What the kernel did not take.
        self._unsent = b""
        # The last one in which it took part in the gathering.
        self._generation = -1

    # ---------------------------------------------------------------- as asyncio.Transport

    def write(self, data: bytes) -> None:
        """Behind what has been written before."""
        if self._state != OPEN:
            return
        everyone = self._fd_transports
        if everyone.batching and self._generation != everyone.generation and not self._unsent and len(data) < MAX_BATCHED_BYTES:
            self._generation = everyone.generation
            everyone.batched_transports.append(self)
            everyone.batched_fds.append(self.fd)
            everyone.batched_buffers.append(data)
            return
        self._flush_batch_first()
        if self._unsent:
            self._unsent += data
        else:
            self._buffer_unsent(self._try_write(data))

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """The owner is this one from here on."""
        self._protocol = protocol

    def can_write_eof(self) -> bool:
        """Always."""
        return True

    def write_eof(self) -> None:
        """End our half, behind what has been written. Raises OSError when the other side has left already."""
        if self._state == OPEN:
            self._flush_batch_first()
            if self._state == OPEN:
                self._state = HALF_CLOSED
                if not self._unsent:
                    self._shutdown_write()

    def pause_reading(self) -> None:
        """Until ``resume_reading``."""
        self._reading = False
        self._update_interest()

    def resume_reading(self) -> None:
        """After ``pause_reading``."""
        if self._state < CLOSING:
            self._reading = True
            self._update_interest()

    def is_closing(self) -> bool:
        """Whether it ends, or has ended."""
        return self._state >= CLOSING

    def close(self) -> None:
        """End it, behind what has been written."""
        if self._state < CLOSING:
            self._flush_batch_first()
            self._reading = False
            if self._unsent:
                self._state = CLOSING
                self._update_interest()
            else:
                self._finish(None)

    def abort(self) -> None:
        """End it at once."""
        self._finish(None)

    def detach_socket(self) -> socket.socket:
        """Nothing has been written, and it is somebody else's from here on: the owner hears no more of it."""
        self._state = CLOSED
        self._update_interest()
        number, self.fd = self.fd, -1
        self._fd_transports.discard(number)
        return socket.socket(fileno=number)

    # ---------------------------------------------------------------- writing

    def on_sent(self, data: bytes, result: int) -> None:
        """Of what was gathered so much has been sent, or there was an error (negative)."""
        if result in (-errno.EAGAIN, -errno.EINTR):
            result = 0
        if result < 0:
            self._finish(OSError(-result, os.strerror(-result)))
        else:
            self._buffer_unsent(data[result:])

    def _flush_batch_first(self) -> None:
        """What has been gathered is sent first."""
        if self._generation == self._fd_transports.generation:
            self._fd_transports.flush_batch()

    def _try_write(self, data: bytes) -> bytes:
        """Returns what the kernel did not take."""
        if self._state == CLOSED:
            return b""
        try:
            return data[os.write(self.fd, data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError as error:
            self._finish(error)
            return b""

    def _buffer_unsent(self, unsent: bytes) -> None:
        if unsent and self._state != CLOSED:
            self._unsent = unsent
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
        """The kernel has something for us, or room. An error is both: reading and writing tell which."""
        try:
            if self._reading and events & ~select.EPOLLOUT:
                self._read()
            if self._unsent and events & ~select.EPOLLIN:
                self._flush_unsent()
        except Exception as error:
            log.exception("a client could not be served")
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
        self._unsent = self._try_write(self._unsent)
        if not self._unsent and self._state != CLOSED:
            self._protocol.resume_writing()
        if self._unsent:
            return
        if self._state == HALF_CLOSED:
            with suppress(OSError):  # it has left already
                self._shutdown_write()
        elif self._state == CLOSING:
            self._finish(None)
        self._update_interest()

    def _update_interest(self) -> None:
        events = 0
        if self._state != CLOSED:
            events = (select.EPOLLIN if self._reading else 0) | (select.EPOLLOUT if self._unsent else 0)
        if events != self._interest:
            before, self._interest = self._interest, events
            try:
                self._fd_transports.update_interest(self.fd, before, events)
            except OSError as error:
                self._interest = 0
                self._finish(error)

    def _finish(self, error: Exception | None) -> None:
        """It has ended. The owner is told a turn later, as it may be in the middle of something."""
        if self._state != CLOSED:
            self._state = CLOSED
            self._reading = False
            self._unsent = b""
            self._update_interest()
            asyncio.get_running_loop().call_soon(self._call_connection_lost, error)

    def _call_connection_lost(self, error: Exception | None) -> None:
        number, self.fd = self.fd, -1
        try:
            self._protocol.connection_lost(error)
        finally:
            self._fd_transports.discard(number)
            os.close(number)
