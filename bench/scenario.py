"""What every scenario is made of: how much of everything, servers that come and go, and the load on them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

from bench.database import Databases
from bench.load import Load
from bench.subjects import Running, Subject

Measures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything: for a whole run, or for a quick one."""

    turns: int
    seconds: float
    storm: int
    burst: int
    missed: int
    # How long after the last INSERT its frames may still arrive. Who needs longer does not keep up.
    patience_seconds: float


WHOLE = Size(turns=100, seconds=8.0, storm=4000, burst=1000, missed=100, patience_seconds=5.0)
QUICK = Size(turns=20, seconds=2.0, storm=1000, burst=300, missed=50, patience_seconds=2.0)


@dataclass(frozen=True, slots=True)
class Bench:
    """What a scenario needs to run."""

    databases: Databases
    size: Size

    @asynccontextmanager
    async def server(self, subject: Subject, *, written: bool) -> AsyncIterator[tuple[Running, str]]:
        """The server, with a database of its own if it cannot do without one, or if that is written to."""
        async with AsyncExitStack() as stack:
            url = ""
            if written or subject.needs_database:
                url = await stack.enter_async_context(self.databases.fresh(subject.database))
            yield await stack.enter_async_context(subject.running(url or None)), url


@asynccontextmanager
async def loading(running: Running, *, pump: bool = False) -> AsyncIterator[Load]:
    """Clients of the server; with the trigger that makes it send, if there is one to be pulled."""
    load = await Load.start(running.port, running.trigger_port if pump else None)
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
    def of(
        cls,
        name: str,
        run: Callable[..., Awaitable[Measures]],
        subjects: Iterable[Named],
        quick: Iterable[Named] = (),
        **how: Any,
    ) -> Self:
        """The same is done with each of them."""
        return cls(name, {s.name: partial(run, subject=s, **how) for s in subjects}, frozenset(s.name for s in quick))


def quantile(ordered: list[float], share: float) -> float:
    """Of values in ascending order; of none, infinity: nothing ever came."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("inf")


def summary(report: dict[str, Any]) -> str:
    """What the load generator counted, for a failure's text."""
    return ", ".join(f"{name} {value}" for name, value in report.items() if name != "marks")
