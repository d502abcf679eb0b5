"""Waiting for a state of the journal that is no older than the asking: many wait for the same read."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from push.delivery.hub import Hub
from push.journal.relay import WAKE_BATCH, Relay
from tests.support import TIMEOUT_SECONDS, within


class Bell:
    """In the place of a journal: counts how often it was rung."""

    def __init__(self) -> None:
        self.rung = 0

    def wake(self) -> None:
        self.rung += 1


@pytest.fixture
def relay() -> Relay:
    relay = Relay(Hub())
    relay._connection = cast(Any, Bell())
    return relay


def publish(relay: Relay) -> None:
    """The read that has begun is published."""
    relay._reads_published = relay._reads_begun
    relay._schedule_release()


async def ask(relay: Relay, count: int = 1) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(relay.wait_for_fresh_read()) for _ in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_the_read_under_way_does_not_count(relay: Relay) -> None:
    relay._reads_begun = 1
    (early,) = await ask(relay)
    assert cast(Bell, relay._connection).rung == 1
    publish(relay)
    relay._reads_begun = 2
    (late,) = await ask(relay)
    await asyncio.sleep(0)
    assert not early.done()
    publish(relay)
    await within(TIMEOUT_SECONDS, early, "what it asked for")  # type: ignore[arg-type]
    assert not late.done()
    late.cancel()


async def test_many_are_let_on_a_few_at_a_time_in_their_order(relay: Relay) -> None:
    tasks = await ask(relay, 3 * WAKE_BATCH + 1)
    for task in tasks[::5]:
        task.cancel()  # some have left
    await asyncio.sleep(0)
    waiting = [task for task in tasks if not task.done()]
    relay._reads_begun = 1
    publish(relay)
    done, turns = 0, 0
    while waiting:
        await asyncio.sleep(0)
        turns += 1
        count = sum(task.done() for task in waiting)
        assert count <= WAKE_BATCH
        assert all(task.done() for task in waiting[:count])
        del waiting[:count]
        done += count
    assert turns >= 3
    assert done == len(tasks) - len(tasks[::5])


async def test_nobody_waits_for_ever(relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("push.journal.relay.READ_WAIT_TIMEOUT", 0.05)
    for _ in range(2):  # and again, when nobody has waited for a while
        first = await ask(relay, 20)
        await asyncio.sleep(0.02)
        second = await ask(relay, 20)
        await within(TIMEOUT_SECONDS, asyncio.wait_for(asyncio.gather(*first, *second), TIMEOUT_SECONDS), "all of them")
        await asyncio.sleep(0.06)


async def test_without_a_connection_there_is_nothing_to_wait_for(relay: Relay) -> None:
    relay._connection = None
    await within(TIMEOUT_SECONDS, relay.wait_for_fresh_read(), "at once")
