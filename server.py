#!/usr/bin/env python3
"""Orderwire: every change of a shop's `orders` table, pushed to every dashboard. Run `python server.py --help`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Never

from db.doctor import diagnose
from db.embedded import EmbeddedPostgres
from db.errors import BadAddress, DatabaseError
from db.listener import Listener
from db.migrate import migrate
from db.pool import Database
from examples import shop
from gateway.app import CannotListen, Gateway
from push.audit import Audit
from push.errors import PushError
from push.history import History
from push.hub import Hub
from push.relay import Relay
from push.watch import Watch
from settings import BadSetting, Settings

DATA_DIRECTORY = Path(__file__).resolve().parent / ".data"

log = logging.getLogger("orderwire")


def say(line: str) -> None:
    """A line for the person who started us."""
    print(line, flush=True)


def note(line: str) -> None:
    """What is going on meanwhile: beside the output, so that the output can be piped on."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def database_url(settings: Settings) -> Iterator[tuple[str, EmbeddedPostgres | None]]:
    """DATABASE_URL, else the embedded PostgreSQL for as long as the block lasts."""
    if settings.database_url is not None:
        yield settings.database_url, None
        return
    embedded = EmbeddedPostgres(DATA_DIRECTORY, note)
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


async def serve(settings: Settings) -> None:
    """Listen, follow the journal, push; until SIGINT or SIGTERM."""
    hub = Hub()
    relay = Relay(hub)
    stop = stop_on_signal()

    with database_url(settings) as (url, embedded):
        async with Database(url, settings.database_timeout_seconds).opened() as database:
            history = History(relay, database)
            gateway = Gateway(settings, hub, relay, history, database)
            await gateway.listen()
            tasks = {
                "listener": Listener(
                    url, lambda: migrate(url), relay.follow, settings.database_timeout_seconds, database.distrust
                ).run(),
                "heartbeat": hub.heartbeat(settings.heartbeat_seconds),
                "retention": tend(relay, database, settings),
                "audit": Audit(relay, database).run(settings.audit_seconds),
                "announce": announce(relay, gateway, url, embedded),
            }
            if embedded is not None:
                tasks["embedded postgres"] = embedded.supervise()
            # Shutdown, in order: stop accepting and drain the sessions while events still flow; end the tasks; then
            # the pool closes, and the embedded PostgreSQL stops if nobody else uses it.
            await run_until(stop, tasks, gateway.drain)


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


async def announce(relay: Relay, gateway: Gateway, url: str, embedded: EmbeddedPostgres | None) -> None:
    """Once events flow, say where."""
    await relay.flowing.wait()
    # The embedded server's password is in nobody's hands yet; one from DATABASE_URL must not get into a log.
    psql = f"{embedded.bin_dir / 'psql'} '{url}'" if embedded else 'psql "$DATABASE_URL"'
    say(f"dashboard  http://{gateway.address}/admin/dashboard")
    say(f"websocket  ws://{gateway.address}/api/ws")
    say(f"psql       {psql}")
    say("ready; Ctrl-C stops")


async def tend(relay: Relay, database: Database, settings: Settings) -> Never:
    """Partitions ahead, retention behind; any number of servers may do this at once."""
    await relay.flowing.wait()
    interval = min(60.0, settings.journal_retention.total_seconds() / 10)
    while True:
        try:
            await database.tend_journal(settings.journal_retention)
        except DatabaseError as error:
            log.warning("the journal could not be tended: %s", error)
        await asyncio.sleep(interval)


async def watch(settings: Settings) -> None:
    """Print events until SIGINT or SIGTERM."""
    stop = stop_on_signal()
    with database_url(settings) as (url, _):
        relay = Relay(Watch(say))
        await run_until(stop, {"listener": Listener(url, lambda: migrate(url), relay.follow).run()}, no_drain)


async def no_drain() -> None:
    """Nobody is connected to us."""


async def migrate_only(settings: Settings) -> None:
    """Bring the schema up to date and say what was done."""
    with database_url(settings) as (url, _):
        names = await migrate(url)
    say("\n".join(f"applied sql/{name}" for name in names) or "the schema is up to date")


async def doctor(settings: Settings) -> int:
    """Print what would stop events from arriving, and the mend; 1 when there is anything."""
    with database_url(settings) as (url, _):
        if settings.database_url is None:
            await migrate(url)
        found = await diagnose(url)
    for problem, mend in found:
        say(f"problem: {problem}\n   mend: {mend}")
    if not found:
        say("nothing stands in the way of events")
    return 1 if found else 0


async def demo(settings: Settings, rate: float) -> None:
    """A shop at work, until SIGINT or SIGTERM."""
    stop = stop_on_signal()
    with database_url(settings) as (url, _):
        await migrate(url)
        await run_until(stop, {"shop": shop.run(url, rate)}, no_drain)


def psql(settings: Settings, arguments: list[str]) -> int:
    """Run psql on the database that the server uses; returns its exit code."""
    with database_url(settings) as (url, embedded):
        program = str(embedded.bin_dir / "psql") if embedded else "psql"
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is psql's own
        try:
            return subprocess.run([program, url, *arguments], check=False).returncode
        except FileNotFoundError:
            raise BadSetting("psql was not found: install PostgreSQL's client programs") from None


def positive(text: str) -> float:
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
            command.add_argument("--rate", type=positive, default=5.0, help="changes a second (default: 5)")
        if name == "psql":
            command.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    try:
        settings = Settings.from_environment(os.environ)
    except BadSetting as error:
        print(f"server.py: {error}", file=sys.stderr)
        return 2
    logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S")
    try:
        match options.command:
            case "migrate":
                asyncio.run(migrate_only(settings))
            case "watch":
                asyncio.run(watch(settings))
            case "doctor":
                return asyncio.run(doctor(settings))
            case "demo":
                asyncio.run(demo(settings, options.rate))
            case "psql":
                return psql(settings, options.arguments)
            case _:
                asyncio.run(serve(settings))
    except (PushError, CannotListen, BadSetting) as error:
        print(f"server.py: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadAddress) else 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
