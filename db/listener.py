"""The LISTEN connection of this process: kept open, and replaced after every error on it."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Never

import asyncpg

from db.connect import connect
from db.errors import (
    DatabaseError,
    DatabaseMisconfigured,
    DatabaseTimeout,
    DatabaseUnavailable,
    UnreadableData,
    cause_of,
    name_server,
    role_of,
    wrap_driver_errors,
)
from db.identity import DatabaseIdentity, FollowedDatabase, WrongDatabase
from db.journal import SCAN_TIMEOUT_SECONDS, SESSION_SETTINGS_SQL, JournalReader, PageGuard
from db.migrate import require_primary
from logs import FailureLog
from push.backoff import Backoff
from push.errors import ConnectionLost
from push.journal.events import EventId, JournalIdentity, Page, Position, Snapshot
from push.journal.queries import Baseline, JournalConnection

__all__ = ["CHANNEL", "Listener"]

log = logging.getLogger("orderwire.listener")

CHANNEL = "orders"

SELF_TEST_TIMEOUT_SECONDS = 5.0
# While the notification queue has no space for it.
SELF_TEST_RETRY_SECONDS = 1.0
# The lease of the notifier ends after two seconds (sql/functions/02_notify.sql).
LEASE_INTERVAL_SECONDS = 1.0
INITIAL_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 5.0
# An outage is over when the relay waits for a notification so long after it has got a connection. The first read proves little:
# what follows it may fail each time, for want of a privilege or because the connections are ended from outside.
STABLE_AFTER_SECONDS = 2.0


# The lock of PreCommit_Notify (src/backend/commands/async.c): of the object "no database", so of the whole cluster.
_NOTIFY_WAITERS_SQL = """
select count(*)
from pg_locks as l
where l.locktype = 'object' and l.database = 0 and l.classid = 1262 and l.objid = 0 and not l.granted
"""
_SELF_TEST_SQL = "select pg_notify($1, '') where pg_notification_queue_usage() <= 0.5"


class Listener:
    """Connects again and again, and passes each connection to ``follow``, which reads the journal until that is lost.

    One per process, run by one task. ``follow`` reads at least once a second, so a half-open connection is noticed after
    ``timeout_seconds``. ``before_first_connect`` is awaited before each attempt until the first connection succeeds.
    ``on_connection_lost`` is awaited after each failure; if there is no connection, ``on_outage`` is called with the cause, for
    any client. ``setting`` is the setting that has ``url``, for errors; None if none. ``followed`` is told which database that
    is, and tells when another connection has reached a newer primary of it.
    """

    def __init__(
        self,
        url: str,
        before_first_connect: Callable[[], Awaitable[object]],
        follow: Callable[[JournalConnection], Awaitable[Never]],
        timeout_seconds: float = 10.0,
        on_connection_lost: Callable[[], Awaitable[object]] | None = None,
        setting: str | None = None,
        on_outage: Callable[[str], None] | None = None,
        followed: FollowedDatabase | None = None,
    ) -> None:
        self._url = url
        self._on_outage = on_outage
        self._followed = followed or FollowedDatabase(url)
        self._setting = setting
        self._before_first_connect = before_first_connect
        self._follow = follow
        self._timeout_seconds = timeout_seconds
        self._on_connection_lost = on_connection_lost
        self._page_guard = PageGuard()
        self._has_connected = False
        self._connected_at = 0.0
        self._backoff = Backoff(INITIAL_BACKOFF_SECONDS, MAX_BACKOFF_SECONDS)
        self._failure_log = FailureLog(log)

    async def run(self) -> Never:
        """Connect and follow, again after each failure, until this task is cancelled.

        Raises DatabaseMisconfigured only before the first connection. Later it retries, since an operator may be fixing it.
        """
        while True:
            try:
                with name_server(self._url, self._setting):
                    if not self._has_connected:
                        await self._before_first_connect()
                    async with self._connect() as connection:
                        self._has_connected = True
                        self._connected_at = asyncio.get_running_loop().time()
                        await self._follow(connection)
            except DatabaseMisconfigured as error:
                if not self._has_connected:
                    raise
                failure: DatabaseError | ConnectionLost = error
            except (DatabaseUnavailable, ConnectionLost) as error:
                failure = error
            if self._on_outage is not None and not isinstance(failure, ConnectionLost):
                self._on_outage(failure.public_text)
            if self._on_connection_lost is not None:
                await self._on_connection_lost()
            self._report(failure)
            await asyncio.sleep(self._backoff.next_delay())

    def _report(self, failure: DatabaseError | ConnectionLost) -> None:
        is_refused = isinstance(failure, ConnectionLost) and isinstance(
            failure.__cause__, (DatabaseMisconfigured, WrongDatabase)
        )
        what = "the journal cannot be read, trying again" if is_refused else "no connection to PostgreSQL, waiting for it"
        self._failure_log.report(f"{what}: {failure}", cause_of(failure))

    def _on_wait(self) -> None:
        """The relay waits for a notification: PostgreSQL has answered all that it asks for before that."""
        if asyncio.get_running_loop().time() - self._connected_at >= STABLE_AFTER_SECONDS:
            self._backoff.reset()
            self._failure_log.recovered("connected to PostgreSQL")

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[_ListenConnection]:
        with wrap_driver_errors():
            connection = await connect(self._followed.url, "orderwire listener")
        try:
            listening = _ListenConnection(connection, self._timeout_seconds, self._on_wait, self._page_guard, self._followed)
            with wrap_driver_errors():
                await listening.listen()
            self._followed.on_superseded = connection.terminate
            yield listening
        finally:
            connection.terminate()  # not close(): the connection may be dead, and close() waits for PostgreSQL


class _ListenConnection(JournalReader, JournalConnection):
    """One connection that listens on CHANNEL. Any error of a query is ConnectionLost: Listener then opens another."""

    def __init__(
        self,
        connection: asyncpg.Connection[asyncpg.Record],
        timeout_seconds: float,
        on_wait: Callable[[], None],
        page_guard: PageGuard,
        followed: FollowedDatabase,
    ) -> None:
        super().__init__(self._fetch_or_lose, page_guard)
        self._on_wait = on_wait
        self._followed = followed
        self._connection = connection
        self._role = role_of(connection)  # cannot be asked any more when it is closed
        self._timeout_seconds = timeout_seconds
        self._notified = asyncio.Event()
        self._self_test_channel = "orderwire_test_" + secrets.token_hex(8)
        self._self_test_deadline: float | None = None
        # When it is to be tried again; None once it was sent.
        self._self_test_retry_at: float | None = 0.0
        # The pid of this connection's backend. None until the notification of the self-test has arrived: behind a pooler in
        # transaction mode it never does.
        self._backend_pid: int | None = None
        # State of notify suppression (sql/functions/02_notify.sql): which advisory locks this connection holds.
        self._notify_required = False
        self._notify_guaranteed = False
        self._is_notifier = False
        # When the notifier extends its lease, and another connection tries again to become the notifier.
        self._lease_due = 0.0

    async def listen(self) -> None:
        """LISTEN, before the first read of the journal: every later commit then sends a notification. Start the self-test."""
        await require_primary(self._connection)
        self._connection.add_termination_listener(self._on_notify)
        await self._connection.add_listener(CHANNEL, self._on_notify)
        await self._connection.add_listener(self._self_test_channel, self._on_self_test)
        # PostgreSQL then detects within half a minute that this process is unreachable, and releases its locks.
        await self._connection.execute(
            "set tcp_keepalives_idle = 10; set tcp_keepalives_interval = 5; set tcp_keepalives_count = 3"
        )
        await self._connection.execute(SESSION_SETTINGS_SQL)
        await self._start_self_test()

    async def _start_self_test(self) -> None:
        """Notify ourselves: a pooler in transaction mode accepts LISTEN but delivers no notification.

        While the notification queue is filling the test is put off: a full queue fails every NOTIFY.
        """
        now = asyncio.get_running_loop().time()
        if self._self_test_retry_at is None or now < self._self_test_retry_at:
            return
        self._self_test_retry_at = None
        # Before the query: the notification may come before its answer, and ends the wait.
        self._self_test_deadline = now + SELF_TEST_TIMEOUT_SECONDS
        try:
            is_sent = bool(await self._connection.fetch(_SELF_TEST_SQL, self._self_test_channel))
        except asyncpg.ProgramLimitExceededError:
            is_sent = False
        if not is_sent:
            self._self_test_deadline, self._self_test_retry_at = None, now + SELF_TEST_RETRY_SECONDS

    # asyncpg calls these two synchronously from its protocol.

    def _on_notify(self, _connection: object, sender_pid: int | None = None, *_: Any) -> None:
        if sender_pid is None or sender_pid != self._backend_pid:  # notifications that we send are for others
            self._notified.set()

    def _on_self_test(self, _connection: object, sender_pid: int, *_: Any) -> None:
        self._backend_pid = sender_pid
        self._self_test_deadline = None

    # ---------------------------------------------------------------- JournalConnection

    async def _fetch_or_lose(self, query: str, *args: Any, timeout: float | None = None) -> list[asyncpg.Record]:
        """The ``Fetch`` of this connection: any error of the driver, also the time-out, becomes ConnectionLost."""
        async with self._deadline(timeout or self._timeout_seconds):
            return await self._connection.fetch(query, *args)

    @asynccontextmanager
    async def _deadline(self, seconds: float) -> AsyncIterator[None]:
        """Around the queries of one method: an error of the driver, or no end within ``seconds``, is ConnectionLost."""
        try:
            usual = " (DATABASE_TIMEOUT_SECONDS)" if seconds == self._timeout_seconds else ""
            with wrap_driver_errors(self._role, f"{seconds:g} s{usual}"):
                async with asyncio.timeout(seconds):
                    yield
        except DatabaseError as error:
            is_answer = isinstance(error, (DatabaseMisconfigured, DatabaseTimeout, WrongDatabase))
            raise ConnectionLost(str(error), str(error) if is_answer else None) from error

    async def identity(self, epoch: str | None, delivered: Sequence[EventId]) -> JournalIdentity:
        async with self._deadline(self._timeout_seconds):
            self._followed.follow(await DatabaseIdentity.read(self._connection))
        return await super().identity(epoch, delivered)

    async def baseline(self) -> Baseline:
        async with self._deadline(SCAN_TIMEOUT_SECONDS):
            return await super().baseline()

    async def page(self, after: Position, upto: Snapshot | None, past_id: int, max_events: int, max_bytes: int) -> Page:
        # A read with a new snapshot answers all notifications so far. A further page of an older snapshot answers none, so
        # those that arrived meanwhile must stay set. Cleared before the query: one that arrives during it is for the next read.
        if upto is None:
            self._notified.clear()
        return await super().page(after, upto, past_id, max_events, max_bytes)

    async def require_notify(self) -> bool:
        if self._notify_guaranteed:
            return True
        async with self._deadline(self._timeout_seconds):
            await self._start_self_test()
            if not self._notify_required:
                self._is_notifier, self._lease_due = False, 0.0
                self._notify_required = await self._fetch_flag("select orderwire.require_notify()")
            if self._notify_required:
                self._notify_guaranteed = not await self._fetch_flag("select orderwire.silent_writers()")
        return self._notify_guaranteed

    async def release_notify(self) -> None:
        if self._backend_pid is None:  # behind a pooler the lock would belong to another session
            async with self._deadline(self._timeout_seconds):
                await self._start_self_test()
            return
        now = asyncio.get_running_loop().time()
        is_due = self._notify_required or now >= self._lease_due
        self._notify_required = self._notify_guaranteed = False
        if is_due:
            self._lease_due = now + LEASE_INTERVAL_SECONDS
            if not self._is_notifier:
                self._is_notifier = await self._fetch_flag("select orderwire.become_notifier()")
            if self._is_notifier:
                await self._fetch_or_lose("select orderwire.extend_notify_lease()")

    async def notify_waiters(self) -> int:
        ((count,),) = await self._fetch_or_lose(_NOTIFY_WAITERS_SQL)
        return int(count)

    async def notify_on_behalf(self, event_count: int) -> None:
        if self._is_notifier:
            try:
                await self._fetch_or_lose("select orderwire.notify_on_behalf($1)", event_count)
            except ConnectionLost as error:
                if not isinstance(error.__cause__, UnreadableData):  # the queue has become full meanwhile
                    raise

    async def _fetch_flag(self, query: str) -> bool:
        ((flag,),) = await self._fetch_or_lose(query)
        return bool(flag)

    def wake(self) -> None:
        self._notified.set()

    async def wait_for_notify(self, timeout_seconds: float) -> None:
        self._on_wait()
        try:
            async with asyncio.timeout(timeout_seconds):
                await self._notified.wait()
        except TimeoutError:
            deadline = self._self_test_deadline
            if deadline is not None and asyncio.get_running_loop().time() > deadline:
                self._self_test_deadline = None
                log.warning(
                    "NOTIFY does not arrive, so the server only polls: is DATABASE_URL the address of a connection pooler in "
                    "transaction mode? Point it at PostgreSQL itself"
                )
