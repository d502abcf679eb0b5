"""What the server is to reach, and whether it did. Ratios are taken round by round: of what was measured side by side."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from bench import plan, writers
from bench.fanout import HANDSHAKE, MEMORY, deliveries, wire_bytes
from bench.inserts import BUSIEST, CPU, LOST, P50, P99, WORST
from bench.report import Reached, Result
from bench.scenario import Named, Scenario
from bench.subjects import (
    AIOHTTP,
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
    YARDSTICK,
)

# What was measured, of whom, in which scenario. Raises KeyError when that was not measured.
Look = Callable[[Scenario, Named, str], float]
ONE, SIXTEEN = deliveries(1), deliveries(16)


class FellOver(Exception):
    """It was tried, and our own server failed."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A line of the table."""

    what: str
    bound: float
    of: Callable[[Look], float]
    at_least: bool = False

    def reached(self, results: Iterable[Result]) -> Reached:
        """By the median of the rounds."""
        found = {(r.round, r.scenario, r.subject): r for r in results}
        values = []
        for number in sorted({number for number, _, _ in found}):
            try:
                values.append(self.of(_looking(found, number)))
            except KeyError:
                continue
            except FellOver:
                values.append(0.0 if self.at_least else math.inf)
        median = statistics.median(values) if values else math.nan
        met = (median >= self.bound if self.at_least else median <= self.bound) if values else None
        return Reached(self.what, f"{'≥' if self.at_least else '≤'} {self.bound:g}", values, met)


def _looking(found: dict[tuple[int, str, str], Result], number: int) -> Look:
    def look(scenario: Scenario, subject: Named, measure: str) -> float:
        result = found[number, scenario.name, subject.name]
        if result.failure and subject.name.startswith(SERVER.name):
            raise FellOver
        return result.measures[measure]

    return look


def _value(scenario: Scenario, own: Named, measure: str) -> Callable[[Look], float]:
    return lambda look: look(scenario, own, measure)


def _ratio(scenario: Scenario, measure: str, own: Named, other: Named) -> Callable[[Look], float]:
    def of(look: Look) -> float:
        mine, theirs = look(scenario, own, measure), look(scenario, other, measure)
        return mine if math.isinf(mine) else mine / theirs

    return of


def _flat(look: Look) -> float:
    costs = [1 / look(scenario, HUB, ONE) for scenario in plan.FAN_OUT.values()]
    return max(costs) / min(costs)


def _table() -> Iterable[Wanted]:
    thousand, compressed = plan.FAN_OUT[1000], plan.COMPRESSED
    for own, peer, bound in (
        *((HUB_IO_URING, YARDSTICK, 1.0), (HUB_AIO, YARDSTICK, 0.85), (HUB_DESCRIPTOR, YARDSTICK, 0.85)),
        *((HUB_TRANSPORT, YARDSTICK, 0.85), (HUB, WEBSOCKETS, 2.0), (HUB, NODE, 1.7)),
        *((HUB, AIOHTTP, 1.6), (HUB, NCHAN, 1.5), (HUB, FASTAPI, 4.0)),
    ):
        yield Wanted(f"{ONE}: {own.name} against {peer.name}", bound, _ratio(thousand, ONE, own, peer), at_least=True)
    for peer, bound in ((YARDSTICK, 0.9), (AIOHTTP, 20), (UVLOOP, 5), (WEBSOCKETS, 8), (NODE, 20), (NCHAN, 15)):
        yield Wanted(f"{SIXTEEN}: against {peer.name}", bound, _ratio(thousand, SIXTEEN, HUB, peer), at_least=True)
    fast = plan.INSERTED[1000]
    yield Wanted("1,000 events/s: ms from INSERT to the last client, p99", 50, _value(fast, SERVER, P99))
    yield Wanted("1,000 events/s: processors used", 1, _value(fast, SERVER, CPU))
    yield Wanted("1,000 events/s: connections lost", 0, _value(fast, SERVER, LOST))
    yield Wanted("3,000 events/s: ms from INSERT to the last client, p99", 60, _value(plan.INSERTED[3000], SERVER, P99))
    for peer, bound in ((NODE, 0.6), (AIOHTTP, 0.6), (FASTAPI, 0.1)):
        text = f"50 events/s: ms from INSERT to the last client, p50, against {peer.name}"
        yield Wanted(text, bound, _ratio(plan.INSERTED[50], P50, SERVER, peer))
    for clients in (1000, 10_000):
        for own, bound in ((HUB_TRANSPORT, 2.0), (HUB_DESCRIPTOR, 1.5)):
            yield Wanted(f"{MEMORY}, {clients:,} of them: {own.name}", bound, _value(plan.FAN_OUT[clients], own, MEMORY))
    yield Wanted("compressed: bytes of plain", 0.25, _ratio(compressed, wire_bytes(1), HUB_COMPRESSED, HUB_PLAIN))
    for what, other, bound in (("plain", HUB_PLAIN, 0.85), ("aiohttp's compression", AIOHTTP, 2.5)):
        text = f"compressed: deliveries per CPU-second, one a turn, against {what}"
        yield Wanted(text, bound, _ratio(compressed, ONE, HUB_COMPRESSED, other), at_least=True)
    yield Wanted(f"{HANDSHAKE}, against {AIOHTTP.name}", 0.7, _ratio(thousand, HANDSHAKE, HUB, AIOHTTP))
    yield Wanted("storm: worst ms to the last of those who were connected", 20, _value(plan.STORM, SERVER, WORST))
    for count in (8, 16):
        text = f"{count} writers, durable commits, against no triggers"
        yield Wanted(
            text, 0.75, _ratio(plan.WRITERS[count], writers.COMMITS, writers.WATCHED, writers.NO_TRIGGERS), at_least=True
        )
    for statement, bound in (("INSERT … SELECT", 1.8), ("UPDATE", 2.2), ("COPY", 2.2)):
        text = f"{statement} of 100,000 rows, time against no triggers"
        yield Wanted(text, bound, _ratio(plan.BULK, writers.seconds(statement), writers.WATCHED, writers.NO_TRIGGERS))
    yield Wanted("behind the gate: ms from INSERT to a client, p50", 30, _value(plan.GATE, SERVER, P50))
    yield Wanted("CPU time of one event per client, from 100 to 10,000 clients: highest by lowest", 1.3, _flat)
    yield Wanted(
        "two workers against one: deliveries per CPU-second of the busiest process",
        1.7,
        _ratio(plan.TWO_WORKERS, BUSIEST, SERVER_TWO, SERVER),
        at_least=True,
    )


WANTED = tuple(_table())
