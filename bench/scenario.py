"""The parts of every scenario: the size of the run, the servers, and the load on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

from bench.database import Databases
from bench.load import LoadGenerator
from bench.subjects import RunningServer, Subject

Measures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Size:
    """The amounts of a run: FULL or QUICK."""

    batches: int
    seconds: float
    storm_clients: int
    burst_rows: int
    missed_events: int
    # Frames that arrive later than this after the last INSERT count as not delivered.
    grace_seconds: float
    # Scenarios at low rates go on until as many events are written.
    min_events: int
    # Whole heartbeats (HEARTBEAT_SECONDS).
    idle_seconds: float


FULL = Size(
    batches=100,
    seconds=8.0,
    storm_clients=4000,
    burst_rows=1000,
    missed_events=100,
    grace_seconds=5.0,
    min_events=200,
    idle_seconds=60.0,
)
QUICK = Size(
    batches=20,
    seconds=2.0,
    storm_clients=1000,
    burst_rows=300,
    missed_events=50,
    grace_seconds=2.0,
    min_events=40,
    idle_seconds=30.0,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """The databases and the size of this run; the first argument of each scenario."""

    databases: Databases
    size: Size

    @asynccontextmanager
    async def start_server(self, subject: Subject, *, written: bool) -> AsyncIterator[tuple[RunningServer, str]]:
        """Start the server, with a new database if it needs one or the scenario writes. Yields it and the database's URL."""
        async with AsyncExitStack() as stack:
            url = ""
            if written or subject.needs_database:
                url = await stack.enter_async_context(self.databases.create(subject.database))
            yield await stack.enter_async_context(subject.start(url or None)), url


@asynccontextmanager
async def start_load_generator(
    running: RunningServer, *, pump: bool = False, tls: bool = False
) -> AsyncIterator[LoadGenerator]:
    """A load generator for the server. ``pump``: it also connects to the trigger port. ``tls``: its clients can use TLS."""
    load = await LoadGenerator.start(running.port, running.trigger_port if pump else None, tls=tls)
    try:
        yield load
    finally:
        await load.stop()


class Named(Protocol):
    """A subject of a scenario: a server or a writer set-up."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario: its name, and a function for each subject."""

    name: str
    cases: Mapping[str, Callable[[Bench], Awaitable[Measures]]]
    # Names of the subjects in a quick run. Empty: a quick run skips the scenario, unless --only names it.
    quick: Collection[str] = ()
    # Whether its databases are on the slow disk (bench/database.py).
    slow_disk: bool = False

    @classmethod
    def for_subjects(
        cls,
        name: str,
        run: Callable[..., Awaitable[Measures]],
        subjects: Iterable[Named],
        quick: Iterable[Named] = (),
        *,
        slow_disk: bool = False,
        **how: Any,
    ) -> Self:
        """A scenario that calls ``run(bench, subject=…, **how)`` for each subject."""
        cases = {s.name: partial(run, subject=s, **how) for s in subjects}
        return cls(name, cases, frozenset(s.name for s in quick), slow_disk)


def quantile(ascending: list[float], fraction: float) -> float:
    """The quantile of values in ascending order; infinity if there are none."""
    return ascending[min(len(ascending) - 1, int(len(ascending) * fraction))] if ascending else float("inf")


def summary(report: dict[str, Any]) -> str:
    """The counters of the load generator, for the text of a failure."""
    return ", ".join(f"{name} {value}" for name, value in report.items() if name != "marks")
