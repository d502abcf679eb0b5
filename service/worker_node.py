"""One of several workers: the supervisor's appointed relay reads the journal for all, the others follow its facts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Never

from bus.worker_bus import WorkerBus
from db.errors import DatabaseError
from db.identity import DatabaseIdentity, FollowedDatabase, WrongDatabase
from push.journal.events import Event
from push.journal.fact_journal import FactJournalConnection
from push.journal.fact_publisher import FactPublisher
from push.journal.queries import FactReads, JournalConnection
from push.journal.relay import Relay
from push.metrics import Metrics
from service.database_state import DatabaseWatch
from service.fact_feed import FactFeed, OwnReading

__all__ = ["WorkerNode"]


class WorkerNode:
    """Made by the composition root of a worker. ``watch`` and ``followed`` are told what the relay has found.

    ``reads`` is the journal over the pool. The listener of ``own_reading`` passes its connections to ``follow``.
    ``is_awaited`` is that of the hub.
    """

    def __init__(
        self,
        bus: WorkerBus,
        relay: Relay,
        reads: FactReads,
        followed: FollowedDatabase,
        metrics: Metrics,
        watch: DatabaseWatch,
        own_reading: OwnReading,
        is_awaited: Callable[[Sequence[Event]], bool],
    ) -> None:
        name = f"worker {os.getpid()}"
        self._bus = bus
        self._followed = followed
        self._watch = watch
        self._publisher = FactPublisher(bus, relay, name)
        # What the relay tells: which database it reads, and what it has found there.
        self._database: DatabaseIdentity | None = None
        self._found: str | None = None
        followed.on_follow = self._on_follow
        facts = FactJournalConnection(bus, reads, metrics, node=name, on_state=self._on_state, is_awaited=is_awaited)
        self._feed = FactFeed(relay, facts, metrics, own_reading)
        self._feed.set_relay(bus.is_relay)
        bus.on_role = self._feed.set_relay
        self._poll_due = asyncio.Event()

    def open(self) -> AbstractAsyncContextManager[None]:
        """Around ``tasks``."""
        return contextlib.nullcontext()

    def tasks(self) -> dict[str, Coroutine[Any, Any, Never]]:
        """What must run while the application serves, by name."""
        return {
            "worker bus": self._bus.run(),
            "facts": self._publisher.run(),
            "journal": self._feed.run(),
            "database state": self._poll_when_due(),
        }

    async def follow(self, connection: JournalConnection) -> Never:
        """As the relay: publish what this connection reads, here and for the other workers, until it fails."""
        await self._publisher.follow(connection)

    def share_state(self, text: str) -> None:
        """Send what was found in the database (``DatabaseState.to_json``) to the other workers. Called on the relay."""
        self._found = text
        self._tell()

    def _on_follow(self, database: DatabaseIdentity) -> None:
        """The listener has connected to this database, or an edge has been told of it."""
        self._database = database
        if self._feed.is_relay:
            self._tell()

    def _tell(self) -> None:
        self._publisher.set_state(json.dumps([self._database, self._found]))

    def _on_state(self, text: str) -> None:
        if self._feed.is_relay:
            return
        database, found = json.loads(text)
        if database is not None and (identity := DatabaseIdentity(*database)) != self._database:
            with suppress(WrongDatabase):  # of an old primary: its facts have been told by a relay that will be replaced
                self._followed.follow(identity)
        if found is None:
            return
        if self._watch.receive(found):
            self._found = found  # for when this worker becomes the relay: until its own poll this is the newest
        else:
            self._poll_due.set()

    async def _poll_when_due(self) -> Never:
        """Read revocations of which there are too many to be sent."""
        while True:
            await self._poll_due.wait()
            self._poll_due.clear()
            with suppress(DatabaseError):
                await self._watch.poll_once()
