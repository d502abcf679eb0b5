#!/usr/bin/env python3
"""Orderwire: every change of a shop's `orders` table, pushed to every dashboard. Run `python server.py --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, Never

import logs
from db.database import Database
from db.doctor import diagnose
from db.embedded.postgres import EmbeddedPostgres
from db.errors import BadDatabaseUrl, DatabaseError
from db.listener import Listener
from db.migrate import migrate
from examples import shop
from gateway.app import Gateway
from gateway.auth.tokens import sign_token
from gateway.net.listening import ListenError
from push.console import ConsoleSink
from push.delivery.hub import Hub
from push.errors import PushError
from push.journal.audit import Audit
from push.journal.notify_policy import NotifyMode
from push.journal.relay import Relay
from push.journal.replay import ReplayPlanner
from push.metrics import Metrics
from push.protocol.access import Role
from settings import BadSetting, Settings, parse_duration
from workers import Supervisor, SupervisorClient, WorkerFailed

STATE_POLL_SECONDS = 1.0
# Of the garbage collector. A connection is some dozens of objects that stay: with Python's own 700, a thousand handshakes set
# it off a hundred times.
GC_THRESHOLDS = (10_000, 10, 10)
DATA_DIRECTORY = Path(__file__).resolve().parent / ".data"

# What is told in one line.
EXPECTED_ERRORS = (PushError, ListenError, BadSetting, WorkerFailed)

log = logging.getLogger("orderwire")


def print_line(line: str) -> None:
    """A line for the person who started us."""
    print(line, flush=True)


def print_status(line: str) -> None:
    """What is going on meanwhile: beside the output, so that the output can be piped on."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def database_server(settings: Settings) -> Iterator[tuple[str, EmbeddedPostgres | None]]:
    """DATABASE_URL, else the embedded PostgreSQL for as long as the block lasts."""
    if settings.database_url is not None:
        yield settings.database_url, None
        return
    embedded = EmbeddedPostgres(DATA_DIRECTORY, print_status)
    try:
        yield embedded.start(), embedded
    finally:
        embedded.release()


def stop_on_signal() -> asyncio.Event:
    """Set by SIGINT and SIGTERM."""
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    return stop


async def serve(settings: Settings, supervisor: SupervisorClient | None = None) -> None:
    """Listen, follow the journal, push; until SIGINT or SIGTERM, or until the supervisor of this worker says so."""
    metrics = Metrics()
    hub = Hub(metrics, max_messages=settings.send_queue_frames, max_bytes=settings.send_queue_bytes)
    relay = Relay(hub, metrics, NotifyMode(settings.notify_mode))
    stop = stop_on_signal()

    with database_server(settings) as (url, embedded):
        async with Database(url, settings.database_timeout_seconds).open() as database:
            history = ReplayPlanner(relay, database.journal)
            gateway = Gateway(settings, hub, relay, history, database, metrics)
            await gateway.listen()
            migrate_url = settings.migrate_database_url or url
            tasks = {
                "listener": Listener(
                    url,
                    lambda: migrate(migrate_url),
                    relay.follow,
                    settings.database_timeout_seconds,
                    database.expire_connections,
                ).run(),
                "heartbeat": hub.heartbeat(settings.heartbeat_seconds),
                "audit": Audit(relay, database.journal, metrics).run(settings.audit_seconds),
                "vigil": poll_database_state(relay, database, gateway, metrics),
                **gateway.tasks(),
            }
            if supervisor is None:
                tasks["announce"] = announce(relay.started, settings, gateway.address, database, url, embedded)
            else:
                tasks["announce"] = supervisor.announce_started(relay.started)
                tasks["supervisor"] = supervisor.run(stop, metrics)
            if supervisor is None or supervisor.worker_id == 1:
                tasks["retention"] = maintain_journal(relay, database, settings)  # once is enough
            if embedded is not None:
                tasks["embedded postgres"] = embedded.supervise()
            # What has been made so far is there for good: the garbage collector need not go through it each time.
            gc.freeze()
            gc.set_threshold(*GC_THRESHOLDS)
            # Shutdown, in order: stop accepting and drain the sessions while events still flow; end the tasks; then
            # the pool closes, and the embedded PostgreSQL stops if nobody else uses it.
            await run_until(stop, tasks, gateway.drain)


async def run_worker(settings: Settings, worker_id: int, fd: int) -> int:
    """One worker of several. What it cannot start for, its supervisor tells."""
    async with SupervisorClient.connect(fd, worker_id) as supervised:
        try:
            await serve(settings, supervised)
        except EXPECTED_ERRORS as error:
            supervised.report_failure(str(error))
            return exit_code(error)
    return 0


