"""gateway.net.linux_aio: a kernel that refuses io_submit, unordered events, and a machine without AIO contexts left."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.net.batch_send import BatchSendUnavailable
from gateway.net.linux_aio import LinuxAioSender
from tests.helpers.batch_senders import assert_refusal_loses_nothing, open_sender
from tests.unit.gateway.net.conftest import SocketPairs


@pytest.fixture
def aio() -> Iterator[LinuxAioSender]:
    yield from open_sender(LinuxAioSender)


def test_refused_submissions_are_not_sent_later(aio: LinuxAioSender, make_pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs: SocketPairs = make_pairs(6)
    call, call_count = aio._call, 0

    def refuse(nr: int, context: int, count: int, *more: int) -> int:
        """Submits two, then none; the second call is interrupted by a signal."""
        nonlocal call_count
        call_count += 1
        if nr == aio._io_submit_nr:
            return call(nr, context, 2, *more) if count == 6 else -errno.EAGAIN
        return -errno.EINTR if call_count == 2 else call(nr, context, count, *more)

    monkeypatch.setattr(aio, "_call", refuse)
    assert_refusal_loses_nothing(aio, pairs, lambda: monkeypatch.setattr(aio, "_call", call))


def test_unknown_results_raise(aio: LinuxAioSender, make_pairs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ((ours, _),) = make_pairs(1)
    call = aio._call
    monkeypatch.setattr(aio, "_call", lambda nr, *more: call(nr, *more) if nr == aio._io_submit_nr else -errno.EINVAL)
    with pytest.raises(OSError, match="Invalid argument"):
        aio.send([ours.fileno()], [b"x"])
    assert aio.broken


def test_results_are_ordered_whatever_the_order_of_the_events(
    aio: LinuxAioSender, make_pairs: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: SocketPairs = make_pairs(3)
    call = aio._call

    def reverse_events(nr: int, *more: int) -> int:
        result = call(nr, *more)
        if nr == aio._io_getevents_nr:
            for column in (aio._event_indices, aio._event_results):
                column[:result] = array("Q" if column is aio._event_indices else "q", column[:result].tolist()[::-1])
        return result

    monkeypatch.setattr(aio, "_call", reverse_events)
    assert aio.send([ours.fileno() for ours, _ in pairs], [b"1", b"22", b"333"]) == [1, 2, 3]


def test_exhausted_aio_contexts_are_named_in_the_error(aio: LinuxAioSender) -> None:
    max_requests = int(Path("/proc/sys/fs/aio-max-nr").read_text())
    if max_requests > 2_000_000:
        pytest.skip("this machine allows more than can be requested")
    with pytest.raises(BatchSendUnavailable, match=r"io_setup: .*: fs\.aio-max-nr is used up"):
        LinuxAioSender(max_requests + 1)
