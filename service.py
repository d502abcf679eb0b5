"""The application with its database and background tasks: ``create_app``, which another program can run or mount.

serving.py serves it, in one process or several.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Never

from aiohttp import web

from database_url import DatabaseUrl
from db.database import AttachmentProblem, Database
from db.errors import DatabaseError, DatabaseTimeout, DatabaseUnavailable, UnreadableData, name_server
from db.identity import FollowedDatabase, WrongDatabase
from db.listener import Listener
from db.migrate import migrate
from db.order_writer import OrderWriter
from gateway.app import Gateway
from logs import FailureLog
from push.delivery.hub import Hub
from push.feed_monitor import FeedMonitor
from push.journal.audit import Audit
from push.journal.notify_policy import NotifyMode
from push.journal.queries import JournalConnection
from push.journal.relay import Relay
from push.journal.replay import ReplayPlanner
from push.journal.series_counter import SeriesCounter
from push.metrics import Metrics
from settings import BadSetting, Settings

__all__ = ["Service", "__version__", "create_app", "report_ignored_parameters", "update_schema"]

__version__ = "0.1.0"

# How often revoked tokens and the use of the notification queue are read.
STATE_POLL_SECONDS = 1.0
# How often it is read what is wrong with the attached tables: some ten looks into the catalog.
ATTACHMENT_POLL_SECONDS = 5.0

log = logging.getLogger("orderwire.service")


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
    default logs it; a program may end itself, as ``serving.serve`` does. Raises BadSetting.
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
        self._order_writer = OrderWriter(self._followed)
        self._series_counter = SeriesCounter(self.database.series, settings.zone)
        self.gateway = Gateway(
            settings,
            self._hub,
            self.relay,
            planner,
            self._series_counter,
            self.database,
            self._order_writer,
            self.metrics,
            __version__,
            is_playground=embedded_url is not None,
        )
        self.gateway.app.cleanup_ctx.append(self._run)

    async def _run(self, _app: web.Application) -> AsyncIterator[None]:
        """From the application's start-up to its clean-up. The drain comes before the clean-up: events still flow during it."""
        async with self.database.open(), self._order_writer.open():
            tasks = [asyncio.create_task(task, name=name) for name, task in self._tasks().items()]
            for task in tasks:
                task.add_done_callback(self._report_failure)
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, self._series_counter.close(), return_exceptions=True)

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
            self._expire_connections,
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

    async def _expire_connections(self) -> None:
        await self.database.expire_connections()
        await self._order_writer.expire_connections()

    async def _follow(self, connection: JournalConnection) -> Never:
        self.database.reset_backoff()
        self._order_writer.reset_backoff()
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
