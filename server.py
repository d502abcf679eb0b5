#!/usr/bin/env python3
"""Orderwire: every change of a shop's `orders` table, pushed to every dashboard. Run `python server.py --help`."""

# The command line only. service/ puts the application together and serves it; the routes are in gateway/routes.py.

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

try:
    import logs
    from database_url import DatabaseUrl
    from db import demo
    from db.attach import command as attach
    from db.attach.map_file import UsageError, load_map
    from db.doctor import diagnose
    from db.embedded.postgres import EmbeddedPostgres
    from db.listener import Listener
    from db.migrate import create_starter, grant_serving, migrate
    from db.startup import NOTHING_ATTACHED, is_attached, prepare_embedded, require_starter
    from gateway.auth.tokens import sign_token
    from push.console import ConsoleSink
    from push.feed_monitor import FeedMonitor
    from push.journal.notify_policy import NotifyMode
    from push.journal.relay import Relay
    from push.protocol.access import MAX_KEY_BYTES, Role, is_key
    from service.application import __version__, update_schema
    from service.serving import (
        EXPECTED_ERRORS,
        database_server,
        exit_code,
        print_line,
        print_status,
        run_worker,
        serve,
        supervise,
    )
    from service.shutdown import run_until, stop_on_signal
    from settings import BadSetting, Settings, parse_duration
except ModuleNotFoundError as error:
    package = str(error.name).partition(".")[0]
    own = ("bus", "database_url", "db", "gateway", "logs", "push", "service", "settings")
    if __name__ != "__main__" or package in own:
        raise  # not a package that could be installed
    sys.exit(f"server.py: packages are missing ({package}): run `make setup`, then use .venv/bin/python")

MAX_DEMO_RATE = 1_000_000.0


def main() -> int:
    """Parse the command line, run the command, and turn each expected error into one line and an exit code."""
    options = parse_arguments(sys.argv[1:])
    # Before the settings are read, so that an error in one of them has the format too.
    logs.choose_format(os.environ.get("LOG_FORMAT", "").strip().lower())
    try:
        settings = Settings.from_environment(os.environ)
        logs.configure(settings.log_level, settings.log_format, options.worker_id)
        return run_command(options, settings)
    except EXPECTED_ERRORS as error:
        print(logs.output_line(f"server.py: {error}", logging.ERROR), file=sys.stderr)
        return exit_code(error)
    except KeyboardInterrupt:
        return 130


def run_command(options: argparse.Namespace, settings: Settings) -> int:
    """Returns the exit code. Raises EXPECTED_ERRORS."""
    match options.command:
        case "migrate":
            asyncio.run(apply_migrations(settings, options.grant))
        case "attach":
            return asyncio.run(run_attach(settings, options))
        case "detach":
            asyncio.run(run_detach(settings, options))
        case "uninstall":
            asyncio.run(run_uninstall(settings, options))
        case "watch":
            asyncio.run(print_events(settings))
        case "doctor":
            return asyncio.run(print_diagnosis(settings))
        case "demo":
            asyncio.run(run_demo(settings, options.rate))
        case "token":
            print_line(sign_token(settings, claims_from_options(options), options.key))
        case "psql":
            return run_psql(settings, options.arguments)
        case "worker":
            return asyncio.run(run_worker(settings, options.worker_id, options.fd))
        case _:
            asyncio.run(serve(settings) if settings.workers == 1 else supervise(settings))
    return 0


# ---------------------------------------------------------------- the command line


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """Parse the command line without the program's name. What follows ``psql`` is for psql, also what begins with "-" and would
    be an option of ours; only a lone -h, --help or --version is ours.
    """
    match arguments:
        case ["psql", *rest] if rest not in (["-h"], ["--help"], ["--version"]):
            return make_parser().parse_args(["psql"], argparse.Namespace(arguments=rest))
        case ["worker", *rest]:
            return make_worker_parser().parse_args(rest)
    return make_parser().parse_args(arguments)


