"""The attacks without a clock: the attacker is told, it is counted, and nobody beside notices. `make attack` measures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.attacks.floods import ATTACKS
from tests.attacks.site import Site
from tests.support import TIMEOUT_SECONDS, within

WRITES = 5


@pytest.fixture
async def site(database_url: str) -> AsyncIterator[Site]:
    async with Site(database_url) as site:
        yield site


async def test_nobody_beside_notices_an_attack(site: Site) -> None:
    for name, (_, answer, _) in ATTACKS.items():
        before = await site.rejects(name)
        attacker = await site.attack(name)

        async def refused(name: str = name, before: float = before) -> None:
            while await site.rejects(name) <= before:
                await site.write(1)
                await asyncio.sleep(0.05)

        await attacker.wait_for_line(f"heard {answer}")
        await within(TIMEOUT_SECONDS, refused(), f"{name} is counted")
        await site.write(WRITES)
        await site.all_have_all()
        await site.end(attacker)
    assert site.complaints() == []
    assert await site.server.stop() == 0
