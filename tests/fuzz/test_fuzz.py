"""A short fuzz run. `make fuzz` sends a million inputs."""

from __future__ import annotations

from tests.faults.load import random_seed
from tests.fuzz.run import Plan, fuzz


async def test_invalid_input_does_not_affect_other_clients(database_url: str) -> None:
    report = await fuzz(Plan(seed=random_seed(), inputs=25_000), database_url, print)
    print(report.table())
    assert report.failures == []
