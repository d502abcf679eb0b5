"""Sends by one call: each gets its own bytes, who takes nothing is not waited for, a kernel that refuses loses nothing."""

from __future__ import annotations

import errno
import os
import random
import socket
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.net.batch_send import BatchSender, BatchSendUnavailable
from gateway.net.io_uring import IoUringSender
from gateway.net.linux_aio import LinuxAioSender

Pairs = list[tuple[socket.socket, socket.socket]]


# Small ones: they are gone round in often.


@pytest.fixture(params=[IoUringSender, LinuxAioSender])
def sends(request: pytest.FixtureRequest) -> Iterator[BatchSender]:
    yield from had(request.param)


@pytest.fixture
def uring() -> Iterator[IoUringSender]:
    yield from had(IoUringSender)


@pytest.fixture
def aio() -> Iterator[LinuxAioSender]:
    yield from had(LinuxAioSender)


def had(kind: type[Any]) -> Iterator[Any]:
    try:
        one = kind(8)
    except BatchSendUnavailable as error:
        pytest.skip(str(error))
    yield one
    one.close()


@pytest.fixture
def pairs() -> Iterator[Callable[[int], Pairs]]:
    with ExitStack() as stack:

        def make(count: int) -> Pairs:
            found = [socket.socketpair() for _ in range(count)]
            for pair in found:
                for end in pair:
                    stack.enter_context(end)
            return found

        yield make


def test_each_gets_its_own_bytes_wherever_the_ring_has_got_to(sends: BatchSender, pairs: Any) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    some: Pairs = pairs(21)
    for turn in range(200):
        taking = choose.sample(some, choose.randint(1, len(some)))
        same = choose.random() < 0.5
        datas = [
            b"%d of %d" % (0 if same else number, turn) * choose.choice((1, 1 if same else 9)) for number in range(len(taking))
        ]
        assert sends.send([ours.fileno() for ours, _ in taking], datas) == [len(data) for data in datas]
        assert [theirs.recv(1000) for _, theirs in taking] == datas


