"""Puts the parts together: the application with its database and background tasks, and the processes that serve it.

``create_app`` makes an aiohttp application that another program can run or mount. ``serve`` (one process), ``supervise`` and
``run_worker`` (several) run the same application behind the server of this project. The command line is server.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Never

from aiohttp import web

import logs
from database_url import DatabaseUrl
from db.database import AttachmentProblem, Database
from db.embedded.postgres import EmbeddedPostgres
from db.errors import BadDatabaseUrl, DatabaseError, DatabaseTimeout, DatabaseUnavailable, UnreadableData, name_server
from db.identity import FollowedDatabase, WrongDatabase
from db.listener import Listener
from db.migrate import migrate
from db.startup import NOTHING_ATTACHED, prepare_embedded
from gateway.app import Gateway, HttpServer
from gateway.net.listening import ListenError
from logs import FailureLog
from push.delivery.hub import Hub
from push.errors import PushError
from push.feed_monitor import FeedMonitor
from push.journal.audit import Audit
from push.journal.notify_policy import NotifyMode
from push.journal.queries import JournalConnection
from push.journal.relay import Relay
from push.journal.replay import ReplayPlanner
from push.metrics import Metrics
from settings import BadSetting, Settings
from workers import Supervisor, SupervisorClient, WorkerFailed

__all__ = [
    "EXPECTED_ERRORS",
    "Service",
    "__version__",
    "create_app",
    "database_server",
    "exit_code",
    "print_line",
    "print_status",
    "run_until",
    "run_worker",
    "serve",
    "stop_on_signal",
    "supervise",
    "update_schema",
]

__version__ = "0.1.0"

# How often revoked tokens and the use of the notification queue are read.
STATE_POLL_SECONDS = 1.0
# How often it is read what is wrong with the attached tables: some ten looks into the catalog.
ATTACHMENT_POLL_SECONDS = 5.0
# A connection is some dozens of objects that live as long as it does: with Python's default of 700, a thousand handshakes start
# the garbage collector a hundred times.
GC_THRESHOLDS = (10_000, 10, 10)
DATA_DIRECTORY = Path(__file__).resolve().parent / ".data"

# Errors that are printed as one line, without a traceback.
EXPECTED_ERRORS = (PushError, ListenError, BadSetting, WorkerFailed)

log = logging.getLogger("orderwire.serving")


def exit_code(error: Exception) -> int:
    """The exit code for one of EXPECTED_ERRORS: 2 for a wrong setting, else 1."""
    if isinstance(error, WorkerFailed):
        return error.exit_code
    return 2 if isinstance(error, (BadDatabaseUrl, BadSetting)) else 1


def print_line(line: str) -> None:
    """Print a line of the program's output."""
    print(line, flush=True)


def print_status(line: str) -> None:
    """Print a progress message to standard error, so that the output can be piped."""
    print(logs.output_line(line), file=sys.stderr, flush=True)


def print_notice(line: str) -> None:
    """Print a line of a server, which is a line of its log."""
    print_line(logs.output_line(line))


@contextlib.contextmanager
def database_server(settings: Settings, *, report_ignored: bool = True) -> Iterator[tuple[str, EmbeddedPostgres | None]]:
    """Yields DATABASE_URL; without it, the address of the embedded PostgreSQL, which runs until the block ends.

    An error of the block that says that there is no connection names the server. ``report_ignored``: log which parameters of
    the address have no effect.
    """
    if report_ignored:
        report_ignored_parameters(settings)
    if settings.database_url is not None:
        with name_server(settings.database_url, "DATABASE_URL"):
            yield settings.database_url, None
        return
    embedded = EmbeddedPostgres(DATA_DIRECTORY, print_status)
    try:
        url = embedded.start()
        with name_server(url):
            yield url, embedded
    finally:
        embedded.release()


def report_ignored_parameters(settings: Settings) -> None:
    """Log, in one line for each address, the parameters of a database's address that have no effect here."""
    addresses = {"DATABASE_URL": settings.database_url, "MIGRATE_DATABASE_URL": settings.migrate_database_url}
    for name, url in addresses.items():
        if url is not None and (ignored := DatabaseUrl.parse(url).ignored):
            log.warning("%s: these parameters have no effect here: %s", name, ", ".join(ignored))


async def update_schema(settings: Settings, url: str) -> list[str]:
    """Bring the schema up to date, at MIGRATE_DATABASE_URL if that is set, else at ``url``. Returns the names of the files that
    were applied.
    """
    if settings.migrate_database_url is None:
        return await migrate(url)
    with name_server(settings.migrate_database_url, "MIGRATE_DATABASE_URL"):
        return await migrate(settings.migrate_database_url)


