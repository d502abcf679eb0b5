"""Whose turn is next, and a semaphore that goes by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from push.turn_queue import FairSlots

NEVER = 1e6


class Holders:
    """Tasks that hold a slot until the test ends them; ``started`` has their clients in the order in which they got one."""

    def __init__(self) -> None:
        self.slots = FairSlots(2)
        self.started: list[str] = []
        self.ends: list[asyncio.Event] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def hold(self, *clients: str, max_wait: float = NEVER) -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(self._hold(client, max_wait)) for client in clients]
        self.tasks += tasks
        await settle()
        return tasks

    async def _hold(self, client: str, max_wait: float) -> None:
        async with self.slots.take(client, max_wait):
            self.started.append(client)
            end = asyncio.Event()
            self.ends.append(end)
            await end.wait()

    async def end_one(self) -> None:
        self.ends.pop(0).set()
        await settle()


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.fixture
async def holders() -> AsyncIterator[Holders]:
    holders = Holders()
    yield holders
    while holders.ends:
        await holders.end_one()
    await asyncio.gather(*holders.tasks, return_exceptions=True)


async def test_each_client_that_waits_has_its_turn_however_much_another_asks_for(holders: Holders) -> None:
    await holders.hold("a", "a", "a", "a", "a", "b", "c", "b")
    assert holders.started == ["a", "a"]
    while holders.ends:
        await holders.end_one()
    assert holders.started == ["a", "a", "a", "b", "c", "a", "b", "a"]


async def test_a_turn_that_does_not_come_in_time_is_given_up(holders: Holders) -> None:
    await holders.hold("a", "b")
    (late,) = await holders.hold("c", max_wait=0)
    with pytest.raises(TimeoutError):
        await late
    await holders.hold("d")
    await holders.end_one()
    assert holders.started == ["a", "b", "d"]


async def test_one_that_is_cancelled_leaves_its_place_and_its_slot_to_others(holders: Holders) -> None:
    held, _, waiting, _ = await holders.hold("a", "b", "c", "d")
    waiting.cancel()
    held.cancel()
    await settle()
    assert holders.started == ["a", "b", "d"]
    holders.ends.pop(0)
    # Granted and cancelled in the same tick.
    (granted,) = await holders.hold("e")
    holders.ends.pop(0).set()
    await asyncio.sleep(0)
    granted.cancel()
    await settle()
    await holders.hold("f")
    assert holders.started[-1] == "f"
