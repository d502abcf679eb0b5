"""The commands `attach`, `detach` and `uninstall`: what they print and do. Each function raises DatabaseError."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import asyncpg

from db.attach.catalog import find_table, read_samples, read_tables, sampled
from db.attach.facts import Column, Table, quote_identifier, quote_literal
from db.attach.guess import Choice, Guess, guess_map, guess_stream
from db.attach.map_file import MapFile, UsageError, check_stream_name, differences, format_map
from db.errors import DatabaseMisconfigured, first_line, wrap_driver_errors
from db.identity import primary_only
from db.migrate import Source, install_for_now, migrate, pending_files, require_primary, set_role_to_owner

__all__ = ["Options", "apply", "check", "create", "detach", "list_candidates", "show", "uninstall"]

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
PrintLine: TypeAlias = Callable[[str], None]

MAX_CANDIDATES = 10
# A table with a lower score is not listed.
LEAST_SCORE = 35
# Tables of which a sample is read for the list.
MAX_SAMPLED_TABLES = 15
# Of larger tables a sample is counted, of about a quarter as many rows.
MAX_COUNTED_ROWS = 200_000
# How long to look for a key that occurs twice; after that, in a sample.
MAX_CHECK_SECONDS = 10
RETRY_SECONDS = 2.0
WAIT_SECONDS = 300.0
SAMPLE_ROWS = 5
MAX_LISTED_CODES = 50

# Modes of locks that conflict with that of CREATE TRIGGER, and with that of DROP TRIGGER.
_WRITERS = [
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
]
_EVERYBODY = ["AccessShareLock", "RowShareLock", *_WRITERS]
_HOLDERS_SQL = """
select coalesce(
    'pid ' || l.pid || ' (' || concat_ws(
        ', ', 'role ' || a.usename, nullif(a.application_name, ''), a.state,
        'since ' || to_char(coalesce(a.xact_start, a.backend_start), 'HH24:MI:SS'),
        nullif(left(regexp_replace(a.query, '\\s+', ' ', 'g'), 60), '')
    ) || ')',
    'the prepared transaction ' || quote_literal(p.gid)
) as holder
from pg_locks as l
left join pg_stat_activity as a on a.pid = l.pid
left join pg_prepared_xacts as p on l.pid is null and l.virtualtransaction = '-1/' || p.transaction
where
    l.locktype = 'relation' and l.granted and l.pid is distinct from pg_backend_pid() and l.mode = any($2)
    and l.database = (select d.oid from pg_database as d where d.datname = current_database())
    and l.relation in (
        select $1::regclass::oid union all select t.relid::oid from pg_partition_tree($1::regclass) as t
    )