# ---------------------------------------------------------------- the application


def _log_failure(name: str, error: BaseException) -> None:
    log.critical("background task %r has failed: events may not arrive any more", name, exc_info=error)


def create_app(settings: Settings, on_failure: Callable[[str, BaseException], None] = _log_failure) -> web.Application:
    """The application, for any aiohttp server: as its root, or mounted in an application of yours with
    ``app.add_subapp("/prefix", create_app(settings))``.

    Its start-up opens the database and starts the background tasks; its shutdown closes the sessions with DRAIN; its clean-up
    ends the tasks and the pool. It is ready when ``/readyz`` says so. DATABASE_URL is required. Listening, TLS and
    logging belong to the program that runs it: docs/how-to/mount.md lists the settings without effect.

    ``on_failure(name, error)`` is called when a background task fails, which is a bug or a database that cannot be used. The
    default logs it; a program may end itself, as ``serve`` does. Raises BadSetting.
    """
    report_ignored_parameters(settings)
    return Service(settings, on_failure).gateway.app


class Service:
    """One application with all that it needs. Raises BadSetting when it is made."""

    def __init__(
        self,
        settings: Settings,
        on_failure: Callable[[str, BaseException], None],
        *,
        embedded_url: str | None = None,
        maintains_journal: bool = True,
    ) -> None:
        """``embedded_url``: the address of the embedded PostgreSQL; None with DATABASE_URL. ``maintains_journal``: whether this
        process creates and trims partitions. Of several workers one does.
        """
        url = embedded_url or settings.database_url
        if url is None:
            raise BadSetting("DATABASE_URL is not set: the application needs the address of a PostgreSQL")
        self._settings = settings
        self._url = url
        self._on_failure = on_failure
        self._maintains_journal = maintains_journal
        self.metrics = Metrics()
        self._hub = Hub(
            self.metrics,
            max_messages=settings.send_queue_frames,
            max_bytes=settings.send_queue_bytes,
            currency=settings.currency,
        )
        self.relay = Relay(self._hub, self.metrics, NotifyMode(settings.notify_mode))
        self._followed = FollowedDatabase(self._url)
        self.database = Database(self._url, settings.database_timeout_seconds, self._followed)
        planner = ReplayPlanner(self.relay, self.database.journal)
        self.gateway = Gateway(settings, self._hub, self.relay, planner, self.database, self.metrics, __version__)
        self.gateway.app.cleanup_ctx.append(self._run)

    async def _run(self, _app: web.Application) -> AsyncIterator[None]:
        """From the application's start-up to its clean-up. The drain comes before the clean-up: events still flow during it."""
        async with self.database.open():
            tasks = [asyncio.create_task(task, name=name) for name, task in self._tasks().items()]
            for task in tasks:
                task.add_done_callback(self._report_failure)
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _report_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(task.get_name(), error)

    def _tasks(self) -> dict[str, Coroutine[Any, Any, None]]:
        settings, url = self._settings, self._url
        listener = Listener(
            url,
            lambda: update_schema(settings, url),
            self._follow,
            settings.database_timeout_seconds,
            self.database.expire_connections,
            "DATABASE_URL" if settings.database_url else None,
            self.relay.report_outage,
            self._followed,
        )
        tasks: dict[str, Coroutine[Any, Any, None]] = {
            "listener": listener.run(),
            "heartbeat": self._hub.heartbeat(settings.heartbeat_seconds),
            "audit": Audit(self.relay, self.database.journal, self.metrics).run(settings.audit_seconds),
            "database state": self._poll_database_state(),
            "attached tables": self._poll_attached_tables(),
            "feed status": FeedMonitor(self.relay, self._hub, self.metrics).run(),
            **self.gateway.tasks(),
        }
        if self._maintains_journal:
            tasks["retention"] = self._maintain_journal()
        return tasks

    async def _follow(self, connection: JournalConnection) -> Never:
        self.database.reset_backoff()
        await self.relay.follow(connection)

    async def _poll_database_state(self) -> Never:
        """Read what can change in the database beside the journal: revoked tokens, and how full the notification queue is.

        Also finds that the pool is led to another server than the listener: nothing but live events can be had then.
        """
        await self.relay.started.wait()
        failures = FailureLog(log)
        while True:
            with _reported(failures, "revoked tokens cannot be read"):
                try:
                    usage, revoked = await self.database.poll_state()
                except WrongDatabase as error:
                    if self.relay.pool_problem is None:
                        log.warning("%s", error)
                    self.relay.pool_problem = str(error)
                    raise
                self.relay.pool_problem = None
                self.metrics.notification_queue_usage.set(usage)
                self.relay.update_queue_usage(usage)
                if self.gateway.token_verifier.update_revocations(revoked):
                    self.gateway.revoke_invalid()
            await asyncio.sleep(STATE_POLL_SECONDS)

    async def _poll_attached_tables(self) -> Never:
        """Read what is wrong with the attached tables, and log each problem once.

        A problem that stops events until a person acts makes the server not ready (/readyz and the metric): otherwise its
        clients would take an old state for the present one. All else is only logged: ``_maintain_journal`` attaches a new
        partition, missing rights do not stop events, and without a table there are no events to miss.
        """
        await self.relay.started.wait()
        known: AttachmentProblem | None = None
        failures = FailureLog(log)
        while True:
            with _reported(failures, "the attached tables cannot be checked"):
                checked_at = time.time()
                found = await self.database.attachment_problem()
                self.relay.attachment_problem = found.problem if found is not None and found.stops_events else None
                if self.relay.attachment_problem is None:
                    self.relay.attachment_checked_at = checked_at
                if found is not None and found != known:
                    log.warning("%s; to mend it: %s", *found[:2])
                elif found is None and known is not None:
                    log.info("the attached tables are in order again")
                known = found
            await asyncio.sleep(ATTACHMENT_POLL_SECONDS)

    async def _maintain_journal(self) -> Never:
        """Create partitions ahead, drop those past the retention, and create the triggers of new partitions of attached tables.

        Several servers of one database may do this at a time.
        """
        await self.relay.started.wait()
        interval = min(60.0, self._settings.journal_retention.total_seconds() / 10)
        trimming, attaching = FailureLog(log), FailureLog(log)
        while True:
            with _reported(trimming, "the partitions of the journal could not be maintained"):
                await self.database.maintain_partitions(self._settings.journal_retention)
            with _reported(attaching, "the triggers of new partitions could not be created"):
                if made := await self.database.attach_partitions():
                    log.info("%d new partitions of attached tables have their triggers now", made)
            await asyncio.sleep(interval)


