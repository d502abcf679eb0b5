"""What every scenario is made of: how much of everything, servers that come and go, and the load on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
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
    """How much of everything: for a whole run, or for a quick one."""

    batches: int
    seconds: float
    storm_clients: int
    burst_rows: int
    missed_events: int
    # How long after the last INSERT its frames may still arrive. Who needs longer does not keep up.
    grace_seconds: float


FULL = Size(batches=100, seconds=8.0, storm_clients=4000, burst_rows=1000, missed_events=100, grace_seconds=5.0)
QUICK = Size(batches=20, seconds=2.0, storm_clients=1000, burst_rows=300, missed_events=50, grace_seconds=2.0)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a scenario needs to run."""

    databases: Databases
    size: Size

    @asynccontextmanager
    async def start_server(self, subject: Subject, *, written: bool) -> AsyncIterator[tuple[RunningServer, str]]:
        """The server, with a database of its own if it cannot do without one, or if that is written to."""
        async with AsyncExitStack() as stack:
            url = ""
            if written or subject.needs_database:
                url = await stack.enter_async_context(self.databases.create(subject.database))
            yield await stack.enter_async_context(subject.start(url or None)), url


@asynccontextmanager
async def start_load_generator(running: RunningServer, *, pump: bool = False) -> AsyncIterator[LoadGenerator]:
    """Clients of the server; with the trigger that makes it send, if there is one to be pulled."""
    load = await LoadGenerator.start(running.port, running.trigger_port if pump else None)
    try:
        yield load
    finally:
        await load.stop()


class Named(Protocol):
    """Whatever is compared in a scenario: a server, or a way of writing."""

    @property
    def name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """A line of the plan: what is done, and with whom."""

    name: str
    cases: dict[str, Callable[[Bench], Awaitable[Measures]]]
    # Those that a quick run takes; none: it leaves the scenario out.
    quick: Collection[str] = ()

    @classmethod
    def for_subjects(
        cls,
        name: str,
        run: Callable[..., Awaitable[Measures]],
        subjects: Iterable[Named],
        quick: Iterable[Named] = (),
        **how: Any,
    ) -> Self:
        """The same is done with each of them."""
        return cls(name, {s.name: partial(run, subject=s, **how) for s in subjects}, frozenset(s.name for s in quick))


def quantile(ascending: list[float], fraction: float) -> float:
    """Of values in ascending order; of none, infinity: nothing ever came."""
    return ascending[min(len(ascending) - 1, int(len(ascending) * fraction))] if ascending else float("inf")


def summary(report: dict[str, Any]) -> str:
    """What the load generator counted, for a failure's text."""
    return ", ".join(f"{name} {value}" for name, value in report.items() if name != "marks")
