"""The processes that serve the application: ``serve`` (one), ``supervise`` and ``run_worker`` (several).

The command line is server.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import logs
from db.database import Database
from db.embedded.postgres import EmbeddedPostgres
from db.errors import BadDatabaseUrl, DatabaseError, name_server
from db.startup import NOTHING_ATTACHED, prepare_embedded
from gateway.app import HttpServer
from gateway.net.listening import ListenError
from push.errors import PushError
from service.application import Service, report_ignored_parameters
from service.sd_notify import SystemdNotifier
from service.shutdown import Shutdown, run_until
from service.supervisor import Supervisor, SupervisorClient, WorkerFailed
from settings import BadSetting, Settings

__all__ = [
    "EXPECTED_ERRORS",
    "database_server",
    "exit_code",
    "print_line",
    "print_status",
    "run_worker",
    "serve",
    "supervise",
]

# A connection is some dozens of objects that live as long as it does: with Python's default of 700, a thousand handshakes start
# the garbage collector a hundred times.
GC_THRESHOLDS = (10_000, 10, 10)
DATA_DIRECTORY = Path(__file__).resolve().parent.parent / ".data"

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


async def serve(settings: Settings, supervisor: SupervisorClient | None = None) -> None:
    """Serve until SIGINT or SIGTERM, or until the supervisor of this worker asks for the end. Raises EXPECTED_ERRORS."""
    shutdown = Shutdown.on_signal(settings.drain_delay_seconds)
    notifier = SystemdNotifier.from_environment(os.environ)
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
            worker_bus=None if supervisor is None else supervisor.bus,
        )
        server = HttpServer(service.gateway, settings)
        try:
            await server.listen()
            tasks = {"background tasks": _result(failure), **server.tasks()}
            if supervisor is None:
                tasks["startup lines"] = print_addresses(
                    service.relay.started, settings, server.address, service.database, url, embedded
                )
                tasks["systemd"] = notifier.run(service.relay.started)
            else:
                tasks["startup lines"] = supervisor.report_started(service.relay.started)
                tasks["supervisor"] = supervisor.run(service.metrics, service.gateway.announce_end, shutdown.request_at_once)
            if embedded is not None:
                tasks["embedded postgres"] = embedded.supervise()
            # The objects made so far stay until the end: the garbage collector need not visit them again.
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)

            async def drain() -> None:
                notifier.report_drain()
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
    notifier = SystemdNotifier.from_environment(os.environ)
    workers = Supervisor(settings)

    async def drain() -> None:
        notifier.report_drain()
        await shutdown.delay(workers.started, workers.announce_end)
        await workers.drain()

    await workers.reserve_port()
    with database_server(settings) as (url, embedded):
        if embedded is not None:
            await prepare_embedded(url)
        async with Database(url, settings.database_timeout_seconds).open() as database:
            tasks = {
                "startup lines": print_addresses(workers.started, settings, workers.address, database, url, embedded),
                "systemd": notifier.run(workers.started),
                **workers.tasks(url),
            }
            if embedded is not None:
                tasks["embedded postgres"] = embedded.supervise()
            await run_until(shutdown.requested, tasks, drain)


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
