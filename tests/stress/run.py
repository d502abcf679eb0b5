"""One stress run: starts everything on an empty database, injects faults, and reports failures."""

from __future__ import annotations

import asyncio
import json
import random
import resource
import statistics
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

from push.journal.events import Cursor, EventId, Snapshot, event_tag
from push.journal.replay import MAX_REPLAYED
from tests.stress.clients import Client, FetchedAnew, ReceivedEvents, abort_silent_connections
from tests.stress.faults import ALL_FAULT_KINDS, FAULT_KINDS, FaultInjector, InjectedFault, draw_schedule
from tests.stress.harness import Harness, connect_when_recovered, memory_mib, open_files
from tests.stress.tables import TABLES
from tests.stress.writers import Writers
from tests.support import WORKERS

# The time limit for each condition after the last fault.
SETTLE_TIMEOUT_SECONDS = 90.0
# After all clients have disconnected: the recent events (10,000, 16 MiB of messages) and memory that the allocator retains.
MAX_MEMORY_GROWTH_MIB = 64.0 * WORKERS
# The connections of the pool, opened on first use, and one connection that is being replaced.
MAX_FILE_GROWTH = 6 * WORKERS


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    seconds: float = 60.0
    clients: int = 210
    faults: int = 110
    kinds: list[str] = field(default_factory=lambda: list(FAULT_KINDS))
    notify_mode: str = "auto"
    table: str = "starter"
    is_cluster: bool = False


@dataclass(slots=True)
class Report:
    plan: Plan
    failures: list[str] = field(default_factory=list)
    figures: list[tuple[str, str]] = field(default_factory=list)
    recoveries: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def table(self) -> str:
        lines = [f"{'fault':<28}{'times':>6}{'median s':>10}{'worst s':>9}   until every client hit has a later event"]
        for kind, count in self.counts.items():
            took = self.recoveries.get(kind, [])
            median, worst = (f"{statistics.median(took):.2f}", f"{max(took):.2f}") if took else ("-", "-")
            lines.append(f"{kind:<28}{count:>6}{median:>10}{worst:>9}")
        lines += [f"{name:<28}{value}" for name, value in self.figures]
        lines += [f"FAILED: {text}" for text in self.failures]
        lines.append(f"{'seed':<28}{self.plan.seed}   {'failed' if self.failures else 'passed'}, table {self.plan.table}")
        return "\n".join(lines)


