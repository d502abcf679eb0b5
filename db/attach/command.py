"""The commands `attach`, `detach` and `uninstall`: what they print and do. Each function raises DatabaseError."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

from db.attach.catalog import read_tables
from db.attach.connection import ALL_LOCKS, WRITER_LOCKS, PrintLine, Refused, connect, run_when_unlocked
from db.attach.facts import Table
from db.attach.guess import Guess
from db.attach.guess_map import guess_map
from db.attach.map_file import UsageError, format_map
from db.attach.preview import print_preview
from db.attach.target import (
    WAIT_SECONDS,
    Options,
    Target,
    check_uniqueness,
    find_differences,
    find_named_table,
    read_attached,
    read_target,
    with_samples,
)
from db.connect import Connection
from db.migrate import Source, install_for_now, migrate, pending_files, set_role_to_owner

__all__ = ["WAIT_SECONDS", "Options", "apply", "check", "create", "detach", "list_candidates", "show", "uninstall"]

MAX_CANDIDATES = 10
# A table with a lower score is not listed.
LEAST_SCORE = 35
# Tables of which a sample is read for the list.
MAX_SAMPLED_TABLES = 15


async def list_candidates(url: str, print_line: PrintLine) -> None:
    """Print the tables that may have the orders, the best first, each with a guessed map in one line."""
    async with connect(url) as connection, connection.transaction():
        tables = await read_tables(connection)
        attached = await read_attached(connection)
        guesses = [guess_map(table, tables) for table in tables.values()]
        guesses.sort(key=lambda guess: -guess.score)
        sampled_ones = [
            guess_map(await with_samples(connection, guess.table), tables)
            for guess in guesses[:MAX_SAMPLED_TABLES]
            if guess.score >= LEAST_SCORE // 2
        ]
    for name, relation in attached.items():
        print_line(f"attached as {name}: {relation}")
    found = sorted((guess for guess in sampled_ones if guess.score >= LEAST_SCORE), key=lambda guess: -guess.score)
    if not found:
        print_line(
            f"none of the {len(tables)} tables looks like one of orders; name one: python server.py attach TABLE, or create "
            "the starter table: python server.py attach --create"
        )
        return
    for guess in found[:MAX_CANDIDATES]:
        print_line(f"{guess.table.name}  {_format_rows(guess.table)}, {_likeness(guess)}")
        print_line(f"    {guess.summary}")
    print_line(f"next: python server.py attach {_shell_word(found[0].table.name)} shows the map and what it makes of the rows")


async def show(url: str, options: Options, print_line: PrintLine, print_status: PrintLine) -> None:
    """Print the map to `print_line`, and to `print_status` what it makes of the rows, and the SQL if asked. Changes nothing."""
    async with connect(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute("set local lock_timeout = '10s'")
            await find_named_table(connection, options)  # a name that is wrong is the first to be said
            if await install_for_now(connection):
                print_status("the schema orderwire is not installed: --apply, or python server.py migrate, installs it")
            await set_role_to_owner(connection)
            target = await read_target(connection, options)
            await check_uniqueness(connection, target)
            obstacle = await _find_obstacle(connection, target)
            if target.guess is not None:
                for line in format_map(target.guess, target.stream).splitlines():
                    print_line(line)
            print_status("")
            await print_preview(connection, target, options.sql, print_status)
        finally:
            await transaction.rollback()
    print_status("")
    print_status("nothing has been changed")
    if obstacle is not None:
        print_status(f"--apply is refused for now: {obstacle}")
    if options.file is None:
        file = f"{target.name}.toml"
        print_status(f"edit: python server.py attach {_shell_word(target.table.name)}{_stream_option(target)} > {file}")
        print_status(f"apply: python server.py attach --map {file} --apply")
    else:
        print_status("apply: the same command with --apply")


async def apply(url: str, options: Options, print_line: PrintLine) -> None:
    """Attach the table. While other transactions hold it, tries again and says who they are."""
    async with connect(url) as connection, connection.transaction(readonly=True):
        await find_named_table(connection, options)
    await _migrate(url, print_line)
    async with connect(url) as connection:
        async with connection.transaction():
            await set_role_to_owner(connection)
            target = await read_target(connection, options)
            await check_uniqueness(connection, target)
            if not await find_differences(connection, target):
                print_line(f"{target.table.name} is attached as {target.name} by this map already: nothing to do")
                return
            if (obstacle := await _find_obstacle(connection, target)) is not None:
                raise Refused(obstacle)
        if target.guess is not None:
            print_line(f"by a guessed map: {json.dumps(target.map, ensure_ascii=False)}")
        statement = "select orderwire.attach($1::text::regclass, $2::text::jsonb)"
        arguments = [target.table.name, target.map_json]
        if target.stream is not None:
            statement = "select orderwire.attach_stream($3, $1::text::regclass, $2::text::jsonb)"
            arguments.append(target.stream)
        await run_when_unlocked(
            connection, statement, arguments, target.table.name, WRITER_LOCKS, options.wait_seconds, print_line
        )
        problems = await connection.fetch("select d.problem, d.fix from orderwire.diagnose_attached() as d")
    print_line(f"attached {target.table.name} as {target.name}: every change of it is an event from now on")
    print_line("python server.py watch shows them; a server that runs on this database picks the table up by itself")
    for problem in problems:
        print_line(f"problem: {problem['problem']} (fix: {problem['fix']})")


async def check(url: str, options: Options, print_line: PrintLine) -> bool:
    """Whether the database is as the file wants it; prints each difference. Changes nothing."""
    async with connect(url) as connection, connection.transaction(readonly=True):
        if await pending_files(connection, Source.load()):
            print_line("the schema orderwire is not up to date: python server.py migrate")
            return False
        target = await read_target(connection, options)
        lines = await find_differences(connection, target)
    for line in lines:
        print_line(line)
    if not lines:
        print_line(f"{target.table.name} is attached as {target.name} by this map")
    return not lines


async def detach(url: str, name: str, print_line: PrintLine, wait_seconds: float = WAIT_SECONDS) -> None:
    """Take the triggers of a table away, and all that was made for it."""
    async with connect(url) as connection:
        attached = await read_attached(connection)
        if name not in attached:
            known = ", ".join(f"{one} ({relation})" for one, relation in attached.items()) or "none"
            raise Refused(f"no table is attached as {name}; attached are: {known}")
        statement = "select orderwire.detach($1)"
        await run_when_unlocked(connection, statement, [name], attached[name], ALL_LOCKS, wait_seconds, print_line)
    print_line(f"detached {attached[name]}: its changes make no events any more; those in the journal stay until they expire")


async def uninstall(url: str, confirmed: bool, print_line: PrintLine, wait_seconds: float = WAIT_SECONDS) -> None:
    """Remove all that `migrate` and `attach` have made.

    Without ``confirmed`` it raises UsageError, which says what goes and what stays.
    """
    async with connect(url) as connection:
        if await connection.fetchval("select to_regproc('orderwire.uninstall')") is None:
            raise Refused("the schema orderwire is not installed in this database: there is nothing to remove")
        attached = await read_attached(connection)
        stays = "your tables and their rows stay"
        is_starter = await connection.fetchval(
            "select obj_description(to_regclass('public.orders'), 'pg_class') like 'Starter table of Orderwire.%'"
        )
        if is_starter:
            has_rows = await connection.fetchval("select exists (select from public.orders)")
            stays += "; the starter table public.orders " + (
                "stays too, since it has rows" if has_rows else "goes, since it is empty"
            )
        triggers = f"the triggers on {', '.join(attached.values())}, and " if attached else ""
        goes = f"{triggers}the schema orderwire with the journal, its functions and revoked tokens"
        if not confirmed:
            raise UsageError(f"uninstall removes {goes}; {stays}. Run it again with --yes")
        relation = next(iter(attached.values()), None)
        await run_when_unlocked(connection, "select orderwire.uninstall()", [], relation, ALL_LOCKS, wait_seconds, print_line)
    print_line(f"removed {goes}; {stays}")


async def create(url: str, starter: Callable[[str], Awaitable[bool]], print_line: PrintLine) -> None:
    """Create and attach the starter table."""
    await _migrate(url, print_line)
    if not await starter(url):
        async with connect(url) as connection:
            attached = await read_attached(connection)
        raise Refused(_detach_first(attached.get("orders", "a table"), "orders"))
    print_line(
        "created and attached public.orders: every change of it is an event from now on; python server.py watch shows them"
    )


async def _find_obstacle(connection: Connection, target: Target) -> str | None:
    """What has to be done before the target can be attached: another table has its name. None: nothing."""
    attached = (await read_attached(connection)).get(target.name)
    return None if attached in (None, target.table.name) else _detach_first(attached, target.name)


def _detach_first(relation: str, name: str) -> str:
    return f"{relation} is attached as {name} already: python server.py detach {name} first"


async def _migrate(url: str, print_line: PrintLine) -> None:
    names = await migrate(url)
    if names:
        print_line(f"installed the schema orderwire: {len(names)} files of sql/")


def _format_rows(table: Table) -> str:
    if table.rows < 0:
        return "not analyzed yet"
    return f"about {int(table.rows):,} rows"


def _likeness(guess: Guess) -> str:
    if guess.system:
        return f"looks like {guess.system}: examples/maps/{guess.system}.toml"
    named = "named like orders" if guess.score >= 80 else "has some of an order's columns"
    missing = [member for member in ("total", "status", "created_at") if member not in guess.choices]
    return named + (f", but without {', '.join(missing)}" if missing else "")


def _shell_word(name: str) -> str:
    return f"'{name}'" if '"' in name else name


def _stream_option(target: Target) -> str:
    return f" --stream {target.stream}" if target.stream else ""
