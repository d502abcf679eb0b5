"""Scenarios of several servers with NATS between them: latency and CPU of an edge, what edges cost PostgreSQL, and pauses when
something is killed.

Every server is on this machine, so each waits for processors that it would not share on machines of their own.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nats

from bench.database import Writer, open_writer
from bench.inserts import SETTLE_SECONDS, latencies
from bench.load import LoadGenerator, LoadGeneratorFailed
from bench.machine import CPUS, LOAD_CPUS, SERVER_CPUS, cpu_seconds, cpu_seconds_by_pid, cpu_seconds_since, on_all_cpus
from bench.scenario import Bench, Measures, quantile, start_load_generator
from bench.subjects import CANDIDATE, SERVER, RunningServer, Subject, SubjectUnavailable
from bus.local.nodes import BrokerNodes, NodeError
from service.cluster_node import EDGE_LINE, RELAY_LINE
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS

# NOTIFY_MODE=auto decides by the rate of a second (push/journal/notify_policy.py).
WARM_UP_SECONDS = 2.0
# Facts that no client awaits are used a second later (push/journal/fact_journal.py).
GATHER_SECONDS = 1.2
CUSTOMERS = 100
PAUSE_RATE = 100
# How long events are written from the kill on: longer than the longest pause.
KILL_SECONDS = 4.0
NODES = 3

RELAY_P50 = "ms to a client of the relay, p50"
EDGE_P50, EDGE_P99 = "ms to a client of the edge, p50", "ms to a client of the edge, p99"
ADDED_P50, ADDED_P99 = "ms added at the edge, p50", "ms added at the edge, p99"
EVENT_CPU = "CPU µs per event"
COMMIT_CPU = "CPU µs of PostgreSQL per commit"
PAUSE = "worst ms to a client of the edge"
AFTERWARDS_P50, AFTERWARDS_P99 = "ms afterwards, p50", "ms afterwards, p99"
UNDELIVERED = "not delivered, %"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A relay and edges, which are ready."""

    nodes: BrokerNodes
    database_url: str
    relay: RunningServer
    # In the order in which they were asked for.
    edges: list[RunningServer]


