"""Servers without clients, in the process of the test: the real listener and relay, with a notify policy that tests set."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from db.listener import Listener
from push.journal.events import Event, EventId
from push.journal.relay import Relay
from push.journal.totals import Totals
from push.metrics import Metrics
from tests.model.world import FixedNotifyPolicy
from tests.support import TIMEOUT_SECONDS, within


class HeadlessServer:
    """Listener and relay with this class as the sink. Records the ids of published events; asserts that none comes twice."""

    def __init__(self, url: str) -> None:
        metrics = Metrics()
        self.relay = Relay(self, metrics)
        self._notify_policy = self.relay._notify_policy = FixedNotifyPolicy()
        self._notify_suppressed = metrics.notify_suppressed
        self._changed = asyncio.Event()
        self.published: set[EventId] = set()
        self._task = asyncio.create_task(Listener(url, self._no_migrations, self.relay.follow).run(), name="headless server")

    # The relay reads less often without clients.
    has_clients = True

    async def _no_migrations(self) -> None:
        pass

    def publish(self, events: Sequence[Event], totals: Totals) -> None:
        event_ids = {event.event_id for event in events}
        assert len(event_ids) == len(events), "duplicates"
        assert self.published.isdisjoint(event_ids), "duplicates"
        self.published |= event_ids
        self._changed.set()

    def set_totals(self, totals: Totals) -> None:
        self._changed.set()

    def announce_gap(self) -> None:
        raise AssertionError("there was no gap")

    async def wait_writable(self) -> None:
        pass

    async def set_polling(self, enabled: bool) -> None:
        """Make the notify policy poll, or require NOTIFY, and trigger a read."""
        self._notify_policy.polls = enabled
        self.relay.read_barrier.trigger_read()

    @property
    def is_notify_suppressed(self) -> bool:
        return bool(self._notify_suppressed._value.get())

    async def wait_notify_suppressed(self, expected: bool) -> None:
        async def poll() -> None:
            # The metric is 0 before the second read of the relay, the first one after it has required NOTIFY.
            while (
                self.is_notify_suppressed is not expected
                or self.relay.not_ready_reason is not None
                or self.relay.read_barrier.reads_published < 2
            ):
                assert not self._task.done(), self._task
                self.relay.read_barrier.trigger_read()  # the relay asks the policy before each read
                await asyncio.sleep(0.005)

        await within(TIMEOUT_SECONDS, poll(), f"notify {'suppressed' if expected else 'required'}")

    async def wait_totals(self, expected: Totals) -> None:
        """Wait without triggering reads: only notifications wake the relay."""

        async def wait() -> None:
            while self.relay.totals != expected:
                assert not self._task.done(), self._task
                self._changed.clear()
                await self._changed.wait()

        await within(
            TIMEOUT_SECONDS, wait(), f"{expected}; it has {self.relay.totals}, notify suppressed: {self.is_notify_suppressed}"
        )

    async def kill(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@asynccontextmanager
async def start_headless_servers(url: str, count: int) -> AsyncIterator[list[HeadlessServer]]:
    running = [HeadlessServer(url) for _ in range(count)]
    try:
        for post in running:
            await within(TIMEOUT_SECONDS, post.relay.started.wait(), "a post that is ready")
        yield running
    finally:
        for post in running:
            await post.kill()


async def totals_by_view(db: Any) -> Totals:
    return Totals(*await db.fetchrow("select * from order_analytics"))


async def terminate_listeners(db: Any, max_count: int) -> None:
    await db.execute(
        """
        select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'orderwire listener' and datname = current_database() limit $1
        """,
        max_count,
    )
