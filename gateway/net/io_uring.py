"""Many sends by one system call: io_uring (io_uring(7), since Linux 5.6) in pure Python.

With MSG_DONTWAIT a send is done, or refused, within io_uring_enter(2), and that returns only when all have completed.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
from array import array
from typing import ClassVar

from gateway.net.batch_send import BATCH_SIZE, BatchSender, BatchSendUnavailable

__all__ = ["IoUringSender"]

# System calls, by the numbers that these architectures have in common (asm-generic/unistd.h).
IO_URING_SETUP_NR, IO_URING_ENTER_NR = 425, 426
# From linux/io_uring.h.
IORING_OFF_SQES = 0x10000000
IORING_FEAT_SINGLE_MMAP = 1
IORING_ENTER_GETEVENTS = 1
IORING_OP_SEND = 26
# Where io_uring_params has the number of completions, the features, the offsets of the submission ring and the completion ring.
PARAMS_CQ_ENTRIES, PARAMS_FEATURES, PARAMS_SQ_OFF, PARAMS_CQ_OFF, PARAMS_WORDS = 1, 5, 10, 20, 30
# A submission is so many bytes, 8-byte words and 4-byte words, and has these of the one and of the other.
SQE_BYTES, SQE_LONGS, SQE_WORDS = 64, 8, 16
SQE_ADDR, SQE_USER_DATA = 2, 4
SQE_FD, SQE_LEN, SQE_FLAGS = 1, 6, 7
# A completion is so many 4-byte words, and has these.
CQE_WORDS = 4
CQE_USER_DATA, CQE_RES = 0, 2


class IoUringSender(BatchSender):
    """The rings. Raises NoSends."""

    name: ClassVar[str] = "io_uring"

    def __init__(self, entries: int = BATCH_SIZE) -> None:
        super().__init__(entries)
        parameters = (ctypes.c_uint32 * PARAMS_WORDS)()
        self._fd = self._call(IO_URING_SETUP_NR, entries, ctypes.addressof(parameters))
        if self._fd < 0:
            raise BatchSendUnavailable(f"io_uring_setup: {os.strerror(-self._fd)}")
        try:
            if not parameters[PARAMS_FEATURES] & IORING_FEAT_SINGLE_MMAP:
                raise BatchSendUnavailable("this kernel is too old for it")
            self._map_rings(list(parameters))
        except OSError as error:
            self.close()
            raise BatchSendUnavailable(f"its rings cannot be mapped: {error}") from error
        except BatchSendUnavailable:
            self.close()
            raise

    def _map_rings(self, parameters: list[int]) -> None:
        self._entries = parameters[0]
        completions = parameters[PARAMS_CQ_ENTRIES]
        sq_head, sq_tail, sq_mask, _, _, _, sq_array = parameters[PARAMS_SQ_OFF : PARAMS_SQ_OFF + 7]
        cq_head, cq_tail, cq_mask, _, _, cqes = parameters[PARAMS_CQ_OFF : PARAMS_CQ_OFF + 6]
        size = max(sq_array + 4 * self._entries, cqes + 4 * CQE_WORDS * completions)
        ring = memoryview(mmap.mmap(self._fd, (size + 3) // 4 * 4))
        self._ring_u32, self._ring_i32 = ring.cast("I"), ring.cast("i")
        self._sq_head, self._sq_tail, self._sq_array = sq_head // 4, sq_tail // 4, sq_array // 4
        self._cq_head, self._cq_tail, self._cqes = cq_head // 4, cq_tail // 4, cqes // 4
        self._sq_mask, self._cq_mask = self._ring_u32[sq_mask // 4], self._ring_u32[cq_mask // 4]
        # What is the same for all sends is written here, once.
        sqes = memoryview(mmap.mmap(self._fd, SQE_BYTES * self._entries, offset=IORING_OFF_SQES))
        sqes[::SQE_BYTES] = bytes([IORING_OP_SEND]) * self._entries
        longs, words = sqes.cast("Q"), sqes.cast("I")
        words[SQE_FLAGS::SQE_WORDS] = array("I", [socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL]) * self._entries
        longs[SQE_USER_DATA::SQE_LONGS] = array("Q", range(self._entries))
        self._fds, self._sizes = words[SQE_FD::SQE_WORDS], words[SQE_LEN::SQE_WORDS]
        self._addresses = longs[SQE_ADDR::SQE_LONGS]
        self._indices = array("I", range(self._entries))

    def _send_prepared(self, count: int) -> list[int]:
        # The n-th of the ring's next places means submission n, wherever the ring has got to.
        words, tail = self._ring_u32, self._ring_u32[self._sq_tail]
        at = tail & self._sq_mask
        straight = min(count, self._entries - at)
        words[self._sq_array + at : self._sq_array + at + straight] = self._indices[:straight]
        words[self._sq_array : self._sq_array + count - straight] = self._indices[straight:count]
        words[self._sq_tail] = (tail + count) % 2**32
        # No barriers: the kernel reads and writes the rings on this very thread, in the system call.
        return self._collect_results(self._submit(count))

    def _submit(self, count: int) -> int:
        """Returns how many have been submitted: all but for a refusal."""
        left = count
        while left:
            taken = self._enter(left, left)
            if taken > 0:
                left -= taken
            elif taken != -errno.EINTR:
                self.broken = True
                # The rest is taken back: the kernel looks at the tail in io_uring_enter only (there is no SQPOLL).
                self._ring_u32[self._sq_tail] = self._ring_u32[self._sq_head]
                break
        return count - left

    def _collect_results(self, count: int) -> list[int]:
        """The results of what has been submitted, in its order."""
        head = self._ring_u32[self._cq_head]
        while (missing := count - (self._ring_u32[self._cq_tail] - head) % 2**32) > 0:
            error = self._enter(0, missing)
            if error < 0 and error != -errno.EINTR:
                self.broken = True
                raise OSError(-error, os.strerror(-error))
        at = head & self._cq_mask
        results = self._read_completions(self._ring_i32, CQE_RES, at, count)
        if not results or results.count(results[0]) == count:  # as nearly always: it does not matter which is whose
            self._ring_u32[self._cq_head] = (head + count) % 2**32
            return results
        numbers = self._read_completions(self._ring_u32, CQE_USER_DATA, at, count)
        self._ring_u32[self._cq_head] = (head + count) % 2**32
        if numbers != self._indices[:count].tolist():
            results = [result for _, result in sorted(zip(numbers, results, strict=True))]
        return results

    def _read_completions(self, ring: memoryview[int], word: int, start: int, count: int) -> list[int]:
        """One word of each of the next completions."""
        entries = self._cq_mask + 1
        straight = min(count, entries - start)
        first, second = self._cqes + start * CQE_WORDS + word, self._cqes + word
        found = ring[first : first + straight * CQE_WORDS : CQE_WORDS].tolist()
        if straight < count:
            found += ring[second : second + (count - straight) * CQE_WORDS : CQE_WORDS].tolist()
        return found

    def _enter(self, to_submit: int, min_complete: int) -> int:
        """How many have been taken from the ring, or an error's number, negative."""
        return self._call(IO_URING_ENTER_NR, self._fd, to_submit, min_complete, IORING_ENTER_GETEVENTS)

    def close(self) -> None:
        """Give it back."""
        os.close(self._fd)
