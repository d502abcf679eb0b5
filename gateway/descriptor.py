"""A connection on a descriptor of our own: what asyncio's transport does for a connection, in a tenth of the memory. Linux.

No number of a descriptor is used once it has been closed, when it could be another connection's: it is closed in one place
only, ``Descriptor._end``, which nobody calls but the loop. By then it has left the epoll, and what was gathered has been sent:
that is done in the same turn (``Descriptors.__exit__``). An event that was fetched from the epoll before finds nobody in the
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

from gateway.sends import Sends
from push.batch import CHUNK_BYTES

__all__ = ["Descriptor", "Descriptors"]

log = logging.getLogger("orderwire.session")

READ_BYTES = 64 * 1024
# Connections that are seen to in one go; what else is going on gets a turn in between. The epoll lets them take turns.
AT_ONCE = 100
# What is larger is written at once: more may come behind it, and then it has to be known whether this has found room.
MOST_GATHERED = CHUNK_BYTES

# What has become of a connection: each is final but for a later one. Half: nothing more is written; closing: nothing is read
# either, and it ends when all is written; over: all that is left is to close the descriptor.
OPEN, HALF, CLOSING, OVER = range(4)


class Descriptors:
    """All of this process. The event loop knows them as one: an epoll in its own.

    What is written within ``with`` is gathered, and sent at the end: with ``sends`` by one call, else one by one, which is
    better than in between all the same, since neither the kernel's code nor ours gets out of the processor's caches.
    """

    def __init__(self, sends: Sends | None = None) -> None:
        self._poll = select.epoll()
        # By number, which are small: a list, which takes a tenth of a dict.
        self._all: list[Descriptor | None] = []
        self._sends = sends  # ours from here on
        # What is gathered: by whom, at most once for each, the number and the bytes. The turn changes with each call: who has
        # taken part in this one has its number.
        self.gathering = False
        self.turn = 0
        self.senders: list[Descriptor] = []
        self.numbers: list[int] = []
        self.datas: list[bytes] = []
        asyncio.get_running_loop().add_reader(self._poll.fileno(), self._ready)

    def adopt(self, number: int, owner: asyncio.Protocol) -> Descriptor:
        """The connection with this descriptor, which is ours from here on. Raises OSError, and then it is not."""
        descriptor = Descriptor(self, number, owner)
        self._poll.register(number, select.EPOLLIN)
        if number >= len(self._all):
            self._all += [None] * (number + 1 - len(self._all))
        self._all[number] = descriptor
        return descriptor

    def watch(self, number: int, before: int, events: int) -> None:
        """Be told of these events. Raises OSError."""
        if not before:
            self._poll.register(number, events)
        elif events:
            self._poll.modify(number, events)
        else:  # else it would still be told of errors, all the time
            self._poll.unregister(number)

    def forget(self, number: int) -> None:
        """It is about to be closed."""
        self._all[number] = None

    def _ready(self) -> None:
        for number, events in self._poll.poll(0, AT_ONCE):
            descriptor = self._all[number]
            if descriptor is not None:
                descriptor.ready(events)

    # ---------------------------------------------------------------- gathering

    def __enter__(self) -> None:
        self.gathering = True

    def __exit__(self, *_: object) -> None:
        self.gathering = False
        self.send()

    def send(self) -> None:
        """Send what has been gathered, and tell those who could not be sent all."""
        senders, numbers, datas = self.senders, self.numbers, self.datas
        if not senders:
            return
        self.turn += 1
        self.senders, self.numbers, self.datas = [], [], []
        self._send_to(senders, numbers, datas, list(map(len, datas)))

    def write_same(self, descriptors: Sequence[Descriptor], numbers: array[int], data: bytes) -> None:
        """As ``Descriptor.write`` to each of them, and at once, with no look at any. None holds anything back; ``numbers`` are
        theirs.
        """
        self.send()
        count = len(numbers)
        self._send_to(descriptors, numbers, [data] * count, [len(data)] * count)

    def _send_to(
        self, senders: Sequence[Descriptor], numbers: Sequence[int], datas: Sequence[bytes], sizes: Sequence[int]
    ) -> None:
        try:
            results = self._sends.send(numbers, datas) if self._sends is not None else _send_each(numbers, datas)
        except OSError:
            log.exception("what was sent by one call is not known to have arrived: these clients have to resume")
            for sender in senders:
                sender.abort()
            results = []
        if self._sends is not None and self._sends.broken:
            log.warning("%s is refused by now: writing goes on without it", self._sends.name)
            self._sends.close()
            self._sends = None
        if results != sizes:
            for sender, data, size, result in zip(senders, datas, sizes, results, strict=False):
                if result != size:
                    sender.sent(data, result)

    def close(self) -> None:
        """Give back what is not a connection's."""
        asyncio.get_running_loop().remove_reader(self._poll.fileno())
        self._poll.close()
        if self._sends is not None:
            self._sends.close()


def _send_each(numbers: Sequence[int], datas: Sequence[bytes]) -> list[int]:
    """As ``Sends.send``."""
    write, results = os.write, []
    for number, data in zip(numbers, datas, strict=True):
        try:
            results.append(write(number, data))
        except OSError as error:
            results.append(-(error.errno or errno.EIO))
    return results


