"""Short runs of scenarios against real servers, and what the scenarios do to servers and disks. No performance is measured."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from bench import cluster, database, idle, one_client, stages, writers
from bench.__main__ import select_cases, select_scenarios
from bench.database import Databases, SlowDiskPostgres
from bench.fanout import deliveries, fan_out
from bench.inserts import LOST, P50, P99
from bench.load import ClientKind, LoadGeneratorFailed, has_openssl_headers
from bench.machine import flush_milliseconds
from bench.plan import FAN_OUT, IDLE, ONE_CLIENT, SCENARIOS, WRITERS
from bench.scenario import QUICK, Bench
from bench.subjects import (
    EDGE,
    HUB_SSE,
    HUB_TLS,
    LISTEN_CALLBACK,
    SERVER,
    SERVER_NEVER_NOTIFY,
    SERVER_NOTING,
    RunningServer,
    Subject,
)
from db.embedded.postgres import EmbeddedPostgres
from tests.support import TIMEOUT_SECONDS, within

pytestmark = pytest.mark.usefixtures("c_compiler")

SIZE = replace(QUICK, batches=3, seconds=0.5, min_events=20, idle_seconds=0.2)
CLIENTS = 60
COMMITS = 10
# Longer than any real disk takes.
FLUSH_MILLISECONDS = 50


@pytest.fixture(scope="module")
def bench(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(Databases(postgres, tmp_path_factory.mktemp("bench")), SIZE)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_client, "WARM_UP_SECONDS", 0.2)
    monkeypatch.setattr(stages, "WARM_UP_SECONDS", 0.2)
    monkeypatch.setattr(idle, "SETTLE_SECONDS", 0.1)
    monkeypatch.setattr(cluster, "WARM_UP_SECONDS", 0.2)
    monkeypatch.setattr(cluster, "KILL_SECONDS", 2.0)
    monkeypatch.setattr(writers, "WARM_UP_SECONDS", 1.0)
    monkeypatch.setattr(writers, "MEASURED_SECONDS", 1.0)


@pytest.mark.parametrize(
    ("subject", "durable"), [(LISTEN_CALLBACK, False), (SERVER, True)], ids=["callback", "server, durable"]
)
async def test_one_client_gets_every_event(bench: Bench, subject: Subject, durable: bool) -> None:
    found = await one_client.one_client(bench, subject, rate=100, durable=durable)
    assert found["not delivered, %"] == 0
    assert 0 < found[P50] <= found[P99] < math.inf
    assert found["events/s written"] > 0


async def test_a_client_of_an_edge_gets_every_event(bench: Bench) -> None:
    found = await cluster.added_latency(bench, EDGE, rate=100)
    assert found[cluster.UNDELIVERED] == 0
    assert found[cluster.ADDED_P50] <= found[cluster.ADDED_P99] < math.inf


def test_what_an_edge_adds_is_the_difference_by_event() -> None:
    relay = {"marks": [[1, 1, 1000, 1000], [2, 1, 9000, 9000], [3, 1, 500, 500]]}
    edge = {"marks": [[1, 1, 3000, 3000], [2, 1, 8500, 8500], [4, 1, 700, 700]]}
    assert cluster.added_milliseconds(relay, edge) == [-0.5, 2.0]


async def test_events_reach_an_edge_after_its_broker_is_killed(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "NODES", 1)
    found = await cluster.pause(bench, EDGE, cluster.kill_all_nodes)
    assert found[cluster.UNDELIVERED] == 0
    assert max(found[cluster.PAUSE], found[cluster.AFTERWARDS_P99]) < math.inf


async def test_cpu_is_measured_while_no_customer_gets_an_event(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "CUSTOMERS", 3)
    found = await cluster.cpu_per_event(bench, EDGE, rate=100, customers=True)
    assert found[cluster.EVENT_CPU] > 0


async def test_stages_of_an_event_add_up_to_the_whole(bench: Bench) -> None:
    found = await stages.stages(bench, SERVER_NOTING, rate=100)
    parts = [found[name] for name in stages.PARTS]
    assert min(parts[:-1]) >= 0, "only the client may be quicker than the server notes"
    assert sum(parts) > 0
    assert found[P50] < math.inf


@pytest.mark.parametrize(
    ("subject", "kind"), [(HUB_SSE, ClientKind.SSE), (HUB_TLS, ClientKind.TLS)], ids=["Server-Sent Events", "TLS"]
)
async def test_fan_out_to_clients_of_another_kind(bench: Bench, subject: Subject, kind: ClientKind) -> None:
    if kind is ClientKind.TLS and not has_openssl_headers():
        pytest.skip("no headers of OpenSSL")
    found = await fan_out(bench, subject, CLIENTS, kind, count_bytes=True)
    for batch_size in (1, 16):
        assert 0 < found[deliveries(batch_size)] < math.inf


@pytest.mark.parametrize("clients", [0, 5])
async def test_idle_server_keeps_its_clients(bench: Bench, clients: int) -> None:
    found = await idle.idle(bench, SERVER, clients)
    assert found[LOST] == 0
    assert found[idle.CPU_PERCENT] >= 0


@pytest.fixture
async def running(bench: Bench, request: pytest.FixtureRequest) -> AsyncIterator[RunningServer]:
    async with bench.start_server(request.param, written=True) as (running, _):
        yield running


async def _eventually(condition: Callable[[], bool], description: str) -> None:
    async def wait() -> None:
        while not condition():
            await asyncio.sleep(0.01)

    await within(TIMEOUT_SECONDS, wait(), description)


def _state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.parametrize("running", [SERVER_NEVER_NOTIFY], indirect=True)
async def test_frozen_server_is_stopped_and_goes_on_afterwards(running: RunningServer) -> None:
    await _eventually(lambda: writers.is_notify_suppressed(running.port), "notify suppression")
    with writers.frozen(running):
        await _eventually(lambda: _state(running.pid) == "T", "stopped")
    await _eventually(lambda: _state(running.pid) != "T", "continued")


@pytest.mark.parametrize("running", [SERVER], indirect=True)
async def test_server_is_not_frozen_while_writers_notify(running: RunningServer) -> None:
    with pytest.raises(LoadGeneratorFailed, match="not suppressed"), writers.frozen(running):
        pass
    assert _state(running.pid) != "T"


@pytest.mark.parametrize("running", [SERVER], indirect=True)
async def test_idle_priority_is_that_of_each_thread(running: RunningServer) -> None:
    with writers.idle_priority(running):
        threads = list(Path(f"/proc/{running.pid}/task").iterdir())
        assert {os.sched_getscheduler(int(thread.name)) for thread in threads} == {os.SCHED_IDLE}


@pytest.mark.parametrize("subject", writers.SETUPS[5:7], ids=lambda subject: subject.name)
async def test_commits_are_counted_meanwhile(bench: Bench, subject: writers.WriterSetup) -> None:
    assert subject.meanwhile is not None
    assert (await writers.small_transactions(bench, subject, writers=2))[writers.COMMITS] > 0


@pytest.mark.postgres
async def test_each_durable_commit_waits_for_the_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "FLUSH_MILLISECONDS", FLUSH_MILLISECONDS)
    server = SlowDiskPostgres(tmp_path / "data", report=lambda line: None)
    writer = await asyncpg.connect(await asyncio.to_thread(server.start))
    try:
        await writer.execute("create table numbers (n int)")
        start = time.perf_counter()
        for number in range(COMMITS):
            await writer.execute("insert into numbers values ($1)", number)
        took = time.perf_counter() - start
        backend = await writer.fetchval("select pg_backend_pid()")
        assert "slow_flush" in Path(f"/proc/{backend}/maps").read_text()
        assert took >= COMMITS * FLUSH_MILLISECONDS / 1000
    finally:
        await writer.close()
        assert server.pid is not None
        os.kill(server.pid, signal.SIGQUIT)  # without a checkpoint, which would flush some hundred files
        await asyncio.to_thread(server.release)
    assert "slow_flush" not in Path("/proc/self/maps").read_text()


def test_flush_is_measured_in_the_directory(tmp_path: Path) -> None:
    assert flush_milliseconds(tmp_path) > 0
    assert list(tmp_path.iterdir()) == []


def test_quick_run_has_the_main_scenarios_and_the_named_ones() -> None:
    assert select_scenarios([], quick=False) == list(SCENARIOS)
    main = select_scenarios([], quick=True)
    assert FAN_OUT[1000] in main
    assert not [scenario for scenario in (WRITERS[8], IDLE[1000], ONE_CLIENT[500]) if scenario in main]
    assert select_scenarios(["writers: 8"], quick=True) == [WRITERS[8]]
    # A scenario that has no part in the quick run is measured whole when it is named.
    assert select_cases(WRITERS[8], [], quick=True) == list(WRITERS[8].cases)
    assert select_cases(ONE_CLIENT[20], [], quick=True) == [LISTEN_CALLBACK.name, SERVER.name]
    assert len(select_cases(ONE_CLIENT[20], [], quick=False)) == 4
