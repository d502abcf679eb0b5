"""The one LISTEN connection of this process: supervised, and replaced whenever it is in doubt."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Never

import asyncpg

from db.errors import DatabaseError, DatabaseMisconfigured, DatabaseUnavailable, loop_exception_handler, wrap_driver_errors
from db.journal import SESSION_SETTINGS_SQL, JournalReader
from db.migrate import require_primary
from push.errors import ConnectionLost
from push.journal.events import Page, Position, Snapshot
from push.journal.queries import JournalConnection

__all__ = ["CHANNEL", "Listener"]

log = logging.getLogger("orderwire.listener")

CHANNEL = "orders"

CONNECT_TIMEOUT_SECONDS = 5.0
SELF_TEST_TIMEOUT_SECONDS = 5.0
# Full jitter: attempt n waits for a random time below min(MOST, FIRST * 2**n), that is 0.1, 0.2, 0.4 … 5 s.
INITIAL_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0


class Listener:
    """Keeps one connection alive and hands each new one to ``set_topics``.

    The journal is read at least every second, so a half-open line is noticed ``timeout_seconds`` later.
    """

    def __init__(
        self,
        url: str,
        before_first_connect: Callable[[], Awaitable[object]],
        follow: Callable[[JournalConnection], Awaitable[Never]],
        timeout_seconds: float = 10.0,
        on_connection_lost: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._url = url
        self._before_first_connect = before_first_connect
        self._follow = follow
        self._timeout_seconds = timeout_seconds
        self._on_connection_lost = on_connection_lost
        self._has_connected = False

    async def run(self) -> Never:
        """Connect, follow, and again, for as long as this task lives.

        DatabaseUnusable leaves only before the first success: later it is retried, since somebody may be mending it.
        """
        asyncio.get_running_loop().set_exception_handler(loop_exception_handler)
        failures = 0
        said: str | None = None
        while True:
            try:
                if not self._has_connected:
                    await self._before_first_connect()
                async with self._connect() as link:
                    if said is not None:
                        log.info("connected to PostgreSQL")
                    self._has_connected, failures, said = True, 0, None
                    await self._follow(link)
            except DatabaseMisconfigured as error:
                if not self._has_connected:
                    raise
                complaint: DatabaseError | ConnectionLost = error
            except (DatabaseUnavailable, ConnectionLost) as error:
                complaint = error
            if self._on_connection_lost is not None:
                await self._on_connection_lost()  # other connections may be as dead
            if said is None:  # once per outage, not in a flood
                said = str(complaint)
                log.warning("no connection to PostgreSQL (%s): waiting for it", said)
            await asyncio.sleep(random.uniform(0, min(MAX_BACKOFF_SECONDS, INITIAL_BACKOFF_SECONDS * 2**failures)))
            failures = min(failures + 1, 10)

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[_ListenConnection]:
        with wrap_driver_errors():
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT_SECONDS,
                server_settings={"application_name": "orderwire listener"},
            )
        try:
            link = _ListenConnection(connection, self._timeout_seconds)
            with wrap_driver_errors():
                await link.listen()
            yield link
        finally:
            connection.terminate()  # whatever went wrong, nothing of it is worth a polite goodbye


class _ListenConnection(JournalReader, JournalConnection):
    """A connection that listens. Any failure on it, of whatever kind, is LinkLost: it is not worth a second try."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record], timeout_seconds: float) -> None:
        super().__init__(self._fetch_or_lose)
        self._connection = connection
        self._timeout_seconds = timeout_seconds
        self._notified = asyncio.Event()
        self._self_test_channel = "orderwire_test_" + secrets.token_hex(8)
        self._self_test_deadline: float | None = None
        # Our backend's pid, once it is certain that notifications arrive here. A pooler would tell another one.
        self._backend_pid: int | None = None
        # What this connection holds of the gate (sql/011_gate.sql).
        self._notify_required = False
        self._notify_guaranteed = False
        self._is_notifier = False

    async def listen(self) -> None:
        """LISTEN first, so that whatever commits after the first read rings."""
        await require_primary(self._connection)
        self._connection.add_termination_listener(self._on_notify)
        await self._connection.add_listener(CHANNEL, self._on_notify)
        await self._connection.add_listener(self._self_test_channel, self._on_self_test)
        # So that PostgreSQL, too, soon notices when we are gone without a word.
        await self._connection.execute(
            "set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3"
        )
        await self._connection.execute(SESSION_SETTINGS_SQL)
        # Behind a transaction-mode pooler LISTEN is accepted and nothing ever arrives.
        self._self_test_deadline = asyncio.get_running_loop().time() + SELF_TEST_TIMEOUT_SECONDS
        await self._connection.execute("select pg_notify($1, '')", self._self_test_channel)

    # asyncpg calls these from its protocol, synchronously.

    def _on_notify(self, _connection: object, sender_pid: int | None = None, *_: Any) -> None:
        if sender_pid is None or sender_pid != self._backend_pid:  # our own rings are for others
            self._notified.set()

    def _on_self_test(self, _connection: object, sender_pid: int, *_: Any) -> None:
        self._backend_pid = sender_pid
        self._self_test_deadline = None

    # ---------------------------------------------------------------- what the relay asks for (JournalConnection)

    async def _fetch_or_lose(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """The ``Fetch`` of this connection. Whatever the driver raises, a timeout included, becomes ConnectionLost."""
        try:
            with wrap_driver_errors():
                async with asyncio.timeout(timeout or self._timeout_seconds):
                    return await self._connection.fetch(query, *args)
        except DatabaseError as error:
            raise ConnectionLost(str(error)) from error

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        # A notification that arrives while something new is read is for the next read. One that arrives while an older read
        # is finished, page by page, is not answered by that read, and must not be forgotten.
        if upto is None:
            self._notified.clear()
        return await super().page(after, upto, past_id, max_events, max_bytes)

    async def require_notify(self) -> bool:
        if self._notify_guaranteed:
            return True
        if not self._notify_required:
            self._is_notifier = False
            self._notify_required = await self._fetch_flag("select orderwire.require_notify()")
        if self._notify_required:
            self._notify_guaranteed = not await self._fetch_flag("select orderwire.silent_writers()")
        return self._notify_guaranteed

    async def release_notify(self) -> None:
        if self._backend_pid is None:  # there may be a pooler in between, and what we lock would be another session's
            return
        self._notify_required = self._notify_guaranteed = False
        if not self._is_notifier:
            self._is_notifier = await self._fetch_flag("select orderwire.become_notifier()")

    async def notify_on_behalf(self, event_count: int) -> None:
        if self._is_notifier:
            await self._fetch_or_lose("select orderwire.notify_on_behalf($1)", event_count)

    async def _fetch_flag(self, query: str) -> bool:
        ((flag,),) = await self._fetch_or_lose(query)
        return bool(flag)

    def wake(self) -> None:
        self._notified.set()

    async def wait_for_notify(self, timeout_seconds: float) -> None:
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._notified.wait()
        except TimeoutError:
            deadline = self._self_test_deadline
            if deadline is not None and asyncio.get_running_loop().time() > deadline:
                self._self_test_deadline = None
                log.warning(
                    "NOTIFY does not arrive, events come by polling only: is a connection pooler in transaction mode in "
                    "between? Point DATABASE_URL at PostgreSQL itself"
                )
