"""What the driver leaves behind is not said, and everything else is."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import asyncpg

from db.errors import loop_exception_handler


class Connection:
    """In the place of the driver's, whose closing is known by its name."""

    async def close(self) -> None:
        raise TimeoutError

    async def query(self) -> None:
        raise TimeoutError


async def test_a_closing_that_failed_is_forgiven_and_nothing_else(caplog: Any) -> None:
    assert asyncpg.Connection.close.__qualname__ == Connection.close.__qualname__
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(loop_exception_handler)
    for abandoned, said in ((Connection().close(), False), (Connection().query(), True)):
        task = loop.create_task(abandoned)
        await asyncio.wait({task})
        del task
        gc.collect()
        assert ("never retrieved" in caplog.text) == said
