"""One count at a time, with rests; what requests get that come before, during and after it. On a virtual clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from push.errors import StoreError
from push.journal.events import Cursor, Snapshot
from push.journal.queries import SeriesQueries
from push.journal.series import OrderCounts, OrderGroup
from push.journal.series_counter import PATIENCE, SeriesCounter
from tests.model.world import VirtualLoop


class Table(SeriesQueries):
    """A table in which an order is created in each second, and how long its queries take."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.fold_seconds = 0.01
        self.can_fold = True
        self.error: StoreError | None = None
        # When each query began and ended.
        self.counts: list[tuple[float, float]] = []
        self.folds: list[float] = []
        self.running = 0

    async def _run(self, seconds: float) -> OrderCounts:
        """As of when the query began."""
        now = asyncio.get_running_loop().time()
        self.running += 1
        assert self.running == 1, "two queries at a time"
        try:
            await asyncio.sleep(seconds)
            if self.error is not None:
                raise self.error
        finally:
            self.running -= 1
        snapshot = Snapshot(1000 + round(now * 1000), 1000 + round(now * 1000))
        moment = datetime.fromtimestamp(now, UTC)
        return OrderCounts(moment, [], [OrderGroup("ready", "", 0, int(now) + 1, Decimal(1))], Cursor("5f0c12ab", snapshot))

    async def count_orders(self, now: datetime, bounds: Sequence[datetime]) -> OrderCounts:
        assert list(bounds) == sorted(bounds)
        began_at = asyncio.get_running_loop().time()
        try:
            return await self._run(self.seconds)
        finally:
            self.counts.append((began_at, asyncio.get_running_loop().time()))

    async def orders_since(self, counts: OrderCounts) -> OrderCounts | None:
        self.folds.append(asyncio.get_running_loop().time())
        changed = await self._run(self.fold_seconds)
        return changed if self.can_fold else None


def run(test: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(test)


def make_counter(table: Table) -> SeriesCounter:
    return SeriesCounter(table, UTC, clock=lambda: asyncio.get_running_loop().time())


def as_of(counts: OrderCounts | None) -> float:
    """When the query of the counts began."""
    assert counts is not None
    assert isinstance(counts.position.after, Snapshot)
    return (counts.position.after.xmax - 1000) / 1000


async def ask(counter: SeriesCounter, at: float) -> tuple[float, OrderCounts | None]:
    """Ask at a time of the loop. Returns when the answer came, and the answer, which must not be older than the question."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(at - loop.time())
    answer = await counter.counts()
    assert answer is None or as_of(answer) >= at - 0.002
    assert loop.time() <= at + PATIENCE + 0.001
    return loop.time(), answer


def test_requests_at_one_moment_share_a_count() -> None:
    async def check() -> None:
        table = Table(0.5)
        counter = make_counter(table)
        answers = await asyncio.gather(*(ask(counter, 1.0) for _ in range(50)))
        assert {(at, as_of(answer)) for at, answer in answers} == {(1.5, 1.0)}
        assert len(table.counts) == 1

    run(check())


def test_a_request_that_comes_during_a_count_gets_a_younger_one() -> None:
    async def check() -> None:
        table = Table(0.04)
        counter = make_counter(table)
        first, second, third = await asyncio.gather(ask(counter, 1.0), ask(counter, 1.01), ask(counter, 1.02))
        assert (as_of(first[1]), as_of(second[1]), as_of(third[1])) == (1.0, 1.08, 1.08)
        # They rest for as long as they take.
        assert table.counts == [(1.0, 1.04), (pytest.approx(1.08), pytest.approx(1.12))]
        assert table.folds == []

    run(check())


def test_a_slow_count_goes_on_after_the_answer_and_is_brought_up_to_date_for_the_next_request() -> None:
    async def check() -> None:
        table = Table(5.0)
        counter = make_counter(table)
        assert await ask(counter, 1.0) == (2.0, None)
        assert await ask(counter, 3.0) == (4.0, None)
        at, answer = await ask(counter, 5.5)
        assert (at, as_of(answer)) == (6.01, 6.0)
        at, answer = await ask(counter, 8.0)
        assert (at, as_of(answer)) == (8.01, 8.0)
        assert table.counts == [(1.0, 6.0)]
        # Until the rest is over, and another count begins.
        assert await ask(counter, 11.5) == (12.5, None)
        assert table.counts == [(1.0, 6.0)]
        at, answer = await ask(counter, 16.4)
        assert as_of(answer) == 16.5
        assert table.counts == [(1.0, 6.0), (11.5, 16.5)]

    run(check())


def test_counting_takes_half_of_the_time_at_most_however_many_ask() -> None:
    async def check() -> None:
        table = Table(0.3)
        counter = make_counter(table)
        await asyncio.gather(*(ask(counter, 1.0 + n / 10) for n in range(600)))
        assert sum(end - start for start, end in table.counts) <= 31
        assert len(table.counts) > 90
        table.seconds = 7.0
        await asyncio.gather(*(ask(counter, 70.0 + n / 10) for n in range(600)))
        assert sum(end - start for start, end in table.counts if start >= 70) <= 35

    run(check())


def test_a_count_that_cannot_be_brought_up_to_date_is_dropped() -> None:
    async def check() -> None:
        table = Table(2.0)
        table.can_fold = False
        counter = make_counter(table)
        assert await ask(counter, 1.0) == (2.0, None)
        # The rest is kept all the same.
        assert await ask(counter, 3.5) == (4.5, None)
        assert await ask(counter, 4.9) == (5.9, None)
        await asyncio.sleep(2)
        assert table.counts == [(1.0, 3.0), (5.0, 7.0)]

    run(check())


def test_an_error_reaches_those_that_wait_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    async def check() -> None:
        table = Table(0.2)
        table.error = StoreError("a query took longer than 120 s")
        counter = make_counter(table)
        with pytest.raises(StoreError):
            await counter.counts()
        table.seconds = 3.0
        # No request waits for this count any more.
        assert await ask(counter, 1.0) == (2.0, None)
        await asyncio.sleep(3)
        table.error, table.seconds = None, 0.1
        assert await ask(counter, 5.0) == (6.0, None)
        assert as_of((await ask(counter, 6.9))[1]) >= 6.9
        table.error = StoreError("a query took longer than 120 s")
        await asyncio.sleep(5)
        with pytest.raises(StoreError):
            await counter.counts()

    with caplog.at_level(logging.WARNING):
        run(check())
    # Again after it had worked.
    assert caplog.messages == ["the orders cannot be counted for /api/series: a query took longer than 120 s"] * 2


def test_a_request_that_is_cancelled_leaves_the_count_and_closing_ends_it() -> None:
    async def check() -> None:
        table = Table(0.5)
        counter = make_counter(table)
        cancelled = asyncio.create_task(counter.counts())
        other = asyncio.create_task(counter.counts())
        await asyncio.sleep(0.1)
        cancelled.cancel()
        assert as_of(await other) == 0.0
        waiting = asyncio.create_task(counter.counts())
        await asyncio.sleep(0.1)
        await counter.close()
        assert table.running == 0
        await asyncio.wait([waiting])
        assert [task for task in asyncio.all_tasks() if task.get_name() == "count of the orders"] == []
        await counter.close()

    run(check())