def test_one_that_is_full_or_gone_is_said_and_the_others_get_theirs(sends: BatchSender, pairs: Any) -> None:
    some: Pairs = pairs(6)
    full, short, gone = some[1], some[2], some[4]
    if isinstance(sends, LinuxAioSender):
        for ours, _ in some:
            ours.setblocking(False)
    # With io_uring these would wait: the sending is done without, all the same.
    with suppress(BlockingIOError):
        while True:
            full[0].send(b"x" * 4096, socket.MSG_DONTWAIT)
    short[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    gone[1].close()
    results = sends.send([ours.fileno() for ours, _ in some], [b"y" * 100_000] * 6)
    assert (results[1], results[4]) == (-errno.EAGAIN, -errno.EPIPE)
    assert 0 < results[2] < 100_000
    assert all(results[number] > results[2] for number in (0, 3, 5))
    assert not sends.broken


def test_one_that_is_no_descriptor_is_said_and_the_others_get_theirs(sends: BatchSender, pairs: Any) -> None:
    some: Pairs = pairs(3)
    some[1][0].close()
    none = some[1][1].detach()
    os.close(none)
    numbers = [some[0][0].fileno(), none, some[2][0].fileno()]
    assert sends.send(numbers, [b"x"] * 3) == [1, -errno.EBADF, 1]
    assert not sends.broken
    assert [theirs.recv(10) for _, theirs in (some[0], some[2])] == [b"x", b"x"]


def loses_nothing(sends: BatchSender, some: Pairs, mend: Callable[[], object]) -> None:
    """The kernel takes two of six and refuses, until it is mended."""
    numbers = [ours.fileno() for ours, _ in some]
    assert sends.send(numbers, [b"once"] * 6) == [4, 4, *[-errno.EAGAIN] * 4]
    assert sends.broken
    assert sends.send(numbers, [b"never"] * 6) == [-errno.EAGAIN] * 6
    # Were any of those left with the kernel, they would be sent now.
    mend()
    sends.broken = False
    assert sends.send(numbers, [b"again"] * 6) == [5] * 6
    assert [theirs.recv(100) for _, theirs in some] == [b"onceagain"] * 2 + [b"again"] * 4


def test_a_kernel_that_refuses_is_asked_no_more_and_nothing_is_sent_behind_our_back(
    uring: IoUringSender, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    some: Pairs = pairs(6)
    enter = uring._enter
    answers = [lambda *_: -errno.EINTR, lambda submit, wait: enter(2, 2), lambda *_: -errno.EBUSY]
    monkeypatch.setattr(uring, "_enter", lambda submit, wait: answers.pop(0)(submit, wait))
    loses_nothing(uring, some, lambda: monkeypatch.setattr(uring, "_enter", enter))


def test_what_cannot_be_told_is_not_guessed(uring: IoUringSender, pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ((ours, _),) = pairs(1)
    answers = [1, -errno.EBADF]
    monkeypatch.setattr(uring, "_enter", lambda submit, wait: answers.pop(0))
    with pytest.raises(OSError, match="Bad file descriptor"):
        uring.send([ours.fileno()], [b"x"])
    assert uring.broken


def test_asynchronous_io_that_is_refused_loses_nothing(
    aio: LinuxAioSender, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    some: Pairs = pairs(6)
    call, asked = aio._call, 0

    def refuse(number: int, context: int, count: int, *more: int) -> int:
        """Submits two, then none; once a signal comes in between."""
        nonlocal asked
        asked += 1
        if number == aio._io_submit_nr:
            return call(number, context, 2, *more) if count == 6 else -errno.EAGAIN
        return -errno.EINTR if asked == 2 else call(number, context, count, *more)

    monkeypatch.setattr(aio, "_call", refuse)
    loses_nothing(aio, some, lambda: monkeypatch.setattr(aio, "_call", call))


def test_what_became_of_asynchronous_io_is_not_guessed(
    aio: LinuxAioSender, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ((ours, _),) = pairs(1)
    call = aio._call
    monkeypatch.setattr(
        aio, "_call", lambda number, *more: call(number, *more) if number == aio._io_submit_nr else -errno.EINVAL
    )
    with pytest.raises(OSError, match="Invalid argument"):
        aio.send([ours.fileno()], [b"x"])
    assert aio.broken


def test_in_whichever_order_the_results_come(aio: LinuxAioSender, pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    some: Pairs = pairs(3)
    call = aio._call

    def turn(number: int, *more: int) -> int:
        result = call(number, *more)
        if number == aio._io_getevents_nr:
            for column in (aio._event_indices, aio._event_results):
                column[:result] = array("Q" if column is aio._event_indices else "q", column[:result].tolist()[::-1])
        return result

    monkeypatch.setattr(aio, "_call", turn)
    assert aio.send([ours.fileno() for ours, _ in some], [b"1", b"22", b"333"]) == [1, 2, 3]


@pytest.mark.parametrize(
    ("kind", "setup", "nowhere"),
    [
        (IoUringSender, "gateway.net.io_uring.IO_URING_SETUP_NR", 100_000),
        (LinuxAioSender, "gateway.net.linux_aio.SYSCALL_NRS", {os.uname().machine: (100_000,) * 4}),
    ],
)
def test_where_there_is_none_that_is_said(
    monkeypatch: pytest.MonkeyPatch, kind: type[Any], setup: str, nowhere: object
) -> None:
    monkeypatch.setattr(setup, nowhere)  # no such system call
    with pytest.raises(BatchSendUnavailable, match="Function not implemented"):
        kind()
    monkeypatch.setattr("gateway.net.batch_send.SUPPORTED_MACHINES", ())
    with pytest.raises(BatchSendUnavailable, match="not known on"):
        kind()


def test_a_machine_that_has_no_more_of_it_says_so(aio: LinuxAioSender) -> None:
    most = int(Path("/proc/sys/fs/aio-max-nr").read_text())
    if most > 2_000_000:
        pytest.skip("this machine has more than can be asked for")
    with pytest.raises(BatchSendUnavailable, match=r"io_setup: .*: fs\.aio-max-nr is used up"):
        LinuxAioSender(most + 1)
