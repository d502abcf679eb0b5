"""Connections on descriptors of our own: order, back-pressure, how they end, and that no number is used once it is closed."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from gateway.net.batch_send import BatchSendUnavailable
from gateway.net.fd_transport import MAX_BATCHED_BYTES, FdTransport, FdTransports
from gateway.net.io_uring import IoUringSender
from gateway.net.linux_aio import LinuxAioSender
from tests.support import TIMEOUT_SECONDS, within

# A few of these fill what the kernel keeps for one connection.
LARGE = b"0123456789abcdef" * 4000
RESET = struct.pack("ii", 1, 0)


class Owner(asyncio.Protocol):
    """Keeps what it hears, and lets others wait for it."""

    def __init__(self) -> None:
        self.heard = b""
        self.calls: list[str] = []
        self.error: Exception | None = None
        self.full = False
        self.news = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        self.news.set()

    def pause_writing(self) -> None:
        self.full = True
        self._call("full")

    def resume_writing(self) -> None:
        self.full = False
        self._call("room")

    def connection_lost(self, error: Exception | None) -> None:
        self.error = error
        self._call("lost")

    def _call(self, name: str) -> None:
        self.calls.append(name)
        self.news.set()

    async def until(self, done: Callable[[Owner], bool]) -> None:
        async def wait() -> None:
            while not done(self):
                self.news.clear()
                await self.news.wait()

        await within(TIMEOUT_SECONDS, wait(), f"news; so far {self.calls}, {len(self.heard)} bytes")

    @property
    def lost(self) -> bool:
        return "lost" in self.calls


class Refusing:
    """One whose kernel takes less than it is given, as it may at any time."""

    broken = False

    def __init__(self, seed: int) -> None:
        self._choose = random.Random(seed)

    def send(self, fds: list[int], buffers: list[bytes]) -> list[int]:
        results = []
        for number, data in zip(fds, buffers, strict=True):
            size = self._choose.choice((0, 1, len(data) // 2, len(data)))
            try:
                results.append(os.write(number, data[:size]) if size else -errno.EAGAIN)
            except OSError as error:
                results.append(-(error.errno or 0))
        return results

    def close(self) -> None:
        pass


Side = tuple[FdTransport, Owner, socket.socket]


@pytest.fixture(params=[None, IoUringSender, LinuxAioSender, Refusing])
async def descriptors(request: pytest.FixtureRequest) -> AsyncIterator[FdTransports]:
    sends: Any = None
    if request.param is not None:
        try:
            sends = request.param(8)
        except BatchSendUnavailable as error:
            pytest.skip(str(error))
    some = FdTransports(sends)
    yield some
    some.close()


@pytest.fixture
async def connect(descriptors: FdTransports) -> AsyncIterator[Callable[[], Awaitable[Side]]]:
    """Connections over TCP, each with its other end, which does not block."""
    loop = asyncio.get_running_loop()
    listening = socket.create_server(("127.0.0.1", 0))
    sides: list[Side] = []

    async def make() -> Side:
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        theirs.setblocking(False)
        connecting = asyncio.create_task(loop.sock_connect(theirs, listening.getsockname()))
        listening.setblocking(False)
        ours, _ = await loop.sock_accept(listening)
        await connecting
        ours.setblocking(False)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        owner = Owner()
        sides.append((descriptors.adopt(ours.detach(), owner), owner, theirs))
        return sides[-1]

    yield make
    listening.close()
    for line, owner, theirs in sides:
        line.abort()
        theirs.close()
        await owner.until(lambda one: one.lost)


async def read_to_end(theirs: socket.socket, pause: int = 1 << 20) -> bytes:
    loop = asyncio.get_running_loop()
    got = b""
    while data := await within(TIMEOUT_SECONDS, loop.sock_recv(theirs, pause), f"the end, after {len(got)} bytes"):
        got += data
    return got


async def read(theirs: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    got = b""
    while len(got) < size:
        got += await within(TIMEOUT_SECONDS, loop.sock_recv(theirs, size - len(got)), f"more than {got!r}")
    return got


async def fill(line: FdTransport, owner: Owner) -> int:
    """Write until it is full; how much that was."""
    written = 0
    while not owner.full:
        line.write(LARGE)
        written += len(LARGE)
    return written


async def test_whatever_is_written_in_whatever_turn_arrives_once_and_in_order(descriptors: FdTransports, connect: Any) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    sides: list[Side] = [await connect() for _ in range(20)]
    expected = [b""] * len(sides)
    reading = [asyncio.create_task(read_to_end(theirs, choose.choice((500, 50_000)))) for _, _, theirs in sides]
    for turn in range(100):
        shared = b"<turn %d>" % turn * choose.choice((1, 20, 3000))
        with descriptors:
            for number, (line, owner, _) in enumerate(sides):
                for _ in range(choose.choice((0, 1, 1, 1, 2, 3))):
                    if not owner.full:
                        data = shared if choose.random() < 0.8 else b"<%d of %d>" % (number, turn)
                        expected[number] += data
                        line.write(data)
        number = choose.randrange(len(sides))  # beside the turn: an answer
        if not sides[number][1].full:
            sides[number][0].write(b"<pong>")
            expected[number] += b"<pong>"
        await asyncio.sleep(0)
    for line, _, _ in sides:
        line.close()
    assert [await task for task in reading] == expected
    for _, owner, _ in sides:
        await owner.until(lambda one: one.lost)
        assert owner.error is None
        # Full and not full take turns.
        calls = [call for call in owner.calls if call != "lost"]
        assert calls == ["full", "room"] * (len(calls) // 2)


async def test_what_is_sent_together_waits_for_the_end_and_no_longer(descriptors: FdTransports, connect: Any) -> None:
    line, _, theirs = await connect()
    with descriptors:
        line.write(b"first ")
        line.write(b"second")
    assert await read(theirs, 12) == b"first second"
    with descriptors:
        line.write(b" third")
        line.close()
    assert await read_to_end(theirs) == b" third"


async def test_whoever_takes_nothing_is_found_out_before_more_is_written(descriptors: FdTransports, connect: Any) -> None:
    line, owner, theirs = await connect()
    with descriptors:
        written = 0
        while not owner.full:  # within one turn
            line.write(b"x" * MAX_BATCHED_BYTES)
            written += MAX_BATCHED_BYTES
            assert written < 100 * MAX_BATCHED_BYTES
    line.close()
    assert not owner.lost
    assert len(await read_to_end(theirs)) == written


async def test_an_end_is_heard_behind_everything_else(connect: Any) -> None:
    line, owner, theirs = await connect()
    written = await fill(line, owner)
    line.write(b"goodbye")
    line.write_eof()
    line.write(b"too late")
    got = await read_to_end(theirs)
    assert (len(got), got[-7:]) == (written + 7, b"goodbye")
    theirs.send(b"it hears us still")
    await owner.until(lambda one: one.heard == b"it hears us still")
    theirs.close()
    await owner.until(lambda one: one.lost)


async def test_an_end_by_half_of_one_that_has_left_raises(connect: Any) -> None:
    line, owner, theirs = await connect()
    line.pause_reading()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()
    with pytest.raises(OSError, match="not connected"):
        line.write_eof()
    line.abort()
    await owner.until(lambda one: one.lost)


async def test_one_that_is_being_closed_hears_no_more(connect: Any) -> None:
    line, owner, theirs = await connect()
    await fill(line, owner)
    line.close()
    line.resume_reading()
    theirs.send(b"too late")
    _, other, speaking = await connect()
    speaking.send(b"in time")
    await other.until(lambda one: one.heard == b"in time")
    assert (owner.heard, owner.lost) == (b"", False)


async def test_a_client_that_has_had_enough_gets_what_was_written(connect: Any) -> None:
    line, owner, theirs = await connect()
    written = await fill(line, owner)
    theirs.shutdown(socket.SHUT_WR)
    assert len(await read_to_end(theirs)) == written
    await owner.until(lambda one: one.lost)
    assert owner.error is None


@pytest.mark.parametrize("writing", [False, True])
async def test_a_reset_ends_it_with_what_was_wrong(descriptors: FdTransports, connect: Any, writing: bool) -> None:
    line, owner, theirs = await connect()
    if writing:
        line.pause_reading()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()
    while writing and not line.is_closing():
        with descriptors:
            line.write(b"x")
        await asyncio.sleep(0)
    await owner.until(lambda one: one.lost)
    assert isinstance(owner.error, ConnectionError)
    line.write(b"x")
    line.resume_reading()
    line.close()
    assert owner.calls.count("lost") == 1


async def test_one_that_is_not_read_costs_nothing_whatever_its_client_does(descriptors: FdTransports, connect: Any) -> None:
    line, owner, theirs = await connect()
    line.pause_reading()
    theirs.send(b"x")
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    theirs.close()
    _, heard, speaking = await connect()
    speaking.send(b"now")
    await heard.until(lambda one: one.heard == b"now")
    # By then the kernel had told everything: there is nothing (more) in the epoll, and the loop is not woken.
    assert descriptors._epoll.poll(0) == []
    assert not owner.calls
    line.resume_reading()
    await owner.until(lambda one: one.lost)


async def test_a_number_is_never_used_after_its_end(descriptors: FdTransports, connect: Any) -> None:
    line, owner, _ = await connect()
    number = line.fd
    with descriptors:
        line.write(b"x")
        line.abort()
    os.fstat(number)  # still open: nobody else can have it while anything may still use it
    await owner.until(lambda one: one.lost)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    ours, speaking = socket.socketpair()  # somebody new gets the number
    os.dup2(ours.fileno(), number)
    if ours.fileno() == number:
        ours.detach()
    ours.close()
    speaking.setblocking(False)
    listening = Owner()
    other = descriptors.adopt(number, listening)
    for call in (line.write_eof, line.pause_reading, line.resume_reading, line.close, line.abort, lambda: line.write(b"stray")):
        call()
    with descriptors:
        line.write(b"stray")
    await asyncio.sleep(0)
    other.write(b"its own")
    assert await read(speaking, 7) == b"its own"
    speaking.send(b"hello")
    await listening.until(lambda one: one.heard == b"hello")
    assert not listening.lost
    other.abort()
    await listening.until(lambda one: one.lost)
    speaking.close()


async def test_an_event_of_one_that_another_has_just_ended_is_nobodys(descriptors: FdTransports, connect: Any) -> None:
    sides: list[Side] = [await connect() for _ in range(3)]

    class Ending(Owner):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            for line, _, _ in sides:
                line.abort()

    for line, _, theirs in sides:
        line._protocol = Ending()
        theirs.send(b"x")
    while not any(owner.heard for owner in (line._protocol for line, _, _ in sides)):  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    assert sum(bool(line._protocol.heard) for line, _, _ in sides) == 1  # type: ignore[attr-defined]
    for line, owner, _ in sides:
        line._protocol = owner
    for _, owner, _ in sides:
        await owner.until(lambda one: one.lost)


async def test_a_fault_of_its_owner_ends_that_connection_alone(connect: Any, caplog: Any) -> None:
    class Faulty(Owner):
        def data_received(self, data: bytes) -> None:
            raise ValueError("a fault of our own")

    line, owner, theirs = await connect()
    _, heard, speaking = await connect()
    line._protocol = faulty = Faulty()
    theirs.send(b"x")
    speaking.send(b"x")
    await faulty.until(lambda one: one.lost)
    await heard.until(lambda one: one.heard == b"x")
    assert "a fault of our own" in caplog.text
    owner.connection_lost(None)


async def test_many_take_turns(monkeypatch: pytest.MonkeyPatch, descriptors: FdTransports, connect: Any) -> None:
    monkeypatch.setattr("gateway.net.fd_transport.MAX_EPOLL_EVENTS", 2)
    sides: list[Side] = [await connect() for _ in range(7)]
    for _, _, theirs in sides:
        theirs.send(b"x" * 10)
    for _, owner, _ in sides:
        await owner.until(lambda one: one.heard == b"x" * 10)


async def test_one_that_cannot_be_watched_any_more_ends(
    monkeypatch: pytest.MonkeyPatch, descriptors: FdTransports, connect: Any
) -> None:
    line, owner, _ = await connect()

    def refuse(number: int, before: int, events: int) -> None:
        if events:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(descriptors, "update_interest", refuse)
    line.pause_reading()
    line.resume_reading()
    await owner.until(lambda one: one.lost)
    assert isinstance(owner.error, OSError)


async def test_what_became_of_it_is_not_guessed(descriptors: FdTransports, connect: Any, caplog: Any) -> None:
    """Those who may have got a part or nothing are cut, and resume; the others go on, one by one."""

    class Lost:
        name, broken = "io_uring", True

        def send(self, numbers: list[int], datas: list[bytes]) -> list[int]:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

        def close(self) -> None:
            pass

    if descriptors._sender is not None:
        descriptors._sender.close()
    descriptors._sender = Lost()  # type: ignore[assignment]
    line, owner, _ = await connect()
    other, going_on, theirs = await connect()
    with descriptors:
        line.write(b"x")
    await owner.until(lambda one: one.lost)
    with descriptors:
        other.write(b"goes on")
    assert await read(theirs, 7) == b"goes on"
    assert "the kernel refuses io_uring" in caplog.text
    assert not going_on.lost
