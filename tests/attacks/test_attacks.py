"""The attacks without timing: floods are rejected and counted, loads cost little memory, and other clients are unaffected.

`make attack` measures the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.attacks.floods import ATTACKS
from tests.attacks.harness import MAX_GROWTH_BYTES, Harness
from tests.attacks.loads import LOADS
from tests.support import TIMEOUT_SECONDS, within

WRITES = 5


@pytest.fixture
async def harness(database_url: str) -> AsyncIterator[Harness]:
    async with Harness(database_url) as harness:
        yield harness


async def test_attack_is_rejected_and_does_not_affect_other_clients(harness: Harness) -> None:
    for name, (_, answer, _) in ATTACKS.items():
        before = await harness.rejections(name)
        attacker = await harness.start_attack(name)

        async def rejected(name: str = name, before: float = before) -> None:
            while await harness.rejections(name) <= before:
                await harness.insert_orders(1)
                await asyncio.sleep(0.05)

        await attacker.wait_for_line(f"received {answer}")
        await within(TIMEOUT_SECONDS, rejected(), f"{name} is counted")
        await harness.insert_orders(WRITES)
        await harness.check_all_events_arrived()
        await harness.stop_attack(attacker)
    assert harness.log_failures() == [], harness.server.output[-5000:]
    assert await harness.server.stop() == 0


@pytest.mark.parametrize("name", sorted(LOADS.keys() - {"huge-value"}))
async def test_load_costs_other_clients_no_answer_and_the_server_little_memory(database_url: str, name: str) -> None:
    load = LOADS[name]
    async with Harness(database_url, topics="analytics") as harness:
        await harness.prepare(load.prepare)
        await harness.ping_all()
        before = harness.forget_peak_memory()
        attacker = await harness.start_attack(name)
        await attacker.wait_for_line("received")
        for _ in range(3):
            await harness.database.execute(load.write)
            await harness.ping_all()
        assert harness.peak_memory() - before <= MAX_GROWTH_BYTES
        await harness.stop_attack(attacker)
        assert harness.log_failures() == [], harness.server.output[-5000:]
        assert await harness.server.stop() == 0
