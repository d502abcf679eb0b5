"""gateway.net.transports: selection of the backend, its self-test, and moving a connection to an FdTransport."""

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


class RecordingProtocol(asyncio.Protocol):
    """Records its first input and the loss of the connection."""

    def __init__(self) -> None:
        self.received = asyncio.get_running_loop().create_future()
        self.lost = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received.set_result(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set()


@pytest.fixture
async def backend() -> AsyncIterator[TransportBackend]:
    backend = TransportBackend()
    yield backend
    if backend._fd_transports is not None:
        backend._fd_transports.close()


def refuse(*_: object) -> Any:
    raise BatchSendUnavailable("io_uring_setup: Operation not permitted")


def skip_if_unavailable(name: str) -> None:
    """Skip the test where the kernel does not allow it."""
    if name in BATCH_SENDERS:
        try:
            BATCH_SENDERS[name]().close()
        except BatchSendUnavailable as error:
            pytest.skip(str(error))


@pytest.mark.parametrize("name", BATCH_SENDERS)
async def test_sender_that_the_kernel_refuses_is_unavailable(
    backend: TransportBackend, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    skip_if_unavailable(name)

    make = BATCH_SENDERS[name]

    def make_refused() -> BatchSender:
        sender = make()

        def send_nothing(_count: int) -> list[int]:
            sender.broken = True
            return []

        monkeypatch.setattr(sender, "_send_prepared", send_nothing)
        return sender

    monkeypatch.setitem(BATCH_SENDERS, name, make_refused)
    with pytest.raises(BackendUnavailable, match="the kernel refuses it"):
        await backend.select(name)


@pytest.mark.parametrize(("refused", "selected"), [(["io_uring"], "aio"), (["io_uring", "aio"], "descriptor")])
async def test_auto_selects_the_best_backend_that_is_available(
    backend: TransportBackend, monkeypatch: pytest.MonkeyPatch, refused: list[str], selected: str
) -> None:
    skip_if_unavailable(selected)
    for name in refused:
        monkeypatch.setitem(BATCH_SENDERS, name, refuse)
        with pytest.raises(BackendUnavailable, match="Operation not permitted"):
            await backend.select(name)
    await backend.select("auto")
    assert backend.name == selected


@pytest.mark.parametrize("fault", ["loses a byte", "blocks"])
async def test_self_test_detects_a_faulty_sender(
    backend: TransportBackend, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    class FaultySender:
        broken = False

        def send(self, fds: list[int], buffers: list[bytes]) -> list[int]:
            for fd, data in zip(fds, buffers, strict=True):
                os.write(fd, data[: len(data) - (fault == "loses a byte")])
            return [len(data) for data in buffers]

        def close(self) -> None:
            pass

    monkeypatch.setattr("gateway.net.transports.SELF_TEST_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setitem(BATCH_SENDERS, "io_uring", FaultySender)
    with pytest.raises(BackendUnavailable, match="self-test failed"):
        await backend.select("io_uring")
    assert (backend.name, backend._fd_transports) == ("transport", None)


async def test_another_event_loop_uses_its_own_transports(backend: TransportBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio, "SelectorEventLoop", FdTransports)  # not the class of this loop
    for mode in ("io_uring", "aio", "descriptor"):
        with pytest.raises(BackendUnavailable, match="only asyncio's own event loop"):
            await backend.select(mode)
    await backend.select("auto")
    assert backend.name == "transport"


@pytest.mark.parametrize("mode", ["descriptor", "transport"])
async def test_attached_connection_keeps_its_unread_input(backend: TransportBackend, mode: str) -> None:
    await backend.select(mode)
    peer, sock = socket.socketpair()
    with peer:
        peer.setblocking(False)
        transport, protocol = await asyncio.get_running_loop().connect_accepted_socket(RecordingProtocol, sock)
        transport.pause_reading()
        peer.send(b"not read yet")
        attached = backend.attach(transport, protocol)
        assert isinstance(attached, FdTransport) == (mode == "descriptor")
        if attached is transport:
            transport.resume_reading()
        assert await asyncio.wait_for(protocol.received, TIMEOUT_SECONDS) == b"not read yet"
        with backend:
            attached.write(b"hello")
        assert await asyncio.get_running_loop().sock_recv(peer, 100) == b"hello"
        assert not protocol.lost.is_set()
        attached.close()
        assert await asyncio.get_running_loop().sock_recv(peer, 100) == b""
        await within(TIMEOUT_SECONDS, protocol.lost.wait(), "the end")


@pytest.mark.parametrize("reason", ["unsent", "closing", "no more fds"])
async def test_connection_that_cannot_be_moved_keeps_its_transport(
    backend: TransportBackend, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    await backend.select("descriptor")
    peer, sock = socket.socketpair()
    with peer:
        transport, protocol = await asyncio.get_running_loop().connect_accepted_socket(RecordingProtocol, sock)
        match reason:
            case "unsent":
                while not transport.get_write_buffer_size():
                    transport.write(b"x" * 100_000)
            case "closing":
                transport.close()
            case _:

                def fail(fd: int) -> int:
                    raise OSError(24, "Too many open files")

                monkeypatch.setattr(os, "dup", fail)
        assert backend.attach(transport, protocol) is transport
        transport.abort()
        await within(TIMEOUT_SECONDS, protocol.lost.wait(), "the end")


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
