"""The benchmark keeps working: its load generator counts what a server really sends. Nothing is timed here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bench.database import mark, writing
from bench.load import Load, LoadFailed, NoCompiler, compiled
from bench.report import Report, Result
from bench.subjects import HUB, YARDSTICK, Subject
from tests.support import PATIENCE_SECONDS, Server

CLIENTS = 20
ORDERS = 30


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> None:
    try:
        compiled(Path(__file__).parents[2] / "bench" / "loadgen.c")
    except NoCompiler as why:
        pytest.skip(str(why))


@pytest.fixture
async def load_on() -> AsyncIterator[Any]:
    started: list[Load] = []

    async def start(port: int, trigger_port: int | None = None) -> Load:
        started.append(await Load.start(port, trigger_port))
        return started[-1]

    yield start
    for load in started:
        await load.stop()


def _port(server: Server) -> int:
    return int(server.http_url.rpartition(":")[2])


async def test_it_counts_and_times_what_every_client_gets(start_server: Any, load_on: Any, database_url: str) -> None:
    server: Server = await start_server(database_url)
    load: Load = await load_on(_port(server))
    await load.connect(CLIENTS)
    await load.command("reset")
    async with writing(database_url) as writer:
        written = await writer.write(rate=ORDERS / 0.3, seconds=0.3)
        assert await load.wait(written, PATIENCE_SECONDS)
        await writer.bulk(ORDERS)
        assert await load.wait(written + ORDERS, PATIENCE_SECONDS)
    report = await load.command("report")
    assert report["marked"] == CLIENTS * (written + ORDERS)
    assert (report["clients"], report["lost"]) == (CLIENTS, 0)
    assert report["frames"] > report["marked"]  # the totals
    assert report["bytes"] > 100 * report["frames"]
    # All rows of the one statement have one mark.
    assert [(number, clients) for number, clients, _, _ in report["marks"]] == [
        *((number, CLIENTS) for number in range(written)),
        (written, CLIENTS * ORDERS),
    ]
    assert all(0 < first <= last < PATIENCE_SECONDS * 1e6 for _, _, first, last in report["marks"])

    # Only what comes after a reset counts, and it says so when something does not come.
    await load.command("reset")
    assert not await load.wait(1, 0.05)
    assert (await load.command("report"))["marked"] == 0


async def test_it_notices_who_is_not_let_in_and_who_is_closed(start_server: Any, load_on: Any, database_url: str) -> None:
    server: Server = await start_server(database_url)
    load: Load = await load_on(_port(server))
    with pytest.raises(LoadFailed, match=f"0 of {CLIENTS} clients"):
        await load.connect(CLIENTS, "/api/nowhere")
    await load.connect(CLIENTS)
    await load.command("reset")
    await server.stop()
    assert not await load.wait(1, PATIENCE_SECONDS)
    report = await load.command("report")
    assert (report["clients"], report["lost"]) == (0, CLIENTS)


@pytest.mark.parametrize("subject", [YARDSTICK, HUB], ids=["the C loop", "the hub"])
async def test_the_trigger_sends_so_many_frames_of_so_many_bytes(subject: Subject, load_on: Any, database_url: str) -> None:
    async with subject.running(database_url) as running:
        load: Load = await load_on(running.port, running.trigger_port)
        await load.connect(CLIENTS)
        await load.command("reset")
        answer = await load.command(f"pump 5 16 {running.trigger_file(16)} {PATIENCE_SECONDS}")
        assert (answer["turns"], answer["lost"]) == (5, 0)
        report = await load.command("report")
        assert report["marked"] == CLIENTS * 5 * 16
        if subject is YARDSTICK:
            assert report["bytes"] == report["marked"] * 200


def test_a_name_with_a_mark_holds_its_number() -> None:
    assert mark(17).startswith("@@17:")


def test_the_table_tells_medians_ratios_what_failed_and_what_is_doubtful(tmp_path: Path) -> None:
    report = Report({"kernel": "this one"}, skipped={"nchan": "not installed"})
    for number, (yardstick, own) in enumerate([(100.0, 50.0), (200.0, 150.0), (300.0, 160.0)]):
        report.results.append(Result("fan-out", "C", number, 0.0, {"deliveries": yardstick}))
        report.results.append(Result("fan-out", "Orderwire", number, 0.5, {"deliveries": own}))
    report.results.append(Result("fan-out", "peer", 1, 0.0, {}, "fell over"))
    lines = report.table("C", "Orderwire").splitlines()
    assert "left out: nchan: not installed" in lines
    assert next(line for line in lines if "    C " in line).split() == ["C", "200", "100", "–", "300", "1.00", "1.33"]
    own_line = next(line for line in lines if "    Orderwire" in line)
    assert own_line.split() == ["Orderwire", "150", "50.0", "–", "160", "0.75", "1.00", "!"]
    assert "  failed: peer, round 1: fell over" in lines
    assert json.loads(report.save(tmp_path / "results").read_text())["machine"] == {"kernel": "this one"}
