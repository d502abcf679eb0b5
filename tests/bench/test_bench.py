"""The benchmark's parts: the load generator's counts, subjects, targets and reports. No performance is measured."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from bench import database
from bench.database import Databases, mark, newest_cursor, open_writer
from bench.load import ClientKind, LoadGenerator, LoadGeneratorFailed, has_openssl_headers
from bench.machine import CPUS, LOAD_CPUS, cpu_seconds_by_pid, on_all_cpus
from bench.peers.orders import messages
from bench.plan import SCENARIOS
from bench.report import Report, Result, TargetResult
from bench.scenario import Named, Scenario
from bench.subjects import C_LOOP, HUB, SERVER, Subject, SubjectUnavailable, orderwire_subject
from bench.targets import TARGETS, Lookup, Target
from db.embedded.postgres import EmbeddedPostgres
from tests.helpers.certificates import issue_certificate
from tests.support import TIMEOUT_SECONDS, Server, StartServer

pytestmark = pytest.mark.usefixtures("c_compiler")

CLIENTS = 20
ORDERS = 30


@pytest.fixture
async def load_on() -> AsyncIterator[Any]:
    started: list[LoadGenerator] = []

    async def start(port: int, trigger_port: int | None = None, *, tls: bool = False) -> LoadGenerator:
        started.append(await LoadGenerator.start(port, trigger_port, tls=tls))
        return started[-1]

    yield start
    for load in started:
        await load.stop()


def _port(server: Server) -> int:
    return int(server.http_url.rpartition(":")[2])


@pytest.mark.parametrize("kind", [ClientKind.WEBSOCKET, ClientKind.SSE, ClientKind.TLS], ids=["websocket", "sse", "tls"])
async def test_load_generator_counts_and_times_the_frames_of_every_client(
    kind: ClientKind, start_server: StartServer, load_on: Any, database_url: str, tmp_path: Path
) -> None:
    settings: dict[str, str] = {}
    if kind is ClientKind.TLS:
        if not has_openssl_headers():
            pytest.skip("no headers of OpenSSL")
        cert_file, key_file = issue_certificate(tmp_path, "orderwire")
        settings = {"TLS_CERT_FILE": str(cert_file), "TLS_KEY_FILE": str(key_file)}
    server: Server = await start_server(database_url, **settings)
    load: LoadGenerator = await load_on(_port(server), tls=kind is ClientKind.TLS)
    await load.connect(CLIENTS, kind=kind)
    await load.command("reset")
    async with open_writer(database_url) as writer:
        written = await writer.insert_at_rate(rate=ORDERS / 0.3, seconds=0.3)
        assert await load.wait_for_frames(written, TIMEOUT_SECONDS)
        await writer.insert_bulk(ORDERS)
        assert await load.wait_for_frames(written + ORDERS, TIMEOUT_SECONDS)
    report = await load.command("report")
    assert report["marked"] == CLIENTS * (written + ORDERS)
    assert (report["clients"], report["lost"]) == (CLIENTS, 0)
    assert report["frames"] > report["marked"]  # the totals
    assert report["bytes"] > 100 * report["frames"]
    # Each order has its own mark, but all rows of the bulk statement have the same.
    assert [clients for _, clients, _, _ in report["marks"]] == [CLIENTS] * written + [CLIENTS * ORDERS]
    assert all(0 < first <= last < TIMEOUT_SECONDS * 1e6 for _, _, first, last in report["marks"])

    # A reset sets the counters to zero, and the wait reports a time-out.
    await load.command("reset")
    assert not await load.wait_for_frames(1, 0.05)
    assert (await load.command("report"))["marked"] == 0


async def test_load_generator_reports_rejected_and_closed_connections(
    start_server: StartServer, load_on: Any, database_url: str
) -> None:
    server: Server = await start_server(database_url)
    load: LoadGenerator = await load_on(_port(server))
    with pytest.raises(LoadGeneratorFailed, match=f"0 of {CLIENTS} clients"):
        await load.connect(CLIENTS, "/api/nowhere")
    await load.connect(CLIENTS)
    await load.command("reset")
    await server.stop()
    assert not await load.wait_for_frames(1, TIMEOUT_SECONDS)
    report = await load.command("report")
    assert (report["clients"], report["lost"]) == (0, CLIENTS)


@pytest.mark.parametrize("subject", [C_LOOP, HUB], ids=["C loop", "hub"])
async def test_trigger_sends_the_requested_frames(subject: Subject, load_on: Any, database_url: str) -> None:
    async with subject.start(database_url) as running:
        load: LoadGenerator = await load_on(running.port, running.trigger_port)
        await load.connect(CLIENTS)
        await load.command("reset")
        answer = await load.command(f"pump 5 16 {running.write_trigger_file(16)} {TIMEOUT_SECONDS}")
        assert (answer["batches"], answer["lost"]) == (5, 0)
        report = await load.command("report")
        assert report["marked"] == CLIENTS * 5 * 16
        if subject is C_LOOP:
            assert report["bytes"] == report["marked"] * 200


def test_mark_contains_its_number() -> None:
    assert mark(17).startswith("@@17:")


async def test_compressed_frame_is_counted_without_inflating(load_on: Any) -> None:
    text = mark(0) + "x" * 200

    async def serve(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        for _ in range(ORDERS):
            await ws.send_str(text)
        await ws.receive()
        return ws

    app = web.Application()
    app.router.add_get("/api/ws", serve)
    async with TestServer(app) as server:
        found = {}
        for deflate in (False, True):
            load: LoadGenerator = await load_on(server.port)
            answer = await load.connect(CLIENTS, kind=ClientKind.DEFLATE if deflate else ClientKind.WEBSOCKET)
            assert answer["deflate"] == CLIENTS * deflate
            assert await load.wait_for_frames(ORDERS, TIMEOUT_SECONDS)
            found[deflate] = await load.command("report")
            await load.stop()
    assert found[False]["marked"] == found[True]["marked"] == CLIENTS * ORDERS
    assert len(found[False]["marks"]) == 1
    assert found[True]["marks"] == []
    assert found[False]["wire"] == CLIENTS * ORDERS * (4 + len(text))
    assert found[True]["wire"] < found[False]["wire"] / 4


@pytest.mark.parametrize(
    ("chunks", "counted"),
    [
        ([": ping\n\n", "id: 1\ndata: @@0:0@@ a\n\nid: 2\ndata: @@1:0@@ b\n\n", "data: totals\n\n"], (2, 3)),
        (["data: @@0:", "0@@ a\n\n"], None),
    ],
    ids=["whole events", "an event in two chunks"],
)
async def test_load_generator_counts_data_lines_or_ends(
    chunks: list[str], counted: tuple[int, int] | None, load_on: Any
) -> None:
    async def serve(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for chunk in chunks:
            await response.write(chunk.encode())
        await counting_is_over.wait()
        return response

    counting_is_over = asyncio.Event()
    app = web.Application()
    app.router.add_get("/api/sse", serve)
    async with TestServer(app) as server:
        load: LoadGenerator = await load_on(server.port)
        try:
            if counted is None:
                with pytest.raises(LoadGeneratorFailed, match="ended"):
                    await _count_data_lines(load, 2)
            else:
                assert await _count_data_lines(load, counted[0]) == counted
        finally:
            await load.stop()
            counting_is_over.set()


async def _count_data_lines(load: LoadGenerator, marked: int) -> tuple[int, int]:
    await load.connect(1, kind=ClientKind.SSE)
    assert await load.wait_for_frames(marked, TIMEOUT_SECONDS)
    while (report := await load.command("report"))["frames"] == marked:
        await asyncio.sleep(0.01)  # the last line has no mark to wait for
    return report["marked"], report["frames"]


async def test_copied_journal_keeps_its_events(
    postgres: EmbeddedPostgres, start_server: StartServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "TEMPLATE_ROWS", 40)
    monkeypatch.setattr(database, "ROWS_PER_STATEMENT", 10)
    async with Databases(postgres, tmp_path).create("million") as url:
        server: Server = await start_server(url)
        async with ClientSession() as session, session.get(f"{server.http_url}/api/events?limit=1000") as answer:
            events = (await answer.json())["events"]
        assert len(events) == 40
        assert await newest_cursor(url) == events[-1]["id"]
        await server.stop()


def test_messages_have_one_size_and_do_not_repeat_within_the_deflate_window() -> None:
    size = 200
    found = list(itertools.islice(messages(size), 32 * 1024 // size + 1))
    assert {len(text.encode()) for text in found} == {size}
    assert len(set(found)) == len(found)
    assert all(json.loads(text)["customer_name"].startswith("@@0:0@@") for text in found)


@contextmanager
def _child() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "60"])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


def test_on_all_cpus_restores_the_affinity_of_every_process() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, LOAD_CPUS)
    try:
        with _child() as child:
            with on_all_cpus():
                assert os.sched_getaffinity(child) == os.sched_getaffinity(0) == set(CPUS)
            assert os.sched_getaffinity(child) == os.sched_getaffinity(0) == LOAD_CPUS
            assert set(cpu_seconds_by_pid(os.getpid())) >= {os.getpid(), child}
    finally:
        os.sched_setaffinity(0, before)
        with on_all_cpus():  # restores the affinity of the shared PostgreSQL, which was changed too
            pass


def test_every_target_refers_to_a_measured_value() -> None:
    looked_up = set()

    def look(scenario: Scenario, subject: Named, measure: str) -> float:
        assert scenario in SCENARIOS
        assert subject.name in scenario.cases
        looked_up.add((scenario.name, subject.name, measure))
        return 1.0

    for target in TARGETS:
        assert target.measure(look) == 1.0
    assert len(looked_up) > len(TARGETS)


def test_variant_with_an_unknown_setting_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(SubjectUnavailable, match="no setting FLY"):
        orderwire_subject("flying", "server.py", FLY="1").command(tmp_path, {})
    assert orderwire_subject("", "server.py", PORT="1").command(tmp_path, {})[-1] == "server.py"


async def test_server_that_exits_with_one_line_is_unavailable() -> None:
    def printing(text: str) -> Subject:
        return Subject("a server", lambda _, __: [sys.executable, "-c", f"print({text!r}); raise SystemExit(1)"], {})

    with pytest.raises(SubjectUnavailable, match="no io_uring on this machine"):
        async with printing("no io_uring on this machine").start(None):
            pass
    with pytest.raises(AssertionError, match="Traceback"):
        async with printing("Traceback\n  of something").start(None):
            pass


def test_ratios_are_computed_within_each_round() -> None:
    scenario = Scenario("fan-out", {})

    def ratio(look: Lookup) -> float:
        return look(scenario, SERVER, "deliveries") / look(scenario, C_LOOP, "deliveries")

    results = []
    for round_number, (baseline, own) in enumerate([(100.0, 50.0), (200.0, 180.0), (400.0, 320.0)]):
        results.append(Result("fan-out", C_LOOP.name, round_number, 0.0, {"deliveries": baseline}))
        results.append(Result("fan-out", SERVER.name, round_number, 0.0, {"deliveries": own}))
    target = Target("fan-out", 0.8, ratio, at_least=True)
    assert target.evaluate(results) == TargetResult("fan-out", "≥ 0.8", [0.5, 0.9, 0.8], True)
    assert target.evaluate([]) == TargetResult("fan-out", "≥ 0.8", [], None)
    # The failure of a peer skips the round; a failure of Orderwire counts as a miss.
    results[0] = Result("fan-out", C_LOOP.name, 0, 0.0, {}, "exited")
    results[3] = Result("fan-out", SERVER.name, 1, 0.0, {}, "exited")
    assert target.evaluate(results) == TargetResult("fan-out", "≥ 0.8", [0.0, 0.8], False)
    assert Target("fan-out", 0.8, ratio).evaluate(results[2:4]) == TargetResult("fan-out", "≤ 0.8", [math.inf], False)


def test_table_shows_medians_ratios_failures_and_doubtful_results(tmp_path: Path) -> None:
    report = Report(
        {"kernel": "this one"}, targets=[TargetResult("fast", "≥ 1", [1.0, 3.0], True), TargetResult("small", "≤ 2", [], None)]
    )
    report.add_skipped("nchan: not installed")
    report.add_skipped("nchan: not installed")
    for round_number, (baseline, own) in enumerate([(100.0, 50.0), (200.0, 150.0), (300.0, 160.0)]):
        report.results.append(Result("fan-out", "C", round_number, 0.0, {"deliveries": baseline}))
        report.results.append(Result("fan-out", "Orderwire", round_number, 0.5, {"deliveries": own}))
    report.results.append(Result("fan-out", "peer", 1, 0.0, {}, "exited"))
    lines = report.table(("C",), "Orderwire").splitlines()
    assert next(line for line in lines if "    C " in line).split() == ["C", "200", "100", "–", "300", "1.33", "1.00"]
    own_line = next(line for line in lines if "    Orderwire" in line)
    assert own_line.split() == ["Orderwire", "150", "50.0", "–", "160", "1.00", "0.75", "!"]
    assert "  failed: peer, round 1: exited" in lines
    assert lines.count("skipped: nchan: not installed") == 1
    assert next(line for line in lines if line.startswith("fast")).split() == [
        "fast",
        "≥",
        "1",
        "2.00",
        "1.00",
        "–",
        "3.00",
        "met",
    ]
    assert lines[-1] == "(1 of 2 were not measured)"
    assert json.loads(report.save(tmp_path / "results").read_text())["machine"] == {"kernel": "this one"}
