"""Many sends by one system call: what io_uring and Linux's older asynchronous I/O have in common. Knows no connections.

``BatchSender.flush_batch`` is synchronous: when it returns, each send has been done or refused. So no bytes are lent to the kernel for
longer than the call, and no descriptor is closed while it is in use.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Sequence
from typing import ClassVar

__all__ = ["BATCH_SIZE", "BatchSendUnavailable", "BatchSender"]

# By one call.
BATCH_SIZE = 1024
# Where numbers of system calls and layouts are known: little-endian, 64 bit.
SUPPORTED_MACHINES = ("x86_64", "aarch64")


class BatchSendUnavailable(Exception):
    """It cannot be had here; the text says why."""


class BatchSender(ABC):
    """One way of it.

    What the kernel wants to know of a send is a column over all of them: filling one is a single operation, whatever the
    number of clients. The columns are the subclass's.
    """

    name: ClassVar[str]
    _fds: memoryview[int]
    _sizes: memoryview[int]
    _addresses: memoryview[int]

    def __init__(self, entries: int) -> None:
        """Raises NoSends."""
        if sys.platform != "linux" or os.uname().machine not in SUPPORTED_MACHINES or sys.maxsize < 2**32:
            raise BatchSendUnavailable(f"not known on {sys.platform}, {os.uname().machine}")
        self._syscall: Callable[..., int] = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype, self._syscall.argtypes = ctypes.c_long, [ctypes.c_long] * 7
        self._entries = entries
        # Set when the kernel has refused: whoever sees that does better not to come again.
        self.broken = False

    def send(self, fds: Sequence[int], buffers: Sequence[bytes]) -> list[int]:
        """To each descriptor what stands at its place: how many bytes its socket took, or an error's number, negative. EAGAIN
        stands for those too that could not be tried. Raises OSError when what became of them cannot be told.
        """
        results: list[int] = []
        for start in range(0, len(fds), self._entries):
            end = start + self._entries
            results += self._send_chunk(fds[start:end], buffers[start:end])
        return results

    def _send_chunk(self, fds: Sequence[int], buffers: Sequence[bytes]) -> list[int]:
        count, first = len(fds), buffers[0]
        if self.broken:
            return [-errno.EAGAIN] * count
        self._fds[:count] = fds if isinstance(fds, array) else array("I", fds)
        if buffers.count(first) == count:  # the same for all, as nearly always
            self._sizes[:count] = array("I", [len(first)]) * count
            self._addresses[:count] = array("Q", [_address(first)]) * count
        else:
            self._sizes[:count] = array("I", map(len, buffers))
            self._addresses[:count] = array("Q", map(_address, buffers))
        results = self._send_prepared(count)
        return results + [-errno.EAGAIN] * (count - len(results))

    @abstractmethod
    def _send_prepared(self, count: int) -> list[int]:
        """Send the first so many of what the columns tell. The results, in their order, of as many as could be tried."""

    def _call(self, nr: int, *arguments: int) -> int:
        """A system call's result, or an error's number, negative."""
        result = self._syscall(nr, *arguments, *[0] * (6 - len(arguments)))
        return result if result >= 0 else -ctypes.get_errno()

    @abstractmethod
    def close(self) -> None:
        """Give it back."""


def _address(data: bytes) -> int:
    """Where the bytes are, for as long as the object lives."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
