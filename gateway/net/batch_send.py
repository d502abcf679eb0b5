"""Many sends by one system call: the common base of io_uring and Linux AIO. Knows file descriptors and bytes only.

``BatchSender.send`` is synchronous: when it returns, every send is done or refused. So the kernel never reads the buffers after
the call, and no file descriptor is closed while the kernel uses it.
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

# Sends per system call.
BATCH_SIZE = 1024
# Machines whose system call numbers and struct layouts are known: 64 bit, little-endian.
SUPPORTED_MACHINES = ("x86_64", "aarch64")


class BatchSendUnavailable(Exception):
    """This system does not support it; the text is the reason."""


class BatchSender(ABC):
    """Sends many buffers to many sockets by one system call.

    The parameters of the sends are columns (strided memoryviews over the kernel's structs, made by the subclass): a column is
    filled by one assignment, whatever the number of sends.
    """

    name: ClassVar[str]
    _fds: memoryview[int]
    _sizes: memoryview[int]
    _addresses: memoryview[int]

    def __init__(self, entries: int) -> None:
        """Raises BatchSendUnavailable."""
        if sys.platform != "linux" or os.uname().machine not in SUPPORTED_MACHINES or sys.maxsize < 2**32:
            raise BatchSendUnavailable(f"not known on {sys.platform}, {os.uname().machine}")
        self._syscall: Callable[..., int] = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype, self._syscall.argtypes = ctypes.c_long, [ctypes.c_long] * 7
        self._entries = entries
        # The kernel has refused a call; from then on every send returns EAGAIN. The caller should close this sender.
        self.broken = False

    def send(self, fds: Sequence[int], buffers: Sequence[bytes]) -> list[int]:
        """Send ``buffers[i]`` to ``fds[i]``. Returns for each the number of bytes that its socket took, or a negative errno.

        EAGAIN also stands for a send that was not tried. Raises OSError if the results are unknown.
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
        if buffers.count(first) == count:  # the same for all: the usual case
            self._sizes[:count] = array("I", [len(first)]) * count
            self._addresses[:count] = array("Q", [_address(first)]) * count
        else:
            self._sizes[:count] = array("I", map(len, buffers))
            self._addresses[:count] = array("Q", map(_address, buffers))
        results = self._send_prepared(count)
        return results + [-errno.EAGAIN] * (count - len(results))

    @abstractmethod
    def _send_prepared(self, count: int) -> list[int]:
        """Perform the first ``count`` sends of the columns; the results in order, fewer if the kernel refuses the rest."""

    def _call(self, nr: int, *arguments: int) -> int:
        """Make a system call; returns its result or a negative errno."""
        result = self._syscall(nr, *arguments, *[0] * (6 - len(arguments)))
        return result if result >= 0 else -ctypes.get_errno()

    @abstractmethod
    def close(self) -> None:
        """Free the kernel's resources."""


def _address(data: bytes) -> int:
    """The memory address of the bytes, valid as long as the object lives."""
    return ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