order by a.xact_start
limit 3
"""


class Refused(DatabaseMisconfigured):
    """PostgreSQL, or a check of ours, refused the command. The text is one line with the way out."""


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


# ---------------------------------------------------------------- attach


async def list_candidates(url: str, print_line: PrintLine) -> None:
    """Print the tables that may have the orders, the best first, each with a guessed map in one line."""
    async with _connect(url) as connection, connection.transaction():
        tables = await read_tables(connection)
        attached = await _attached(connection)
        guesses = [guess_map(table, tables) for table in tables.values()]
        guesses.sort(key=lambda guess: -guess.score)
        sampled_ones = [
            guess_map(await _with_samples(connection, guess.table), tables)
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
        print_line(f"{guess.table.name}  {_rows(guess.table)}, {_reason(guess)}")
        print_line(f"    {guess.summary}")
    print_line(f"next: python server.py attach {_shell(found[0].table.name)} shows the map and what it makes of the rows")


async def show(url: str, options: Options, print_line: PrintLine, print_status: PrintLine) -> None:
    """Print the map to `print_line`, and to `print_status` what it makes of the rows, and the SQL if asked. Changes nothing."""
    async with _connect(url) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.execute("set local lock_timeout = '10s'")
            await _find(connection, options)  # a name that is wrong is the first to be said
            if await install_for_now(connection):
                print_status("the schema orderwire is not installed: --apply, or python server.py migrate, installs it")
            await set_role_to_owner(connection)
            target = await _target(connection, options)
            await _check_uniqueness(connection, target)
            if target.guess is not None:
                for line in format_map(target.guess, target.stream).splitlines():
                    print_line(line)
            print_status("")
            await _preview(connection, target, options.sql, print_status)
        finally:
            await transaction.rollback()
    print_status("")
    print_status("nothing has been changed")
    if options.file is None:
        file = f"{target.name}.toml"
        print_status(f"edit: python server.py attach {_shell(target.table.name)}{_stream_option(target)} > {file}")
        print_status(f"apply: python server.py attach --map {file} --apply")
    else:
        print_status("apply: the same command with --apply")


async def apply(url: str, options: Options, print_line: PrintLine) -> None:
    """Attach the table. While other transactions hold it, tries again and says who they are."""
    async with _connect(url) as connection, connection.transaction(readonly=True):
        await _find(connection, options)
    await _migrate(url, print_line)
    async with _connect(url) as connection:
        async with connection.transaction():
            await set_role_to_owner(connection)
            target = await _target(connection, options)
            await _check_uniqueness(connection, target)
            if not await _difference(connection, target):
                print_line(f"{target.table.name} is attached as {target.name} by this map already: nothing to do")
                return
        if target.guess is not None:
            print_line(f"by a guessed map: {json.dumps(target.map, ensure_ascii=False)}")

        async def attach() -> None:
            async with connection.transaction():
                await connection.execute("set local lock_timeout = '10s'")
                await set_role_to_owner(connection)
                await connection.fetchval(
                    "select orderwire.attach($1::text::regclass, $2::text::jsonb)"
                    if target.stream is None
                    else "select orderwire.attach_stream($3, $1::text::regclass, $2::text::jsonb)",
                    target.table.name,
                    json.dumps(target.map),
                    *([] if target.stream is None else [target.stream]),
                )

        await _retry(connection, attach, target.table.name, _WRITERS, options.wait_seconds, print_line)
        problems = await connection.fetch("select d.problem, d.fix from orderwire.diagnose_attached() as d")
    print_line(f"attached {target.table.name} as {target.name}: every change of it is an event from now on")
    print_line("python server.py watch shows them; a server that runs on this database picks the table up by itself")
    for problem in problems:
        print_line(f"problem: {problem['problem']} (fix: {problem['fix']})")


async def check(url: str, options: Options, print_line: PrintLine) -> bool:
    """Whether the database is as the file wants it; prints each difference. Changes nothing."""
    async with _connect(url) as connection, connection.transaction(readonly=True):
        if await pending_files(connection, Source.load()):
            print_line("the schema orderwire is not up to date: python server.py migrate")
            return False
        target = await _target(connection, options)
        lines = await _difference(connection, target)
    for line in lines:
        print_line(line)
    if not lines:
        print_line(f"{target.table.name} is attached as {target.name} by this map")
    return not lines


async def detach(url: str, name: str, print_line: PrintLine, wait_seconds: float = WAIT_SECONDS) -> None:
    """Take the triggers of a table away, and all that was made for it."""
    async with _connect(url) as connection:
        attached = await _attached(connection)
        if name not in attached:
            known = ", ".join(f"{one} ({relation})" for one, relation in attached.items()) or "none"
            raise Refused(f"no table is attached as {name}; attached are: {known}")

        async def do() -> None:
            async with connection.transaction():
                await connection.execute("set local lock_timeout = '10s'")
                await set_role_to_owner(connection)
                await connection.fetchval("select orderwire.detach($1)", name)

        await _retry(connection, do, attached[name], _EVERYBODY, wait_seconds, print_line)
    print_line(f"detached {attached[name]}: its changes make no events any more; those in the journal stay until they expire")


async def uninstall(url: str, confirmed: bool, print_line: PrintLine, wait_seconds: float = WAIT_SECONDS) -> None:
    """Remove all that `migrate` and `attach` have made.

    Without ``confirmed`` it raises UsageError, which says what goes and what stays.
    """
    async with _connect(url) as connection:
        if await connection.fetchval("select to_regproc('orderwire.uninstall')") is None:
            raise Refused("the schema orderwire is not installed in this database: there is nothing to remove")
        attached = await _attached(connection)
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

        async def do() -> None:
            async with connection.transaction():
                await connection.execute("set local lock_timeout = '10s'")
                await set_role_to_owner(connection)
                await connection.fetchval("select orderwire.uninstall()")

        await _retry(connection, do, next(iter(attached.values()), None), _EVERYBODY, wait_seconds, print_line)
    print_line(f"removed {goes}; {stays}")


async def create(url: str, starter: Callable[[str], Awaitable[bool]], print_line: PrintLine) -> None:
    """Create and attach the starter table."""
    await _migrate(url, print_line)
    if not await starter(url):
        async with _connect(url) as connection:
            attached = await _attached(connection)
        raise Refused(f"{attached.get('orders', 'a table')} is attached already: python server.py detach first")
    print_line(
        "created and attached public.orders: every change of it is an event from now on; python server.py watch shows them"
    )


# ---------------------------------------------------------------- the target


async def _target(connection: Connection, options: Options) -> Target:
    """The table and the map, from the options, the file, or a guess. Raises DatabaseError."""
    file = options.file
    stream = options.stream if options.stream is not None else file.stream if file else None
    if stream is not None:
        check_stream_name(stream, "--stream")
    tables, table = await _find(connection, options)
    guess = None
    if file is not None:
        found: dict[str, Any] = dict(file.map)
    else:
        table = await _with_samples(connection, table)
        if stream is None:
            guess = guess_map(table, tables)
        else:
            orders = tables.get((await _attached(connection)).get("orders", ""))
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


async def _find(connection: Connection, options: Options) -> tuple[Mapping[str, Table], Table]:
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


async def _check_uniqueness(connection: Connection, target: Target) -> None:
    """Raises Refused when a key that is declared unique, without an index that enforces it, occurs twice."""
    if not target.map.get("key_is_unique"):
        return
    keys = target.map["key"] if isinstance(target.map["key"], list) else [target.map["key"]]
    columns = ", ".join(f"o.{quote_identifier(key.removeprefix('o.'))}" for key in keys)

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
        key = await twice(sampled(replace(target.table, rows=await _planned_rows(connection, target.table)), MAX_COUNTED_ROWS))
    if key is not None:
        raise Refused(f"the key {', '.join(keys)} of {target.table.name} is not unique: {_text(key)} occurs more than once")


async def _with_samples(connection: Connection, table: Table) -> Table:
    try:
        async with connection.transaction():
            await connection.execute("set local statement_timeout = '5s'")
            return await read_samples(connection, table)
    except (asyncpg.QueryCanceledError, asyncpg.InsufficientPrivilegeError):
        return table


async def _difference(connection: Connection, target: Target) -> list[str]:
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


async def _attached(connection: Connection) -> dict[str, str]:
    """The attached tables: their name, and the relation. Empty where nothing is installed."""
    if await connection.fetchval("select to_regclass('orderwire.attached_tables')") is None:
        return {}
    rows = await connection.fetch(
        "select a.name, coalesce(format('%I.%I', n.nspname, c.relname), a.relation_name) as relation "
        "from orderwire.attached_tables as a left join pg_class as c on c.oid = a.relation "
        "left join pg_namespace as n on n.oid = c.relnamespace order by a.name <> 'orders', a.name"
    )
    return {row["name"]: row["relation"] for row in rows}


# ---------------------------------------------------------------- the preview


async def _preview(connection: Connection, target: Target, with_sql: bool, print_line: PrintLine) -> None:
    """In a transaction that is rolled back: check the map, create its functions under another name, run them on rows."""
    relation, map_json = target.table.name, json.dumps(target.map)
    await connection.fetchval(
        "select orderwire.check_map($1, $2::text::regclass, $3::text::jsonb)", target.name, relation, map_json
    )
    statements = await connection.fetchval(
        "select orderwire.map_statements($1, $2::text::regclass, $3::text::jsonb)", target.name, relation, map_json
    )
    if target.stream is None:
        statements += await connection.fetchval(
            "select orderwire.totals_map_statements($1::text::regclass, $2::text::jsonb)", relation, map_json
        )
    preview = [
        re.sub(rf"\borderwire\.map_{target.name}(?![a-z0-9])", "orderwire.map_preview", statement).replace(
            "orderwire.map_totals", "orderwire.map_preview_totals"
        )
        for statement in statements
    ]
    await connection.execute("select orderwire.create_generated('preview', $1)", preview)
    await connection.execute("select orderwire.check_volatility('preview')")

    if with_sql:
        await _print_sql(connection, target, statements, print_line)
        print_line("")
    keys = target.map["key"] if isinstance(target.map["key"], list) else [target.map["key"]]
    newest = ", ".join(f"o.{quote_identifier(key.removeprefix('o.'))} desc" for key in keys)
    rows = await connection.fetch(
        f"select m.* from {relation} as o, lateral orderwire.map_preview(o.*) as m order by {newest} limit {SAMPLE_ROWS}"
    )
    print_line(f"what {len(rows)} rows become:" if rows else "no row of the table is an order by this map")
    for row in rows:
        print_line("  " + _row(row))
    if target.stream is None:
        await _count(connection, target, print_line)
        await _advise(connection, target, print_line)
    if not with_sql:
        print_line("the SQL that --apply runs is shown with --sql")


async def _print_sql(connection: Connection, target: Target, statements: Sequence[str], print_line: PrintLine) -> None:
    """Print what --apply runs; ``statements`` create the functions of the map."""
    relation, map_json = target.table.name, json.dumps(target.map)
    print_line("-- SQL that --apply runs, in one transaction:")
    literal = quote_literal(map_json)
    call = f"attach({quote_literal(relation)}, {literal})"
    if target.stream is not None:
        call = f"attach_stream({quote_literal(target.stream)}, {quote_literal(relation)}, {literal})"
    print_line(f"select orderwire.{call};")
    print_line("-- which runs:")
    generated = list(statements)
    if target.stream is None:
        generated += await connection.fetchval(
            "select orderwire.read_statements($1::text::regclass, $2::text::jsonb, false)", relation, map_json
        )
    generated += await connection.fetchval("select orderwire.table_statements($1, $2::text::regclass)", target.name, relation)
    generated += await connection.fetchval(
        "select orderwire.trigger_function_statements($1, $1, $2::text::jsonb, of_child => false)", target.name, map_json
    )
    generated += await connection.fetchval("select orderwire.trigger_statements($1::text::regclass, $2)", relation, target.name)
    for statement in generated:
        print_line(statement.rstrip() + ";")


async def _count(connection: Connection, target: Target, print_line: PrintLine) -> None:
    """Print every status with its count, and how long the first count of the totals takes."""
    table = replace(target.table, rows=await _planned_rows(connection, target.table))
    is_sampled = table.rows > MAX_COUNTED_ROWS
    # The same rows for both statements.
    source = f"{sampled(table, MAX_COUNTED_ROWS // 8)} repeatable (1)" if is_sampled else f"{table.name} as o"
    read = await connection.fetchval(f"select count(*) from {source}")
    began = time.perf_counter()
    counts = await connection.fetch(
        "select m.status, count(*) as count, bool_or(m.is_pending) as is_pending, bool_and(m.is_counted) as is_counted, "
        "count(*) filter (where m.total is null) as without_total, sum(case when m.is_counted then m.total end) as revenue "
        f"from {source}, lateral orderwire.map_preview_totals(o.*) as m group by m.status order by 2 desc"
    )
    seconds = (time.perf_counter() - began) * (table.rows / read if is_sampled and read else 1)
    orders = sum(row["count"] for row in counts)
    of = f"a sample of {read:,} of about {int(table.rows):,}" if is_sampled else f"all {read:,}"
    print_line("")
    print_line(f"statuses, counted over {of} rows; {read - orders:,} of them are no orders:")
    listed = target.map.get("statuses")
    for row in counts[:50]:
        kinds = [
            *(["pending"] if row["is_pending"] else []),
            *(["cancelled, no revenue"] if not row["is_counted"] else []),
            *(["unmapped: not in statuses"] if listed is not None and row["status"] not in listed else []),
        ]
        status = "null" if row["status"] is None else _text(row["status"])
        print_line(f"  {row['count']:>9,}  {status}" + (f"  — {', '.join(kinds)}" if kinds else ""))
    if len(counts) > 50:
        print_line(f"  … {len(counts) - 50} more values: this column is hardly a status")
    for line in await _codes_without_a_name(connection, target):
        print_line(f"  {line}")
    unused = [
        value
        for member in ("pending", "cancelled")
        for value in target.map.get(member, [])
        if value not in {row["status"] for row in counts}
    ]
    if unused and not is_sampled:
        print_line(f"  no row has: {', '.join(unused)}")
    if "total" in target.map and orders:
        without = sum(row["without_total"] for row in counts)
        if without:
            print_line(f"  {without:,} orders have no total")
    print_line("")
    number = f"about {int(table.rows):,}" if is_sampled else f"{read:,}"
    print_line(f"rows: {number}; the first count of the totals takes about {max(seconds, 0.01):.2g} s")


async def _codes_without_a_name(connection: Connection, target: Target) -> list[str]:
    """Codes that the table of a status's codes has and the map's case has not."""
    status = target.map.get("status", "")
    match = re.match(r'\s*case\s+(?:o\.)?(?:"((?:[^"]|"")+)"|(\w+))\s+when\s', status, re.IGNORECASE)
    key = target.table.foreign_key((match[1] or "").replace('""', '"') or match[2]) if match else None
    if key is None:
        return []
    named = {
        text.replace("''", "'") or number
        for text, number in re.findall(r"\bwhen\s+(?:'((?:[^']|'')*)'|([^\s']+))\s+then\b", status, re.IGNORECASE)
    }
    try:
        async with connection.transaction():
            code = f"l.{quote_identifier(key.target)}"
            rows = await connection.fetch(
                f"select {code}::text as code from {key.table} as l order by {code} limit {MAX_LISTED_CODES}"
            )
    except asyncpg.InsufficientPrivilegeError:
        return []
    codes = [row["code"] for row in rows if row["code"] not in named]
    return [f"codes of {key.table} that the map's status does not name: {', '.join(codes)}"] if codes else []


async def _planned_rows(connection: Connection, table: Table) -> float:
    """The planner's estimate: from the table's size now, also where it was never analyzed."""
    plan = await connection.fetchval(f"explain (format json) select from {table.name}")
    return float(json.loads(plan)[0]["Plan"]["Plan Rows"])


async def _advise(connection: Connection, target: Target, print_line: PrintLine) -> None:
    """Print indexes that would help the lists of the HTTP API, where the table has none like them."""
    relation, found = target.table.name, target.map
    columns: dict[str, str | None] = {}
    for member in ("created_at", "status", "customer_id"):
        columns[member] = await connection.fetchval(
            "select c.attname::text from orderwire.plain_column($1::text::regclass, "
            "orderwire.map_expression($1::text::regclass, $2)) as c",
            relation,
            found.get(member),
        )
    # A map whose errors are caught is not inlined, and hides the index.
    is_inlined = not await connection.fetchval(
        "select orderwire.map_can_raise($1::text::regclass, $2::text::jsonb)", relation, json.dumps(found)
    )
    keys = found["key"] if isinstance(found["key"], list) else [found["key"].removeprefix("o.")]
    order = [quote_identifier(name) for name in ([columns["created_at"]] if columns["created_at"] else []) + list(keys)]
    advice = []
    if not _has_index(target.table, [columns["created_at"]] if columns["created_at"] else list(keys)):
        advice.append((order, "the list, newest first"))
    status = target.table.column(columns["status"]) if columns["status"] else None
    if is_inlined and status is not None and status.is_text and not _has_index(target.table, [status.name]):
        advice.append(([quote_identifier(status.name), *order], "the list of one status"))
    customer = target.table.column(columns["customer_id"]) if columns["customer_id"] else None
    if customer is not None:
        text = quote_identifier(customer.name) if customer.is_text else f"(({quote_identifier(customer.name)})::text)"
        if not (
            _has_index(target.table, [customer.name]) if customer.is_text else _has_expression(target.table, customer.name)
        ):
            advice.append(([text, *order], "the list of one customer"))
    concurrently = "" if target.table.is_partitioned else "concurrently "
    if advice:
        print_line("indexes that would help (yours to create):")
    for names, purpose in advice:
        print_line(f"  create index {concurrently}on {relation} ({', '.join(dict.fromkeys(names))});  -- {purpose}")


def _has_index(table: Table, columns: Sequence[str]) -> bool:
    return any(list(index.columns[: len(columns)]) == list(columns) for index in table.indexes)


def _has_expression(table: Table, column: str) -> bool:
    wanted = f"{quote_identifier(column)}::text"
    return any(index.columns[0].replace("(", "").replace(")", "") == wanted for index in table.indexes if index.columns)


def _row(row: asyncpg.Record) -> str:
    shown = {name: value for name, value in row.items() if value is not None and name not in ("is_pending", "is_counted")}
    text = ", ".join(f"{name} {_text(value)}" for name, value in shown.items())
    if "is_pending" in row.keys():  # noqa: SIM118 (a record's `in` looks at its values)
        text += " — pending" if row["is_pending"] else "" if row["is_counted"] else " — cancelled"
    return text


def _text(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else text[:59] + "…"


# ---------------------------------------------------------------- parts


@asynccontextmanager
async def _connect(url: str) -> AsyncIterator[Connection]:
    """A connection to the primary; errors of the driver become DatabaseError, with PostgreSQL's hint in brackets."""
    with wrap_driver_errors():
        connection = await asyncpg.connect(
            url, **primary_only(url), timeout=5, server_settings={"application_name": "orderwire attach"}
        )
    try:
        with wrap_driver_errors():
            try:
                await require_primary(connection)
                # Not `public`, where other roles may have created functions and operators.
                await connection.execute("set search_path = pg_catalog, pg_temp")
                yield connection
            except (asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError):
                raise
            except asyncpg.PostgresError as error:
                raise Refused(_one_line(error)) from error
    finally:
        connection.terminate()


