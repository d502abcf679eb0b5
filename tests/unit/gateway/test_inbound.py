"""gateway.inbound: which connections aiohttp gets, with which bytes, and the limits on work and memory for new connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from typing import Any, cast

import pytest

from gateway.app_keys import SETTINGS
from gateway.http.request_head import RequestHead
from gateway.inbound import MAX_ACCEPTS_PER_TICK, MAX_EARLY_BYTES, Acceptor, InboundConnections
from gateway.net.connection_limits import TOO_MANY_REQUESTS_RESPONSE, ConnectionLimiter
from gateway.net.transports import TRANSPORTS, TransportBackend
from gateway.sessions.background_tasks import BACKGROUND_TASKS, BackgroundTasks
from gateway.websocket.connection import WebSocketProtocol
from push.errors import StoreError
from push.metrics import Metrics
from settings import Settings
from tests.helpers.raw_websocket import UPGRADE_REQUEST
from tests.support import TIMEOUT_SECONDS, within

EARLY = b"early bytes"


class HttpProtocol(asyncio.Protocol):
    """In place of aiohttp's protocol: records what it receives."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.received = b""
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.received += data

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


class InboundSetup:
    """A listening socket with InboundConnections; the functions of the endpoint are replaced by methods of this class."""

    def __init__(self, settings: Settings, backend: TransportBackend) -> None:
        self.http_protocols: list[HttpProtocol] = []
        self.started: list[tuple[RequestHead, bytes]] = []
        self.limiter = ConnectionLimiter(settings, Metrics())
        app: Any = {SETTINGS: settings, BACKGROUND_TASKS: BackgroundTasks(), TRANSPORTS: backend}
        self.inbound = InboundConnections(app, self.limiter, self._make_http_protocol)
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=500)
        self.may_admit = asyncio.Event()
        self.may_admit.set()
        self.admission_error: Exception | None = None

    def _make_http_protocol(self) -> HttpProtocol:
        self.http_protocols.append(HttpProtocol())
        return self.http_protocols[-1]

    @property
    def connection_count(self) -> int:
        return self.limiter._counter.total

    def check_upgrade(self, _app: Any, head: RequestHead) -> RequestHead:
        return head

    async def admit_client(self, _app: Any, _head: RequestHead, _handshake: Any) -> WebSocketProtocol:
        await self.may_admit.wait()
        if self.admission_error is not None:
            raise self.admission_error
        return WebSocketProtocol(1000, self.limiter.connection_lost)

    def start(self, _app: Any, transport: Any, _client: WebSocketProtocol, head: Any, early: bytes) -> None:
        assert transport._reading
        self.started.append((head, early))

    async def connect(self, *parts: bytes) -> socket.socket:
        """A client that sends these parts, each after the one before has been read."""
        sock = socket.socket()
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self.listening.getsockname())
        for part in parts:
            sock.send(part)
            await run_ticks()
        return sock


async def run_ticks(count: int = 30) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def wait_until(condition: Callable[[], Any], description: str) -> None:
    async def poll() -> None:
        while not condition():
            await asyncio.sleep(0.001)

    await within(TIMEOUT_SECONDS, poll(), description)


@pytest.fixture
def environment() -> dict[str, str]:
    """The settings of ``setup``."""
    return {"HANDSHAKES_PER_SECOND": "1000"}


