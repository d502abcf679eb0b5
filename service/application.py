"""The application with its database and background tasks: ``create_app``, which another program can run or mount.

service/serving.py serves it, in one process or several.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Never

from aiohttp import web

from bus.worker_bus import WorkerBus
from database_url import DatabaseUrl
from db.database import Database
from db.errors import name_server
from db.identity import FollowedDatabase
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
from service.database_state import DatabaseState, DatabaseWatch, reported
from service.fact_feed import OwnReading
from service.worker_node import WorkerNode
from settings import BadSetting, Settings

if TYPE_CHECKING:
    from service.cluster_node import ClusterNode

__all__ = ["Service", "__version__", "create_app", "report_ignored_parameters", "update_schema"]

__version__ = "0.1.0"

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
    default logs it; a program may end itself, as ``service.serving.serve`` does. Raises BadSetting.
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
        worker_bus: WorkerBus | None = None,
    ) -> None:
        """``embedded_url``: the address of the embedded PostgreSQL; None with DATABASE_URL. ``worker_bus``: of a worker, of
        which one reads the journal for all; None where there is one process. With BROKER_URL it is not used.
        """
        url = embedded_url or settings.database_url
        if url is None:
            raise BadSetting("DATABASE_URL is not set: the application needs the address of a PostgreSQL")
        self._settings = settings
        self._url = url
        self._on_failure = on_failure
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
        self._watch = DatabaseWatch(self.database, self.relay, self.metrics, self._revoke, self._share_state)
        self._listener = Listener(
            url,
            self._update_schema,
            self._follow,
            settings.database_timeout_seconds,
            self._expire_connections,
            "DATABASE_URL" if settings.database_url else None,
            self.relay.report_outage,
            self._followed,
        )
        self._own_reading = OwnReading(self._listener.run, self._reader_tasks, self._expire_connections)
        self._cluster: ClusterNode | WorkerNode | None = None
        if settings.broker_url:
            self._cluster = self._join_cluster()
        elif worker_bus is not None:
            self._cluster = self._join_workers(worker_bus)
        self.gateway.app.cleanup_ctx.append(self._run)

    def _join_cluster(self) -> ClusterNode:
        # The client of the broker is loaded only where there is one.
        from service.cluster_node import ClusterNode

        return ClusterNode(
            self._settings,
            self.relay,
            self.database,
            self._followed,
            self.metrics,
            self._update_schema,
            self._watch,
            self._own_reading,
            self._hub.is_awaited,
        )

    def _join_workers(self, bus: WorkerBus) -> WorkerNode:
        return WorkerNode(
            bus,
            self.relay,
            self.database.journal,
            self._followed,
            self.metrics,
            self._watch,
            self._own_reading,
            self._hub.is_awaited,
        )

    async def _run(self, _app: web.Application) -> AsyncIterator[None]:
        """From the application's start-up to its clean-up. The drain comes before the clean-up: events still flow during it."""
        cluster = self._cluster.open() if self._cluster is not None else contextlib.nullcontext()
        async with self.database.open(), self._order_writer.open(), cluster:
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
        reading: dict[str, Coroutine[Any, Any, None]]
        if self._cluster is None:
            self.metrics.relay.set(1)
            reading = {"listener": self._listener.run(), **self._reader_tasks()}
        else:
            reading = {**self._cluster.tasks()}
        return {
            **reading,
            "heartbeat": self._hub.heartbeat(self._settings.heartbeat_seconds),
            "feed status": FeedMonitor(self.relay, self._hub, self.metrics).run(),
            **self.gateway.tasks(),
        }

    def _reader_tasks(self) -> dict[str, Coroutine[Any, Any, Never]]:
        """What a server does that reads the journal itself, beside reading it."""
        return {
            "audit": Audit(self.relay, self.database.journal, self.metrics).run(self._settings.audit_seconds),
            "database state": self._watch.poll_state(),
            "attached tables": self._watch.poll_attached_tables(),
            "retention": self._maintain_journal(),
        }

    async def _update_schema(self) -> None:
        await update_schema(self._settings, self._url)

    async def _expire_connections(self) -> None:
        await self.database.expire_connections()
        await self._order_writer.expire_connections()

    async def _follow(self, connection: JournalConnection) -> Never:
        self.database.reset_backoff()
        self._order_writer.reset_backoff()
        if self._cluster is None:
            await self.relay.follow(connection)
        else:
            await self._cluster.follow(connection)

    def _revoke(self, revoked: Mapping[str, float]) -> None:
        if self.gateway.token_verifier.update_revocations(revoked):
            self.gateway.revoke_invalid()

    def _share_state(self, state: DatabaseState) -> None:
        if self._cluster is not None:
            self._cluster.share_state(state.to_json())

    async def _maintain_journal(self) -> Never:
        """Create partitions ahead, drop those past the retention, and create the triggers of new partitions of attached tables.

        Several servers of one database may do this at a time.
        """
        await self.relay.started.wait()
        interval = min(60.0, self._settings.journal_retention.total_seconds() / 10)
        trimming, attaching = FailureLog(log), FailureLog(log)
        while True:
            with reported(trimming, "the partitions of the journal could not be maintained"):
                await self.database.maintain_partitions(self._settings.journal_retention)
            with reported(attaching, "the triggers of new partitions could not be created"):
                if made := await self.database.attach_partitions():
                    log.info("%d new partitions of attached tables have their triggers now", made)
            await asyncio.sleep(interval)
