"""How connections come in: which of them aiohttp gets, and that those who come in are not seen to all at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any, cast

import pytest

from gateway.app_keys import SETTINGS
from gateway.http.request_head import RequestHead, parse_upgrade_head
from gateway.inbound import MAX_ACCEPTS_PER_TICK, MAX_EARLY_BYTES, Acceptor, InboundConnections
from gateway.net.connection_limits import ConnectionLimiter
from gateway.net.transports import TRANSPORTS, TransportBackend
from gateway.sessions.background_tasks import BACKGROUND_TASKS, BackgroundTasks
from gateway.websocket.connection import WebSocketProtocol
from push.errors import StoreError
from push.metrics import Metrics
from settings import Settings
from tests.integration.test_bad_frames import HANDSHAKE
from tests.support import TIMEOUT_SECONDS, within

MORE = b"behind it"


class Theirs(asyncio.Protocol):
    """In the place of aiohttp's: keeps what it hears."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.heard = b""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.heard += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


class House:
    """A listening socket, and who has come in by it."""

    def __init__(self, settings: Settings, lines: TransportBackend) -> None:
        self.theirs: list[Theirs] = []
        self.let_in: list[tuple[RequestHead, bytes]] = []
        self.connections = ConnectionLimiter(settings, Metrics())
        app: Any = {SETTINGS: settings, BACKGROUND_TASKS: BackgroundTasks(), TRANSPORTS: lines}
        self.arrivals = InboundConnections(app, self.connections, self._make)
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=500)
        self.open = asyncio.Event()
        self.open.set()
        self.trouble: Exception | None = None

    def _make(self) -> Theirs:
        self.theirs.append(Theirs())
        return self.theirs[-1]

    def check_upgrade(self, _app: Any, opening: RequestHead) -> RequestHead:
        return opening

    async def admit_client(self, _app: Any, opening: RequestHead, _handshake: Any) -> WebSocketProtocol:
        await self.open.wait()
        if self.trouble is not None:
            raise self.trouble
        return WebSocketProtocol(1000, self.connections.connection_lost)

    def start(self, _app: Any, line: Any, _client: WebSocketProtocol, opening: Any, early: bytes) -> None:
        assert line._reading  # for the client
        self.let_in.append((opening, early))

    async def client(self, *parts: bytes) -> socket.socket:
        """Who sends this, each part when the one before has been read."""
        ours = socket.socket()
        ours.setblocking(False)
        await asyncio.get_running_loop().sock_connect(ours, self.listening.getsockname())
        for part in parts:
            ours.send(part)
            await turns()
        return ours


async def turns(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition: Any, what: str) -> None:
    async def look() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    await within(TIMEOUT_SECONDS, look(), what)


