"""Writers that wait for each other's commits on any machine, as NOTIFY_MODE=auto needs it to suppress NOTIFY."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from tests.support import open_connections

__all__ = ["contending_writers"]

# Commits that follow one another without a round trip to a client.
WRITE_SQL = """
create procedure pg_temp.write(transactions integer) language plpgsql as $$
begin
    for n in 1..transactions loop
        insert into orders (customer_name, total) values ('c', 1);
        commit;
    end loop;
end
$$
"""
WRITERS = 8
TRANSACTIONS = 20


@asynccontextmanager
async def contending_writers(url: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Yields a function that has eight connections write at the same time; it returns how many transactions they committed."""
    async with open_connections(url, WRITERS) as writers:
        await asyncio.gather(*(writer.execute(WRITE_SQL) for writer in writers))

        async def write() -> int:
            async def call(writer: Any) -> None:
                await writer.execute(f"call pg_temp.write({TRANSACTIONS})")

            await asyncio.gather(*map(call, writers))
            return TRANSACTIONS * WRITERS

        yield write