@contextlib.contextmanager
def _reported(failures: FailureLog, what: str) -> Iterator[None]:
    """Log an error of the database in the block, unless the listener reports it: that there is no connection."""
    try:
        yield
    except DatabaseError as error:
        is_lost = isinstance(error, DatabaseUnavailable) and not isinstance(error, (DatabaseTimeout, UnreadableData))
        if not error.without_connection and not is_lost:
            failures.report(f"{what}: {error}")
    else:
        failures.recovered()


# ---------------------------------------------------------------- the processes


def stop_on_signal() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set."""
    stop = asyncio.Event()
    _on_signal(stop.set)
    return stop


def _on_signal(handler: Callable[[], None]) -> None:
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, handler)


class Shutdown:
    """The end of a process that serves: SIGINT or SIGTERM asks for it, a second one ends DRAIN_DELAY_SECONDS."""

    def __init__(self, delay_seconds: float) -> None:
        self._delay_seconds = delay_seconds
        self.requested = asyncio.Event()
        self._at_once = asyncio.Event()

    @classmethod
    def on_signal(cls, delay_seconds: float) -> Shutdown:
        """Register the handlers of the signals."""
        shutdown = cls(delay_seconds)
        _on_signal(shutdown.request)
        return shutdown

    def request(self) -> None:
        """A signal has come."""
        if self.requested.is_set():
            self._at_once.set()
        self.requested.set()

    def request_at_once(self) -> None:
        """End without the delay."""
        self._at_once.set()
        self.requested.set()

    async def delay(self, started: asyncio.Event, announce_end: Callable[[], None]) -> None:
        """Return when the drain may begin. Before that load balancers get time to see that this server is not ready any more.

        It begins at once where no client was served yet, and where a failed task is the reason to end.
        """
        if not (self.requested.is_set() and started.is_set() and self._delay_seconds):
            return
        announce_end()
        log.info("not ready from now on; the drain begins in %g s, or at a second signal", self._delay_seconds)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._delay_seconds):
                await self._at_once.wait()


async def serve(settings: Settings, supervisor: SupervisorClient | None = None) -> None:
    """Serve until SIGINT or SIGTERM, or until the supervisor of this worker asks for the end. Raises EXPECTED_ERRORS."""
    shutdown = Shutdown.on_signal(settings.drain_delay_seconds)
    failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(_name: str, error: BaseException) -> None:
        if not failure.done():
            failure.set_exception(error)

    with database_server(settings, report_ignored=supervisor is None) as (url, embedded):
        if embedded is not None:
            await prepare_embedded(url)
        service = Service(
            settings,
            fail,
            embedded_url=url if embedded else None,
            maintains_journal=supervisor is None or supervisor.worker_id == 1,
        )
        server = HttpServer(service.gateway, settings)
        try:
            await server.listen()
            tasks = {"background tasks": _result(failure), **server.tasks()}
            if supervisor is None:
                tasks["startup lines"] = print_addresses(
                    service.relay.started, settings, server.address, service.database, url, embedded
                )
            else:
                tasks["startup lines"] = supervisor.report_started(service.relay.started)
                tasks["supervisor"] = supervisor.run(service.metrics, service.gateway.announce_end, shutdown.request_at_once)
            if embedded is not None:
                tasks["embedded postgres"] = embedded.supervise()
            # The objects made so far stay until the end: the garbage collector need not visit them again.
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)

            async def drain() -> None:
                await shutdown.delay(service.relay.started, service.gateway.announce_end)
                await server.close()

            # Shutdown, in this order: not ready, for DRAIN_DELAY_SECONDS; stop accepting, drain the sessions while events still
            # flow, end the background tasks, close the pool, stop the embedded PostgreSQL unless another program uses it.
            await run_until(shutdown.requested, tasks, drain)
        finally:
            await server.close()


async def _result(failure: asyncio.Future[None]) -> None:
    await failure


async def run_worker(settings: Settings, worker_id: int, fd: int) -> int:
    """Serve as one of several workers; returns the exit code. ``fd``: our end of the socket pair with the supervisor.

    The supervisor prints why a worker could not start: once, not once for each worker.
    """
    async with SupervisorClient.connect(fd, worker_id) as supervised:
        try:
            await serve(settings, supervised)
        except EXPECTED_ERRORS as error:
            supervised.report_failure(str(error))
            return exit_code(error)
    return 0


async def supervise(settings: Settings) -> None:
    """Run WORKERS worker processes until SIGINT or SIGTERM. Raises EXPECTED_ERRORS."""
    shutdown = Shutdown.on_signal(settings.drain_delay_seconds)
    workers = Supervisor(settings)

    async def drain() -> None:
        await shutdown.delay(workers.started, workers.announce_end)
        await workers.drain()

    await workers.reserve_port()
    with database_server(settings) as (url, embedded):
        if embedded is not None:
            await prepare_embedded(url)
        async with Database(url, settings.database_timeout_seconds).open() as database:
            tasks = {
                "startup lines": print_addresses(workers.started, settings, workers.address, database, url, embedded),
                **workers.tasks(url),
            }
            if embedded is not None:
                tasks["embedded postgres"] = embedded.supervise()
            await run_until(shutdown.requested, tasks, drain)


async def run_until(
    stop: asyncio.Event, tasks: dict[str, Coroutine[Any, Any, None]], drain: Callable[[], Awaitable[None]] | None = None
) -> None:
    """Run the named tasks until ``stop`` is set or one fails, then ``drain``, then cancel them. Raises a task's error."""
    running = [asyncio.create_task(task, name=name) for name, task in tasks.items()]
    stopping = asyncio.create_task(stop.wait(), name="stop signal")
    try:
        pending = {stopping, *running}
        while not stopping.done() and not any(task.done() and task.exception() for task in running):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        if drain is not None:
            log.debug("draining")
            await drain()
    finally:
        for task in (stopping, *running):
            task.cancel()
        results = await asyncio.gather(*running, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def print_addresses(
    started: asyncio.Event, settings: Settings, address: str, database: Database, url: str, embedded: EmbeddedPostgres | None
) -> None:
    """Once events flow, print the addresses, and what an administrator should know about access."""
    await started.wait()
    # The password of the embedded server is new and local; one from DATABASE_URL must not get into a log.
    psql = f"{embedded.bin_dir / 'psql'} '{url}'" if embedded else 'psql "$DATABASE_URL"'
    tls = "s" if settings.tls_cert_file else ""
    address += settings.base_path
    print_notice(f"dashboard  http{tls}://{address}/admin/dashboard")
    print_notice(f"websocket  ws{tls}://{address}/api/ws")
    print_notice(f"psql       {psql}")
    if settings.login_required:
        print_notice("login      by token; make one with: make token ROLE=admin (or: python server.py token --role admin)")
    elif settings.allow_anonymous:
        print_notice("login      none: every client that reaches this address sees everything (ALLOW_ANONYMOUS=1)")
    else:
        print_notice(
            "login      none: only this machine may connect; JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL switches login on"
        )
    with contextlib.suppress(DatabaseError):
        if (await database.shop_info()).table is None:
            print_notice(NOTHING_ATTACHED)
    if embedded is None:
        with contextlib.suppress(DatabaseError):
            if await database.is_superuser():
                log.warning(
                    "the server is a superuser in the database: give it a role of its own, see docs/how-to/serving-role.md"
                )
    print_notice("ready; Ctrl-C stops")
