"""What is measured, with whom, in which order."""

from __future__ import annotations

from functools import partial

from bench.fanout import fan_out
from bench.inserts import burst, end_to_end, resume, storm
from bench.scenario import Scenario
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
    PEER_SUBJECTS,
    SERVER,
    SERVER_MILLION,
    SERVER_TWO,
    WEBSOCKETS,
    YARDSTICK,
    Subject,
)
from bench.writers import BULK_ROWS, NAIVE_NOTIFY, NO_TRIGGERS, WATCHED, WATCHES, behind_the_gate, big_statements, commits

# What the ratios of a scenario refer to, where one of these is in it.
YARDSTICKS = (YARDSTICK.name, HUB_PLAIN.name, NO_TRIGGERS.name)

LISTENING = (SERVER, *(peer for peer in PEER_SUBJECTS if peer.listens))
QUICK_LISTENING = tuple(subject for subject in LISTENING if subject.quick)


def _fan_out(clients: int, *more: Subject) -> Scenario:
    subjects = (YARDSTICK, HUB, *more, *PEER_SUBJECTS)
    quick = (YARDSTICK, HUB, *PEER_SUBJECTS) if clients == 1000 else ()
    return Scenario.of(f"fan-out, {clients:,} clients", fan_out, subjects, quick, clients=clients)


def _insert(rate: int, *more: Subject) -> Scenario:
    name = f"INSERT to the last of 1,000 clients, {rate:,} events/s"
    quick = QUICK_LISTENING if rate < 3000 else ()
    return Scenario.of(name, end_to_end, (*LISTENING, *more), quick, clients=1000, rate=rate)


def _writers(count: int) -> Scenario:
    return Scenario.of(f"writers: {count} at once, a commit for each row", commits, WATCHES, writers=count)


FAN_OUT = {
    100: _fan_out(100),
    1000: _fan_out(1000, HUB_TRANSPORT, HUB_DESCRIPTOR, HUB_AIO, HUB_IO_URING),
    5000: _fan_out(5000),
    # Memory, too, which a thousand connections tell only roughly.
    10_000: _fan_out(10_000, HUB_TRANSPORT, HUB_DESCRIPTOR),
}
COMPRESSED = Scenario(
    "compressed, 1,000 clients",
    {
        subject.name: partial(fan_out, subject=subject, clients=1000, compressed=subject is not HUB_PLAIN)
        for subject in (HUB_PLAIN, HUB_COMPRESSED, AIOHTTP, WEBSOCKETS, FASTAPI)
    },
    quick=(HUB_PLAIN.name, HUB_COMPRESSED.name, AIOHTTP.name),
)
INSERTED = {50: _insert(50, SERVER_MILLION), 1000: _insert(1000), 3000: _insert(3000)}
# So few that nothing is joined, on either side.
TWO_WORKERS = Scenario.of("workers: 20 events/s to 1,000 clients", end_to_end, (SERVER, SERVER_TWO), clients=1000, rate=20)
STORM = Scenario.of("storm: 500 clients at 10 events/s while others connect", storm, LISTENING, clients=500)
RESUME = Scenario.of("resume: 1,000 clients come back at once", resume, (SERVER, SERVER_MILLION), (SERVER,), clients=1000)
BURST = Scenario.of("burst: one statement, 1,000 clients", burst, LISTENING, clients=1000)
WRITERS = {count: _writers(count) for count in (1, 8, 16)}
BULK = Scenario.of(f"writers: one statement of {BULK_ROWS:,} rows", big_statements, (NO_TRIGGERS, NAIVE_NOTIFY, WATCHED))
GATE = Scenario.of("writers: behind the gate, 400 commits/s of others", behind_the_gate, (SERVER,))

SCENARIOS = (
    FAN_OUT[1000],
    INSERTED[50],
    INSERTED[1000],
    COMPRESSED,
    FAN_OUT[100],
    FAN_OUT[5000],
    FAN_OUT[10_000],
    STORM,
    RESUME,
    BURST,
    INSERTED[3000],
    TWO_WORKERS,
    *WRITERS.values(),
    BULK,
    GATE,
)