@pytest.fixture
async def house(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    lines = TransportBackend()
    await lines.select("descriptor")
    house = House(Settings.from_environment({"HANDSHAKES_PER_SECOND": "1000"}), lines)
    monkeypatch.setattr("gateway.inbound.check_upgrade", house.check_upgrade)
    monkeypatch.setattr("gateway.inbound.admit_client", house.admit_client)
    monkeypatch.setattr("gateway.inbound.start", house.start)
    doorstep = Acceptor([house.listening], house.arrivals)
    yield house
    doorstep.close()
    house.arrivals.close()
    house.connections.abort_all()
    await turns()
    assert house.connections._counter.total == 0
    assert lines._fd_transports is not None
    lines._fd_transports.close()


async def test_an_opening_is_none_of_aiohttps_business(house: House) -> None:
    with await house.client(HANDSHAKE + MORE):
        await until(lambda: house.let_in, "let in")
    opening, early = house.let_in[0]
    assert (opening.path, opening.peer.address and str(opening.peer.address), early) == ("/api/ws", "127.0.0.1", MORE)
    assert house.theirs == []


async def test_what_comes_while_it_waits_is_behind_it(house: House) -> None:
    house.open.clear()
    with await house.client(HANDSHAKE, MORE, MORE):
        house.open.set()
        await until(lambda: house.let_in, "let in")
    assert house.let_in[0][1] == MORE * 2


async def test_what_aiohttp_does_not_want_to_read_yet_is_not_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """More requests than it answers: who goes on sending must not fill our memory."""

    def enough(theirs: Theirs, data: bytes) -> None:
        theirs.heard += data
        assert theirs.transport is not None
        theirs.transport.pause_reading()

    monkeypatch.setattr(Theirs, "data_received", enough)
    with await house.client(b"GET /healthz HTTP/1.1\r\n\r\n") as ours:
        await until(lambda: house.theirs and house.theirs[0].heard, "heard")
        ours.send(MORE)
        await turns()
        transport = house.theirs[0].transport
        assert transport is not None
        assert not transport.is_reading()
        assert MORE not in house.theirs[0].heard


async def test_who_comes_when_nobody_is_let_in_any_more_is_cut(house: House) -> None:
    house.arrivals.close()
    with await house.client(HANDSHAKE) as ours, contextlib.suppress(ConnectionError):
        assert not await asyncio.get_running_loop().sock_recv(ours, 1)
    assert house.let_in == []


@pytest.mark.parametrize("cut", [1, len(HANDSHAKE) // 2, len(HANDSHAKE) - 1])
async def test_one_in_pieces_is_aiohttps_from_its_first_byte(house: House, cut: int) -> None:
    with await house.client(HANDSHAKE[:cut], HANDSHAKE[cut:]):
        await until(lambda: house.theirs and house.theirs[0].heard == HANDSHAKE, "all of it")
        assert not house.theirs[0].lost
        assert house.theirs[0].transport is not None
        house.theirs[0].transport.write(b"answer")
    assert house.let_in == []


async def test_one_that_cannot_be_let_in_now_is_answered_by_aiohttp(house: House) -> None:
    house.trouble = StoreError("the database is away")
    with await house.client(HANDSHAKE + MORE):
        await until(lambda: house.theirs and house.theirs[0].heard == HANDSHAKE + MORE, "all of it")


async def test_one_that_has_just_ended_is_not_handed_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def end_it(*_: Any) -> WebSocketProtocol:
        house.arrivals.close()
        raise StoreError("the database is away")

    monkeypatch.setattr("gateway.inbound.admit_client", end_it)
    with await house.client(HANDSHAKE):
        await until(lambda: house.connections._counter.total == 0, "gone")
    assert house.theirs == []


async def test_who_leaves_meanwhile_is_not_let_in(house: House) -> None:
    house.open.clear()
    ours = await house.client(HANDSHAKE)
    assert house.connections._counter.total == 1
    ours.close()
    await until(lambda: house.connections._counter.total == 0, "gone")
    house.open.set()
    await turns()
    assert house.let_in == []


async def test_who_sends_without_end_is_not_read_without_end(house: House) -> None:
    house.open.clear()
    with await house.client(HANDSHAKE) as ours:
        sent = 0
        chunk = b"x" * MAX_EARLY_BYTES
        try:
            while sent < 100_000_000:
                sent += ours.send(chunk)
                await turns(5)
        except BlockingIOError:
            pass  # nobody takes any more
        assert sent < 100_000_000
        house.open.set()
        await until(lambda: house.let_in, "let in")
    assert MAX_EARLY_BYTES <= len(house.let_in[0][1]) <= 3 * MAX_EARLY_BYTES


async def test_few_are_accepted_at_once(house: House) -> None:
    count = 5 * MAX_ACCEPTS_PER_TICK
    ours = [socket.socket() for _ in range(count)]
    for sock in ours:
        sock.connect(house.listening.getsockname())  # the kernel's backlog takes them
    seen = [0]
    while seen[-1] < count:
        await asyncio.sleep(0)
        seen.append(house.connections._counter.total)
    assert max(after - before for before, after in pairwise(seen)) <= MAX_ACCEPTS_PER_TICK
    for sock in ours:
        sock.close()


@pytest.mark.parametrize(
    "data",
    [
        HANDSHAKE[:-1],
        HANDSHAKE.replace(b"GET", b"POST"),
        HANDSHAKE.replace(b"/api/ws", b"/api/wss"),
        HANDSHAKE.replace(b"Upgrade: websocket\r\n", b""),
        HANDSHAKE[:-2] + b"Content-Length: 1\r\n\r\n",
        HANDSHAKE[:-2] + b"Expect: 100-continue\r\n\r\n",
        HANDSHAKE[:-2] + b"X: " + b"x" * 1000 + b"\r\n\r\n",
        HANDSHAKE[:-2] + b"X: x\r\n" * 70 + b"\r\n",
        HANDSHAKE[:-2] + b"X\r\n\r\n",
    ],
)
async def test_what_is_not_plainly_an_opening_is_not_read_here(data: bytes) -> None:
    assert parse_upgrade_head(data, 500) is None
    assert parse_upgrade_head(HANDSHAKE + MORE, 500) is not None
