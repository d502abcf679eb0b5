"""Many callers wait for one read of the journal that starts after they asked."""

from __future__ import annotations

import asyncio

import pytest

from push.journal.read_barrier import WAKE_BATCH, ReadBarrier
from tests.support import TIMEOUT_SECONDS


class Trigger:
    """Counts the calls of ``trigger_read``, in the place of a connection's ``wake``."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


@pytest.fixture
def trigger() -> Trigger:
    return Trigger()


@pytest.fixture
def barrier(trigger: Trigger) -> ReadBarrier:
    barrier = ReadBarrier()
    barrier.attach(trigger)
    return barrier


async def start_waiting(barrier: ReadBarrier, count: int = 1) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(barrier.wait_for_fresh_read()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def finish(tasks: list[asyncio.Task[None]]) -> None:
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await asyncio.gather(*tasks)


async def some_ticks() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_read_under_way_does_not_count(barrier: ReadBarrier, trigger: Trigger) -> None:
    barrier.read_started()
    (early,) = await start_waiting(barrier)
    assert trigger.count == 1
    barrier.read_published()
    await some_ticks()
    assert not early.done(), "that read may have started before the commit"
    barrier.read_started()
    (late,) = await start_waiting(barrier)
    assert not early.done()
    barrier.read_published()
    await finish([early])
    assert not late.done()
    late.cancel()


async def test_waiters_are_woken_in_batches_in_their_order(barrier: ReadBarrier) -> None:
    tasks = await start_waiting(barrier, 3 * WAKE_BATCH + 1)
    for task in tasks[::5]:
        task.cancel()
    await asyncio.sleep(0)
    waiting = [task for task in tasks if not task.done()]
    barrier.read_started()
    barrier.read_published()
    done, ticks = 0, 0
    while waiting:
        await asyncio.sleep(0)
        ticks += 1
        count = sum(task.done() for task in waiting)
        assert count <= WAKE_BATCH
        assert all(task.done() for task in waiting[:count])
        del waiting[:count]
        done += count
    assert ticks >= 3
    assert done == len(tasks) - len(tasks[::5])


async def test_wait_ends_at_the_timeout_without_a_read(barrier: ReadBarrier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.journal.read_barrier.READ_WAIT_TIMEOUT", 0.05)
    for _ in range(2):  # the second time after the timer has stopped
        started_at = asyncio.get_running_loop().time()
        first = await start_waiting(barrier, 20)
        await asyncio.sleep(0.02)
        second = await start_waiting(barrier, 20)
        await finish([*first, *second])
        assert asyncio.get_running_loop().time() - started_at >= 0.05
        await asyncio.sleep(0.06)


async def test_wait_returns_at_once_without_a_connection(barrier: ReadBarrier, trigger: Trigger) -> None:
    barrier.detach()
    tasks = await start_waiting(barrier)
    assert tasks[0].done()
    barrier.trigger_read()
    assert trigger.count == 0


async def test_waiters_survive_a_reconnect(barrier: ReadBarrier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.journal.read_barrier.READ_WAIT_TIMEOUT", 3600.0)
    (task,) = await start_waiting(barrier)
    barrier.detach()
    second = Trigger()
    barrier.attach(second)
    barrier.trigger_read()
    assert second.count == 1
    barrier.read_started()
    barrier.read_published()
    await finish([task])
    if barrier._timeout_timer is not None:
        barrier._timeout_timer.cancel()


def test_reads_are_numbered_from_one() -> None:
    barrier = ReadBarrier()
    assert (barrier.next_read, barrier.reads_published) == (1, 0)
    barrier.read_started()
    assert (barrier.next_read, barrier.reads_published) == (2, 0)


async def test_an_abandoned_read_is_not_published_by_its_own_number(barrier: ReadBarrier) -> None:
    """The connection fails within read 1, and read 2 is complete: that publishes read 1's events too."""
    barrier.read_started()
    barrier.read_started()
    barrier.read_published()
    assert barrier.reads_published == 2
