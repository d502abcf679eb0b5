"""gateway.net.batch_send: what every BatchSender does, with io_uring and with Linux AIO."""

from __future__ import annotations

import errno
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from gateway.net.batch_send import BatchSender, BatchSendUnavailable
from gateway.net.io_uring import IoUringSender
from gateway.net.linux_aio import LinuxAioSender
from tests.helpers.batch_senders import KERNEL_SENDERS, open_sender
from tests.unit.gateway.net.conftest import SocketPairs


@pytest.fixture(params=KERNEL_SENDERS)
def sender(request: pytest.FixtureRequest) -> Iterator[BatchSender]:
    yield from open_sender(request.param)


def test_each_socket_gets_its_own_bytes_wherever_the_ring_is(sender: BatchSender, make_pairs: Any) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    pairs: SocketPairs = make_pairs(21)
    for iteration in range(200):
        chosen = rng.sample(pairs, rng.randint(1, len(pairs)))
        same = rng.random() < 0.5
        buffers = [
            b"%d of %d" % (0 if same else index, iteration) * rng.choice((1, 1 if same else 9)) for index in range(len(chosen))
        ]
        assert sender.send([ours.fileno() for ours, _ in chosen], buffers) == [len(data) for data in buffers]
        assert [theirs.recv(1000) for _, theirs in chosen] == buffers


def test_full_and_closed_sockets_have_errors_and_the_others_get_their_bytes(sender: BatchSender, make_pairs: Any) -> None:
    pairs: SocketPairs = make_pairs(6)
    full, short, closed = pairs[1], pairs[2], pairs[4]
    if isinstance(sender, LinuxAioSender):
        for ours, _ in pairs:
            ours.setblocking(False)
    # The sockets for io_uring stay blocking: MSG_DONTWAIT must be enough.
    with suppress(BlockingIOError):
        while True:
            full[0].send(b"x" * 4096, socket.MSG_DONTWAIT)
    short[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    closed[1].close()
    results = sender.send([ours.fileno() for ours, _ in pairs], [b"y" * 100_000] * 6)
    assert (results[1], results[4]) == (-errno.EAGAIN, -errno.EPIPE)
    assert 0 < results[2] < 100_000
    assert all(results[index] > results[2] for index in (0, 3, 5))
    assert not sender.broken


def test_closed_fd_has_an_error_and_the_others_get_their_bytes(sender: BatchSender, make_pairs: Any) -> None:
    pairs: SocketPairs = make_pairs(3)
    pairs[1][0].close()
    closed_fd = pairs[1][1].detach()
    os.close(closed_fd)
    fds = [pairs[0][0].fileno(), closed_fd, pairs[2][0].fileno()]
    assert sender.send(fds, [b"x"] * 3) == [1, -errno.EBADF, 1]
    assert not sender.broken
    assert [theirs.recv(10) for _, theirs in (pairs[0], pairs[2])] == [b"x", b"x"]


@pytest.mark.parametrize(
    ("kind", "name", "unknown"),
    [
        (IoUringSender, "gateway.net.io_uring.IO_URING_SETUP_NR", 100_000),
        (LinuxAioSender, "gateway.net.linux_aio.SYSCALL_NRS", {os.uname().machine: (100_000,) * 4}),
    ],
)
def test_missing_system_call_or_unknown_machine_is_unavailable(
    monkeypatch: pytest.MonkeyPatch, kind: type[Any], name: str, unknown: object
) -> None:
    monkeypatch.setattr(name, unknown)
    with pytest.raises(BatchSendUnavailable, match="Function not implemented"):
        kind()
    monkeypatch.setattr("gateway.net.batch_send.SUPPORTED_MACHINES", ())
    with pytest.raises(BatchSendUnavailable, match="not known on"):
        kind()
