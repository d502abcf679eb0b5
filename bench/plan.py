"""The scenarios, with their subjects, in the order in which they run."""

from __future__ import annotations

from functools import partial

from bench.cluster import (
    added_latency,
    cpu_per_event,
    kill_all_nodes,
    kill_leader,
    kill_relay,
    pause,
    postgres_cpu_per_commit,
)
from bench.fanout import fan_out
from bench.idle import idle
from bench.inserts import burst, end_to_end, resume, storm
from bench.load import ClientKind
from bench.one_client import one_client
from bench.scenario import Scenario
from bench.stages import stages
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
    HUB_TLS,
    HUB_TRANSPORT,
    LISTEN_CALLBACK,
    PEER_SUBJECTS,
    SERVER,
    SERVER_ALWAYS_NOTIFY,
    SERVER_FOUR,
    SERVER_MILLION,
    SERVER_NEVER_NOTIFY,
    SERVER_NOTING,
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
    SETUPS_ON_SLOW_DISK,
    WITH_SERVER,
    WITH_SHOP,
    WITH_SHOP_JOIN,
    bulk_statements,
    notify_suppressed,
    small_transactions,
)

# The ratios of a scenario refer to the one of these that is among its subjects.
BASELINES = (C_LOOP.name, HUB_PLAIN.name, NO_TRIGGERS.name, LISTEN_CALLBACK.name, HUB_TRANSPORT.name)

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


def _one_client(rate: int, *, durable: bool, slow_disk: bool = False) -> Scenario:
    commits = "durable on a slow disk, " if slow_disk else "durable, " if durable else ""
    return Scenario.for_subjects(
        f"INSERT to one client, {commits}{rate} events/s",
        one_client,
        (LISTEN_CALLBACK, SERVER, SERVER_ALWAYS_NOTIFY, SERVER_NEVER_NOTIFY),
        (LISTEN_CALLBACK, SERVER) if rate in (20, 200) and not durable else (),
        slow_disk=slow_disk,
        rate=rate,
        durable=durable,
    )


def _writers(count: int) -> Scenario:
    return Scenario.for_subjects(f"writers: {count} at once, a commit for each row", small_transactions, SETUPS, writers=count)


def _writers_on_slow_disk(count: int) -> Scenario:
    name = f"writers on a slow disk: {count} at once, a commit for each row"
    return Scenario.for_subjects(name, small_transactions, SETUPS_ON_SLOW_DISK, slow_disk=True, writers=count)


FAN_OUT = {
    100: _fan_out(100),
    1000: _fan_out(1000, HUB_TRANSPORT, HUB_DESCRIPTOR, HUB_AIO, HUB_IO_URING),
    5000: _fan_out(5000),
    # With 1,000 connections the memory per connection is only known roughly.
    10_000: _fan_out(10_000, HUB_TRANSPORT, HUB_DESCRIPTOR),
}


def _fan_out_by_kind(
    name: str, *kinds: tuple[Subject, ClientKind], quick: tuple[Subject, ...] = (), count_bytes: bool = False
) -> Scenario:
    """Fan-out to 1,000 clients, which connect in a way of their own to each subject."""
    cases = {
        subject.name: partial(fan_out, subject=subject, clients=1000, kind=kind, count_bytes=count_bytes)
        for subject, kind in kinds
    }
    return Scenario(f"{name}, 1,000 clients", cases, {subject.name for subject in quick})