async def stress(plan: Plan, directory: Path, print_line: Callable[[str], None]) -> Report:
    """Run the plan and report."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    async with Harness(directory, plan.notify_mode, TABLES[plan.table], is_cluster=plan.is_cluster) as harness:
        report = Report(plan)
        before = [(memory_mib(server), open_files(server)) for server in harness.servers]
        received = ReceivedEvents()
        ports = [proxy.port for proxy in harness.server_proxies[: harness.client_server_count]]
        clients = [Client(number, received, ports, random.Random(f"{plan.seed} {number}")) for number in range(plan.clients)]
        tasks = [asyncio.create_task(client.run(), name=client.name) for client in clients]
        tasks.append(asyncio.create_task(abort_silent_connections(clients), name="watch"))
        try:
            await _run_plan(plan, harness, clients, received, report, print_line)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    report.failures.append(f"a client failed: {result!r}")
        print_line("all clients have disconnected")
        await _check_resources_released(harness, before, report)
        for server in harness.servers:
            code = await server.stop()
            if code != 0:
                report.failures.append(f"a server ended with {code}: {server.output[-1500:]}")
        report.failures += received.failures + harness.log_failures()
    return report


async def _run_plan(
    plan: Plan,
    harness: Harness,
    clients: list[Client],
    received: ReceivedEvents,
    report: Report,
    print_line: Callable[[str], None],
) -> None:
    start = time.monotonic()
    await _wait_until(lambda: all(client.totals for client in clients), "every client is connected", report)
    first = await _insert_marker(harness)
    await _wait_until(lambda: all(client.has_event(first.id) for client in clients), "every client has the first event", report)
    each = f" of {WORKERS} workers" if WORKERS > 1 else ""
    servers = f"{harness.client_server_count} servers{each}"
    print_line(f"{plan.clients} clients on {servers}; {plan.faults} faults in {plan.seconds:.0f} s; seed {plan.seed}")
    writers = Writers(plan.seed, lambda: harness.postgres.url, harness.table)
    faults = FaultInjector(harness, clients, plan.seed)
    writing = asyncio.create_task(writers.run(), name="writers")
    await faults.run(draw_schedule(plan.seed, plan.faults, plan.seconds, plan.kinds, harness.server_count))
    for server in harness.servers:
        await server.wait_until_ready()
    print_line("all faults have ended")
    writers.stopping.set()
    await writing
    last = await _insert_marker(harness)  # an event after the last fault
    rows, orders, totals = await _read_truth(harness, first.id)
    wanted = len(rows)
    shown = {name: Decimal(str(value)) for name, value in totals.items()}

    def has_totals(client: Client) -> bool:
        frame = client.latest_totals()
        return all(Decimal(frame.get(name, "-1")) == value for name, value in shown.items())

    def settled(client: Client) -> bool:
        if client.fetched_anew:  # which events it needs is found below: here, that the last one came, or the page has it
            has_last = client.has_event(last.id) or _page_has(client.fetched_anew[-1], last)
            return has_totals(client) and not client.is_fetching and has_last
        return has_totals(client) and client.unique_count >= wanted

    await _wait_until(lambda: all(map(settled, clients)), "every client has everything", report)
    took = time.monotonic() - start
    _compare_with_table(rows, orders, report)
    skippable = await _skippable_events(harness, clients, report)
    _compare_with_journal(rows, clients, received, skippable, report)
    for client in clients:
        if not settled(client):
            report.failures.append(f"{client.name}: {client.unique_count} of {wanted} events, {client.totals!r} for {totals}")
    report.failures += faults.failures
    _measure_recoveries(rows, faults.injected, report)
    resumes = sum(client.resume_count for client in clients)
    rejected = sum(client.rejected_count for client in clients)
    delivered = sum(client.received_count for client in clients)
    report.figures += [
        ("deliveries checked", f"{delivered:,} in {took:.0f} s ({delivered / took * 60:,.0f} a minute)"),
        ("duplicates ignored", f"{sum(client.duplicates for client in clients):,}"),
        (
            "resumes",
            f"{resumes:,} ({rejected:,} rejected at first)",
        ),
        (
            "fetched anew",
            f"{sum(len(client.fetched_anew) for client in clients):,} (more than {MAX_REPLAYED:,} events behind)",
        ),
        ("closes", ", ".join(f"{code}: {count}" for code, count in sorted(received.closes.items())) or "none"),
        ("events", f"{wanted:,} to each of {plan.clients} clients"),
        ("transactions", ", ".join(f"{count:,} {what}" for what, count in sorted(writers.counts.items()))),
    ]


async def _wait_until(condition: Callable[[], bool], what: str, report: Report) -> None:
    deadline = time.monotonic() + SETTLE_TIMEOUT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            report.failures.append(f"not within {SETTLE_TIMEOUT_SECONDS:.0f} s: {what}")
            return
        await asyncio.sleep(0.1)


def _page_has(fetched: FetchedAnew, event_id: EventId) -> bool:
    """Whether the page that the client got includes this event."""
    if fetched.position is None:
        return False
    after = Cursor.parse(fetched.position).after
    return isinstance(after, Snapshot) and after.sees(event_id.txid)


async def _insert_marker(harness: Harness) -> EventId:
    """Commit one event."""
    connection = await connect_when_recovered(harness.postgres.url)
    try:
        async with connection.transaction():
            await connection.execute(harness.table.insert_marker)
            row = await connection.fetchrow(
                "select txid, id, at from orderwire.journal where txid = pg_current_xact_id() order by id desc limit 1"
            )
            assert row is not None
            return EventId(int(row["txid"]), row["id"], event_tag(row["at"]))
    finally:
        await connection.close()


async def _read_truth(harness: Harness, first: int) -> tuple[list[Any], list[Any], dict[str, Any]]:
    """The events, the orders and the totals. All writers have ended."""
    connection = await connect_when_recovered(harness.postgres.url)
    try:
        rows = await connection.fetch(
            """
            select j.id, extract(epoch from j.at)::float8 as at, orderwire.event_json(j, i.epoch, i.integer_keys) as event
            from orderwire.journal as j, orderwire.journal_identity as i
            where j.id >= $1 order by j.id
            """,
            first,
        )
        totals = await connection.fetchrow(harness.table.select_totals)
        assert totals is not None
        return rows, await connection.fetch(harness.table.select_orders), dict(totals)
    finally:
        await connection.close()


def _compare_with_table(rows: list[Any], orders: list[Any], report: Report) -> None:
    """What the events say of each order is what the table has."""
    rebuilt: dict[str, dict[str, Any]] = {}
    for row in rows:
        event = json.loads(row["event"])
        if event["type"] == "order_delete":
            del rebuilt[event["key"]]
        else:
            rebuilt.setdefault(event["key"], {}).update(event)
    found = {key: (order["status"], Decimal(order["total"])) for key, order in rebuilt.items()}
    expected = {key: (status, Decimal(total)) for key, status, total in orders}
    different = [key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key)]
    if different:
        key = different[0]
        report.failures.append(
            f"{len(different)} orders differ: {key} is {expected.get(key)}, and by its events {found.get(key)}"
        )


async def _skippable_events(harness: Harness, clients: list[Client], report: Report) -> dict[Client, set[int]]:
    """For each client that had to fetch anew, the events up to its fetch that it may lack.

    It is a failure if the client was not too far behind: then the server had to replay.
    """
    skippable: dict[Client, set[int]] = {}
    connection = await connect_when_recovered(harness.postgres.url)
    try:
        for client in clients:
            for fetched in client.fetched_anew:
                before = await _missed_events(connection, fetched.cursor)
                behind = sum(at <= fetched.at for at in before.values())
                if behind <= MAX_REPLAYED:
                    report.failures.append(f"{client.name}: was not resumed at {fetched.cursor}, {behind} events behind")
                elif fetched.position is None:
                    report.failures.append(f"{client.name}: could not fetch the orders anew")
                else:
                    after = await _missed_events(connection, fetched.position)
                    skippable.setdefault(client, set()).update(before.keys() - after.keys())
    finally:
        await connection.close()
    return skippable


async def _missed_events(connection: Any, cursor_text: str) -> dict[int, float]:
    """The ids and times of the events that a client with this cursor may lack, as the server finds them."""
    cursor = Cursor.parse(cursor_text)
    own: tuple[str | None, int | None] = (None, None)
    if isinstance(cursor.after, EventId):
        own = (str(cursor.after.txid), cursor.after.id)
        sql = "select orderwire.writer_snapshot($1::text::xid8, $2, $3)::text"
        seen = await connection.fetchval(sql, *own, cursor.after.tag)
    else:
        seen = "{}:{}:{}".format(cursor.after.xmin, cursor.after.xmax, ",".join(map(str, cursor.after.xip)))
    rows = await connection.fetch(
        """
        select u.id, extract(epoch from u.at)::float8 as at
        from orderwire.unseen($1::text::pg_snapshot, $2::text::xid8, $3, pg_current_snapshot(), 0) as u
        """,
        seen,
        *own,
    )
    return {row["id"]: row["at"] for row in rows}


def _compare_with_journal(
    rows: list[Any], clients: list[Client], received: ReceivedEvents, skippable: dict[Client, set[int]], report: Report
) -> None:
    journal = {row["id"]: row["event"].encode() for row in rows}
    for event_id, frame in received.by_id.items():
        if journal.get(event_id) != frame:
            report.failures.append(f"delivered: {frame!r}, in the journal: {journal.get(event_id)!r}")
    for client in clients:
        may_lack = skippable.get(client, set())
        missing = [event_id for event_id in journal if not client.has_event(event_id) and event_id not in may_lack]
        if missing:
            report.failures.append(f"{client.name} lacks {len(missing)} events: {missing[:5]}; cursor {client.cursor}")


def _measure_recoveries(rows: list[Any], done: list[InjectedFault], report: Report) -> None:
    """For each fault, the time until every client hit has an event whose id was assigned after the fault."""
    in_time = sorted((row["at"], row["id"]) for row in rows)
    times = [at for at, _ in in_time]
    highest: list[int] = []
    for _, event_id in in_time:
        highest.append(max(event_id, highest[-1] if highest else 0))
    took: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    for item in sorted(done, key=lambda item: list(ALL_FAULT_KINDS).index(item.fault.kind)):
        counts[item.fault.kind] += 1
        index = bisect_left(times, item.at)
        later = (highest[index - 1] if index else 0) + 1
        got = [client.first_event_at(later, item.at) for client in item.clients_hit]
        if None in got:
            report.failures.append(
                f"{item.fault.kind} at {item.fault.at:.1f} s: {got.count(None)} clients had no event after it"
            )
        elif got:
            took[item.fault.kind].append(max(when for when in got if when is not None) - item.at)
    report.recoveries, report.counts = dict(took), dict(counts)


async def _check_resources_released(harness: Harness, before: list[tuple[float, int]], report: Report) -> None:
    def over() -> list[str]:
        found = []
        for server, (memory, files) in zip(harness.servers, before, strict=True):
            if memory_mib(server) > memory + MAX_MEMORY_GROWTH_MIB or open_files(server) > files + MAX_FILE_GROWTH:
                found.append(f"{memory_mib(server):.0f} MiB ({memory:.0f}), {open_files(server)} open files ({files})")
        return found

    await _wait_until(lambda: not over(), "the servers are back to the memory and the open files that they had", report)
    report.failures += [f"a server without clients, and what it had before: {text}" for text in over()]
    now = [(memory_mib(server), open_files(server)) for server in harness.servers]
    for name, index, unit in (("memory of the servers", 0, " MiB"), ("open files of the servers", 1, "")):
        figures = ", ".join(f"{was[index]:.0f} → {then[index]:.0f}{unit}" for was, then in zip(before, now, strict=True))
        bound = MAX_FILE_GROWTH if index else MAX_MEMORY_GROWTH_MIB
        report.figures.append((name, f"{figures} (may be {bound:.0f} more)"))
