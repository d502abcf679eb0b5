"""The one LISTEN connection of this process: supervised, and replaced whenever it is in doubt."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Never

import asyncpg

from db.errors import DatabaseAway, DatabaseError, DatabaseUnusable, forgive_abandoned, typed_errors
from db.journal import CENSUS_SECONDS, JournalReader
from db.migrate import refuse_standby
from push.errors import LinkLost
from push.events import EventPlace, Identity, Page, Position, Snapshot
from push.relay import Baseline, Journal

__all__ = ["CHANNEL", "Listener"]

log = logging.getLogger("orderwire.listener")

CHANNEL = "orders"

CONNECT_SECONDS = 5.0
SELF_TEST_SECONDS = 5.0
# Full jitter: attempt n waits for a random time below min(MOST, FIRST * 2**n), that is 0.1, 0.2, 0.4 … 5 s.
BACKOFF_FIRST_SECONDS = 0.1
BACKOFF_MOST_SECONDS = 5.0


class Listener:
    """Keeps one connection alive and hands each new one to ``follow``.

    The journal is read at least every second, so a half-open line is noticed ``answer_seconds`` later.
    """

    def __init__(
        self,
        url: str,
        prepare: Callable[[], Awaitable[object]],
        follow: Callable[[Journal], Awaitable[Never]],
        answer_seconds: float = 10.0,
        lost: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._url = url
        self._prepare = prepare
        self._follow = follow
        self._answer_seconds = answer_seconds
        self._lost = lost
        self._met = False

    async def run(self) -> Never:
        """Connect, follow, and again, for as long as this task lives.

        DatabaseUnusable leaves only before the first success: later it is retried, since somebody may be mending it.
        """
        asyncio.get_running_loop().set_exception_handler(forgive_abandoned)
        failures = 0
        said: str | None = None
        while True:
            try:
                if not self._met:
                    await self._prepare()
                async with self._link() as link:
                    if said is not None:
                        log.info("connected to PostgreSQL")
                    self._met, failures, said = True, 0, None
                    await self._follow(link)
            except DatabaseUnusable as error:
                if not self._met:
                    raise
                complaint: DatabaseError | LinkLost = error
            except (DatabaseAway, LinkLost) as error:
                complaint = error
            if self._lost is not None:
                await self._lost()  # other connections may be as dead
            if said is None:  # once per outage, not in a flood
                said = str(complaint)
                log.warning("no connection to PostgreSQL (%s): waiting for it", said)
            await asyncio.sleep(random.uniform(0, min(BACKOFF_MOST_SECONDS, BACKOFF_FIRST_SECONDS * 2**failures)))
            failures = min(failures + 1, 10)

    @asynccontextmanager
    async def _link(self) -> AsyncIterator[_Link]:
        with typed_errors():
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_SECONDS,
                server_settings={"application_name": "orderwire listener"},
            )
        try:
            link = _Link(connection, self._answer_seconds)
            with typed_errors():
                await link.open()
            yield link
        finally:
            connection.terminate()  # whatever went wrong, nothing of it is worth a polite goodbye


class _Link:
    """A connection that listens. Any failure on it, of whatever kind, is LinkLost: it is not worth a second try."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], answer_seconds: float) -> None:
        self._connection = connection
        self._answer_seconds = answer_seconds
        self._reader = JournalReader(connection)
        self._rung = asyncio.Event()
        self._self_test_channel = "orderwire_test_" + secrets.token_hex(8)
        self._self_test_deadline: float | None = None
        # Our backend's pid, once it is certain that notifications arrive here. A pooler would tell another one.
        self._own_pid: int | None = None
        # What this connection holds of the gate (sql/011_gate.sql).
        self._wanted = False
        self._certain = False
        self._turn = False

    async def open(self) -> None:
        """LISTEN first, so that whatever commits after the first read rings."""
        await refuse_standby(self._connection)
        self._connection.add_termination_listener(self._ring)
        await self._connection.add_listener(CHANNEL, self._ring)
        await self._connection.add_listener(self._self_test_channel, self._self_test_heard)
        # So that PostgreSQL, too, soon notices when we are gone without a word.
        await self._connection.execute(
            "set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3"
        )
        await self._reader.prepare()
        # Behind a transaction-mode pooler LISTEN is accepted and nothing ever arrives.
        self._self_test_deadline = asyncio.get_running_loop().time() + SELF_TEST_SECONDS
        await self._connection.execute("select pg_notify($1, '')", self._self_test_channel)

    # asyncpg calls these from its protocol, synchronously.

    def _ring(self, _connection: object, sender: int | None = None, *_: Any) -> None:
        if sender is None or sender != self._own_pid:  # our own rings are for others
            self._rung.set()

    def _self_test_heard(self, _connection: object, sender: int, *_: Any) -> None:
        self._own_pid = sender
        self._self_test_deadline = None

    # ---------------------------------------------------------------- what the relay asks for (push.relay.Journal)

    async def identity(self, epoch: str | None, delivered: Sequence[EventPlace]) -> Identity:
        """See JournalReader."""
        with _link_lost():
            async with asyncio.timeout(self._answer_seconds):
                return await self._reader.identity(epoch, delivered)

    async def baseline(self) -> Baseline:
        """See JournalReader."""
        with _link_lost():
            async with asyncio.timeout(CENSUS_SECONDS):
                return await self._reader.baseline()

    async def newest_txid(self, upto: Snapshot) -> int:
        """See JournalReader."""
        with _link_lost():
            async with asyncio.timeout(self._answer_seconds):
                return await self._reader.newest_txid(upto)

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        """See JournalReader. Rings that come while something new is read are for the next read; those that come while an older
        read is finished, page by page, are not answered by it.
        """
        if upto is None:
            self._rung.clear()
        with _link_lost():
            async with asyncio.timeout(self._answer_seconds):
                return await self._reader.page(after, upto, past_id, max_events, max_bytes)

    async def rely_on_rings(self) -> bool:
        """Take `wanted`, and wait, from call to call, until nobody is at work who did not see that."""
        if self._certain:
            return True
        with _link_lost():
            async with asyncio.timeout(self._answer_seconds):
                if not self._wanted:
                    self._turn = False
                    self._wanted = await self._connection.fetchval("select orderwire.want_rings()")
                self._certain = self._wanted and not await self._connection.fetchval("select orderwire.silent_writers()")
        return self._certain

    async def stop_relying(self) -> None:
        """Give `wanted` back and take the turn."""
        if self._own_pid is None:  # there may be a pooler in between, and what we take would be another session's
            return
        self._wanted = self._certain = False
        if not self._turn:
            with _link_lost():
                async with asyncio.timeout(self._answer_seconds):
                    self._turn = await self._connection.fetchval("select orderwire.take_turn()")

    async def ring(self, unheard: int) -> None:
        """In everybody's stead, if it is our turn."""
        if self._turn:
            with _link_lost():
                async with asyncio.timeout(self._answer_seconds):
                    await self._connection.execute("select orderwire.ring_in_turn($1)", unheard)

    def wake(self) -> None:
        """As if a notification had come."""
        self._rung.set()

    async def wait(self, timeout_seconds: float) -> None:
        """Return at the next notification, when the connection ends, or after the timeout."""
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._rung.wait()
        except TimeoutError:
            deadline = self._self_test_deadline
            if deadline is not None and asyncio.get_running_loop().time() > deadline:
                self._self_test_deadline = None
                log.warning(
                    "NOTIFY does not arrive, events come by polling only: is a connection pooler in transaction mode in "
                    "between? Point DATABASE_URL at PostgreSQL itself"
                )


@contextmanager
def _link_lost() -> Iterator[None]:
    """Whatever the driver raises means that this connection is over."""
    try:
        with typed_errors():
            yield
    except DatabaseError as error:
        raise LinkLost(str(error)) from error
