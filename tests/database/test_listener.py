"""db/listener.py: the connection is replaced after every error, and its queries raise ConnectionLost."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Never

import pytest

from db.embedded.postgres import EmbeddedPostgres
from db.errors import DatabaseMisconfigured, DatabaseUnavailable
from db.listener import Listener
from db.migrate import migrate
from push.console import ConsoleSink
from push.errors import ConnectionLost
from push.journal.events import Position, Snapshot
from push.journal.queries import JournalConnection
from push.journal.relay import Relay
from tests.helpers.tcp_proxy import TcpProxy, url_via_proxy
from tests.support import TIMEOUT_SECONDS, open_connections, url_with_role, within

START = Position(Snapshot(1, 1))
INSERT_SQL = "insert into orders (customer_name, total) values ('Anna', 1)"
TERMINATE_SQL = """
select pg_terminate_backend(pid) from pg_stat_activity
where application_name = 'orderwire listener' and datname = current_database()
"""

WAITS_FOR_LOCK_SQL = """
select exists (
    select from pg_stat_activity
    where application_name = 'orderwire listener' and datname = current_database() and wait_event_type = 'Lock'
)
"""


class Followed:
    """A Listener whose connections are put into a queue. ``losses`` counts the calls of ``on_connection_lost``."""

    def __init__(self, url: str, timeout_seconds: float = 10.0) -> None:
        self.connections: asyncio.Queue[JournalConnection] = asyncio.Queue()
        self.losses = 0
        self._lost = asyncio.Event()
        self.listener = Listener(url, self._no_migrations, self._follow, timeout_seconds, self._on_connection_lost)

    async def _no_migrations(self) -> None:
        pass

    async def _follow(self, connection: JournalConnection) -> Never:
        self._lost.clear()
        self.connections.put_nowait(connection)
        await self._lost.wait()
        raise ConnectionLost("lost in a test")

    async def _on_connection_lost(self) -> None:
        self.losses += 1

    def lose_connection(self) -> None:
        """Make the listener replace the connection, like the relay after a query that raised ConnectionLost."""
        self._lost.set()

    async def next_connection(self) -> JournalConnection:
        return await within(TIMEOUT_SECONDS, self.connections.get(), "a connection")


@asynccontextmanager
async def running(followed: Followed) -> AsyncIterator[asyncio.Task[Never]]:
    task = asyncio.create_task(followed.listener.run())
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def proxy(postgres: EmbeddedPostgres) -> AsyncIterator[tuple[TcpProxy, int]]:
    """A proxy in front of the tests' PostgreSQL, and its port."""
    proxy = TcpProxy(int(postgres.url.rsplit(":", 1)[1].split("/")[0]))
    yield proxy, await proxy.start()
    await proxy.stop()


async def is_notified(connection: JournalConnection, seconds: float) -> bool:
    start = asyncio.get_running_loop().time()
    await connection.wait_for_notify(seconds)
    return asyncio.get_running_loop().time() - start < seconds


async def test_commit_notifies_and_the_page_contains_it(database_url: str, db: Any) -> None:
    followed = Followed(database_url)
    async with running(followed):
        connection = await followed.next_connection()
        await connection.page(START, None, 0, 100, 10_000)
        await db.execute(INSERT_SQL)
        assert await is_notified(connection, TIMEOUT_SECONDS)
        page = await connection.page(START, None, 0, 100, 10_000)
        assert [event.key for event in page.events] == ["1"]


async def test_new_read_clears_earlier_notifications_and_a_further_page_does_not(database_url: str, db: Any) -> None:
    followed = Followed(database_url)
    async with running(followed):
        connection = await followed.next_connection()
        upto = (await connection.page(START, None, 0, 100, 10_000)).upto
        connection.wake()
        await connection.page(START, upto, 0, 100, 10_000)
        assert await is_notified(connection, TIMEOUT_SECONDS)
        await connection.page(START, None, 0, 100, 10_000)
        assert not await is_notified(connection, 0.05)


