"""db.errors: which errors of the driver the event loop ignores, and where all others go."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from typing import Any

import asyncpg
import pytest

from db.errors import ignore_driver_leftovers


class Connection:
    """In the place of the driver's, whose ``close`` is recognized by its qualified name."""

    async def close(self) -> None:
        raise TimeoutError

    async def query(self) -> None:
        raise TimeoutError


async def abandon(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run it in a task whose exception is never retrieved."""
    task = asyncio.create_task(coroutine)
    await asyncio.wait({task})
    del task
    gc.collect()


async def test_a_failed_close_of_the_driver_is_ignored_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    assert asyncpg.Connection.close.__qualname__ == Connection.close.__qualname__
    ignore_driver_leftovers(asyncio.get_running_loop())
    for abandoned, logged in ((Connection().close(), False), (Connection().query(), True)):
        await abandon(abandoned)
        assert ("never retrieved" in caplog.text) == logged


async def test_the_future_of_an_abandoned_connect_is_ignored(caplog: pytest.LogCaptureFixture) -> None:
    ignore_driver_leftovers(asyncio.get_running_loop())
    future = asyncio.get_running_loop().create_future()
    future.set_exception(ConnectionError("unexpected connection_lost() call"))
    del future
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize("calls", [1, 2])
async def test_all_other_errors_reach_the_handler_that_the_loop_had(calls: int, caplog: pytest.LogCaptureFixture) -> None:
    """The handler of a program that has mounted the application. A second call changes nothing."""
    contexts: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: contexts.append(context))
    for _ in range(calls):
        ignore_driver_leftovers(loop)
    installed = loop.get_exception_handler()
    ignore_driver_leftovers(loop)
    assert loop.get_exception_handler() is installed
    await abandon(Connection().close())
    assert contexts == []
    await abandon(Connection().query())
    assert [type(context["exception"]) for context in contexts] == [TimeoutError]
    assert "never retrieved" not in caplog.text