COMPRESSED = _fan_out_by_kind(
    "compressed",
    (HUB_PLAIN, ClientKind.WEBSOCKET),
    *((subject, ClientKind.DEFLATE) for subject in (HUB_COMPRESSED, AIOHTTP, WEBSOCKETS, FASTAPI)),
    quick=(HUB_PLAIN, HUB_COMPRESSED, AIOHTTP),
    count_bytes=True,
)
SSE = _fan_out_by_kind("Server-Sent Events", (HUB_TRANSPORT, ClientKind.WEBSOCKET), (HUB_SSE, ClientKind.SSE))
TLS = _fan_out_by_kind("TLS", (HUB_TRANSPORT, ClientKind.WEBSOCKET), (HUB_TLS, ClientKind.TLS))
INSERT = {50: _insert(50, SERVER_MILLION), 1000: _insert(1000), 3000: _insert(3000)}
ONE_CLIENT = {rate: _one_client(rate, durable=False) for rate in (5, 20, 40, 60, 200, 500)}
ONE_CLIENT_DURABLE = {rate: _one_client(rate, durable=True) for rate in ONE_CLIENT}
ONE_CLIENT_SLOW_DISK = {rate: _one_client(rate, durable=True, slow_disk=True) for rate in (60, 200)}
STAGES = Scenario.for_subjects("stages from INSERT to one client, 20 events/s", stages, (SERVER_NOTING,), rate=20)
# At this rate events are not batched, neither with one worker nor with two.
TWO_WORKERS = Scenario.for_subjects(
    "workers: 20 events/s to 1,000 clients", end_to_end, (SERVER, SERVER_TWO), clients=1000, rate=20
)
WORKERS_READING = Scenario.for_subjects(
    "workers: 300 events/s to 100 clients", end_to_end, (SERVER, SERVER_TWO, SERVER_FOUR), clients=100, rate=300
)
STORM = Scenario.for_subjects("storm: 500 clients at 10 events/s while others connect", storm, LISTENING_SUBJECTS, clients=500)
RESUME = Scenario.for_subjects(
    "resume: 1,000 clients come back at once", resume, (SERVER, SERVER_MILLION), (SERVER,), clients=1000
)
BURST = Scenario.for_subjects("burst: one statement, 1,000 clients", burst, LISTENING_SUBJECTS, clients=1000)
WRITERS = {count: _writers(count) for count in (1, 8, 16)}
WRITERS_SLOW_DISK = {count: _writers_on_slow_disk(count) for count in WRITERS}
IDLE = {
    clients: Scenario.for_subjects(f"idle: {clients:,} clients connected", idle, (SERVER,), clients=clients)
    for clients in (1000, 0)
}
BULK = Scenario.for_subjects(
    f"writers: one statement of {BULK_ROWS:,} rows",
    bulk_statements,
    (NO_TRIGGERS, NAIVE_NOTIFY, WITH_SERVER, NO_SHOP_TRIGGERS, WITH_SHOP, WITH_SHOP_JOIN),
)
NOTIFY_SUPPRESSED = Scenario.for_subjects(
    "writers: NOTIFY suppressed, 400 commits/s of others", notify_suppressed, (SERVER_NEVER_NOTIFY,)
)
CLUSTER_LATENCY = {
    rate: Scenario.for_subjects(f"cluster: INSERT to an edge, {rate} events/s", added_latency, (EDGE,), rate=rate)
    for rate in (20, 900)
}
CLUSTER_CPU_RATE = 300
CLUSTER_CPU = Scenario.for_subjects(
    f"cluster: CPU of a server, {CLUSTER_CPU_RATE} events/s", cpu_per_event, (SERVER, EDGE), rate=CLUSTER_CPU_RATE
)
CLUSTER_CPU_CUSTOMERS = Scenario.for_subjects(
    f"cluster: CPU of a server whose customers have no orders, {CLUSTER_CPU_RATE} events/s",
    cpu_per_event,
    (SERVER, EDGE),
    rate=CLUSTER_CPU_RATE,
    customers=True,
)
CLUSTER_POSTGRES_RATE = 200
CLUSTER_POSTGRES = Scenario(
    f"cluster: CPU of PostgreSQL, 8 writers, {CLUSTER_POSTGRES_RATE} commits/s",
    {
        subject.name: partial(postgres_cpu_per_commit, subject=subject, edges=edges, rate=CLUSTER_POSTGRES_RATE)
        for subject, edges in ((EDGE, 1), (EIGHT_EDGES, 8))
    },
)
RELAY_KILLED, LEADER_KILLED, NATS_KILLED = (
    Scenario.for_subjects(f"cluster: {what} is killed", pause, (EDGE,), kill=kill)
    for what, kill in (("the relay", kill_relay), ("the stream's leader", kill_leader), ("all of NATS", kill_all_nodes))
)

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
    WORKERS_READING,
    SSE,
    TLS,
    *IDLE.values(),
    *ONE_CLIENT.values(),
    *ONE_CLIENT_DURABLE.values(),
    STAGES,
    *ONE_CLIENT_SLOW_DISK.values(),
    *WRITERS.values(),
    *WRITERS_SLOW_DISK.values(),
    BULK,
    NOTIFY_SUPPRESSED,
    *CLUSTER_LATENCY.values(),
    CLUSTER_CPU,
    CLUSTER_CPU_CUSTOMERS,
    CLUSTER_POSTGRES,
    RELAY_KILLED,
    LEADER_KILLED,
    NATS_KILLED,
)
