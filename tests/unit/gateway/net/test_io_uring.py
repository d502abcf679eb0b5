"""gateway.net.io_uring: a kernel that refuses io_uring_enter."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.net.io_uring import IoUringSender
from tests.helpers.batch_senders import assert_refusal_loses_nothing, open_sender
from tests.unit.gateway.net.conftest import SocketPairs


@pytest.fixture
def io_uring() -> Iterator[IoUringSender]:
    yield from open_sender(IoUringSender)


def test_refused_submissions_are_taken_back(io_uring: IoUringSender, make_pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs: SocketPairs = make_pairs(6)
    enter = io_uring._enter
    answers = [lambda *_: -errno.EINTR, lambda submit, wait: enter(2, 2), lambda *_: -errno.EBUSY]
    monkeypatch.setattr(io_uring, "_enter", lambda submit, wait: answers.pop(0)(submit, wait))
    assert_refusal_loses_nothing(io_uring, pairs, lambda: monkeypatch.setattr(io_uring, "_enter", enter))


def test_unknown_results_raise(io_uring: IoUringSender, make_pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ((ours, _),) = make_pairs(1)
    answers = [1, -errno.EBADF]
    monkeypatch.setattr(io_uring, "_enter", lambda submit, wait: answers.pop(0))
    with pytest.raises(OSError, match="Bad file descriptor"):
        io_uring.send([ours.fileno()], [b"x"])
    assert io_uring.broken
