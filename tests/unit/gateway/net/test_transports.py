"""What WebSockets stand on: the best that works here, or what is demanded, and how a connection gets onto it."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.net.batch_send import BatchSender, BatchSendUnavailable
from gateway.net.fd_transport import FdTransport, FdTransports
from gateway.net.transports import BATCH_SENDERS, BackendUnavailable, TransportBackend
from tests.support import TIMEOUT_SECONDS, within


class Owner(asyncio.Protocol):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard.set_result(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


@pytest.fixture
async def lines() -> AsyncIterator[TransportBackend]:
    some = TransportBackend()
    yield some
    if some._fd_transports is not None:
        some._fd_transports.close()


def refuse(*_: object) -> Any:
    raise BatchSendUnavailable("io_uring_setup: Operation not permitted")


def or_skip(name: str) -> None:
    """Where this machine has none of it."""
    if name in BATCH_SENDERS:
        try:
            BATCH_SENDERS[name]().close()
        except BatchSendUnavailable as error:
            pytest.skip(str(error))


@pytest.mark.parametrize("name", BATCH_SENDERS)
async def test_one_that_takes_nothing_is_not_had(lines: TransportBackend, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    or_skip(name)

    make = BATCH_SENDERS[name]

    def refused() -> BatchSender:
        one = make()

        def none(_count: int) -> list[int]:
            one.broken = True
            return []

        monkeypatch.setattr(one, "_send_prepared", none)
        return one

    monkeypatch.setitem(BATCH_SENDERS, name, refused)
    with pytest.raises(BackendUnavailable, match="it is refused"):
        await lines.select(name)


@pytest.mark.parametrize(("refused", "found"), [(["io_uring"], "aio"), (["io_uring", "aio"], "descriptor")])
async def test_without_the_best_there_is_the_next(
    lines: TransportBackend, monkeypatch: pytest.MonkeyPatch, refused: list[str], found: str
) -> None:
    or_skip(found)
    for name in refused:
        monkeypatch.setitem(BATCH_SENDERS, name, refuse)
        with pytest.raises(BackendUnavailable, match="Operation not permitted"):
            await lines.select(name)
    await lines.select("auto")
    assert lines.name == found


@pytest.mark.parametrize("fault", ["loses", "waits"])
async def test_one_that_does_not_what_it_should_is_found_out(
    lines: TransportBackend, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    class Faulty:
        broken = False

        def send(self, numbers: list[int], datas: list[bytes]) -> list[int]:
            for number, data in zip(numbers, datas, strict=True):
                os.write(number, data[: len(data) - (fault == "loses")])
            return [len(data) for data in datas]

        def close(self) -> None:
            pass

    monkeypatch.setattr("gateway.net.transports.SELF_TEST_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setitem(BATCH_SENDERS, "io_uring", Faulty)
    with pytest.raises(BackendUnavailable, match="not do what it should"):
        await lines.select("io_uring")
    assert (lines.name, lines._fd_transports) == ("transport", None)


async def test_another_event_loop_keeps_its_transports(lines: TransportBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "SelectorEventLoop", FdTransports)  # which this loop is none of
    for wanted in ("io_uring", "aio", "descriptor"):
        with pytest.raises(BackendUnavailable, match="only asyncio's own event loop"):
            await lines.select(wanted)
    await lines.select("auto")
    assert lines.name == "transport"


@pytest.mark.parametrize("wanted", ["descriptor", "transport"])
async def test_a_connection_goes_on_where_it_was(lines: TransportBackend, wanted: str) -> None:
    await lines.select(wanted)
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        transport, owner = await asyncio.get_running_loop().connect_accepted_socket(Owner, theirs)
        transport.pause_reading()
        ours.send(b"not read yet")
        line = lines.attach(transport, owner)
        assert isinstance(line, FdTransport) == (wanted == "descriptor")
        if line is transport:
            transport.resume_reading()
        assert await asyncio.wait_for(owner.heard, TIMEOUT_SECONDS) == b"not read yet"
        with lines:
            line.write(b"hello")
        assert await asyncio.get_running_loop().sock_recv(ours, 100) == b"hello"
        assert not owner.lost.is_set()
        line.close()
        assert await asyncio.get_running_loop().sock_recv(ours, 100) == b""
        await within(TIMEOUT_SECONDS, owner.lost.wait(), "the end")


@pytest.mark.parametrize("why", ["unsent", "closing", "no more descriptors"])
async def test_one_that_cannot_be_moved_stays_on_its_transport(
    lines: TransportBackend, monkeypatch: pytest.MonkeyPatch, why: str
) -> None:
    await lines.select("descriptor")
    ours, theirs = socket.socketpair()
    with ours:
        transport, owner = await asyncio.get_running_loop().connect_accepted_socket(Owner, theirs)
        match why:
            case "unsent":
                while not transport.get_write_buffer_size():
                    transport.write(b"x" * 100_000)
            case "closing":
                transport.close()
            case _:

                def none_left(number: int) -> int:
                    raise OSError(24, "Too many open files")

                monkeypatch.setattr(os, "dup", none_left)
        assert lines.attach(transport, owner) is transport
        transport.abort()
        await within(TIMEOUT_SECONDS, owner.lost.wait(), "the end")


async def test_no_member_of_a_group_is_always_the_last_to_be_written_to() -> None:
    written: list[int] = []
    transports = [cast(Any, SimpleNamespace(write=lambda _, n=n: written.append(n))) for n in range(10)]
    last = set()
    for rotation in range(4):
        TransportBackend().group(transports).write(b"x", rotation)
        assert sorted(written) == list(range(10))
        last.add(written[-1])
        written.clear()
    assert len(last) > 1
