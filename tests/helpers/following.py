"""A relay on a connection of the model database, for unit tests of what depends on a relay."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from push.journal.events import Event
from push.journal.queries import JournalConnection
from push.journal.relay import Relay, Sink
from push.journal.totals import Totals
from tests.model.database import ModelDatabase
from tests.support import TIMEOUT_SECONDS

__all__ = ["RecordingSink", "commit", "following", "read_again"]


class RecordingSink(Sink):
    """Keeps what is published."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.totals = Totals()
        self.gaps = 0
        self.clients = 1
        # How many events there were at each call of ``wait_writable``; cleared: the sink is full.
        self.waits: list[int] = []
        self.writable = asyncio.Event()
        self.writable.set()

    @property
    def has_clients(self) -> bool:
        return self.clients > 0

    @property
    def order_ids(self) -> list[int]:
        return [int(event.key) for event in self.events]

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        assert events
        self.events += events
        self.totals = totals

    def set_totals(self, totals: Totals) -> None:
        self.totals = totals

    def announce_gap(self) -> None:
        self.gaps += 1

    async def wait_writable(self) -> None:
        self.waits.append(len(self.events))
        await self.writable.wait()


def commit(database: ModelDatabase, *order_ids: int) -> list[Event]:
    """Commit one transaction that changes these orders, one event each. Returns the events."""
    transaction = database.begin(repeatable_read=False)
    for order_id in order_ids:
        assert database.write(transaction, order_id)
    database.commit(transaction, notify=True)
    return transaction.rows


@contextlib.asynccontextmanager
async def following(relay: Relay, connection: JournalConnection) -> AsyncIterator[asyncio.Task[None]]:
    """The relay follows the connection within the block, which begins after the first read. Yields the task."""
    task: asyncio.Task[None] = asyncio.create_task(relay.follow(connection))
    try:
        await read_again(relay)
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


async def read_again(*relays: Relay) -> None:
    """Return once each relay has completed a read that started after this call."""
    async with asyncio.timeout(TIMEOUT_SECONDS):
        for relay in relays:
            await relay.wait_until_published(relay.read_snapshot)
