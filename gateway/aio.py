"""Many sends by one system call where io_uring is not allowed: Linux's older asynchronous I/O (io_submit(2)).

Containers forbid io_uring by default, and allow this. For sockets nothing is asynchronous about it: a write is done or refused
within io_submit (the kernel's fs/aio.c, aio_write), and refused where it would wait, as our sockets do not block (O_NONBLOCK).
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from array import array
from typing import ClassVar

from gateway.sends import ENTRIES, NoSends, Sends

__all__ = ["Aio"]

# io_setup, io_destroy, io_getevents, io_submit: arch/x86/entry/syscalls/syscall_64.tbl, and asm-generic/unistd.h.
CALLS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
# From linux/aio_abi.h. A control block is so many bytes, 8-byte, 4-byte and 2-byte words, and has these of each. Of the size
# this is the lower half: the other stays 0.
OP_PWRITE = 1
BLOCK_BYTES, BLOCK_LONGS, BLOCK_WORDS, BLOCK_SHORTS = 64, 8, 16, 32
BLOCK_DATA, BLOCK_ADDRESS = 0, 3
BLOCK_FD, BLOCK_SIZE = 5, 8
BLOCK_OP = 8
# An event is so many bytes and 8-byte words, and has these.
EVENT_BYTES, EVENT_LONGS = 32, 4
EVENT_DATA, EVENT_RESULT = 0, 2


class Aio(Sends):
    """The context. Raises NoSends. (SIGPIPE, which a write to who has left raises, is ignored by Python.)"""

    name: ClassVar[str] = "aio"

    def __init__(self, entries: int = ENTRIES) -> None:
        super().__init__(entries)
        self._setup, self._destroy, self._get_events, self._submit = CALLS[os.uname().machine]
        # What is the same for all is written here, once.
        blocks, address = _memory(BLOCK_BYTES * entries)
        longs, words, shorts = blocks.cast("Q"), blocks.cast("I"), blocks.cast("H")
        longs[BLOCK_DATA::BLOCK_LONGS] = array("Q", range(entries))
        shorts[BLOCK_OP::BLOCK_SHORTS] = array("H", [OP_PWRITE]) * entries
        self._descriptors, self._sizes = words[BLOCK_FD::BLOCK_WORDS], words[BLOCK_SIZE::BLOCK_WORDS]
        self._addresses = longs[BLOCK_ADDRESS::BLOCK_LONGS]
        self._pointers = array("Q", (address + BLOCK_BYTES * number for number in range(entries)))
        events, self._events_at = _memory(EVENT_BYTES * entries)
        self._numbers, self._results = events.cast("Q")[EVENT_DATA::EVENT_LONGS], events.cast("q")[EVENT_RESULT::EVENT_LONGS]
        context = ctypes.c_ulong(0)
        refused = self._call(self._setup, entries, ctypes.addressof(context))
        if refused:
            more = ": fs.aio-max-nr is used up" if refused == -errno.EAGAIN else ""
            raise NoSends(f"io_setup: {os.strerror(-refused)}{more}")
        self._context = context.value

    def _sent(self, count: int) -> list[int]:
        pointers, _ = self._pointers.buffer_info()
        numbers: list[int] = []
        results: list[int] = []
        while len(results) < count:
            begun = len(results)
            taken = self._call(self._submit, self._context, count - begun, pointers + self._pointers.itemsize * begun)
            if taken == -errno.EBADF:  # which is said of the first one, and of none by an event
                numbers.append(begun)
                results.append(taken)
                continue
            if taken <= 0:
                self.broken = True
                break
            while (missing := begun + taken - len(results)) > 0:
                got = self._call(self._get_events, self._context, missing, missing, self._events_at)
                if got < 0 and got != -errno.EINTR:
                    self.broken = True
                    raise OSError(-got, os.strerror(-got))
                numbers += self._numbers[: max(0, got)].tolist()
                results += self._results[: max(0, got)].tolist()
        if numbers != list(range(len(numbers))):
            results = [result for _, result in sorted(zip(numbers, results, strict=True))]
        return results

    def close(self) -> None:
        """Give it back."""
        self._call(self._destroy, self._context)


def _memory(size: int) -> tuple[memoryview[int], int]:
    """So many bytes, all 0, and where they are, for as long as somebody looks at them."""
    memory = mmap.mmap(-1, size)
    return memoryview(memory), ctypes.addressof(ctypes.c_char.from_buffer(memory))