class Descriptor:
    """One connection. Has the methods of asyncio.Transport that a WebSocket uses, and the same manners.

    Its owner is told to write no more as soon as anything is held back here, and to go on when nothing is.
    """

    __slots__ = ("_all", "_events", "_left", "_owner", "_phase", "_reading", "_turn", "number")

    def __init__(self, all_: Descriptors, number: int, owner: asyncio.Protocol) -> None:
        self._all = all_
        self.number = number
        self._owner = owner
        self._phase = OPEN
        self._reading = True
        # What the epoll has been told to watch for.
        self._events = select.EPOLLIN
        # What the kernel did not take.
        self._left = b""
        # The last one in which it took part in the gathering.
        self._turn = -1

    # ---------------------------------------------------------------- as asyncio.Transport

    def write(self, data: bytes) -> None:
        """Behind what has been written before."""
        if self._phase != OPEN:
            return
        everyone = self._all
        if everyone.gathering and self._turn != everyone.turn and not self._left and len(data) < MOST_GATHERED:
            self._turn = everyone.turn
            everyone.senders.append(self)
            everyone.numbers.append(self.number)
            everyone.datas.append(data)
            return
        self._settle()
        if self._left:
            self._left += data
        else:
            self._keep(self._send(data))

    def set_protocol(self, owner: asyncio.Protocol) -> None:
        """The owner is this one from here on."""
        self._owner = owner

    def can_write_eof(self) -> bool:
        """Always."""
        return True

    def write_eof(self) -> None:
        """End our half, behind what has been written. Raises OSError when the other side has left already."""
        if self._phase == OPEN:
            self._settle()
            if self._phase == OPEN:
                self._phase = HALF
                if not self._left:
                    self._shut()

    def pause_reading(self) -> None:
        """Until ``resume_reading``."""
        self._reading = False
        self._watch()

    def resume_reading(self) -> None:
        """After ``pause_reading``."""
        if self._phase < CLOSING:
            self._reading = True
            self._watch()

    def is_closing(self) -> bool:
        """Whether it ends, or has ended."""
        return self._phase >= CLOSING

    def close(self) -> None:
        """End it, behind what has been written."""
        if self._phase < CLOSING:
            self._settle()
            self._reading = False
            if self._left:
                self._phase = CLOSING
                self._watch()
            else:
                self._over(None)

    def abort(self) -> None:
        """End it at once."""
        self._over(None)

    def release(self) -> socket.socket:
        """Nothing has been written, and it is somebody else's from here on: the owner hears no more of it."""
        self._phase = OVER
        self._watch()
        number, self.number = self.number, -1
        self._all.forget(number)
        return socket.socket(fileno=number)

    # ---------------------------------------------------------------- writing

    def sent(self, data: bytes, result: int) -> None:
        """Of what was gathered so much has been sent, or there was an error (negative)."""
        if result in (-errno.EAGAIN, -errno.EINTR):
            result = 0
        if result < 0:
            self._over(OSError(-result, os.strerror(-result)))
        else:
            self._keep(data[result:])

    def _settle(self) -> None:
        """What has been gathered is sent first."""
        if self._turn == self._all.turn:
            self._all.send()

    def _send(self, data: bytes) -> bytes:
        """Returns what the kernel did not take."""
        if self._phase == OVER:
            return b""
        try:
            return data[os.write(self.number, data) :]
        except (BlockingIOError, InterruptedError):
            return data
        except OSError as error:
            self._over(error)
            return b""

    def _keep(self, left: bytes) -> None:
        if left and self._phase != OVER:
            self._left = left
            self._watch()
            self._owner.pause_writing()

    def _shut(self) -> None:
        with socket.socket(fileno=self.number) as borrowed:
            try:
                borrowed.shutdown(socket.SHUT_WR)
            finally:
                borrowed.detach()

    # ---------------------------------------------------------------- the event loop

    def ready(self, events: int) -> None:
        """The kernel has something for us, or room. An error is both: reading and writing tell which."""
        try:
            if self._reading and events & ~select.EPOLLOUT:
                self._read()
            if self._left and events & ~select.EPOLLIN:
                self._write_on()
        except Exception as error:
            log.exception("a client could not be served")
            self._over(error)

    def _read(self) -> None:
        try:
            data = os.read(self.number, READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._over(error)
            return
        if data:
            self._owner.data_received(data)
        else:
            self.close()

    def _write_on(self) -> None:
        self._left = self._send(self._left)
        if not self._left and self._phase != OVER:
            self._owner.resume_writing()
        if self._left:
            return
        if self._phase == HALF:
            with suppress(OSError):  # it has left already
                self._shut()
        elif self._phase == CLOSING:
            self._over(None)
        self._watch()

    def _watch(self) -> None:
        events = 0
        if self._phase != OVER:
            events = (select.EPOLLIN if self._reading else 0) | (select.EPOLLOUT if self._left else 0)
        if events != self._events:
            before, self._events = self._events, events
            try:
                self._all.watch(self.number, before, events)
            except OSError as error:
                self._events = 0
                self._over(error)

    def _over(self, error: Exception | None) -> None:
        """It has ended. The owner is told a turn later, as it may be in the middle of something."""
        if self._phase != OVER:
            self._phase = OVER
            self._reading = False
            self._left = b""
            self._watch()
            asyncio.get_running_loop().call_soon(self._end, error)

    def _end(self, error: Exception | None) -> None:
        number, self.number = self.number, -1
        try:
            self._owner.connection_lost(error)
        finally:
            self._all.forget(number)
            os.close(number)