@pytest.fixture
async def setup(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> AsyncIterator[InboundSetup]:
    backend = TransportBackend()
    await backend.select("descriptor")
    setup = InboundSetup(Settings.from_environment(environment), backend)
    monkeypatch.setattr("gateway.inbound.check_upgrade", setup.check_upgrade)
    monkeypatch.setattr("gateway.inbound.admit_client", setup.admit_client)
    monkeypatch.setattr("gateway.inbound.start", setup.start)
    acceptor = Acceptor([setup.listening], setup.inbound)
    yield setup
    acceptor.close()
    setup.inbound.close()
    setup.limiter.abort_all()
    await run_ticks()
    assert setup.connection_count == 0
    backend.close()


async def test_plain_upgrade_request_does_not_reach_aiohttp(setup: InboundSetup) -> None:
    with await setup.connect(UPGRADE_REQUEST + EARLY):
        await wait_until(lambda: setup.started, "the start of the session")
    head, early = setup.started[0]
    assert (head.path, head.peer.address and str(head.peer.address), early) == ("/api/ws", "127.0.0.1", EARLY)
    assert setup.http_protocols == []


async def test_bytes_that_arrive_during_admission_are_early_bytes(setup: InboundSetup) -> None:
    setup.may_admit.clear()
    with await setup.connect(UPGRADE_REQUEST, EARLY, EARLY):
        setup.may_admit.set()
        await wait_until(lambda: setup.started, "the start of the session")
    assert setup.started[0][1] == EARLY * 2


async def test_reading_stays_paused_if_aiohttp_pauses_it(setup: InboundSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp pauses reading when requests arrive faster than it answers them."""

    def receive_and_pause(protocol: HttpProtocol, data: bytes) -> None:
        protocol.received += data
        assert protocol.transport is not None
        protocol.transport.pause_reading()

    monkeypatch.setattr(HttpProtocol, "data_received", receive_and_pause)
    with await setup.connect(b"GET /healthz HTTP/1.1\r\n\r\n") as sock:
        await wait_until(lambda: setup.http_protocols and setup.http_protocols[0].received, "the request")
        sock.send(EARLY)
        await run_ticks()
        transport = setup.http_protocols[0].transport
        assert transport is not None
        assert not transport.is_reading()
        assert EARLY not in setup.http_protocols[0].received


async def test_connection_after_close_is_aborted(setup: InboundSetup) -> None:
    setup.inbound.close()
    with await setup.connect(UPGRADE_REQUEST) as sock, contextlib.suppress(ConnectionError):
        assert not await asyncio.get_running_loop().sock_recv(sock, 1)
    assert setup.started == []


@pytest.mark.parametrize("at", [1, len(UPGRADE_REQUEST) // 2, len(UPGRADE_REQUEST) - 1])
async def test_upgrade_request_in_two_parts_goes_to_aiohttp_from_its_first_byte(setup: InboundSetup, at: int) -> None:
    with await setup.connect(UPGRADE_REQUEST[:at], UPGRADE_REQUEST[at:]):
        await wait_until(
            lambda: setup.http_protocols and setup.http_protocols[0].received == UPGRADE_REQUEST, "the whole request"
        )
        assert not setup.http_protocols[0].lost
        assert setup.http_protocols[0].transport is not None
        setup.http_protocols[0].transport.write(b"response")
    assert setup.started == []


async def test_store_error_during_admission_is_answered_by_aiohttp(setup: InboundSetup) -> None:
    setup.admission_error = StoreError("the database is away")
    with await setup.connect(UPGRADE_REQUEST + EARLY):
        await wait_until(
            lambda: setup.http_protocols and setup.http_protocols[0].received == UPGRADE_REQUEST + EARLY, "all bytes"
        )


async def test_connection_that_was_closed_during_admission_is_not_handed_over(
    setup: InboundSetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def close_and_fail(*_: Any) -> WebSocketProtocol:
        setup.inbound.close()
        raise StoreError("the database is away")

    monkeypatch.setattr("gateway.inbound.admit_client", close_and_fail)
    with await setup.connect(UPGRADE_REQUEST):
        await wait_until(lambda: setup.connection_count == 0, "the end of the connection")
    assert setup.http_protocols == []


async def test_client_that_disconnects_during_admission_is_not_started(setup: InboundSetup) -> None:
    setup.may_admit.clear()
    sock = await setup.connect(UPGRADE_REQUEST)
    assert setup.connection_count == 1
    sock.close()
    await wait_until(lambda: setup.connection_count == 0, "the end of the connection")
    setup.may_admit.set()
    await run_ticks()
    assert setup.started == []


async def test_early_bytes_are_bounded(setup: InboundSetup) -> None:
    setup.may_admit.clear()
    with await setup.connect(UPGRADE_REQUEST) as sock:
        sent = 0
        chunk = b"x" * MAX_EARLY_BYTES
        try:
            while sent < 100_000_000:
                sent += sock.send(chunk)
                await run_ticks(5)
        except BlockingIOError:
            pass  # reading is paused, and the socket buffers are full
        assert sent < 100_000_000
        setup.may_admit.set()
        await wait_until(lambda: setup.started, "the start of the session")
    assert MAX_EARLY_BYTES <= len(setup.started[0][1]) <= 3 * MAX_EARLY_BYTES


async def test_accepts_per_tick_are_limited(setup: InboundSetup) -> None:
    count = 5 * MAX_ACCEPTS_PER_TICK
    socks = [socket.socket() for _ in range(count)]
    for sock in socks:
        sock.connect(setup.listening.getsockname())  # they wait in the backlog
    accepted = [0]
    while accepted[-1] < count:
        await asyncio.sleep(0)
        accepted.append(setup.connection_count)
    assert max(after - before for before, after in pairwise(accepted)) <= MAX_ACCEPTS_PER_TICK
    for sock in socks:
        sock.close()


@pytest.mark.parametrize("environment", [{"HANDSHAKES_PER_SECOND": "0.1"}])
async def test_rejected_connection_gets_429_whatever_it_sends(setup: InboundSetup) -> None:
    with await setup.connect(UPGRADE_REQUEST), await setup.connect(b"anything") as rejected:
        await wait_until(lambda: setup.started, "the start of the first session")
        loop = asyncio.get_running_loop()
        response = b""
        while data := await within(TIMEOUT_SECONDS, loop.sock_recv(rejected, 4096), "the response"):
            response += data
        assert response == TOO_MANY_REQUESTS_RESPONSE
    assert (len(setup.started), setup.http_protocols) == (1, [])


@pytest.mark.parametrize("environment", [{"IDLE_SECONDS": "0.05"}])
async def test_silent_connection_is_aborted_after_the_idle_time(setup: InboundSetup) -> None:
    with await setup.connect() as sock:
        await wait_until(lambda: setup.connection_count == 1, "the connection")
        with contextlib.suppress(ConnectionResetError):
            assert not await within(TIMEOUT_SECONDS, asyncio.get_running_loop().sock_recv(sock, 1), "the end")
    assert setup.connection_count == 0


async def test_accepting_pauses_while_file_descriptors_are_exhausted(
    setup: InboundSetup, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class ExhaustedSocket:
        """A listening socket whose first accept fails."""

        def __init__(self, sock: socket.socket) -> None:
            self._sock = sock
            self.attempts = 0

        def __getattr__(self, name: str) -> Any:
            return getattr(self._sock, name)

        def accept(self) -> Any:
            self.attempts += 1
            if self.attempts == 1:
                raise OSError(errno.EMFILE, "Too many open files")
            return self._sock.accept()

    monkeypatch.setattr("gateway.inbound.ACCEPT_RETRY_SECONDS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as sock:
        listening = ExhaustedSocket(sock)
        acceptor = Acceptor([cast(Any, listening)], setup.inbound)
        with socket.create_connection(sock.getsockname()):
            await wait_until(lambda: listening.attempts == 1, "the failing accept")
            await run_ticks()
            assert listening.attempts == 1
            await wait_until(lambda: setup.connection_count == 1, "the connection after the pause")
        acceptor.close()
    assert "cannot accept connections: Too many open files" in caplog.text