async def supervise(settings: Settings) -> None:
    """Have several workers serve, until SIGINT or SIGTERM."""
    stop = stop_on_signal()
    workers = Supervisor(settings)
    await workers.reserve_port()
    with database_server(settings) as (url, embedded):
        async with Database(url, settings.database_timeout_seconds).open() as database:
            tasks = {
                "announce": announce(workers.started, settings, workers.address, database, url, embedded),
                **workers.tasks(url),
            }
            if embedded is not None:
                tasks["embedded postgres"] = embedded.supervise()
            await run_until(stop, tasks, workers.drain)


async def run_until(
    stop: asyncio.Event, tasks: dict[str, Coroutine[Any, Any, None]], drain: Callable[[], Awaitable[None]]
) -> None:
    """Run the named tasks until ``stop``, or until one of them fails: then the whole server ends, loudly."""
    running = [asyncio.create_task(task, name=name) for name, task in tasks.items()]
    stopping = asyncio.create_task(stop.wait(), name="stop signal")
    try:
        pending = {stopping, *running}
        while not stopping.done() and not any(task.done() and task.exception() for task in running):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        log.debug("draining")
        await drain()
    finally:
        for task in (stopping, *running):
            task.cancel()
        results = await asyncio.gather(*running, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result


async def announce(
    started: asyncio.Event, settings: Settings, address: str, database: Database, url: str, embedded: EmbeddedPostgres | None
) -> None:
    """Once events flow, say where, and what an admin should know of the safety of it."""
    await started.wait()
    # The embedded server's password is in nobody's hands yet; one from DATABASE_URL must not get into a log.
    psql = f"{embedded.bin_dir / 'psql'} '{url}'" if embedded else 'psql "$DATABASE_URL"'
    tls = "s" if settings.tls_cert_file else ""
    print_line(f"dashboard  http{tls}://{address}/admin/dashboard")
    print_line(f"websocket  ws{tls}://{address}/api/ws")
    print_line(f"psql       {psql}")
    if settings.login_required:
        print_line("login      by token; make one with: python server.py token --role admin --ttl 1h")
    elif settings.allow_anonymous:
        print_line("login      none: whoever reaches this address sees everything (ALLOW_ANONYMOUS=1)")
    else:
        print_line(
            "login      none: only this machine may connect; JWT_SECRET, JWT_PUBLIC_KEY or JWT_JWKS_URL switches login on"
        )
    if embedded is None:
        with contextlib.suppress(DatabaseError):
            if await database.is_superuser():
                log.warning(
                    "the server is a superuser in the database: give it a role of its own, see docs/how-to/serving-role.md"
                )
    print_line("ready; Ctrl-C stops")


async def poll_database_state(relay: Relay, database: Database, gateway: Gateway, metrics: Metrics) -> Never:
    """Look every moment at what can change in the database beside the journal: revoked tokens, the notification queue."""
    await relay.started.wait()
    while True:
        with contextlib.suppress(DatabaseError):  # a database that is away is the listener's business
            usage, revoked = await database.poll_state()
            metrics.notification_queue_usage.set(usage)
            relay.update_queue_usage(usage)
            if gateway.token_verifier.update_revocations(revoked):
                gateway.revoke_invalid()
        await asyncio.sleep(STATE_POLL_SECONDS)


async def maintain_journal(relay: Relay, database: Database, settings: Settings) -> Never:
    """Partitions ahead, retention behind; any number of servers may do this at once."""
    await relay.started.wait()
    interval = min(60.0, settings.journal_retention.total_seconds() / 10)
    while True:
        try:
            await database.maintain_partitions(settings.journal_retention)
        except DatabaseError as error:
            log.warning("the journal could not be tended: %s", error)
        await asyncio.sleep(interval)


async def print_events(settings: Settings) -> None:
    """Print events until SIGINT or SIGTERM."""
    stop = stop_on_signal()
    with database_server(settings) as (url, _):
        relay = Relay(ConsoleSink(print_line), notify_mode=NotifyMode(settings.notify_mode))
        await run_until(stop, {"listener": Listener(url, lambda: migrate(url), relay.follow).run()}, no_drain)


async def no_drain() -> None:
    """Nobody is connected to us."""


async def apply_migrations(settings: Settings) -> None:
    """Bring the schema up to date and say what was done."""
    with database_server(settings) as (url, _):
        names = await migrate(settings.migrate_database_url or url)
    print_line("\n".join(f"applied sql/{name}" for name in names) or "the schema is up to date")


async def doctor(settings: Settings) -> int:
    """Print what would stop events from arriving, and the mend; 1 when there is anything."""
    with database_server(settings) as (url, _):
        if settings.database_url is None:
            await migrate(url)
        found = await diagnose(url)
    for problem, mend in found:
        print_line(f"problem: {problem}\n   mend: {mend}")
    if not found:
        print_line("nothing stands in the way of events")
    return 1 if found else 0


async def demo(settings: Settings, rate: float) -> None:
    """A shop at work, until SIGINT or SIGTERM."""
    stop = stop_on_signal()
    with database_server(settings) as (url, _):
        await migrate(url)
        await run_until(stop, {"shop": shop.run(url, rate)}, no_drain)


def psql(settings: Settings, arguments: list[str]) -> int:
    """Run psql on the database that the server uses; returns its exit code."""
    with database_server(settings) as (url, embedded):
        program = str(embedded.bin_dir / "psql") if embedded else "psql"
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is psql's own
        try:
            return subprocess.run([program, url, *arguments], check=False).returncode
        except FileNotFoundError:
            raise BadSetting("psql was not found: install PostgreSQL's client programs") from None


def claims_from_options(options: argparse.Namespace) -> dict[str, Any]:
    """What `token` was asked for. Raises BadSetting."""
    if options.role == Role.CUSTOMER and not options.sub and not options.order:
        raise BadSetting("token: a customer's token needs --sub or --order")
    now = int(time.time())
    claims: dict[str, Any] = {"role": options.role, "iat": now, "exp": now + int(options.ttl.total_seconds())}
    if options.sub:
        claims["sub"] = options.sub
    if options.order:
        claims["orders"] = options.order
    return claims


def exit_code(error: Exception) -> int:
    """Of a failure that was foreseen: 2 for what was set wrongly."""
    if isinstance(error, WorkerFailed):
        return error.exit_code
    return 2 if isinstance(error, (BadDatabaseUrl, BadSetting)) else 1


def positive_number(text: str) -> float:
    """For argparse: a number above 0."""
    number = float(text)
    if not 0 < number <= 1_000_000:
        raise ValueError
    return number


def main() -> int:
    """Parse the command line, run, and turn every foreseen failure into one line and an exit code."""
    parser = argparse.ArgumentParser(
        prog="server.py",
        description=__doc__,
        epilog="settings, taken from the environment:\n" + Settings.describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for name, what in (
        ("serve", "serve until Ctrl-C (the default)"),
        ("migrate", "bring the database's schema up to date"),
        ("watch", "print events as they happen, one line each"),
        ("doctor", "say what would stop events from arriving, and the mend"),
        ("demo", "a shop at work: inserts orders and moves them on, until Ctrl-C"),
        ("token", "print a token for a role, signed with JWT_SECRET or a private key"),
        ("psql", "psql on the server's database; further arguments go to psql"),
    ):
        command = commands.add_parser(
            name,
            help=what,
            description=what,
            epilog=parser.epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == "demo":
            command.add_argument("--rate", type=positive_number, default=5.0, help="changes a second (default: 5)")
        if name == "token":
            command.add_argument("--role", required=True, choices=list(Role), help="what its bearer may see")
            command.add_argument(
                "--ttl", type=parse_duration, default=timedelta(hours=1), help="how long it lasts: 90m, 12h, 7d (default: 1h)"
            )
            command.add_argument("--sub", help="whose token it is; for a customer, the customer_id of the orders to see")
            command.add_argument(
                "--order", type=int, action="append", default=[], help="for a customer: the id of an order to see, repeatable"
            )
            command.add_argument(
                "--key", help="file with the private key, PEM, where JWT_PUBLIC_KEY or a key set checks tokens"
            )
        if name == "psql":
            command.add_argument("arguments", nargs=argparse.REMAINDER)
    worker = commands.add_parser("worker", add_help=False)  # for the supervisor alone, so without a line in the help
    worker.add_argument("number", type=int)
    worker.add_argument("fd", type=int)
    options = parser.parse_args()
    try:
        settings = Settings.from_environment(os.environ)
    except BadSetting as error:
        print(f"server.py: {error}", file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format, options.number if options.command == "worker" else None)
    try:
        match options.command:
            case "migrate":
                asyncio.run(apply_migrations(settings))
            case "watch":
                asyncio.run(print_events(settings))
            case "doctor":
                return asyncio.run(doctor(settings))
            case "demo":
                asyncio.run(demo(settings, options.rate))
            case "token":
                print_line(sign_token(settings, claims_from_options(options), options.key))
            case "psql":
                return psql(settings, options.arguments)
            case "worker":
                return asyncio.run(run_worker(settings, options.number, options.fd))
            case _:
                asyncio.run(serve(settings) if settings.workers == 1 else supervise(settings))
    except EXPECTED_ERRORS as error:
        print(f"server.py: {error}", file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
