"""gateway.sessions.write_turns: how much is written in one tick, and in which order."""

from __future__ import annotations

import asyncio

from gateway.sessions.write_turns import WriteTurns


async def ticks_of(turns: WriteTurns, sizes: list[int], cancel: frozenset[int] = frozenset()) -> list[list[int]]:
    """For each tick of the event loop in which there were any: the writers, by their numbers, that had a turn."""
    had_turn: list[int] = []

    async def write(number: int) -> None:
        await turns.wait(sizes[number])
        had_turn.append(number)

    tasks = [asyncio.create_task(write(number)) for number in range(len(sizes))]
    await asyncio.sleep(0)
    for number in cancel:
        tasks[number].cancel()
    ticks = []
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        if had_turn:
            ticks.append(had_turn.copy())
            had_turn.clear()
    return ticks


async def test_writers_have_their_turns_in_order_up_to_a_number_of_bytes_in_a_tick() -> None:
    assert await ticks_of(WriteTurns(100), [60, 60, 60, 10, 100, 10]) == [[0, 1], [2, 3, 4], [5]]


async def test_write_larger_than_a_tick_has_its_turn() -> None:
    assert await ticks_of(WriteTurns(100), [500, 10, 500]) == [[0], [1, 2]]


async def test_writer_that_has_gone_takes_no_turn() -> None:
    assert await ticks_of(WriteTurns(100), [100, 100, 100], frozenset({1})) == [[0], [2]]
