"""Many sends by one system call: io_uring (io_uring(7), since Linux 5.6) in pure Python.

With MSG_DONTWAIT each send completes, or fails with EAGAIN, within io_uring_enter(2), which returns when all have completed.
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

# System call numbers, the same on all supported machines (asm-generic/unistd.h).
IO_URING_SETUP_NR, IO_URING_ENTER_NR = 425, 426
# From linux/io_uring.h.
IORING_OFF_SQES = 0x10000000
IORING_FEAT_SINGLE_MMAP = 1
IORING_ENTER_GETEVENTS = 1
IORING_OP_SEND = 26
# struct io_uring_params as 32-bit words: indices of the number of completions, the features, sq_off and cq_off; its size.
PARAMS_CQ_ENTRIES, PARAMS_FEATURES, PARAMS_SQ_OFF, PARAMS_CQ_OFF, PARAMS_WORDS = 1, 5, 10, 20, 30
# struct io_uring_sqe: its size in bytes, in 64-bit and in 32-bit words; indices of fields in 64-bit and in 32-bit words.
SQE_BYTES, SQE_LONGS, SQE_WORDS = 64, 8, 16
SQE_ADDR, SQE_USER_DATA = 2, 4
SQE_FD, SQE_LEN, SQE_FLAGS = 1, 6, 7
# struct io_uring_cqe: its size in 32-bit words, and indices of fields.
CQE_WORDS = 4
CQE_USER_DATA, CQE_RES = 0, 2


class IoUringSender(BatchSender):
    """A submission ring and a completion ring. Raises BatchSendUnavailable."""

    name: ClassVar[str] = "io_uring"

    def __init__(self, entries: int = BATCH_SIZE) -> None:
        super().__init__(entries)
        parameters = (ctypes.c_uint32 * PARAMS_WORDS)()
        self._fd = self._call(IO_URING_SETUP_NR, entries, ctypes.addressof(parameters))
        if self._fd < 0:
            raise BatchSendUnavailable(f"io_uring_setup: {os.strerror(-self._fd)}")
        try:
            if not parameters[PARAMS_FEATURES] & IORING_FEAT_SINGLE_MMAP:
                raise BatchSendUnavailable("this kernel is too old")
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
        # The fields that are the same in all sends are written once, here.
        sqes = memoryview(mmap.mmap(self._fd, SQE_BYTES * self._entries, offset=IORING_OFF_SQES))
        sqes[::SQE_BYTES] = bytes([IORING_OP_SEND]) * self._entries
        longs, words = sqes.cast("Q"), sqes.cast("I")
        words[SQE_FLAGS::SQE_WORDS] = array("I", [socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL]) * self._entries
        longs[SQE_USER_DATA::SQE_LONGS] = array("Q", range(self._entries))
        self._fds, self._sizes = words[SQE_FD::SQE_WORDS], words[SQE_LEN::SQE_WORDS]
        self._addresses = longs[SQE_ADDR::SQE_LONGS]
        self._indices = array("I", range(self._entries))

    def _send_prepared(self, count: int) -> list[int]:
        # The next ``count`` ring slots get the indices 0, 1, 2 …, so that send n is always in submission queue entry n.
        ring, tail = self._ring_u32, self._ring_u32[self._sq_tail]
        slot = tail & self._sq_mask
        before_wrap = min(count, self._entries - slot)
        ring[self._sq_array + slot : self._sq_array + slot + before_wrap] = self._indices[:before_wrap]
        ring[self._sq_array : self._sq_array + count - before_wrap] = self._indices[before_wrap:count]
        ring[self._sq_tail] = (tail + count) % 2**32
        # No memory barriers: the kernel accesses the rings on this thread only, during the system call.
        return self._collect_results(self._submit(count))

    def _submit(self, count: int) -> int:
        """Returns how many were submitted: fewer than ``count`` if the kernel refused."""
        remaining = count
        while remaining:
            submitted = self._enter(remaining, remaining)
            if submitted > 0:
                remaining -= submitted
            elif submitted != -errno.EINTR:
                self.broken = True
                # Take the rest back: without SQPOLL the kernel reads the tail in io_uring_enter only.
                self._ring_u32[self._sq_tail] = self._ring_u32[self._sq_head]
                break
        return count - remaining

    def _collect_results(self, count: int) -> list[int]:
        """The results of the last ``count`` submissions, in their order."""
        head = self._ring_u32[self._cq_head]
        while (missing := count - (self._ring_u32[self._cq_tail] - head) % 2**32) > 0:
            error = self._enter(0, missing)
            if error < 0 and error != -errno.EINTR:
                self.broken = True
                raise OSError(-error, os.strerror(-error))
        slot = head & self._cq_mask
        results = self._read_completions(self._ring_i32, CQE_RES, slot, count)
        if not results or results.count(results[0]) == count:  # the usual case: all equal, so their order does not matter
            self._ring_u32[self._cq_head] = (head + count) % 2**32
            return results
        indices = self._read_completions(self._ring_u32, CQE_USER_DATA, slot, count)
        self._ring_u32[self._cq_head] = (head + count) % 2**32
        if indices != self._indices[:count].tolist():
            results = [result for _, result in sorted(zip(indices, results, strict=True))]
        return results

    def _read_completions(self, ring: memoryview[int], word: int, start: int, count: int) -> list[int]:
        """One 32-bit word of each of ``count`` completions from ring slot ``start`` on."""
        entries = self._cq_mask + 1
        before_wrap = min(count, entries - start)
        first, wrapped = self._cqes + start * CQE_WORDS + word, self._cqes + word
        values = ring[first : first + before_wrap * CQE_WORDS : CQE_WORDS].tolist()
        if before_wrap < count:
            values += ring[wrapped : wrapped + (count - before_wrap) * CQE_WORDS : CQE_WORDS].tolist()
        return values

    def _enter(self, to_submit: int, min_complete: int) -> int:
        """io_uring_enter(2): the number of submissions that the kernel took, or a negative errno."""
        return self._call(IO_URING_ENTER_NR, self._fd, to_submit, min_complete, IORING_ENTER_GETEVENTS)

    def close(self) -> None:
        os.close(self._fd)
