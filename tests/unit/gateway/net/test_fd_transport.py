"""gateway.net.fd_transport: order of writes, back-pressure, closing, and that no fd is used after it is closed."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import struct
import tracemalloc
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.net.fd_transport import MAX_BATCHED_BYTES, FdTransport, FdTransports
from tests.helpers.batch_senders import SENDERS, sender_or_skip
from tests.support import TIMEOUT_SECONDS, within

# A few of these fill the socket buffers of one connection.
LARGE = b"0123456789abcdef" * 4000
# SO_LINGER with a time-out of 0: close sends RST.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class RecordingProtocol(asyncio.Protocol):
    """Records input and calls, and lets the test wait for them."""

    def __init__(self) -> None:
        self.received = b""
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.write_paused = False
        self._changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.received += data
        self._changed.set()

    def pause_writing(self) -> None:
        self.write_paused = True
        self._record("pause_writing")

    def resume_writing(self) -> None:
        self.write_paused = False
        self._record("resume_writing")

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self._record("connection_lost")

    def _record(self, name: str) -> None:
        self.calls.append(name)
        self._changed.set()

    async def wait_until(self, condition: Callable[[RecordingProtocol], bool]) -> None:
        async def wait() -> None:
            while not condition(self):
                self._changed.clear()
                await self._changed.wait()

        await within(TIMEOUT_SECONDS, wait(), f"a change; so far {self.calls}, {len(self.received)} bytes")

    @property
    def lost(self) -> bool:
        return "connection_lost" in self.calls


ConnectedTransport = tuple[FdTransport, RecordingProtocol, socket.socket]


@pytest.fixture(params=SENDERS)
async def fd_transports(request: pytest.FixtureRequest) -> AsyncIterator[FdTransports]:
    transports = FdTransports(sender_or_skip(request.param))
    yield transports
    transports.close()


@pytest.fixture
async def connect(fd_transports: FdTransports) -> AsyncIterator[Callable[[], Awaitable[ConnectedTransport]]]:
    """Makes TCP connections: transport, protocol, and the non-blocking socket of the peer."""
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    connections: list[ConnectedTransport] = []

    async def make() -> ConnectedTransport:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        peer.setblocking(False)
        connecting = asyncio.create_task(loop.sock_connect(peer, listening.getsockname()))
        listening.setblocking(False)
        sock, _ = await loop.sock_accept(listening)
        await connecting
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        protocol = RecordingProtocol()
        connections.append((fd_transports.adopt(sock.detach(), protocol), protocol, peer))
        return connections[-1]

    yield make
    listening.close()
    for transport, protocol, peer in connections:
        transport.abort()
        peer.close()
        await protocol.wait_until(lambda p: p.lost)


async def read_to_end(peer: socket.socket, chunk_size: int = 1 << 20) -> bytes:
    loop = asyncio.get_running_loop()
    received_bytes = b""
    while data := await within(
        TIMEOUT_SECONDS, loop.sock_recv(peer, chunk_size), f"the end, after {len(received_bytes)} bytes"
    ):
        received_bytes += data
    return received_bytes


async def read(peer: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    received_bytes = b""
    while len(received_bytes) < size:
        received_bytes += await within(
            TIMEOUT_SECONDS, loop.sock_recv(peer, size - len(received_bytes)), f"more than {received_bytes!r}"
        )
    return received_bytes


async def fill(transport: FdTransport, protocol: RecordingProtocol) -> int:
    """Write until the protocol is paused; returns the number of bytes."""
    written = 0
    while not protocol.write_paused:
        transport.write(LARGE)
        written += len(LARGE)
    return written


async def test_random_writes_arrive_once_and_in_order(fd_transports: FdTransports, connect: Any) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    connections: list[ConnectedTransport] = [await connect() for _ in range(20)]
    expected = [b""] * len(connections)
    reading = [asyncio.create_task(read_to_end(peer, rng.choice((500, 50_000)))) for _, _, peer in connections]
    for iteration in range(100):
        shared = b"<iteration %d>" % iteration * rng.choice((1, 20, 3000))
        with fd_transports:
            for index, (transport, protocol, _) in enumerate(connections):
                for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
                    if not protocol.write_paused:
                        data = shared if rng.random() < 0.8 else b"<%d of %d>" % (index, iteration)
                        expected[index] += data
                        transport.write(data)
        index = rng.randrange(len(connections))  # a write outside a batch
        if not connections[index][1].write_paused:
            connections[index][0].write(b"<pong>")
            expected[index] += b"<pong>"
        await asyncio.sleep(0)
    for transport, _, _ in connections:
        transport.close()
    assert [await task for task in reading] == expected
    for _, protocol, _ in connections:
        await protocol.wait_until(lambda p: p.lost)
        assert protocol.error is None
        calls = [call for call in protocol.calls if call != "connection_lost"]
        assert calls == ["pause_writing", "resume_writing"] * (len(calls) // 2)


async def test_batch_is_sent_at_its_end_or_before_a_second_write_or_close(fd_transports: FdTransports, connect: Any) -> None:
    transport, _, peer = await connect()
    with fd_transports:
        transport.write(b"first ")
        transport.write(b"second")
    assert await read(peer, 12) == b"first second"
    with fd_transports:
        transport.write(b" third")
        transport.close()
    assert await read_to_end(peer) == b" third"


async def test_large_write_in_a_batch_reports_back_pressure_at_once(fd_transports: FdTransports, connect: Any) -> None:
    transport, protocol, peer = await connect()
    with fd_transports:
        written = 0
        while not protocol.write_paused:
            transport.write(b"x" * MAX_BATCHED_BYTES)
            written += MAX_BATCHED_BYTES
            assert written < 100 * MAX_BATCHED_BYTES
    transport.close()
    assert not protocol.lost
    assert len(await read_to_end(peer)) == written


async def test_write_eof_comes_after_the_write_buffer(connect: Any) -> None:
    transport, protocol, peer = await connect()
    written = await fill(transport, protocol)
    transport.write(b"goodbye")
    transport.write_eof()
    transport.write(b"too late")
    received_bytes = await read_to_end(peer)
    assert (len(received_bytes), received_bytes[-7:]) == (written + 7, b"goodbye")
    peer.send(b"reading goes on")
    await protocol.wait_until(lambda p: p.received == b"reading goes on")
    peer.close()
    await protocol.wait_until(lambda p: p.lost)


async def test_write_eof_on_a_reset_connection_raises(connect: Any) -> None:
    transport, protocol, peer = await connect()
    transport.pause_reading()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    peer.close()
    with pytest.raises(OSError, match="not connected"):
        transport.write_eof()
    transport.abort()
    await protocol.wait_until(lambda p: p.lost)


async def test_closing_transport_reads_no_more(connect: Any) -> None:
    transport, protocol, peer = await connect()
    await fill(transport, protocol)
    transport.close()
    transport.resume_reading()
    peer.send(b"too late")
    _, other_protocol, other_peer = await connect()
    other_peer.send(b"in time")
    await other_protocol.wait_until(lambda p: p.received == b"in time")
    assert (protocol.received, protocol.lost) == (b"", False)


async def test_peer_that_shuts_down_writing_gets_the_write_buffer(connect: Any) -> None:
    transport, protocol, peer = await connect()
    written = await fill(transport, protocol)
    peer.shutdown(socket.SHUT_WR)
    assert len(await read_to_end(peer)) == written
    await protocol.wait_until(lambda p: p.lost)
    assert protocol.error is None


@pytest.mark.parametrize("writing", [False, True])
async def test_reset_is_reported_to_connection_lost_once(fd_transports: FdTransports, connect: Any, writing: bool) -> None:
    transport, protocol, peer = await connect()
    if writing:
        transport.pause_reading()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    peer.close()
    while writing and not transport.is_closing():
        with fd_transports:
            transport.write(b"x")
        await asyncio.sleep(0)
    await protocol.wait_until(lambda p: p.lost)
    assert isinstance(protocol.error, ConnectionError)
    transport.write(b"x")
    transport.resume_reading()
    transport.close()
    assert protocol.calls.count("connection_lost") == 1


async def test_paused_transport_causes_no_epoll_events(fd_transports: FdTransports, connect: Any) -> None:
    transport, protocol, peer = await connect()
    transport.pause_reading()
    peer.send(b"x")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    peer.close()
    _, other_protocol, other_peer = await connect()
    other_peer.send(b"now")
    await other_protocol.wait_until(lambda p: p.received == b"now")
    # The reset has arrived by now; the epoll reports nothing, so the loop is not woken.
    assert fd_transports._epoll.poll(0) == []
    assert not protocol.calls
    transport.resume_reading()
    await protocol.wait_until(lambda p: p.lost)


async def test_fd_is_not_used_after_it_is_closed(fd_transports: FdTransports, connect: Any) -> None:
    transport, protocol, _ = await connect()
    fd = transport.fd
    with fd_transports:
        transport.write(b"x")
        transport.abort()
    os.fstat(fd)  # still open: the number cannot be reused while the transport may use it
    await protocol.wait_until(lambda p: p.lost)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    sock, other_peer = socket.socketpair()  # a new connection gets the same fd
    os.dup2(sock.fileno(), fd)
    if sock.fileno() == fd:
        sock.detach()
    sock.close()
    other_peer.setblocking(False)
    other_protocol = RecordingProtocol()
    other = fd_transports.adopt(fd, other_protocol)
    for call in (
        transport.write_eof,
        transport.pause_reading,
        transport.resume_reading,
        transport.close,
        transport.abort,
        lambda: transport.write(b"stray"),
    ):
        call()
    with fd_transports:
        transport.write(b"stray")
    await asyncio.sleep(0)
    other.write(b"its own")
    assert await read(other_peer, 7) == b"its own"
    other_peer.send(b"hello")
    await other_protocol.wait_until(lambda p: p.received == b"hello")
    assert not other_protocol.lost
    other.abort()
    await other_protocol.wait_until(lambda p: p.lost)
    other_peer.close()


async def test_event_of_a_transport_that_was_just_aborted_is_ignored(fd_transports: FdTransports, connect: Any) -> None:
    connections: list[ConnectedTransport] = [await connect() for _ in range(3)]

    class AbortingProtocol(RecordingProtocol):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            for transport, _, _ in connections:
                transport.abort()

    for transport, _, peer in connections:
        transport._protocol = AbortingProtocol()
        peer.send(b"x")
    while not any(protocol.received for protocol in (transport._protocol for transport, _, _ in connections)):  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    assert sum(bool(transport._protocol.received) for transport, _, _ in connections) == 1  # type: ignore[attr-defined]
    for transport, protocol, _ in connections:
        transport._protocol = protocol
    for _, protocol, _ in connections:
        await protocol.wait_until(lambda p: p.lost)


async def test_exception_of_a_protocol_closes_its_connection_only(connect: Any, caplog: Any) -> None:
    class FaultyProtocol(RecordingProtocol):
        def data_received(self, data: bytes) -> None:
            raise ValueError("the protocol fails")

    transport, protocol, peer = await connect()
    _, other_protocol, other_peer = await connect()
    transport._protocol = faulty = FaultyProtocol()
    peer.send(b"x")
    other_peer.send(b"x")
    await faulty.wait_until(lambda p: p.lost)
    await other_protocol.wait_until(lambda p: p.received == b"x")
    assert "the protocol fails" in caplog.text
    protocol.connection_lost(None)


async def test_more_ready_transports_than_events_per_tick_are_all_served(
    monkeypatch: pytest.MonkeyPatch, fd_transports: FdTransports, connect: Any
) -> None:
    monkeypatch.setattr("gateway.net.fd_transport.MAX_EPOLL_EVENTS", 2)
    connections: list[ConnectedTransport] = [await connect() for _ in range(7)]
    for _, _, peer in connections:
        peer.send(b"x" * 10)
    for _, protocol, _ in connections:
        await protocol.wait_until(lambda p: p.received == b"x" * 10)


async def test_epoll_error_closes_the_transport(
    monkeypatch: pytest.MonkeyPatch, fd_transports: FdTransports, connect: Any
) -> None:
    transport, protocol, _ = await connect()

    def refuse(fd: int, old_events: int, events: int) -> None:
        if events:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(fd_transports, "update_interest", refuse)
    transport.pause_reading()
    transport.resume_reading()
    await protocol.wait_until(lambda p: p.lost)
    assert isinstance(protocol.error, OSError)


async def test_unknown_results_of_a_batch_abort_its_transports(fd_transports: FdTransports, connect: Any, caplog: Any) -> None:
    """Later writes go on without the sender."""

    class LostResults:
        name, broken = "io_uring", True

        def send(self, fds: list[int], buffers: list[bytes]) -> list[int]:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

        def close(self) -> None:
            pass

    if fd_transports._sender is not None:
        fd_transports._sender.close()
    fd_transports._sender = LostResults()  # type: ignore[assignment]
    transport, protocol, _ = await connect()
    other, other_protocol, peer = await connect()
    with fd_transports:
        transport.write(b"x")
    await protocol.wait_until(lambda p: p.lost)
    with fd_transports:
        other.write(b"goes on")
    assert await read(peer, 7) == b"goes on"
    assert "the kernel refuses io_uring" in caplog.text
    assert not other_protocol.lost


@pytest.mark.parametrize("batched", [True, False])
async def test_data_that_many_peers_do_not_read_is_held_once(
    fd_transports: FdTransports, connect: Callable[[], Awaitable[ConnectedTransport]], batched: bool
) -> None:
    connections = [await connect() for _ in range(20)]
    transports = [transport for transport, _, _ in connections]
    data = b"x" * 1_000_000
    tracemalloc.start()
    try:
        if batched:
            fd_transports.write_all(transports, array("I", [transport.fd for transport in transports]), data)
        else:
            for transport in transports:
                transport.write(data)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(protocol.write_paused for _, protocol, _ in connections)
    assert held < len(data) / 2, "20 slices of it would be held"


async def test_writes_behind_unsent_data_arrive_in_order(connect: Callable[[], Awaitable[ConnectedTransport]]) -> None:
    transport, protocol, peer = await connect()
    written = []
    while not protocol.write_paused:
        written.append(LARGE)
        transport.write(LARGE)
    for number in range(10):
        written.append(b"behind %d " % number + LARGE)
        transport.write(written[-1])
    transport.close()
    assert await read_to_end(peer) == b"".join(written)
