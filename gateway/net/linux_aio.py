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

from gateway.net.batch_send import BATCH_SIZE, BatchSender, BatchSendUnavailable

__all__ = ["LinuxAioSender"]

# io_setup, io_destroy, io_getevents, io_submit: arch/x86/entry/syscalls/syscall_64.tbl, and asm-generic/unistd.h.
SYSCALL_NRS = {"x86_64": (206, 207, 208, 209), "aarch64": (0, 1, 4, 2)}
# From linux/aio_abi.h. A control block is so many bytes, 8-byte, 4-byte and 2-byte words, and has these of each. Of the size
# this is the lower half: the other stays 0.
IOCB_CMD_PWRITE = 1
IOCB_BYTES, IOCB_LONGS, IOCB_WORDS, IOCB_SHORTS = 64, 8, 16, 32
IOCB_DATA, IOCB_BUF = 0, 3
IOCB_FD, IOCB_NBYTES = 5, 8
IOCB_OPCODE = 8
# An event is so many bytes and 8-byte words, and has these.
IO_EVENT_BYTES, IO_EVENT_LONGS = 32, 4
IO_EVENT_DATA, IO_EVENT_RES = 0, 2


class LinuxAioSender(BatchSender):
    """The context. Raises NoSends. (SIGPIPE, which a write to who has left raises, is ignored by Python.)"""

    name: ClassVar[str] = "aio"

    def __init__(self, entries: int = BATCH_SIZE) -> None:
        super().__init__(entries)
        self._io_setup_nr, self._io_destroy_nr, self._io_getevents_nr, self._io_submit_nr = SYSCALL_NRS[os.uname().machine]
        # What is the same for all is written here, once.
        blocks, address = _zeroed_memory(IOCB_BYTES * entries)
        longs, words, shorts = blocks.cast("Q"), blocks.cast("I"), blocks.cast("H")
        longs[IOCB_DATA::IOCB_LONGS] = array("Q", range(entries))
        shorts[IOCB_OPCODE::IOCB_SHORTS] = array("H", [IOCB_CMD_PWRITE]) * entries
        self._fds, self._sizes = words[IOCB_FD::IOCB_WORDS], words[IOCB_NBYTES::IOCB_WORDS]
        self._addresses = longs[IOCB_BUF::IOCB_LONGS]
        self._iocb_pointers = array("Q", (address + IOCB_BYTES * number for number in range(entries)))
        events, self._events_address = _zeroed_memory(IO_EVENT_BYTES * entries)
        self._event_indices, self._event_results = (
            events.cast("Q")[IO_EVENT_DATA::IO_EVENT_LONGS],
            events.cast("q")[IO_EVENT_RES::IO_EVENT_LONGS],
        )
        context = ctypes.c_ulong(0)
        refused = self._call(self._io_setup_nr, entries, ctypes.addressof(context))
        if refused:
            more = ": fs.aio-max-nr is used up" if refused == -errno.EAGAIN else ""
            raise BatchSendUnavailable(f"io_setup: {os.strerror(-refused)}{more}")
        self._context = context.value

    def _send_prepared(self, count: int) -> list[int]:
        pointers, _ = self._iocb_pointers.buffer_info()
        numbers: list[int] = []
        results: list[int] = []
        while len(results) < count:
            begun = len(results)
            taken = self._call(
                self._io_submit_nr, self._context, count - begun, pointers + self._iocb_pointers.itemsize * begun
            )
            if taken == -errno.EBADF:  # which is said of the first one, and of none by an event
                numbers.append(begun)
                results.append(taken)
                continue
            if taken <= 0:
                self.broken = True
                break
            while (missing := begun + taken - len(results)) > 0:
                got = self._call(self._io_getevents_nr, self._context, missing, missing, self._events_address)
                if got < 0 and got != -errno.EINTR:
                    self.broken = True
                    raise OSError(-got, os.strerror(-got))
                numbers += self._event_indices[: max(0, got)].tolist()
                results += self._event_results[: max(0, got)].tolist()
        if numbers != list(range(len(numbers))):
            results = [result for _, result in sorted(zip(numbers, results, strict=True))]
        return results

    def close(self) -> None:
        """Give it back."""
        self._call(self._io_destroy_nr, self._context)


def _zeroed_memory(size: int) -> tuple[memoryview[int], int]:
    """So many bytes, all 0, and where they are, for as long as somebody looks at them."""
    memory = mmap.mmap(-1, size)
    return memoryview(memory), ctypes.addressof(ctypes.c_char.from_buffer(memory))
