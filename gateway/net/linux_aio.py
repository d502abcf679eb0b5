"""Many sends by one system call where io_uring is not allowed: Linux AIO (io_submit(2)).

Container runtimes forbid io_uring by default and allow this. On sockets it is not asynchronous: a write is done within
io_submit (aio_write in the kernel's fs/aio.c), or fails with EAGAIN where it would block, because the sockets are O_NONBLOCK.
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
# From linux/aio_abi.h. struct iocb: its size in bytes, 64-bit, 32-bit and 16-bit words; indices of fields in 64-bit, 32-bit and
# 16-bit words. IOCB_NBYTES is the lower half of the 64-bit field; the upper half stays 0.
IOCB_CMD_PWRITE = 1
IOCB_BYTES, IOCB_LONGS, IOCB_WORDS, IOCB_SHORTS = 64, 8, 16, 32
IOCB_DATA, IOCB_BUF = 0, 3
IOCB_FD, IOCB_NBYTES = 5, 8
IOCB_OPCODE = 8
# struct io_event: its size in bytes and in 64-bit words; indices of fields.
IO_EVENT_BYTES, IO_EVENT_LONGS = 32, 4
IO_EVENT_DATA, IO_EVENT_RES = 0, 2


class LinuxAioSender(BatchSender):
    """An AIO context. Raises BatchSendUnavailable.

    A write to a closed connection raises SIGPIPE, which Python ignores.
    """

    name: ClassVar[str] = "aio"

    def __init__(self, entries: int = BATCH_SIZE) -> None:
        super().__init__(entries)
        self._io_setup_nr, self._io_destroy_nr, self._io_getevents_nr, self._io_submit_nr = SYSCALL_NRS[os.uname().machine]
        # The fields that are the same in all writes are written once, here.
        blocks, address = _zeroed_memory(IOCB_BYTES * entries)
        longs, words, shorts = blocks.cast("Q"), blocks.cast("I"), blocks.cast("H")
        longs[IOCB_DATA::IOCB_LONGS] = array("Q", range(entries))
        shorts[IOCB_OPCODE::IOCB_SHORTS] = array("H", [IOCB_CMD_PWRITE]) * entries
        self._fds, self._sizes = words[IOCB_FD::IOCB_WORDS], words[IOCB_NBYTES::IOCB_WORDS]
        self._addresses = longs[IOCB_BUF::IOCB_LONGS]
        self._iocb_pointers = array("Q", (address + IOCB_BYTES * index for index in range(entries)))
        events, self._events_address = _zeroed_memory(IO_EVENT_BYTES * entries)
        self._event_indices, self._event_results = (
            events.cast("Q")[IO_EVENT_DATA::IO_EVENT_LONGS],
            events.cast("q")[IO_EVENT_RES::IO_EVENT_LONGS],
        )
        context = ctypes.c_ulong(0)
        error = self._call(self._io_setup_nr, entries, ctypes.addressof(context))
        if error:
            hint = ": fs.aio-max-nr is used up" if error == -errno.EAGAIN else ""
            raise BatchSendUnavailable(f"io_setup: {os.strerror(-error)}{hint}")
        self._context = context.value

    def _send_prepared(self, count: int) -> list[int]:
        pointers, _ = self._iocb_pointers.buffer_info()
        indices: list[int] = []
        results: list[int] = []
        while len(results) < count:
            done = len(results)
            submitted = self._call(
                self._io_submit_nr, self._context, count - done, pointers + self._iocb_pointers.itemsize * done
            )
            if submitted == -errno.EBADF:  # the error of the first iocb; io_submit reports it instead of an event
                indices.append(done)
                results.append(submitted)
                continue
            if submitted <= 0:
                self.broken = True
                break
            while (missing := done + submitted - len(results)) > 0:
                received = self._call(self._io_getevents_nr, self._context, missing, missing, self._events_address)
                if received < 0 and received != -errno.EINTR:
                    self.broken = True
                    raise OSError(-received, os.strerror(-received))
                indices += self._event_indices[: max(0, received)].tolist()
                results += self._event_results[: max(0, received)].tolist()
        if indices != list(range(len(indices))):
            results = [result for _, result in sorted(zip(indices, results, strict=True))]
        return results

    def close(self) -> None:
        self._call(self._io_destroy_nr, self._context)


def _zeroed_memory(size: int) -> tuple[memoryview[int], int]:
    """``size`` zero bytes and their address, valid as long as the memoryview lives."""
    memory = mmap.mmap(-1, size)
    return memoryview(memory), ctypes.addressof(ctypes.c_char.from_buffer(memory))
