"""One stress run: from an empty database to a verdict."""

from __future__ import annotations

import asyncio
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

from tests.stress.clients import Client, Facts, watch_lines
from tests.stress.faults import KINDS, Done, Faults, draw
from tests.stress.site import Site, connected, memory_mib, open_files
from tests.stress.writers import Writers
from tests.support import WORKERS

# The longest that anything may take once all faults are healed.
SETTLE_SECONDS = 90.0
# After all clients have left: the ring (10,000 events, 16 MiB of frames) and what the allocator keeps.
MORE_MEMORY_MIB = 64.0 * WORKERS
# The pool of short queries, opened on first use, and one connection that is being replaced.
MORE_FILES = 6 * WORKERS


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    seconds: float = 60.0
    clients: int = 210
    faults: int = 110
    kinds: list[str] = field(default_factory=lambda: list(KINDS))
    notify_mode: str = "auto"


@dataclass(slots=True)
class Report:
    plan: Plan
    wrong: list[str] = field(default_factory=list)
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
        lines += [f"WRONG: {text}" for text in self.wrong]
        lines.append(f"{'seed':<28}{self.plan.seed}   {'wrong' if self.wrong else 'nothing lost, nothing wrong'}")
        return "\n".join(lines)


async def stress(plan: Plan, directory: Path, say: Callable[[str], None]) -> Report:
    """Run the plan and report."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4096:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, hard), hard))
    async with Site(directory, plan.notify_mode) as site:
        report = Report(plan)
        before = [(memory_mib(server), open_files(server)) for server in site.servers]
        facts = Facts()
        ports = [proxy.port for proxy in site.to_server]
        clients = [Client(number, facts, ports, random.Random(f"{plan.seed} {number}")) for number in range(plan.clients)]
        tasks = [asyncio.create_task(client.run(), name=client.name) for client in clients]
        tasks.append(asyncio.create_task(watch_lines(clients), name="watch"))
        try:
            await _drive(plan, site, clients, facts, report, say)
        finally:
            for task in tasks:
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    report.wrong.append(f"a client failed: {result!r}")
        say("clients have left")
        await _back_to_before(site, before, report)
        for server in site.servers:
            code = await server.stop()
            if code != 0:
                report.wrong.append(f"a server ended with {code}: {server.output[-1500:]}")
        report.wrong += facts.wrong + site.complaints()
    return report


async def _drive(
    plan: Plan, site: Site, clients: list[Client], facts: Facts, report: Report, say: Callable[[str], None]
) -> None:
    start = time.monotonic()
    await _until(lambda: all(client.totals for client in clients), "every client is connected", report)
    first = await _beacon(site)
    await _until(lambda: all(client.has(first) for client in clients), "every client has the first event", report)
    each = f" of {WORKERS} workers" if WORKERS > 1 else ""
    say(f"{plan.clients} clients on 2 servers{each}; {plan.faults} faults in {plan.seconds:.0f} s; seed {plan.seed}")
    writers = Writers(plan.seed, lambda: site.postgres.url)
    faults = Faults(site, clients, plan.seed)
    writing = asyncio.create_task(writers.run(), name="writers")
    await faults.run(draw(plan.seed, plan.faults, plan.seconds, plan.kinds))
    for server in site.servers:
        await server.wait_until_ready()
    say("all faults are healed")
    writers.stopping.set()
    await writing
    await _beacon(site)  # so that there is an event after the last fault
    rows, totals = await _truth(site, first)
    wanted = len(rows)
    shown = {name: Decimal(str(value)) for name, value in totals.items()}

    def settled(client: Client) -> bool:
        frame = client.shown_totals()
        return client.unique >= wanted and all(Decimal(frame.get(name, "-1")) == value for name, value in shown.items())

    await _until(lambda: all(map(settled, clients)), "every client has everything", report)
    took = time.monotonic() - start
    _compare(rows, clients, facts, report)
    for client in clients:
        if not settled(client):
            report.wrong.append(f"{client.name}: {client.unique} of {wanted} events, {client.totals!r} for {totals}")
    report.wrong += faults.wrong
    _recoveries(rows, faults.done, report)
    delivered = sum(client.delivered for client in clients)
    report.figures += [
        ("deliveries checked", f"{delivered:,} in {took:.0f} s ({delivered / took * 60:,.0f} a minute)"),
        ("twins dropped", f"{sum(client.twins for client in clients):,}"),
        (
            "resumes",
            f"{sum(client.resumes for client in clients):,} ({sum(client.refused for client in clients):,} refused at first)",
        ),
        ("closes", ", ".join(f"{code}: {count}" for code, count in sorted(facts.closes.items())) or "none"),
        ("events", f"{wanted:,} to each of {plan.clients} clients"),
        ("transactions", ", ".join(f"{count:,} {what}" for what, count in sorted(writers.counts.items()))),
    ]


async def _until(condition: Callable[[], bool], what: str, report: Report) -> None:
    deadline = time.monotonic() + SETTLE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            report.wrong.append(f"not within {SETTLE_SECONDS:.0f} s: {what}")
            return
        await asyncio.sleep(0.1)


async def _beacon(site: Site) -> int:
    """Commit one event; returns its id."""
    connection = await connected(site.postgres.url)
    try:
        async with connection.transaction():
            await connection.execute("insert into orders (customer_name, total) values ('beacon', 1)")
            return int(await connection.fetchval("select max(id) from orderwire.journal where txid = pg_current_xact_id()"))
    finally:
        await connection.close()


async def _truth(site: Site, first: int) -> tuple[list[Any], dict[str, Any]]:
    connection = await connected(site.postgres.url)
    try:
        rows = await connection.fetch(
            """
            select j.id, extract(epoch from j.at)::float8 as at, orderwire.event_json(
                i.epoch, j.txid, j.id, j.at, j.order_id, j.order_number, j.customer_name,
                j.previous_status, j.status, j.previous_total, j.total
            ) as event
            from orderwire.journal as j, orderwire.journal_identity as i
            where j.id >= $1 order by j.id
            """,
            first,
        )
        totals = await connection.fetchrow("select * from order_analytics")
        assert totals is not None
        return rows, dict(totals)
    finally:
        await connection.close()


def _compare(rows: list[Any], clients: list[Client], facts: Facts, report: Report) -> None:
    journal = {row["id"]: row["event"].encode() for row in rows}
    for event_id, frame in facts.by_id.items():
        if journal.get(event_id) != frame:
            report.wrong.append(f"was delivered: {frame!r}, is in the journal: {journal.get(event_id)!r}")
    for client in clients:
        missing = [event_id for event_id in journal if not client.has(event_id)]
        if missing:
            report.wrong.append(f"{client.name} lacks {len(missing)} events: {missing[:5]}; stands at {client.cursor}")


def _recoveries(rows: list[Any], done: list[Done], report: Report) -> None:
    """An event is later than a fault when its id was drawn after it."""
    in_time = sorted((row["at"], row["id"]) for row in rows)
    times = [at for at, _ in in_time]
    highest: list[int] = []
    for _, event_id in in_time:
        highest.append(max(event_id, highest[-1] if highest else 0))
    took: dict[str, list[float]] = defaultdict(list)
    counts: dict[str, int] = defaultdict(int)
    for item in sorted(done, key=lambda item: list(KINDS).index(item.fault.kind)):
        counts[item.fault.kind] += 1
        index = bisect_left(times, item.at)
        later = (highest[index - 1] if index else 0) + 1
        got = [client.when(later, item.at) for client in item.hit]
        if None in got:
            report.wrong.append(f"{item.fault.kind} at {item.fault.at:.1f} s: {got.count(None)} clients had no event after it")
        elif got:
            took[item.fault.kind].append(max(when for when in got if when is not None) - item.at)
    report.recoveries, report.counts = dict(took), dict(counts)


async def _back_to_before(site: Site, before: list[tuple[float, int]], report: Report) -> None:
    def over() -> list[str]:
        found = []
        for server, (memory, files) in zip(site.servers, before, strict=True):
            if memory_mib(server) > memory + MORE_MEMORY_MIB or open_files(server) > files + MORE_FILES:
                found.append(f"{memory_mib(server):.0f} MiB ({memory:.0f}), {open_files(server)} open files ({files})")
        return found

    await _until(lambda: not over(), "the servers are back to the memory and the open files that they had", report)
    report.wrong += [f"a server without clients, and what it had before: {text}" for text in over()]
    now = [(memory_mib(server), open_files(server)) for server in site.servers]
    for name, index, unit in (("memory of the servers", 0, " MiB"), ("open files of the servers", 1, "")):
        figures = ", ".join(f"{was[index]:.0f} → {then[index]:.0f}{unit}" for was, then in zip(before, now, strict=True))
        bound = MORE_FILES if index else MORE_MEMORY_MIB
        report.figures.append((name, f"{figures} (may be {bound:.0f} more)"))