def make_parser() -> argparse.ArgumentParser:
    """The parser of the command line; every command has the table of settings in its help."""
    settings = "settings, taken from the environment:\n" + Settings.describe()
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="server.py", description=__doc__, epilog=settings, formatter_class=layout)
    add_version(parser)
    parser.set_defaults(worker_id=None)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")

    def add_command(name: str, description: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=description, description=description, epilog=settings, formatter_class=layout)
        add_version(command)
        return command

    add_command("serve", "serve until Ctrl-C (the default)")
    command = add_command("migrate", "bring the database's schema up to date")
    command.add_argument("--grant", metavar="ROLE", help="then give this database role what the server needs, to serve as it")
    add_attach_options(
        add_command("attach", "list the tables that may have the orders, show how one would be attached, or attach it")
    )
    command = add_command("detach", "take the triggers of an attached table away: its changes make no events any more")
    command.add_argument("name", nargs="?", default="orders", help="orders, or the name of a stream (default: orders)")
    add_wait_option(command)
    command = add_command("uninstall", "remove all that migrate and attach have made; your tables stay")
    command.add_argument("--yes", action="store_true", help="do it; else the command says what would be removed")
    add_wait_option(command)
    add_command("watch", "print events as they happen, one line each")
    add_command("doctor", "print what would stop events from arriving, and how to fix it")
    command = add_command("demo", "simulate a shop: insert orders and change their statuses, until Ctrl-C")
    command.add_argument("--rate", type=parse_rate, default=5.0, help="changes a second (default: 5)")
    command = add_command("token", "print a token for a role, signed with JWT_SECRET or a private key")
    command.add_argument("--role", required=True, choices=[role.value for role in Role], help="role that the token grants")
    command.add_argument(
        "--ttl",
        type=parse_ttl,
        default=timedelta(hours=1),
        help="time until it expires: 90m, 12h, 7d (default: 1h)",
    )
    command.add_argument("--sub", help="subject of the token; for a customer, the customer_id of the orders to see")
    command.add_argument(
        "--order",
        type=parse_key,
        action="append",
        default=[],
        help="for a customer: the key of an order to see, repeatable",
    )
    command.add_argument("--key", help="file with the private key, PEM, where JWT_PUBLIC_KEY or a key set checks tokens")
    command = add_command("psql", "psql on the server's database; everything that follows goes to psql: psql -c 'select 1'")
    command.usage = "server.py psql [ARGUMENT ...]"
    return parser


def make_worker_parser() -> argparse.ArgumentParser:
    """For the command with which the supervisor starts its workers. It is not among the commands that a person may choose."""
    parser = argparse.ArgumentParser(prog="server.py worker", add_help=False)
    parser.set_defaults(command="worker")
    parser.add_argument("worker_id", type=int)
    parser.add_argument("fd", type=int)
    return parser


def add_attach_options(command: argparse.ArgumentParser) -> None:
    """The options of `attach`."""
    command.add_argument("table", metavar="TABLE", nargs="?", help="table to attach, with its schema unless it is public")
    command.add_argument("--map", type=Path, metavar="FILE", help="map to attach it by, TOML; else one is guessed")
    command.add_argument("--stream", metavar="NAME", help="attach it as a further stream of events, not as the orders")
    command.add_argument("--payload", choices=["full", "keys"], help="what NOTIFY carries; any role of the database can listen")
    what = command.add_mutually_exclusive_group()
    what.add_argument("--apply", action="store_true", help="attach it; else the command shows what it would do")
    what.add_argument("--sql", action="store_true", help="show the SQL too that --apply runs")
    what.add_argument("--check", action="store_true", help="exit with 0 if the table is attached by the map, else with 1")
    what.add_argument("--create", action="store_true", help="create the starter table public.orders and attach it")
    add_wait_option(command)


def add_wait_option(command: argparse.ArgumentParser) -> None:
    """How long a command that needs a lock tries to get it."""
    command.add_argument(
        "--wait",
        type=parse_wait,
        default=attach.WAIT_SECONDS,
        metavar="SECONDS",
        help="how long to try again while other transactions hold the table (default: 300)",
    )


def add_version(parser: argparse.ArgumentParser) -> None:
    """Let a program or command print its version and exit."""
    parser.add_argument("--version", action="version", version=f"orderwire {__version__}")


def parse_rate(text: str) -> float:
    """Changes a second. Raises argparse.ArgumentTypeError, whose text argparse prints."""
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= MAX_DEMO_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0 and up to {MAX_DEMO_RATE:,.0f}")
    return rate


def parse_wait(text: str) -> float:
    """Seconds from 0 to a day. Raises argparse.ArgumentTypeError, whose text argparse prints."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= 86400:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0 to 86400")
    return seconds


def parse_ttl(text: str) -> timedelta:
    """The same for a duration."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not {error}") from None


def parse_key(text: str) -> str:
    """The key of an order. Raises argparse.ArgumentTypeError."""
    if not is_key(text):
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not the key of an order: up to {MAX_KEY_BYTES} bytes")
    return text


def claims_from_options(options: argparse.Namespace) -> dict[str, Any]:
    """The claims of the token that `token` prints. Raises BadSetting."""
    if options.role == Role.CUSTOMER and not options.sub and not options.order:
        raise BadSetting("token: a customer's token needs --sub or --order (with make: SUB=user-7 or ORDER=5)")
    now = int(time.time())
    claims: dict[str, Any] = {"role": options.role, "iat": now, "exp": now + int(options.ttl.total_seconds())}
    if options.sub:
        claims["sub"] = options.sub
    if options.order:
        claims["orders"] = options.order
    return claims


# ---------------------------------------------------------------- the commands