def _one_line(error: asyncpg.PostgresError) -> str:
    hint = getattr(error, "hint", None)
    text = first_line(error)
    if "missing FROM-clause entry" in text and not re.search(r"the map's (customer_name|data) ", text):
        hint = "joins are for customer_name and data only: for a code, write case o.code when 1 then 'new' … else 'unknown' end"
    elif re.search(r"the map's .* does not work: column .* does not exist", text):
        hint = f"write a column that is there; if it was dropped, take it out of the map. {hint or ''}"
    return text + (f" ({' '.join(hint.split())})" if hint else "")


async def _migrate(url: str, print_line: PrintLine) -> None:
    names = await migrate(url)
    if names:
        print_line(f"installed the schema orderwire: {len(names)} files of sql/")


async def _retry(
    connection: Connection,
    change: Callable[[], Awaitable[None]],
    relation: str | None,
    modes: Sequence[str],
    wait_seconds: float,
    print_line: PrintLine,
) -> None:
    """Make the change; while a lock is not available, again every RETRY_SECONDS, with a line that says who holds it."""
    deadline = time.monotonic() + wait_seconds
    while True:
        try:
            await change()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            holders = [row["holder"] for row in await connection.fetch(_HOLDERS_SQL, relation, list(modes))] if relation else []
            who = f"{relation} is held by {'; '.join(holders)}" if holders else first_line(error)
            if time.monotonic() + RETRY_SECONDS > deadline:
                raise Refused(
                    f"{who}: end that transaction, or wait longer (--wait SECONDS); nothing has been changed"
                ) from error
            print_line(f"waiting: {who}; trying again in {RETRY_SECONDS:g} s")
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return


def _rows(table: Table) -> str:
    if table.rows < 0:
        return "not analyzed yet"
    return f"about {int(table.rows):,} rows"


def _reason(guess: Guess) -> str:
    if guess.system:
        return f"looks like {guess.system}: examples/maps/{guess.system}.toml"
    named = "named like orders" if guess.score >= 80 else "has some of an order's columns"
    missing = [member for member in ("total", "status", "created_at") if member not in guess.choices]
    return named + (f", but without {', '.join(missing)}" if missing else "")


def _shell(name: str) -> str:
    return f"'{name}'" if '"' in name else name


def _stream_option(target: Target) -> str:
    return f" --stream {target.stream}" if target.stream else ""