@asynccontextmanager
async def start_cluster(
    bench: Bench,
    *edges: Subject,
    nodes: int = 1,
    relay_cpus: set[int] = LOAD_CPUS,
    edge_cpus: set[int] = SERVER_CPUS,
) -> AsyncIterator[Cluster]:
    """A new database, so many nodes of NATS, the relay, and the edges. Raises SubjectUnavailable."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(bench.databases.create(CANDIDATE.database))
        try:
            broker = BrokerNodes(Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orderwire-bench-"))), nodes)
            stack.push_async_callback(broker.stop)
            await broker.start()
        except NodeError as error:
            raise SubjectUnavailable(str(error)) from None

        async def start(subject: Subject, cpus: set[int], line: str) -> RunningServer:
            member = replace(subject, settings=subject.settings | {"BROKER_URL": broker.urls})
            running = await stack.enter_async_context(member.start(url, cpus))
            await running.process.wait_for_line(line)
            return running

        relay = await start(CANDIDATE, relay_cpus, RELAY_LINE)
        yield Cluster(broker, url, relay, [await start(edge, edge_cpus, EDGE_LINE) for edge in edges])


async def _warm_up(writer: Writer, rate: float, *loads: LoadGenerator) -> None:
    """Write at this rate until all have settled to it; then the load generators count from zero."""
    await writer.insert_at_rate(rate, WARM_UP_SECONDS)
    await asyncio.sleep(SETTLE_SECONDS)
    for load in loads:
        await load.command("reset")


async def added_latency(bench: Bench, subject: Subject, rate: float) -> Measures:
    """Measure how much later a client of the edge ``subject`` has each event than a client of the relay."""
    seconds = max(bench.size.seconds, bench.size.min_events / rate)
    async with (
        start_cluster(bench, subject, relay_cpus=set(CPUS), edge_cpus=set(CPUS)) as cluster,
        start_load_generator(cluster.relay) as at_relay,
        start_load_generator(cluster.edges[0]) as at_edge,
        open_writer(cluster.database_url) as writer,
    ):
        loads = (at_relay, at_edge)
        for load in loads:
            await load.connect(1)
        await _warm_up(writer, rate, *loads)
        written = await writer.insert_at_rate(rate, seconds)
        for load in loads:
            await load.wait_for_frames(written, bench.size.grace_seconds)
        relay_report, edge_report = [await load.command("report") for load in loads]
        at_relay_late, at_edge_late = latencies(relay_report, 1, written), latencies(edge_report, 1, written)
        added = added_milliseconds(relay_report, edge_report)
        return {
            ADDED_P50: quantile(added, 0.5),
            ADDED_P99: quantile(added, 0.99),
            RELAY_P50: quantile(at_relay_late, 0.5),
            EDGE_P50: quantile(at_edge_late, 0.5),
            EDGE_P99: quantile(at_edge_late, 0.99),
            UNDELIVERED: 100 * at_edge_late.count(float("inf")) / written,
            "events/s written": written / seconds,
        }


def added_milliseconds(relay_report: dict[str, Any], edge_report: dict[str, Any]) -> list[float]:
    """By event that both clients have, how much later that of the edge has it, ascending. Negative where it was first."""
    at_relay = {number: last for number, _, _, last in relay_report["marks"]}
    return sorted((last - at_relay[number]) / 1000 for number, _, _, last in edge_report["marks"] if number in at_relay)


async def cpu_per_event(bench: Bench, subject: Subject, rate: float, *, customers: bool = False) -> Measures:
    """Measure the CPU time of one server: an edge, or one with a listener of its own, with one client that gets every event.

    ``customers``: its clients are customers, none of whom has an order.
    """
    settings = subject.settings | ({"JWT_SECRET": SECRET} if customers else {})
    async with AsyncExitStack() as stack:
        measured = replace(subject, settings=settings)
        if subject is SERVER:
            running, url = await stack.enter_async_context(bench.start_server(measured, written=True))
        else:
            cluster = await stack.enter_async_context(start_cluster(bench, measured))
            running, url = cluster.edges[0], cluster.database_url
        load = await stack.enter_async_context(start_load_generator(running))
        writer = await stack.enter_async_context(open_writer(url))
        if customers:
            await load.connect(CUSTOMERS, token=token("customer", sub="without orders"))
        else:
            await load.connect(1)
        await writer.insert_at_rate(rate, WARM_UP_SECONDS)
        await asyncio.sleep(GATHER_SECONDS)
        await load.command("reset")
        before = cpu_seconds(running.pid)
        written = await writer.insert_at_rate(rate, bench.size.seconds)
        await asyncio.sleep(GATHER_SECONDS)
        spent = cpu_seconds(running.pid) - before
        report = await load.command("report")
        reached = len(report["marks"])
        if reached != (0 if customers else written) or report["lost"]:
            raise LoadGeneratorFailed(f"the clients have {reached} of {written} events, {report['lost']} connections were lost")
        return {EVENT_CPU: spent / written * 1e6, "events/s written": written / bench.size.seconds}


async def postgres_cpu_per_commit(bench: Bench, subject: Subject, edges: int, rate: float) -> Measures:
    """Measure what a durable commit costs PostgreSQL, all its processes, while so many edges have a client each."""
    with on_all_cpus():
        async with (
            start_cluster(bench, *[subject] * edges, relay_cpus=set(CPUS), edge_cpus=set(CPUS)) as cluster,
            AsyncExitStack() as stack,
            open_writer(cluster.database_url, durable=True) as writer,
        ):
            loads = [await stack.enter_async_context(start_load_generator(edge)) for edge in cluster.edges]
            for load in loads:
                await load.connect(1)
            await _warm_up(writer, rate, *loads)
            before = cpu_seconds_by_pid(bench.databases.postmaster_pid)
            written = await writer.insert_at_rate(rate, bench.size.seconds)
            spent = sum(cpu_seconds_since(before, bench.databases.postmaster_pid))
            for load in loads:
                if not await load.wait_for_frames(written, bench.size.grace_seconds):
                    raise LoadGeneratorFailed("a client of an edge does not have every event")
            return {COMMIT_CPU: spent / written * 1e6, "events/s written": written / bench.size.seconds}


# Ends a part of the cluster.
Kill = Callable[[Cluster], Awaitable[None]]


async def pause(bench: Bench, subject: Subject, kill: Kill) -> Measures:
    """Measure the latency at a client of the edge ``subject``: while something is killed, and then when that is over.

    Another server may become the relay.
    """
    async with (
        start_cluster(bench, subject, CANDIDATE, nodes=NODES, relay_cpus=set(CPUS), edge_cpus=set(CPUS)) as cluster,
        start_load_generator(cluster.edges[0]) as load,
        open_writer(cluster.database_url) as writer,
    ):
        await load.connect(1)
        if NODES > 1:
            await wait_for_replicas(cluster.nodes)
        await _warm_up(writer, PAUSE_RATE, load)
        writing = asyncio.create_task(writer.insert_at_rate(PAUSE_RATE, KILL_SECONDS), name="writers")
        try:
            await kill(cluster)
            during = await _latencies(bench, load, await writing)
        finally:
            writing.cancel()
            await asyncio.wait([writing])
        await load.command("reset")
        after = await _latencies(bench, load, await writer.insert_at_rate(PAUSE_RATE, bench.size.seconds))
        return {
            PAUSE: during[-1],
            AFTERWARDS_P50: quantile(after, 0.5),
            AFTERWARDS_P99: quantile(after, 0.99),
            UNDELIVERED: 100 * (during + after).count(float("inf")) / len(during + after),
        }


async def _latencies(bench: Bench, load: LoadGenerator, written: int) -> list[float]:
    await load.wait_for_frames(written, bench.size.grace_seconds)
    return latencies(await load.command("report"), 1, written)


async def kill_relay(cluster: Cluster) -> None:
    await cluster.relay.process.kill()


async def kill_all_nodes(cluster: Cluster) -> None:
    await asyncio.gather(*(cluster.nodes.kill(number) for number in range(len(cluster.nodes))))


async def kill_leader(cluster: Cluster) -> None:
    """Kill the node that leads the stream of the facts."""
    await cluster.nodes.kill(int((await wait_for_replicas(cluster.nodes)).removeprefix("nats")) - 1)


async def wait_for_replicas(nodes: BrokerNodes) -> str:
    """Wait until every node of several has the stream of the facts; return the name of the one that leads it."""
    client = await nats.connect(nodes.urls.split(","))
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                for stream in await client.jetstream().streams_info():
                    cluster, is_ours = stream.cluster, str(stream.config.name).startswith("orderwire_")
                    if is_ours and cluster is not None and cluster.leader is not None:
                        followers = cluster.replicas or []
                        if len(followers) == len(nodes) - 1 and all(follower.current for follower in followers):
                            return str(cluster.leader)
                await asyncio.sleep(0.1)
    finally:
        await client.close()
