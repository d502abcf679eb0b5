"""The fuzz run, small: `make fuzz` is the same with a million inputs."""

from __future__ import annotations

from tests.faults.load import random_seed
from tests.fuzz.run import Plan, fuzz


async def test_whatever_strangers_send_nobody_else_notices(database_url: str) -> None:
    report = await fuzz(Plan(seed=random_seed(), inputs=25_000), database_url, print)
    print(report.table())
    assert report.failures == []
