"""supervisor: the protocol between supervisor and worker, over a socket pair. With processes: tests/faults/test_workers.py."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.net.listening import ListenError
from push.metrics import Metrics
from service.supervisor import Supervisor, SupervisorClient, _Worker, _WorkerConnection
from settings import Settings


class Pair:
    """A worker's client, its task, and the supervisor's end of the socket pair."""

    def __init__(self, client: SupervisorClient, other: _WorkerConnection) -> None:
        self.client = client
        self.other = other
        self.messages = other.messages()
        self.stop = asyncio.Event()
        self.metrics = Metrics()
        self.ending = asyncio.Event()
        self.task = asyncio.create_task(client.run(self.metrics, self.ending.set, self.stop.set))

    async def receive(self) -> tuple[str, Any]:
        kind, content, _ = await self.receive_whole()
        return kind, content

    async def receive_whole(self) -> tuple[str, Any, bytes]:
        return await asyncio.wait_for(anext(self.messages), 10)


@pytest.fixture
async def pair() -> AsyncIterator[Pair]:
    ours, theirs = socket.socketpair()
    async with SupervisorClient.connect(theirs.detach(), 2) as client:
        other = await _WorkerConnection.open(ours)
        opened = Pair(client, other)
        yield opened
        other.close()
        await asyncio.wait_for(opened.task, 10)


@pytest.mark.parametrize("part", [b'["samples", [[["orderwire_', b'["fact", null, 5]\n1234'])
async def test_an_incomplete_message_is_dropped(part: bytes) -> None:
    """A process that was killed may have written a part of a message."""
    ours, theirs = socket.socketpair()
    with theirs:
        theirs.sendall(b'["ready", null, 0]\n["fact", null, 3]\n\n{}' + part)
    connection = await _WorkerConnection.open(ours)
    assert [message async for message in connection.messages()] == [("ready", None, b""), ("fact", None, b"\n{}")]
    connection.close()


async def test_messages_to_a_process_that_does_not_read_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.supervisor.MAX_WAITING_BYTES", 1 << 20)
    ours, theirs = socket.socketpair()
    with theirs:
        connection = await _WorkerConnection.open(ours)
        sent = [connection.send("fact", None, bytes(1 << 18)) for _ in range(20)]
        assert sent[0]
        assert not sent[-1]
        connection.close()
    assert not connection.send("fact", None, b"")


async def test_a_worker_reports_that_events_flow_or_why_it_fails(pair: Pair) -> None:
    started = asyncio.Event()
    reporting = asyncio.create_task(pair.client.report_started(started))
    await asyncio.sleep(0)
    pair.client.report_failure("cannot listen")
    assert await pair.receive() == ("failed", "cannot listen")
    started.set()
    await reporting
    assert await pair.receive() == ("ready", None)


async def test_the_end_of_the_stream_stops_the_worker(pair: Pair) -> None:
    await asyncio.sleep(0)
    assert not pair.stop.is_set()
    pair.other.close()
    await asyncio.wait_for(pair.stop.wait(), 10)


async def test_a_worker_is_told_that_the_server_is_about_to_end(pair: Pair) -> None:
    pair.other.send("ending")
    await asyncio.wait_for(pair.ending.wait(), 10)
    assert not pair.stop.is_set()


async def test_a_worker_sends_its_metrics_on_request(pair: Pair) -> None:
    pair.metrics.events.inc(7)
    pair.other.send("samples?")
    kind, content = await pair.receive()
    assert kind == "samples"
    worker = _Worker(1)
    worker.receive_samples(content)
    assert {value for (name, *_), value in worker.metrics.samples.items() if name == "orderwire_events_total"} == {7.0}


async def test_concurrent_scrapes_share_one_request(pair: Pair) -> None:
    await asyncio.sleep(0)
    assert pair.metrics.fetch_merged_samples is not None
    scrapes = [asyncio.create_task(pair.client._fetch_merged_samples()) for _ in range(3)]
    assert await pair.receive() == ("all?", None)
    pair.other.send("all", [])
    assert await asyncio.gather(*scrapes) == [{}] * 3
    pair.client.report_failure("next")
    assert await pair.receive() == ("failed", "next")  # no second request
    again = asyncio.create_task(pair.client._fetch_merged_samples())
    assert await pair.receive() == ("all?", None)
    pair.other.send("all", [])
    assert await again == {}


async def test_a_scrape_without_an_answer_times_out(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.supervisor.MERGED_SAMPLES_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(TimeoutError):
        await pair.client._fetch_merged_samples()
    assert await pair.receive() == ("all?", None)
    # The answer may have been dropped, so the next one asks again.
    monkeypatch.setattr("service.supervisor.MERGED_SAMPLES_TIMEOUT_SECONDS", 10.0)
    again = asyncio.create_task(pair.client._fetch_merged_samples())
    assert await pair.receive() == ("all?", None)
    pair.other.send("all", [])
    assert await again == {}


async def test_a_worker_that_did_not_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.supervisor.SAMPLES_TIMEOUT_SECONDS", 0.01)
    ours, theirs = socket.socketpair()
    worker = _Worker(1)
    worker.connection = await _WorkerConnection.open(ours)
    other = await _WorkerConnection.open(theirs)
    messages = other.messages()
    for _ in range(2):
        await worker.refresh_metrics()
        assert await asyncio.wait_for(anext(messages), 10) == ("samples?", None, b"")
    other.close()
    worker.connection.close()


async def test_a_port_that_is_in_use_is_not_reserved() -> None:
    """Not even if its owner shares it with SO_REUSEPORT."""
    first = Supervisor(Settings.from_environment({"PORT": "0", "WORKERS": "2"}))
    await first.reserve_port()
    host, port = first.address.split(":")
    second = Supervisor(Settings.from_environment({"PORT": port, "WORKERS": "2"}))
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    with listening:
        listening.bind((host, int(port)))  # as a worker does
        listening.listen()
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}"):
            await second.reserve_port()
    first.release_port()


async def test_the_workers_get_database_and_port_by_their_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    supervisor = Supervisor(Settings.from_environment({"PORT": "0", "WORKERS": "2"}))
    await supervisor.reserve_port()
    tasks = supervisor.tasks("postgresql://host/database")
    assert list(tasks) == ["relay of the workers", "worker 1", "worker 2"]
    assert supervisor._environment["DATABASE_URL"] == "postgresql://host/database"
    assert supervisor._environment["PORT"] == supervisor.address.rpartition(":")[2]
    for task in tasks.values():
        task.close()
    supervisor.release_port()
