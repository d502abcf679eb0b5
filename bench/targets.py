"""The performance targets and their evaluation. A ratio is taken within one round, of values measured one after the other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench import cluster, idle, plan, writers
from bench.fanout import HANDSHAKE, MEMORY, deliveries, wire_bytes
from bench.inserts import BUSIEST, CPU, LOST, P50, P99, READING, WORST
from bench.report import Result, TargetResult
from bench.scenario import Named, Scenario
from bench.subjects import (
    AIOHTTP,
    C_LOOP,
    EDGE,
    EIGHT_EDGES,
    FASTAPI,
    HUB,
    HUB_AIO,
    HUB_COMPRESSED,
    HUB_DESCRIPTOR,
    HUB_IO_URING,
    HUB_PLAIN,
    HUB_SSE,
    HUB_TRANSPORT,
    LISTEN_CALLBACK,
    NCHAN,
    NODE,
    SERVER,
    SERVER_NEVER_NOTIFY,
    SERVER_TWO,
    SOCKETIFY,
    UVLOOP,
    WEBSOCKETS,
)

# (scenario, subject, measure) → value in one round. Raises KeyError when it was not measured.
Lookup = Callable[[Scenario, Named, str], float]
# Above, a server that gathers events into batches is not meant to be as fast as a callback for each.
HIGHEST_RATE_OF_ONE_CLIENT_TARGETS = 200
DELIVERIES_BATCHES_OF_ONE, DELIVERIES_BATCHES_OF_SIXTEEN = deliveries(1), deliveries(16)


class ServerFailed(Exception):
    """Orderwire failed in this round: the target counts as missed."""


@dataclass(frozen=True, slots=True)
class Target:
    """One target: a bound, and how to compute the value from the measures of a round."""

    what: str
    bound: float
    measure: Callable[[Lookup], float]
    at_least: bool = False

    def evaluate(self, results: Iterable[Result]) -> TargetResult:
        """Compare the median of the rounds with the bound."""
        found = {(r.round, r.scenario, r.subject): r for r in results}
        values = []
        for number in sorted({number for number, _, _ in found}):
            try:
                values.append(self.measure(_lookup_in_round(found, number)))
            except KeyError:
                continue
            except ServerFailed:
                values.append(0.0 if self.at_least else math.inf)
        median = statistics.median(values) if values else math.nan
        met = (median >= self.bound if self.at_least else median <= self.bound) if values else None
        return TargetResult(self.what, f"{'≥' if self.at_least else '≤'} {self.bound:g}", values, met)


def _lookup_in_round(found: dict[tuple[int, str, str], Result], number: int) -> Lookup:
    def look(scenario: Scenario, subject: Named, measure: str) -> float:
        result = found[number, scenario.name, subject.name]
        if result.failure and subject.name.startswith(SERVER.name):
            raise ServerFailed
        return result.measures[measure]

    return look


def _value(scenario: Scenario, own: Named, measure: str) -> Callable[[Lookup], float]:
    return lambda look: look(scenario, own, measure)


def _ratio(scenario: Scenario, measure: str, own: Named, other: Named) -> Callable[[Lookup], float]:
    def of(look: Lookup) -> float:
        value, base = look(scenario, own, measure), look(scenario, other, measure)
        return value if math.isinf(value) else value / base

    return of


def _flatness(look: Lookup) -> float:
    costs = [1 / look(scenario, HUB, DELIVERIES_BATCHES_OF_ONE) for scenario in plan.FAN_OUT.values()]
    return max(costs) / min(costs)


def _targets() -> Iterable[Target]:
    thousand, compressed = plan.FAN_OUT[1000], plan.COMPRESSED
    for own, peer, bound in (
        (HUB_IO_URING, C_LOOP, 1.0),
        (HUB_AIO, C_LOOP, 0.85),
        (HUB_DESCRIPTOR, C_LOOP, 0.85),
        (HUB_TRANSPORT, C_LOOP, 0.85),
        (HUB, WEBSOCKETS, 2.0),
        (HUB, NODE, 1.7),
        (HUB, AIOHTTP, 1.6),
        (HUB, NCHAN, 1.5),
        (HUB, FASTAPI, 4.0),
    ):
        yield Target(
            f"{DELIVERIES_BATCHES_OF_ONE}: {own.name} against {peer.name}",
            bound,
            _ratio(thousand, DELIVERIES_BATCHES_OF_ONE, own, peer),
            at_least=True,
        )
    for peer, bound in ((C_LOOP, 0.9), (AIOHTTP, 20), (UVLOOP, 5), (WEBSOCKETS, 8), (NODE, 20), (NCHAN, 15)):
        yield Target(
            f"{DELIVERIES_BATCHES_OF_SIXTEEN}: against {peer.name}",
            bound,
            _ratio(thousand, DELIVERIES_BATCHES_OF_SIXTEEN, HUB, peer),
            at_least=True,
        )
    fast = plan.INSERT[1000]
    yield Target("1,000 events/s: ms from INSERT to the last client, p99", 50, _value(fast, SERVER, P99))
    yield Target("1,000 events/s: processors used", 0.7, _value(fast, SERVER, CPU))
    for measure, name, bound in ((P50, "p50", 1.2), (P99, "p99", 1.1)):
        text = f"1,000 events/s: ms from INSERT to the last client, {name}, against {SOCKETIFY.name}"
        yield Target(text, bound, _ratio(fast, measure, SERVER, SOCKETIFY))
    yield Target("1,000 events/s: connections lost", 0, _value(fast, SERVER, LOST))
    yield Target("3,000 events/s: ms from INSERT to the last client, p99", 60, _value(plan.INSERT[3000], SERVER, P99))
    for peer, bound in ((SOCKETIFY, 1.15), (NODE, 0.65), (NODE, 0.6), (AIOHTTP, 0.6), (FASTAPI, 0.1)):
        text = f"50 events/s: ms from INSERT to the last client, p50, against {peer.name}"
        yield Target(text, bound, _ratio(plan.INSERT[50], P50, SERVER, peer))
    for clients in (1000, 10_000):
        for own, bound in ((HUB_TRANSPORT, 2.0), (HUB_DESCRIPTOR, 1.5)):
            yield Target(f"{MEMORY}, {clients:,} of them: {own.name}", bound, _value(plan.FAN_OUT[clients], own, MEMORY))
    yield Target("compressed: bytes of plain", 0.25, _ratio(compressed, wire_bytes(1), HUB_COMPRESSED, HUB_PLAIN))
    for what, other, bound in (("plain", HUB_PLAIN, 0.85), ("aiohttp's compression", AIOHTTP, 2.5)):
        text = f"compressed: deliveries per CPU-second, batches of one, against {what}"
        yield Target(text, bound, _ratio(compressed, DELIVERIES_BATCHES_OF_ONE, HUB_COMPRESSED, other), at_least=True)
    yield Target(f"{HANDSHAKE}, against {AIOHTTP.name}", 0.7, _ratio(thousand, HANDSHAKE, HUB, AIOHTTP))
    yield Target("storm: worst ms to the last of the connected clients", 20, _value(plan.STORM, SERVER, WORST))
    yield from _one_client_targets()
    yield from _sse_targets()
    yield Target("idle, 1,000 clients: CPU, % of a core", 0.5, _value(plan.IDLE[1000], SERVER, idle.CPU_PERCENT))
    yield from _writers_targets()
    for statement, bound in (("INSERT … SELECT", 1.75), ("UPDATE", 1.64), ("COPY", 1.9)):
        text = f"{statement} of 100,000 rows, time against no triggers"
        yield Target(
            text, bound, _ratio(plan.BULK, writers.statement_seconds(statement), writers.WITH_SERVER, writers.NO_TRIGGERS)
        )
    yield Target(
        "NOTIFY suppressed: ms from INSERT to a client, p50", 30, _value(plan.NOTIFY_SUPPRESSED, SERVER_NEVER_NOTIFY, P50)
    )
    yield Target("CPU time of one event per client, from 100 to 10,000 clients: highest by lowest", 1.3, _flatness)
    yield Target(
        "two workers against one: deliveries per CPU-second of the busiest process",
        1.7,
        _ratio(plan.TWO_WORKERS, BUSIEST, SERVER_TWO, SERVER),
        at_least=True,
    )
    # Two that each read cost twice as much as one.
    yield Target(
        "two workers against one: CPU of PostgreSQL for the server's connections",
        1.2,
        _ratio(plan.WORKERS_READING, READING, SERVER_TWO, SERVER),
    )
    yield from _cluster_targets()


def _cluster_targets() -> Iterable[Target]:
    for rate, bound in ((20, 2.0), (900, 3.0)):
        text = f"{rate} events/s: {cluster.ADDED_P50}"
        yield Target(text, bound, _value(plan.CLUSTER_LATENCY[rate], EDGE, cluster.ADDED_P50))
    for what, scenario, bound in (
        ("an edge", plan.CLUSTER_CPU, 0.8),
        ("an edge whose customers have no orders", plan.CLUSTER_CPU_CUSTOMERS, 0.2),
    ):
        text = f"{cluster.EVENT_CPU}: {what}, against a listener of its own"
        yield Target(text, bound, _ratio(scenario, cluster.EVENT_CPU, EDGE, SERVER))
    yield Target(
        f"{cluster.COMMIT_CPU}: with eight edges, against one",
        1.03,
        _ratio(plan.CLUSTER_POSTGRES, cluster.COMMIT_CPU, EIGHT_EDGES, EDGE),
    )
    for name, scenario in (("relay", plan.RELAY_KILLED), ("stream's leader", plan.LEADER_KILLED)):
        yield Target(f"the {name} is killed: {cluster.PAUSE}", 2500, _value(scenario, EDGE, cluster.PAUSE))
    yield Target(
        f"all of NATS is killed: {cluster.AFTERWARDS_P99}", 500, _value(plan.NATS_KILLED, EDGE, cluster.AFTERWARDS_P99)
    )


def _one_client_targets() -> Iterable[Target]:
    for rate, scenario in plan.ONE_CLIENT.items():
        if rate > HIGHEST_RATE_OF_ONE_CLIENT_TARGETS:
            continue
        for measure, name, bound in ((P50, "p50", 1.6), (P99, "p99", 3)):
            text = f"one client, {rate} events/s: ms from INSERT, {name}, against {LISTEN_CALLBACK.name}"
            yield Target(text, bound, _ratio(scenario, measure, SERVER, LISTEN_CALLBACK))


def _sse_targets() -> Iterable[Target]:
    for measure, bound in ((DELIVERIES_BATCHES_OF_ONE, 0.85), (DELIVERIES_BATCHES_OF_SIXTEEN, 0.7)):
        text = f"{measure}: {HUB_SSE.name} against {HUB_TRANSPORT.name}"
        yield Target(text, bound, _ratio(plan.SSE, measure, HUB_SSE, HUB_TRANSPORT), at_least=True)


def _writers_targets() -> Iterable[Target]:
    # Of two bounds for one value, the weaker must never be lost and the other is the aim.
    for count, bound in ((1, 0.8), (8, 0.68), (8, 0.75), (16, 0.66), (16, 0.75)):
        of = _ratio(plan.WRITERS[count], writers.COMMITS, writers.WITH_SERVER, writers.NO_TRIGGERS)
        yield Target(f"writers, {count} at once: durable commits, against no triggers", bound, of, at_least=True)
    for count, scenario in plan.WRITERS.items():
        of = _ratio(scenario, writers.COMMITS, writers.NO_SERVER, writers.JOURNAL_ALONE)
        yield Target(f"writers, {count} at once: no server against the journal alone", 0.97, of, at_least=True)


TARGETS = tuple(_targets())
