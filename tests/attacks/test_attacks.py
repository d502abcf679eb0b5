"""The attacks without a clock: the attacker is told, it is counted, and nobody beside notices. `make attack` measures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.attacks.floods import ATTACKS
from tests.attacks.harness import Harness
from tests.support import TIMEOUT_SECONDS, within

WRITES = 5


@pytest.fixture
async def harness(database_url: str) -> AsyncIterator[Harness]:
    async with Harness(database_url) as harness:
        yield harness


async def test_nobody_beside_notices_an_attack(harness: Harness) -> None:
    for name, (_, answer, _) in ATTACKS.items():
        before = await harness.rejections(name)
        attacker = await harness.start_attack(name)

        async def refused(name: str = name, before: float = before) -> None:
            while await harness.rejections(name) <= before:
                await harness.insert_orders(1)
                await asyncio.sleep(0.05)

        await attacker.wait_for_line(f"heard {answer}")
        await within(TIMEOUT_SECONDS, refused(), f"{name} is counted")
        await harness.insert_orders(WRITES)
        await harness.check_all_events_arrived()
        await harness.stop_attack(attacker)
    assert harness.log_failures() == []
    assert await harness.server.stop() == 0
