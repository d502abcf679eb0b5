"""shutdown: how the tasks of a process run, fail and end."""

from __future__ import annotations

import asyncio

import pytest

from service.shutdown import run_until


async def test_run_until_drains_before_it_cancels() -> None:
    stop, log = asyncio.Event(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cancelled")

    async def drain() -> None:
        await asyncio.sleep(0)
        log.append("drained")

    running = asyncio.create_task(run_until(stop, {"work": work()}, drain))
    await asyncio.sleep(0.01)
    assert log == []
    stop.set()
    await asyncio.wait_for(running, 10)
    assert log == ["drained", "cancelled"]


async def test_a_task_that_fails_ends_the_others_and_is_raised_after_the_drain() -> None:
    log = []

    async def fail() -> None:
        raise ValueError("a bug")

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            log.append("cancelled")

    async def drain() -> None:
        log.append("drained")

    with pytest.raises(ValueError, match="a bug"):
        await asyncio.wait_for(run_until(asyncio.Event(), {"work": work(), "fail": fail()}, drain), 10)
    assert log == ["drained", "cancelled"]


async def test_a_task_that_returns_ends_nothing() -> None:
    stop = asyncio.Event()

    async def nothing() -> None:
        pass

    running = asyncio.create_task(run_until(stop, {"nothing": nothing()}))
    await asyncio.sleep(0.01)
    assert not running.done()
    stop.set()
    await asyncio.wait_for(running, 10)
