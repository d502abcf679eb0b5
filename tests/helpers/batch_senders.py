"""Ways to send many buffers, for tests of what uses them: the kernel's, and one that sends less than it is given."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from gateway.net.batch_send import BatchSender, BatchSendUnavailable
from gateway.net.io_uring import IoUringSender
from gateway.net.linux_aio import LinuxAioSender

__all__ = ["KERNEL_SENDERS", "SENDERS", "PartialSender", "assert_refusal_loses_nothing", "open_sender", "sender_or_skip"]


class PartialSender:
    """Sends nothing, one byte, a half or all of each buffer, as a kernel may at any time."""

    broken = False

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)

    def send(self, fds: Sequence[int], buffers: Sequence[bytes]) -> list[int]:
        results = []
        for fd, data in zip(fds, buffers, strict=True):
            size = self._rng.choice((0, 1, len(data) // 2, len(data)))
            try:
                results.append(os.write(fd, data[:size]) if size else -errno.EAGAIN)
            except OSError as error:
                results.append(-(error.errno or 0))
        return results

    def close(self) -> None:
        """There is nothing to free."""


KERNEL_SENDERS: list[Callable[[int], BatchSender]] = [IoUringSender, LinuxAioSender]
# None: FdTransports write with one system call each.
SENDERS: list[Any] = [None, *KERNEL_SENDERS, PartialSender]


def sender_or_skip(kind: Any, entries: int = 8) -> Any:
    """A sender with so few entries that its ring wraps often; None for None. Skips the test where the kernel has none."""
    if kind is None:
        return None
    try:
        return kind(entries)
    except BatchSendUnavailable as error:
        pytest.skip(str(error))


def open_sender(kind: Any) -> Iterator[Any]:
    """For fixtures: a sender that is closed after the test."""
    sender = sender_or_skip(kind)
    yield sender
    sender.close()


def assert_refusal_loses_nothing(
    sender: BatchSender, pairs: list[tuple[socket.socket, socket.socket]], restore: Callable[[], object]
) -> None:
    """For a kernel that takes two of six sends and then refuses, until ``restore`` is called."""
    fds = [ours.fileno() for ours, _ in pairs]
    assert sender.send(fds, [b"once"] * 6) == [4, 4, *[-errno.EAGAIN] * 4]
    assert sender.broken
    assert sender.send(fds, [b"never"] * 6) == [-errno.EAGAIN] * 6
    # Any of those still queued in the kernel would be sent now.
    restore()
    sender.broken = False
    assert sender.send(fds, [b"again"] * 6) == [5] * 6
    assert [theirs.recv(100) for _, theirs in pairs] == [b"onceagain"] * 2 + [b"again"] * 4
