"""What feeds the relay of a process that shares the reading with others: its own LISTEN connection, or another one's facts.

One of them at a time. The role may change at any moment: the position in the journal stays.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Never

from db.errors import cause_of
from logs import FailureLog
from push.backoff import Backoff
from push.errors import ConnectionLost
from push.journal.fact_journal import FactJournalConnection
from push.journal.relay import Relay
from push.metrics import Metrics

__all__ = ["FactFeed", "OwnReading"]

log = logging.getLogger("orderwire.facts")

# All times are in seconds.
INITIAL_BACKOFF = 0.1
MAX_BACKOFF = 2.0
STABLE_AFTER = 2.0
# At the start the database may lack our schema until the relay has made it.
START_PATIENCE = 5.0


@dataclass(frozen=True, slots=True)
class OwnReading:
    """How this process reads PostgreSQL itself; made by the composition root.

    ``listen()`` runs the listener, which has the relay publish what it reads and say it to the others; ``tasks()`` are what
    runs beside it on the relay only, by name. Both are called anew for each time that this process is the relay. ``on_lost`` is
    awaited when PostgreSQL could not be read, or is another one: its connections are to be replaced.
    """

    listen: Callable[[], Coroutine[Any, Any, Never]]
    tasks: Callable[[], dict[str, Coroutine[Any, Any, Never]]]
    on_lost: Callable[[], Awaitable[object]]


class FactFeed:
    """One per process."""

    def __init__(self, relay: Relay, facts: FactJournalConnection, metrics: Metrics, own_reading: OwnReading) -> None:
        self._relay = relay
        self._facts = facts
        self._metrics = metrics
        self._own_reading = own_reading
        self.is_relay = False
        self._role_changed = asyncio.Event()

    def set_relay(self, is_relay: bool) -> None:
        """Have this process be the relay from now on, or an edge."""
        if is_relay != self.is_relay:
            self.is_relay = is_relay
            self._role_changed.set()

    async def run(self) -> Never:
        """Feed the relay until this task is cancelled. Raises what the listener raises."""
        while True:
            self._role_changed.clear()
            self._metrics.relay.set(self.is_relay)
            log.debug(
                "this process reads the journal for all" if self.is_relay else "this process is told what is in the journal"
            )
            if self.is_relay:
                coroutines = {"listener": self._own_reading.listen(), **self._own_reading.tasks()}
            else:
                coroutines = {"facts of the relay": self._follow_facts()}
            await self._run_until_changed(coroutines)

    async def _run_until_changed(self, coroutines: dict[str, Coroutine[Any, Any, Never]]) -> None:
        """Run them until the role has changed. Raises the error of one that fails."""
        tasks = [asyncio.create_task(coroutine, name=name) for name, coroutine in coroutines.items()]
        changed = asyncio.create_task(self._role_changed.wait(), name="change of role")
        try:
            done, _ = await asyncio.wait({changed, *tasks}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (changed, *tasks):
                task.cancel()
            await asyncio.gather(changed, *tasks, return_exceptions=True)

    async def _follow_facts(self) -> Never:
        loop = asyncio.get_running_loop()
        backoff, failures = Backoff(INITIAL_BACKOFF, MAX_BACKOFF), FailureLog(log)
        began_at = loop.time()
        while True:
            started_at = loop.time()
            try:
                await self._relay.follow(self._facts)
            except ConnectionLost as error:
                if loop.time() - started_at > STABLE_AFTER:
                    backoff.reset()
                    failures.recovered("events come again")
                if self._relay.started.is_set() or loop.time() - began_at > START_PATIENCE:
                    failures.report(f"no events: the relay sends none, and PostgreSQL cannot be read: {error}", cause_of(error))
            await self._own_reading.on_lost()
            await asyncio.sleep(backoff.next_delay())
