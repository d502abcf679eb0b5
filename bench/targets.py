"""The performance targets and their evaluation. A ratio is taken within one round, of values measured one after the other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench import plan, writers
from bench.fanout import HANDSHAKE, MEMORY, deliveries, wire_bytes
from bench.inserts import BUSIEST, CPU, LOST, P50, P99, WORST
from bench.report import Result, TargetResult
from bench.scenario import Named, Scenario
from bench.subjects import (
    AIOHTTP,
    C_LOOP,
    FASTAPI,
    HUB,
    HUB_AIO,
    HUB_COMPRESSED,
    HUB_DESCRIPTOR,
    HUB_IO_URING,
    HUB_PLAIN,
    HUB_TRANSPORT,
    NCHAN,
    NODE,
    SERVER,
    SERVER_TWO,
    UVLOOP,
    WEBSOCKETS,
)

# (scenario, subject, measure) → value in one round. Raises KeyError when it was not measured.
Lookup = Callable[[Scenario, Named, str], float]
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
    yield Target("1,000 events/s: processors used", 1, _value(fast, SERVER, CPU))
    yield Target("1,000 events/s: connections lost", 0, _value(fast, SERVER, LOST))
    yield Target("3,000 events/s: ms from INSERT to the last client, p99", 60, _value(plan.INSERT[3000], SERVER, P99))
    for peer, bound in ((NODE, 0.6), (AIOHTTP, 0.6), (FASTAPI, 0.1)):
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
    for count in (8, 16):
        text = f"{count} writers, durable commits, against no triggers"
        yield Target(
            text, 0.75, _ratio(plan.WRITERS[count], writers.COMMITS, writers.WITH_SERVER, writers.NO_TRIGGERS), at_least=True
        )
    for statement, bound in (("INSERT … SELECT", 1.8), ("UPDATE", 2.2), ("COPY", 2.2)):
        text = f"{statement} of 100,000 rows, time against no triggers"
        yield Target(
            text, bound, _ratio(plan.BULK, writers.statement_seconds(statement), writers.WITH_SERVER, writers.NO_TRIGGERS)
        )
    yield Target("NOTIFY suppressed: ms from INSERT to a client, p50", 30, _value(plan.NOTIFY_SUPPRESSED, SERVER, P50))
    yield Target("CPU time of one event per client, from 100 to 10,000 clients: highest by lowest", 1.3, _flatness)
    yield Target(
        "two workers against one: deliveries per CPU-second of the busiest process",
        1.7,
        _ratio(plan.TWO_WORKERS, BUSIEST, SERVER_TWO, SERVER),
        at_least=True,
    )


TARGETS = tuple(_targets())
