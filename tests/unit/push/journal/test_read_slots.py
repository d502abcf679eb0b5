"""Who reads the journal next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from push.journal.read_slots import MAX_RESUMES_IN_A_ROW, ReadKind, ReadSlots

RESUME, HISTORY = ReadKind.RESUME, ReadKind.HISTORY


class Readers:
    """Reads that end when the test says so; ``started`` has the clients in the order in which they got a slot."""

    def __init__(self, count: int) -> None:
        self.slots = ReadSlots(count)
        self.started: list[str] = []
        self.running: list[tuple[str, asyncio.Event]] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def read(self, kind: ReadKind, *clients: str) -> list[asyncio.Task[None]]:
        """Ask for a read for each of the clients."""
        tasks = [asyncio.create_task(self._read(kind, client)) for client in clients]
        self.tasks += tasks
        await self.settle()
        return tasks

    async def _read(self, kind: ReadKind, client: str) -> None:
        async with self.slots.take(kind, client):
            self.started.append(client)
            end = asyncio.Event()
            self.running.append((client, end))
            await end.wait()

    async def end_one(self) -> str:
        """End the read that has run for the longest time; returns whose it was."""
        client, end = self.running.pop(0)
        end.set()
        await self.settle()
        return client

    @staticmethod
    async def settle() -> None:
        for _ in range(5):
            await asyncio.sleep(0)


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    readers = Readers(2)
    yield readers
    while readers.running:
        await readers.end_one()
    await asyncio.gather(*readers.tasks, return_exceptions=True)


async def test_reads_at_one_time_are_bounded(readers: Readers) -> None:
    await readers.read(RESUME, "a", "b", "c")
    assert readers.started == ["a", "b"]
    await readers.end_one()
    assert readers.started == ["a", "b", "c"]


async def test_history_leaves_one_slot_to_resumes(readers: Readers) -> None:
    await readers.read(HISTORY, "h1", "h2", "h3")
    assert readers.started == ["h1"]
    await readers.read(RESUME, "r1")
    assert readers.started == ["h1", "r1"]


async def test_single_slot_serves_history_too() -> None:
    readers = Readers(1)
    await readers.read(HISTORY, "h1")
    assert readers.started == ["h1"]
    await readers.end_one()


async def test_resumes_go_before_history_but_do_not_keep_it_out(readers: Readers) -> None:
    await readers.read(HISTORY, "h0")
    await readers.read(RESUME, "r0")
    await readers.read(HISTORY, "h1", "h2")
    await readers.read(RESUME, *(f"r{number}" for number in range(1, 9)))
    readers.started.clear()
    for _ in range(10):
        await readers.end_one()
    first, second = readers.started.index("h1"), readers.started.index("h2")
    assert first <= MAX_RESUMES_IN_A_ROW
    assert second - first == MAX_RESUMES_IN_A_ROW + 1
    assert [client for client in readers.started if client.startswith("r")] == [f"r{number}" for number in range(1, 9)]


async def test_client_with_many_reads_waits_for_the_others_in_turn(readers: Readers) -> None:
    await readers.read(RESUME, *["greedy"] * 6)
    await readers.read(RESUME, "b", "c", "b")
    readers.started.clear()
    for _ in range(7):
        await readers.end_one()
    assert readers.started == ["greedy", "b", "c", "greedy", "b", "greedy", "greedy"]


async def test_cancelled_read_gives_its_turn_and_its_slot_to_the_next(readers: Readers) -> None:
    tasks = await readers.read(RESUME, "a", "b", "c", "d")
    tasks[2].cancel()  # waits
    await readers.settle()
    tasks[0].cancel()  # reads
    await readers.settle()
    assert readers.started == ["a", "b", "d"]
    del readers.running[0]


async def test_read_that_is_cancelled_as_it_gets_its_turn_gives_the_slot_back(readers: Readers) -> None:
    tasks = await readers.read(RESUME, "a", "b", "c", "d")
    readers.running.pop(0)[1].set()
    while readers.slots._waiting[RESUME]._waiting.get("c"):
        await asyncio.sleep(0)
    tasks[2].cancel()
    await readers.settle()
    assert readers.started == ["a", "b", "d"]


async def test_reads_that_are_cancelled_in_the_tick_of_a_grant_take_no_slot(readers: Readers) -> None:
    """A server drains, or an address loses all its connections: reads end, and those that wait are cancelled with them."""
    tasks = await readers.read(RESUME, "a", "b", "c", "c", "d", "e")
    for task in tasks[:4]:
        task.cancel()
    await readers.settle()
    del readers.running[:2]
    assert readers.started == ["a", "b", "d", "e"]
    assert readers.slots._running[RESUME] == 2
    assert not readers.slots._waiting[RESUME]
