"""gateway.sessions.background_tasks: errors are logged, and no task outlives cancel_all."""

from __future__ import annotations

import asyncio

import pytest

from gateway.sessions.background_tasks import BackgroundTasks


async def test_an_error_is_logged_with_the_name_of_the_task(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("a bug")

    task = BackgroundTasks().spawn(fail(), "session replay")
    await asyncio.wait([task])
    await asyncio.sleep(0)
    assert [record.getMessage() for record in caplog.records] == ["a session failed: session replay"]
    assert caplog.records[0].exc_info is not None


async def test_cancel_all_waits_for_the_end_of_every_task(caplog: pytest.LogCaptureFixture) -> None:
    tasks, ended = BackgroundTasks(), []

    async def run(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(name)

    for name in ("one", "two"):
        tasks.spawn(run(name), name)
    await asyncio.sleep(0)
    await tasks.cancel_all()
    assert sorted(ended) == ["one", "two"]
    await tasks.cancel_all()
    assert caplog.records == []