async def test_notification_that_arrives_during_a_read_is_for_the_next_read(database_url: str, db: Any) -> None:
    followed = Followed(database_url)
    async with running(followed), open_connections(database_url, 1) as (other,):
        connection = await followed.next_connection()
        await connection.page(START, None, 0, 100, 10_000)
        async with other.transaction():
            await other.execute("lock table orderwire.journal in access exclusive mode")
            read = asyncio.create_task(connection.page(START, None, 0, 100, 10_000))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not await db.fetchval(WAITS_FOR_LOCK_SQL):
                    await asyncio.sleep(0.01)
            await db.execute("notify orders")
        async with asyncio.timeout(TIMEOUT_SECONDS):
            await read
        assert await is_notified(connection, TIMEOUT_SECONDS)


async def test_terminated_connection_is_replaced_and_reported_once(
    database_url: str, db: Any, caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed(database_url)
    with caplog.at_level(logging.INFO, "orderwire.listener"):
        async with running(followed):
            first = await followed.next_connection()
            await first.page(START, None, 0, 1, 1)
            await db.execute(TERMINATE_SQL)
            assert await is_notified(first, TIMEOUT_SECONDS), "the end of a connection ends the wait"
            with pytest.raises(ConnectionLost):
                await first.newest_event(Snapshot(1, 1))
            assert followed.losses == 0
            followed.lose_connection()
            second = await followed.next_connection()
            assert followed.losses == 1
            assert (await second.page(START, None, 0, 1, 1)).events == []
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while "connected to PostgreSQL" not in caplog.text:
                    await second.wait_for_notify(0.05)
    assert caplog.text.count("no connection to PostgreSQL") == 1
    assert caplog.text.count("connected to PostgreSQL") == 1


@pytest.mark.parametrize(
    "query",
    [
        lambda connection: connection.identity(None, []),
        lambda connection: connection.newest_event(Snapshot(1, 1)),
        lambda connection: connection.page(START, None, 0, 1, 1),
        lambda connection: connection.require_notify(),
    ],
    ids=["identity", "newest_event", "page", "require_notify"],
)
async def test_query_on_a_half_open_connection_is_lost_after_the_time_out(
    database_url: str, proxy: tuple[TcpProxy, int], query: Callable[[JournalConnection], Awaitable[object]]
) -> None:
    between, port = proxy
    followed = Followed(url_via_proxy(database_url, port), timeout_seconds=0.3)
    async with running(followed):
        connection = await followed.next_connection()
        between.stalled = True
        with pytest.raises(ConnectionLost) as lost:
            await within(TIMEOUT_SECONDS, query(connection), "the time-out")  # type: ignore[arg-type]
        assert lost.value.reason == "a query took longer than 0.3 s (DATABASE_TIMEOUT_SECONDS)"
        between.stalled = False
        followed.lose_connection()
        connection = await followed.next_connection()
        await query(connection)


async def test_cancelled_query_is_cancelled_not_lost(database_url: str, proxy: tuple[TcpProxy, int]) -> None:
    between, port = proxy
    followed = Followed(url_via_proxy(database_url, port))
    async with running(followed):
        connection = await followed.next_connection()
        between.stalled = True
        task = asyncio.create_task(connection.identity(None, []))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


@pytest.mark.parametrize("failures", [[DatabaseUnavailable("starting"), DatabaseUnavailable("starting")], []])
async def test_before_first_connect_is_retried_while_the_database_is_unavailable(
    database_url: str, failures: list[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed(database_url)
    remaining = list(failures)
    calls = 0

    async def before_first_connect() -> None:
        nonlocal calls
        calls += 1
        if remaining:
            raise remaining.pop()

    followed.listener._before_first_connect = before_first_connect
    async with running(followed):
        await followed.next_connection()
    assert calls == len(failures) + 1
    assert caplog.text.count("no connection to PostgreSQL, waiting for it: starting") == bool(failures)


async def test_misconfiguration_before_the_first_connection_is_raised(database_url: str) -> None:
    followed = Followed(url_with_role(database_url, "missing", "secret"))
    with pytest.raises(DatabaseMisconfigured, match="missing"):
        await within(TIMEOUT_SECONDS, followed.listener.run(), "the error")


async def test_misconfiguration_after_the_first_connection_is_retried(database_url: str) -> None:
    followed = Followed(database_url)
    async with running(followed) as task:
        await followed.next_connection()
        followed.listener._followed._url = url_with_role(database_url, "missing", "secret")
        followed.lose_connection()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while followed.losses < 3:
                await asyncio.sleep(0.01)
        assert not task.done()
        followed.listener._followed._url = database_url
        await followed.next_connection()


async def test_own_notifications_do_not_wake_the_sender(database_url: str, db: Any) -> None:
    followed = Followed(database_url)
    async with running(followed), open_connections(database_url, 1) as (other,):
        payloads: asyncio.Queue[str] = asyncio.Queue()
        await other.add_listener("orders", lambda *call: payloads.put_nowait(call[3]))
        connection = await followed.next_connection()
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while payloads.empty():  # until the self-test has arrived and this connection is the notifier
                await connection.release_notify()
                await connection.page(START, None, 0, 1, 1)
                await connection.notify_on_behalf(2)
                await asyncio.sleep(0.01)
        assert payloads.get_nowait() == '{"type":"batch","events":[],"more":2}'
        assert not await is_notified(connection, 0.1)


async def test_writers_that_wait_for_a_notifying_commit_are_counted(database_url: str, db: Any) -> None:
    followed = Followed(database_url)
    async with running(followed), open_connections(database_url, 8) as writers:
        connection = await followed.next_connection()
        assert await connection.notify_waiters() == 0
        stop = asyncio.Event()

        async def notify(writer: Any) -> None:
            while not stop.is_set():
                await writer.execute("notify elsewhere")

        async with asyncio.TaskGroup() as group:
            for writer in writers:
                group.create_task(notify(writer))
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while await connection.notify_waiters() < 2:
                    pass
            stop.set()
        assert await connection.notify_waiters() == 0


async def test_missing_notifications_are_reported(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Like behind a pooler in transaction mode: LISTEN succeeds, and nothing arrives."""
    monkeypatch.setattr("db.listener.SELF_TEST_TIMEOUT_SECONDS", 0.01)
    monkeypatch.setattr("db.listener._ListenConnection._on_self_test", lambda *_: None)
    followed = Followed(database_url)
    async with running(followed):
        connection = await followed.next_connection()
        for _ in range(3):
            await connection.wait_for_notify(0.05)
    assert caplog.text.count("NOTIFY does not arrive") == 1


async def test_a_schema_that_is_gone_is_reported_once_and_found_again(
    database_url: str, db: Any, caplog: pytest.LogCaptureFixture
) -> None:
    losses = 0

    async def on_connection_lost() -> None:
        nonlocal losses
        losses += 1

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)

    relay = Relay(ConsoleSink(lambda _: None))
    listener = Listener(database_url, lambda: asyncio.sleep(0), relay.follow, on_connection_lost=on_connection_lost)
    with caplog.at_level(logging.INFO, "orderwire.listener"):
        task = asyncio.create_task(listener.run())
        await until(relay.started.is_set)
        await db.execute("select orderwire.uninstall()")
        await until(lambda: losses >= 5)
        assert listener._backoff.failures >= 4, "every attempt waits longer than the one before"
        [warning] = caplog.messages
        assert "the schema orderwire is gone or not up to date: python server.py migrate" in warning
        assert relay.not_ready_reason is not None
        assert "python server.py migrate" in relay.not_ready_reason
        await migrate(database_url)
        await until(lambda: relay.not_ready_reason is None)
        await until(lambda: "connected to PostgreSQL" in caplog.messages)
        assert [record.message for record in caplog.records if record.name == "orderwire.listener"][1:] == [
            "connected to PostgreSQL"
        ]
        task.cancel()
        await asyncio.wait([task])


async def test_a_role_without_privileges_is_told_how_to_get_them(database_url: str, db: Any) -> None:
    followed = Followed(re.sub("//.*@", "//unprivileged:secret@", database_url))
    await db.execute("create role unprivileged login password 'secret'")
    try:
        async with running(followed):
            connection = await followed.next_connection()
            with pytest.raises(ConnectionLost, match=r"^the role unprivileged may .*grant_serving\('unprivileged'\)"):
                await connection.identity(None, [])
            await db.execute("select orderwire.grant_serving('unprivileged')")
            await connection.identity(None, [])
    finally:
        await db.execute("drop owned by unprivileged; drop role unprivileged")


class Flapping:
    """Runs a Listener whose connections end again and again after their first complete read, until it has done so ``times``."""

    def __init__(self, url: str, times: int) -> None:
        self.connections = 0
        self._times = times
        self.done = asyncio.Event()
        self.relay = Relay(ConsoleSink(lambda _: None))
        self.listener = Listener(url, lambda: asyncio.sleep(0), self._follow, on_outage=self.relay.report_outage)

    async def _follow(self, connection: JournalConnection) -> Never:
        self.connections += 1
        if self.connections >= self._times:
            self.done.set()
        await self.relay.follow(connection)


async def test_an_error_after_the_first_read_does_not_reset_the_back_off(
    database_url: str, db: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Each connection reads the journal, and fails at what comes next."""
    monkeypatch.setattr("db.listener.INITIAL_BACKOFF_SECONDS", 0.001)
    await db.execute("drop function orderwire.require_notify() cascade")
    flapping = Flapping(database_url, 8)
    with caplog.at_level(logging.INFO, "orderwire.listener"):
        task = asyncio.create_task(flapping.listener.run())
        await within(TIMEOUT_SECONDS, flapping.done.wait(), "eight connections")
        assert flapping.relay.started.is_set()
        assert flapping.listener._backoff.failures == 7
        [line] = [record.message for record in caplog.records if record.name == "orderwire.listener"]
        assert line.startswith("the journal cannot be read, trying again: the schema orderwire is gone or not up to date")
        task.cancel()
        await asyncio.wait([task])


async def test_connections_that_are_ended_from_outside_do_not_reset_it_either(
    database_url: str, db: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("db.listener.INITIAL_BACKOFF_SECONDS", 0.001)
    monkeypatch.setattr("db.listener.STABLE_AFTER_SECONDS", TIMEOUT_SECONDS)
    flapping = Flapping(database_url, 6)
    task = asyncio.create_task(flapping.listener.run())
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not flapping.done.is_set():
            if flapping.relay.not_ready_reason is None:
                await db.execute(TERMINATE_SQL)
            await asyncio.sleep(0.01)
    assert flapping.listener._backoff.failures == 5
    assert len(caplog.messages) <= 2, "terminating connection; connection was closed"
    task.cancel()
    await asyncio.wait([task])


CAUSES = [
    ("alter role serving password 'other'", "the database refuses the server's password"),
    ("alter role serving nologin", "the server's role may not log in (NOLOGIN)"),
    ("alter role serving connection limit 0", "the database has no free connection for the server"),
    ("alter database {name} allow_connections false", "the database accepts no connections"),
    ("revoke connect on database {name} from public", "the database refuses the server's login"),
]


async def test_each_cause_is_logged_once_and_told_to_clients(
    postgres: EmbeddedPostgres,
    database_url: str,
    db: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A password that was changed, a role that may not log in, and so on, one after the other, in one outage."""
    monkeypatch.setattr("db.listener.MAX_BACKOFF_SECONDS", 0.05)
    name = database_url.rsplit("/", 1)[1]
    await db.execute("create role serving login password 'secret'")
    await db.execute("select orderwire.grant_serving('serving')")
    failures = 0

    async def until(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while not condition():
                await asyncio.sleep(0.01)

    async def count_failure() -> None:
        nonlocal failures
        failures += 1

    relay = Relay(ConsoleSink(lambda _: None))
    url = url_with_role(database_url, "serving", "secret")
    listener = Listener(
        url, lambda: asyncio.sleep(0), relay.follow, 10, count_failure, "DATABASE_URL", on_outage=relay.report_outage
    )
    task = asyncio.create_task(listener.run())
    try:
        await until(relay.started.is_set)
        async with open_connections(postgres.url, 1) as (admin,):
            for statement, cause in CAUSES:
                await admin.execute(statement.format(name=name))
                await admin.execute(TERMINATE_SQL.replace("current_database()", f"'{name}'"))
                await until(lambda cause=cause: relay.not_ready_reason == cause)  # type: ignore[misc]
                before = failures
                await until(lambda before=before: failures >= before + 5)  # type: ignore[misc]
                await admin.execute("alter role serving login password 'secret' connection limit -1")
                await admin.execute(f"alter database {name} allow_connections true")
            await admin.execute(f"grant connect on database {name} to public")
        await until(lambda: relay.not_ready_reason is None)
        said = [message for message in caplog.messages if "refuses the connection" in message]
        assert len(said) == len(CAUSES), said
        assert all(
            message.startswith("no connection to PostgreSQL, waiting for it: PostgreSQL at 127.0.0.1:") for message in said
        )
    finally:
        task.cancel()
        await asyncio.wait([task])
        await db.execute("drop owned by serving; drop role serving")
