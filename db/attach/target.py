"""What is to be attached: a table and its map, from the command line, a file or a guess; and what the database has now."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from db.attach.catalog import estimate_rows, find_table, read_samples, read_tables, sampled
from db.attach.connection import Refused
from db.attach.facts import Column, Table, quote_identifier
from db.attach.guess import Choice, Guess
from db.attach.guess_map import guess_map, guess_stream
from db.attach.map_file import MapFile, UsageError, check_stream_name, differences
from db.connect import Connection

__all__ = [
    "Options",
    "Target",
    "check_uniqueness",
    "find_differences",
    "find_named_table",
    "read_attached",
    "read_target",
    "shorten",
    "with_samples",
]

WAIT_SECONDS = 300.0
# How long to look for a key that occurs twice; after that, in a sample of about twice as many rows as MAX_CHECKED_ROWS.
MAX_CHECK_SECONDS = 10
MAX_CHECKED_ROWS = 200_000


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says about the table to attach."""

    table: str | None = None
    file: MapFile | None = None
    stream: str | None = None
    payload: str | None = None
    wait_seconds: float = WAIT_SECONDS
    # Print the SQL that attaching runs.
    sql: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be attached: the table, its map, and how it was guessed, if it was."""

    table: Table
    map: Mapping[str, Any]
    stream: str | None
    guess: Guess | None = None

    @property
    def name(self) -> str:
        return self.stream or "orders"

    @property
    def map_json(self) -> str:
        """The map as the functions of SQL take it."""
        return json.dumps(self.map)

    @property
    def key_columns(self) -> list[str]:
        """The names of the columns that are the key, unquoted."""
        key = self.map["key"]
        return [name.removeprefix("o.") for name in (key if isinstance(key, list) else [key])]


async def read_target(connection: Connection, options: Options) -> Target:
    """The table and the map, from the options, the file, or a guess. Raises DatabaseError."""
    file = options.file
    stream = options.stream if options.stream is not None else file.stream if file else None
    if stream is not None:
        check_stream_name(stream, "--stream")
    tables, table = await find_named_table(connection, options)
    guess = None
    if file is not None:
        found: dict[str, Any] = dict(file.map)
    else:
        table = await with_samples(connection, table)
        if stream is None:
            guess = guess_map(table, tables)
        else:
            orders = tables.get((await read_attached(connection)).get("orders", ""))
            guess = guess_stream(table, orders, await _key_of_orders(connection, orders))
        if "key" not in guess.choices:
            raise Refused(f"{table.name} cannot be attached: {guess.notes[0].removeprefix('key: ')}")
        found = dict(guess.map)
    if options.payload is not None:
        if stream is not None:
            raise UsageError("--payload is for the table of orders: what NOTIFY carries is one for all")
        found["payload"] = options.payload
        if guess is not None:
            guess.choices["payload"] = Choice(options.payload, "what NOTIFY carries: keys alone, since any role can listen")
    return Target(table, found, stream, guess)


async def find_named_table(connection: Connection, options: Options) -> tuple[Mapping[str, Table], Table]:
    """All tables, and the one that is meant. Raises DatabaseError."""
    file = options.file
    named = options.table or (file.table if file else None)
    if named is None:
        raise UsageError('name the table: attach TABLE --map FILE, or table = "schema.name" in the file')
    tables = await read_tables(connection)
    table = find_table(tables, named)
    if options.table and file and file.table and find_table(tables, file.table).name != table.name:
        raise UsageError(f"the command line names {table.name}, the file {file.table}: name one of them")
    return tables, table


async def check_uniqueness(connection: Connection, target: Target) -> None:
    """Raises Refused when a key that is declared unique, without an index that enforces it, occurs twice."""
    if not target.map.get("key_is_unique"):
        return
    columns = ", ".join(f"o.{quote_identifier(name)}" for name in target.key_columns)

    async def twice(source: str) -> str | None:
        async with connection.transaction():
            await connection.execute(f"set local statement_timeout = '{MAX_CHECK_SECONDS}s'")
            found: str | None = await connection.fetchval(
                f"select concat_ws(',', {columns}) from {source} group by {columns} having count(*) > 1 limit 1"
            )
            return found

    try:
        key = await twice(f"{target.table.name} as o")
    except asyncpg.QueryCanceledError:
        key = await twice(sampled(replace(target.table, rows=await estimate_rows(connection, target.table)), MAX_CHECKED_ROWS))
    if key is not None:
        names = ", ".join(target.key_columns)
        raise Refused(f"the key {names} of {target.table.name} is not unique: {shorten(key)} occurs more than once")


async def with_samples(connection: Connection, table: Table) -> Table:
    """The table with its samples; without them if reading takes too long, or a privilege is missing."""
    try:
        async with connection.transaction():
            await connection.execute("set local statement_timeout = '5s'")
            return await read_samples(connection, table)
    except (asyncpg.QueryCanceledError, asyncpg.InsufficientPrivilegeError):
        return table


async def find_differences(connection: Connection, target: Target) -> list[str]:
    """In what the database differs from the target, one line each."""
    row = await connection.fetchrow(
        "select a.relation = $2::text::regclass as is_same, a.relation::text as relation, a.map::text as map "
        "from orderwire.attached_tables as a where a.name = $1",
        target.name,
        target.table.name,
    )
    if row is None:
        return [f"{target.table.name} is not attached as {target.name}"]
    if not row["is_same"]:
        return [f"{row['relation']} is attached as {target.name}, not {target.table.name}"]
    lines = differences(target.map, json.loads(row["map"]))
    problems = await connection.fetch(
        "select d.problem, d.fix from orderwire.diagnose_attached() as d where strpos(d.problem, $1) > 0", row["relation"]
    )
    return lines + [f"{problem['problem']} (fix: {problem['fix']})" for problem in problems]


async def _key_of_orders(connection: Connection, orders: Table | None) -> Column | None:
    """The column that is the key of the attached table of orders; None if it has more than one."""
    if orders is None:
        return None
    keys = await connection.fetchval(
        "select orderwire.key_columns(a.map) from orderwire.attached_tables as a where a.name = 'orders'"
    )
    return orders.column(keys[0]) if len(keys) == 1 else None


async def read_attached(connection: Connection) -> dict[str, str]:
    """The attached tables: their name, and the relation. Empty where nothing is installed."""
    if await connection.fetchval("select to_regclass('orderwire.attached_tables')") is None:
        return {}
    rows = await connection.fetch(
        "select a.name, coalesce(format('%I.%I', n.nspname, c.relname), a.relation_name) as relation "
        "from orderwire.attached_tables as a left join pg_class as c on c.oid = a.relation "
        "left join pg_namespace as n on n.oid = c.relnamespace order by a.name <> 'orders', a.name"
    )
    return {row["name"]: row["relation"] for row in rows}


def shorten(value: Any) -> str:
    """A value as a line shows it: 60 characters at most."""
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"