async def print_events(settings: Settings) -> None:
    """Print events until SIGINT or SIGTERM."""
    stop = stop_on_signal()
    with database_server(settings) as (url, embedded):

        async def prepare() -> None:
            await prepare_database(url, embedded)
            if not await is_attached(url):
                print_status(NOTHING_ATTACHED)

        console = ConsoleSink(print_line)
        relay = Relay(console, notify_mode=NotifyMode(settings.notify_mode))
        setting = "DATABASE_URL" if settings.database_url else None
        listener = Listener(url, prepare, relay.follow, setting=setting)
        await run_until(stop, {"listener": listener.run(), "feed status": FeedMonitor(relay, console).run()})


async def prepare_database(url: str, embedded: EmbeddedPostgres | None) -> None:
    """Migrate; the embedded database also gets the starter table, unless a table is attached or has its name."""
    await (migrate(url) if embedded is None else prepare_embedded(url))


async def apply_migrations(settings: Settings, serving_role: str | None) -> None:
    """Bring the schema up to date and print the names of the files that were applied. Then grant what serving needs."""
    logging.getLogger("orderwire.migrate").setLevel(logging.WARNING)  # a server logs the names; here they are printed
    with database_server(settings) as (url, _):
        names = await update_schema(settings, url)
        print_line("\n".join(f"applied sql/{name}" for name in names) or "the schema is up to date")
        if serving_role is not None:
            for warning in await grant_serving(settings.migrate_database_url or url, serving_role):
                print_status(f"warning: {warning}")
            print_line(f"the role {serving_role} may serve")


async def run_attach(settings: Settings, options: argparse.Namespace) -> int:
    """List candidates, show, check or attach a table; the exit code. Raises EXPECTED_ERRORS."""
    try:
        needed = [name for name in ("apply", "check", "sql", "stream", "payload") if getattr(options, name)]
        if options.create and (options.table or options.map or needed):
            raise UsageError("attach --create takes no table, map or other option but --wait")
        if options.check and not options.map:
            raise UsageError("attach --check needs --map FILE: what the database is compared with")
        if needed and not options.table and not options.map:
            raise UsageError(f"attach --{needed[0]} needs a table or --map FILE")
        file = load_map(options.map) if options.map else None
        wanted = attach.Options(options.table, file, options.stream, options.payload, options.wait, options.sql)
        with database_server(settings) as (served_url, _):
            url = settings.migrate_database_url or served_url
            if options.create:
                await attach.create(url, create_starter, print_line)
            elif options.check:
                return 0 if await attach.check(url, wanted, print_line) else 1
            elif options.apply:
                await attach.apply(url, wanted, print_line)
            elif options.table or file:
                await attach.show(url, wanted, print_line, print_status)
            else:
                await attach.list_candidates(url, print_line)
    except UsageError as error:
        raise BadSetting(str(error)) from None
    return 0


async def run_detach(settings: Settings, options: argparse.Namespace) -> None:
    """Detach the orders, or a stream."""
    with database_server(settings) as (url, _):
        await attach.detach(settings.migrate_database_url or url, options.name, print_line, options.wait)


async def run_uninstall(settings: Settings, options: argparse.Namespace) -> None:
    """Remove everything; without --yes, say what that would be. Raises BadSetting then."""
    with database_server(settings) as (url, _):
        try:
            await attach.uninstall(settings.migrate_database_url or url, options.yes, print_line, options.wait)
        except UsageError as error:
            raise BadSetting(str(error)) from None


async def print_diagnosis(settings: Settings) -> int:
    """Print each problem that would stop events from arriving, with its fix; returns 1 when there is one."""
    with database_server(settings) as (url, embedded):
        if embedded is not None:
            await prepare_embedded(url)
        problems = await diagnose(url)
        if settings.broker_url:
            from service.cluster_node import diagnose_broker  # the client of the broker is loaded only where there is one

            problems += await diagnose_broker(settings, url)
    for problem, fix in problems:
        print_line(f"problem: {problem}\n   fix: {fix}")
    if not problems:
        print_line("no problem found: events can arrive")
    return 1 if problems else 0


async def run_demo(settings: Settings, rate: float) -> None:
    """Write to the database as a shop would, ``rate`` changes a second, until SIGINT or SIGTERM."""
    stop = stop_on_signal()
    with database_server(settings) as (url, embedded):
        await prepare_database(url, embedded)
        await require_starter(url)
        await run_until(stop, {"demo": demo.run(url, rate, print_line)})


def run_psql(settings: Settings, arguments: list[str]) -> int:
    """Run psql on the database that the server uses; returns its exit code."""
    with database_server(settings) as (url, embedded):
        program = str(embedded.bin_dir / "psql") if embedded else "psql"
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # psql handles Ctrl-C itself
        try:
            return subprocess.run([program, "-d", DatabaseUrl.for_psql(url), *arguments], check=False).returncode
        except FileNotFoundError:
            raise BadSetting("psql was not found: install PostgreSQL's client programs") from None


if __name__ == "__main__":
    sys.excepthook = logs.log_uncaught
    logging.captureWarnings(True)
    sys.exit(main())
