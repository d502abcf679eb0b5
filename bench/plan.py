"""The scenarios, with their subjects, in the order in which they run."""

from __future__ import annotations

from functools import partial

from bench.fanout import fan_out
from bench.inserts import burst, end_to_end, resume, storm
from bench.scenario import Scenario
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
    PEER_SUBJECTS,
    SERVER,
    SERVER_MILLION,
    SERVER_TWO,
    WEBSOCKETS,
    Subject,
)
from bench.writers import (
    BULK_ROWS,
    NAIVE_NOTIFY,
    NO_SHOP_TRIGGERS,
    NO_TRIGGERS,
    SETUPS,
    WITH_SERVER,
    WITH_SHOP,
    WITH_SHOP_JOIN,
    bulk_statements,
    notify_suppressed,
    small_transactions,
)

# The ratios of a scenario refer to the one of these that is among its subjects.
BASELINES = (C_LOOP.name, HUB_PLAIN.name, NO_TRIGGERS.name)

LISTENING_SUBJECTS = (SERVER, *(peer for peer in PEER_SUBJECTS if peer.listens_to_postgres))
QUICK_LISTENING_SUBJECTS = tuple(subject for subject in LISTENING_SUBJECTS if subject.in_quick_run)


def _fan_out(clients: int, *extra: Subject) -> Scenario:
    subjects = (C_LOOP, HUB, *extra, *PEER_SUBJECTS)
    quick = (C_LOOP, HUB, *PEER_SUBJECTS) if clients == 1000 else ()
    return Scenario.for_subjects(f"fan-out, {clients:,} clients", fan_out, subjects, quick, clients=clients)


def _insert(rate: int, *extra: Subject) -> Scenario:
    name = f"INSERT to the last of 1,000 clients, {rate:,} events/s"
    quick = QUICK_LISTENING_SUBJECTS if rate < 3000 else ()
    return Scenario.for_subjects(name, end_to_end, (*LISTENING_SUBJECTS, *extra), quick, clients=1000, rate=rate)


def _writers(count: int) -> Scenario:
    return Scenario.for_subjects(f"writers: {count} at once, a commit for each row", small_transactions, SETUPS, writers=count)


FAN_OUT = {
    100: _fan_out(100),
    1000: _fan_out(1000, HUB_TRANSPORT, HUB_DESCRIPTOR, HUB_AIO, HUB_IO_URING),
    5000: _fan_out(5000),
    # With 1,000 connections the memory per connection is only known roughly.
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
INSERT = {50: _insert(50, SERVER_MILLION), 1000: _insert(1000), 3000: _insert(3000)}
# At this rate events are not batched, neither with one worker nor with two.
TWO_WORKERS = Scenario.for_subjects(
    "workers: 20 events/s to 1,000 clients", end_to_end, (SERVER, SERVER_TWO), clients=1000, rate=20
)
STORM = Scenario.for_subjects("storm: 500 clients at 10 events/s while others connect", storm, LISTENING_SUBJECTS, clients=500)
RESUME = Scenario.for_subjects(
    "resume: 1,000 clients come back at once", resume, (SERVER, SERVER_MILLION), (SERVER,), clients=1000
)
BURST = Scenario.for_subjects("burst: one statement, 1,000 clients", burst, LISTENING_SUBJECTS, clients=1000)
WRITERS = {count: _writers(count) for count in (1, 8, 16)}
BULK = Scenario.for_subjects(
    f"writers: one statement of {BULK_ROWS:,} rows",
    bulk_statements,
    (NO_TRIGGERS, NAIVE_NOTIFY, WITH_SERVER, NO_SHOP_TRIGGERS, WITH_SHOP, WITH_SHOP_JOIN),
)
NOTIFY_SUPPRESSED = Scenario.for_subjects("writers: NOTIFY suppressed, 400 commits/s of others", notify_suppressed, (SERVER,))

SCENARIOS = (
    FAN_OUT[1000],
    INSERT[50],
    INSERT[1000],
    COMPRESSED,
    FAN_OUT[100],
    FAN_OUT[5000],
    FAN_OUT[10_000],
    STORM,
    RESUME,
    BURST,
    INSERT[3000],
    TWO_WORKERS,
    *WRITERS.values(),
    BULK,
    NOTIFY_SUPPRESSED,
)
