"""gateway.websocket.broadcast: one write per client and tick, shared bytes, and one batch of system calls per slice."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import Any

import pytest

from gateway.net.fd_transport import FdTransport, FdTransports
from gateway.net.transports import TransportBackend
from gateway.websocket.broadcast import WebSocketBroadcaster
from gateway.websocket.frames import text_frames
from push.delivery.batch import Batch
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import PING_MESSAGE, Session
from push.delivery.slices import SLICE_BYTES
from push.journal.totals import Totals
from push.metrics import Metrics
from push.protocol.access import ANONYMOUS_GRANT
from tests.helpers.batch_senders import SENDERS, sender_or_skip
from tests.helpers.builders import make_event
from tests.helpers.fake_transport import FakeTransport
from tests.helpers.websocket_frames import FINAL, PING
from tests.support import TIMEOUT_SECONDS, within


class RecordingClient:
    """A client with its own queue; records what it is written."""

    def __init__(self, broadcaster: WebSocketBroadcaster) -> None:
        self.broadcaster = broadcaster
        self.pending: list[Batch] = []
        self.written: list[bytes] = []
        self.aborted = False
        self.faulty = False

    def send(self, batch: Batch) -> None:
        if not self.pending:
            self.broadcaster.schedule_flush(self)
        self.pending.append(batch)

    def flush(self) -> int:
        batches, self.pending = self.pending, []
        if self.faulty:
            raise ValueError("the flush of this client fails")
        self.written.append(self.broadcaster.encode(batches)[0])
        return len(self.written[-1])

    def abort(self) -> None:
        self.aborted = True


async def test_pending_batches_are_one_write_per_tick_shared_by_all_clients() -> None:
    metrics = Metrics()
    broadcaster = WebSocketBroadcaster(metrics, Hub(), TransportBackend())
    clients = [RecordingClient(broadcaster) for _ in range(3)]
    for batch in (Batch([b"one", b"two"]), Batch([b"three"])):
        for client in clients:
            client.send(batch)
    assert [client.written for client in clients] == [[], [], []]
    await asyncio.sleep(0)
    assert clients[0].written == [text_frames([b"one", b"two", b"three"])]
    assert all(client.written[0] is clients[0].written[0] for client in clients)
    assert metrics.sent_messages.labels("websocket")._value.get() == 9
    assert metrics.sent_bytes.labels("websocket")._value.get() == 3 * len(b"onetwothree")


async def test_clients_with_different_batches_get_their_own() -> None:
    broadcaster = WebSocketBroadcaster(Metrics(), Hub(), TransportBackend())
    clients = [RecordingClient(broadcaster) for _ in range(3)]
    shared = Batch([b"shared"])
    for n, client in enumerate(clients):
        client.send(shared)
        client.send(Batch([b"own %d" % n]))
    await asyncio.sleep(0)
    assert [client.written for client in clients] == [[text_frames([b"shared", b"own %d" % n])] for n in range(3)]


async def test_a_slice_of_flushes_ends_after_its_bytes() -> None:
    broadcaster = WebSocketBroadcaster(Metrics(), Hub(), TransportBackend())
    clients = [RecordingClient(broadcaster) for _ in range(3)]
    for client in clients:
        client.send(Batch([b"x" * (SLICE_BYTES // 2)]))
    await asyncio.sleep(0)
    assert [len(client.written) for client in clients] == [1, 1, 0]
    await asyncio.sleep(0)
    assert [len(client.written) for client in clients] == [1, 1, 1]


async def test_client_whose_flush_raises_is_aborted_alone(caplog: Any) -> None:
    broadcaster = WebSocketBroadcaster(Metrics(), Hub(), TransportBackend())
    clients = [RecordingClient(broadcaster) for _ in range(3)]
    clients[1].faulty = True
    for client in clients:
        client.send(Batch([b"x"]))
    await asyncio.sleep(0)
    assert [client.aborted for client in clients] == [False, True, False]
    assert clients[2].written == [text_frames([b"x"])]
    assert "the flush of this client fails" in caplog.text


async def test_heartbeat_is_a_message_and_a_ping_frame() -> None:
    broadcaster = WebSocketBroadcaster(Metrics(), Hub(), TransportBackend())
    client = RecordingClient(broadcaster)
    client.send(Batch([PING_MESSAGE]))
    await asyncio.sleep(0)
    assert client.written == [text_frames([PING_MESSAGE]) + bytes((FINAL | PING, 0))]


class FlushableClient:
    """Writes to an FdTransport when it is flushed."""

    def __init__(self, transport: FdTransport) -> None:
        self._transport = transport
        self.abort = transport.abort

    def flush(self) -> int:
        self._transport.write(b"flush")
        return len(b"flush")


@pytest.mark.parametrize("kind", SENDERS)
async def test_writes_of_a_hub_pass_and_of_a_flush_slice_are_one_batch_each(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    fd_transports = FdTransports(sender_or_skip(kind))
    batch_sizes: list[int] = []
    flush_batch = fd_transports.flush_batch

    def record_and_flush() -> None:
        batch_sizes.append(len(fd_transports.batched_transports))
        flush_batch()

    monkeypatch.setattr(fd_transports, "flush_batch", record_and_flush)
    pairs = [socket.socketpair() for _ in range(6)]
    for pair in pairs:
        for end in pair:
            end.setblocking(False)
    transports = [fd_transports.adopt(ours.detach(), asyncio.Protocol()) for ours, _ in pairs]
    hub = Hub()
    broadcaster = WebSocketBroadcaster(Metrics(), hub, TransportBackend(fd_transports))
    hub.batch_writes = fd_transports
    for transport in transports[:3]:
        session = Session(SendQueue(10, 1000), FakeTransport(flush_broadcast=partial(transport.write, b"broadcast")))
        hub.add(session)
        session.apply_grant(ANONYMOUS_GRANT, ANONYMOUS_GRANT.default_topics())
        hub.go_live(session)
    hub.publish([make_event(payload=b"event")], Totals(1))
    await asyncio.sleep(0)
    assert batch_sizes == [3]
    for transport in transports[3:]:
        broadcaster.schedule_flush(FlushableClient(transport))
    await asyncio.sleep(0)
    assert batch_sizes == [3, 3]
    for (_, theirs), expected in zip(pairs, [b"broadcast"] * 3 + [b"flush"] * 3, strict=True):
        received = b""
        while len(received) < len(expected):
            received += await within(TIMEOUT_SECONDS, asyncio.get_running_loop().sock_recv(theirs, 100), "the rest")
        assert received == expected
    await hub.drain(0)
    for (_, theirs), transport in zip(pairs, transports, strict=True):
        transport.abort()
        theirs.close()
    await asyncio.sleep(0)
    fd_transports.close()
