"""Sends by io_uring: each gets its own bytes, whoever takes nothing is not waited for, a kernel that refuses loses nothing."""

from __future__ import annotations

import errno
import random
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from gateway.uring import NoUring, Uring

Pairs = list[tuple[socket.socket, socket.socket]]


@pytest.fixture
def uring() -> Iterator[Uring]:
    """A small one: it is gone round in often."""
    try:
        ring = Uring(8)
    except NoUring as error:
        pytest.skip(str(error))
    yield ring
    ring.close()


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


def test_each_gets_its_own_bytes_wherever_the_ring_has_got_to(uring: Uring, pairs: Any) -> None:
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
        assert uring.send([ours.fileno() for ours, _ in taking], datas) == [len(data) for data in datas]
        assert [theirs.recv(1000) for _, theirs in taking] == datas


def test_one_that_is_full_or_gone_is_said_and_the_others_get_theirs(uring: Uring, pairs: Any) -> None:
    some: Pairs = pairs(6)
    full, short, gone = some[1], some[2], some[4]
    # These would wait: the sending is done without, all the same.
    with suppress(BlockingIOError):
        while True:
            full[0].send(b"x" * 4096, socket.MSG_DONTWAIT)
    short[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    gone[1].close()
    results = uring.send([ours.fileno() for ours, _ in some], [b"y" * 100_000] * 6)
    assert (results[1], results[4]) == (-errno.EAGAIN, -errno.EPIPE)
    assert 0 < results[2] < 100_000
    assert all(results[number] > results[2] for number in (0, 3, 5))
    assert not uring.broken


def test_a_kernel_that_refuses_is_asked_no_more_and_nothing_is_sent_behind_our_back(
    uring: Uring, pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    some: Pairs = pairs(6)
    enter = uring._enter
    answers = [lambda *_: -errno.EINTR, lambda submit, wait: enter(2, 2), lambda *_: -errno.EBUSY]
    monkeypatch.setattr(uring, "_enter", lambda submit, wait: answers.pop(0)(submit, wait))
    numbers = [ours.fileno() for ours, _ in some]
    assert uring.send(numbers, [b"once"] * 6) == [4, 4, *[-errno.EAGAIN] * 4]
    assert uring.broken
    assert uring.send(numbers, [b"never"] * 6) == [-errno.EAGAIN] * 6
    # Were any of those left in the ring, they would be sent now.
    monkeypatch.setattr(uring, "_enter", enter)
    uring.broken = False
    assert uring.send(numbers, [b"again"] * 6) == [5] * 6
    assert [theirs.recv(100) for _, theirs in some] == [b"onceagain"] * 2 + [b"again"] * 4


def test_what_cannot_be_told_is_not_guessed(uring: Uring, pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ((ours, _),) = pairs(1)
    answers = [1, -errno.EBADF]
    monkeypatch.setattr(uring, "_enter", lambda submit, wait: answers.pop(0))
    with pytest.raises(OSError, match="Bad file descriptor"):
        uring.send([ours.fileno()], [b"x"])
    assert uring.broken


def test_where_there_is_none_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.uring.SETUP", 100_000)  # no such system call
    with pytest.raises(NoUring, match="Function not implemented"):
        Uring()
    monkeypatch.setattr("gateway.uring.MACHINES", ())
    with pytest.raises(NoUring, match="not known on"):
        Uring()
