"""What `attach TABLE` prints of a map: the rows that it makes, counts of statuses, the SQL, and advice about indexes."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from db.attach.catalog import estimate_rows, sampled
from db.attach.connection import PrintLine
from db.attach.facts import Table, quote_identifier, quote_literal
from db.attach.target import Target, shorten
from db.connect import Connection

__all__ = ["print_preview"]

# Of larger tables a sample is counted, of about a quarter as many rows.
MAX_COUNTED_ROWS = 200_000
SAMPLE_ROWS = 5
MAX_LISTED_CODES = 50


async def print_preview(connection: Connection, target: Target, with_sql: bool, print_line: PrintLine) -> None:
    """Print what the map makes of the table, and the SQL if asked. Raises an error of the driver where the map is wrong.

    The caller rolls the transaction back: the map's functions are created in it, under another name.
    """
    relation, map_json = target.table.name, target.map_json
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
    newest = ", ".join(f"o.{quote_identifier(name)} desc" for name in target.key_columns)
    rows = await connection.fetch(
        f"select m.* from {relation} as o, lateral orderwire.map_preview(o.*) as m order by {newest} limit {SAMPLE_ROWS}"
    )
    print_line(f"what {len(rows)} rows become:" if rows else "no row of the table is an order by this map")
    for row in rows:
        print_line("  " + _format_row(row))
    if target.stream is None:
        await _print_write(connection, target, print_line)
        await _print_counts(connection, target, print_line)
        await _print_index_advice(connection, target, print_line)
    if not with_sql:
        print_line("the SQL that --apply runs is shown with --sql")


async def _print_sql(connection: Connection, target: Target, statements: Sequence[str], print_line: PrintLine) -> None:
    """Print what --apply runs; ``statements`` create the functions of the map."""
    relation, map_json = target.table.name, target.map_json
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
            "select orderwire.read_statements($1::text::regclass, $2::text::jsonb, false) "
            "|| orderwire.write_statements($1::text::regclass, $2::text::jsonb)",
            relation,
            map_json,
        )
    generated += await connection.fetchval("select orderwire.table_statements($1, $2::text::regclass)", target.name, relation)
    generated += await connection.fetchval(
        "select orderwire.trigger_function_statements($1, $1, $2::text::jsonb, of_child => false)", target.name, map_json
    )
    generated += await connection.fetchval("select orderwire.trigger_statements($1::text::regclass, $2)", relation, target.name)
    for statement in generated:
        print_line(statement.rstrip() + ";")


async def _print_write(connection: Connection, target: Target, print_line: PrintLine) -> None:
    """Print which changes of the status the server may make, and with whose rights the table's own triggers run then."""
    write = target.map.get("write") or {}
    if not write.get("status"):
        return
    row = await connection.fetchrow(
        "select orderwire.write_role($1::text::regclass)::text as role, "
        "orderwire.write_search_path($1::text::regclass) as search_path",
        target.table.name,
    )
    assert row is not None
    print_line("")
    print_line("the server may change the status for administrators with a token:")
    transitions = write.get("transitions")
    if transitions is None:
        print_line("  from each status of the map to every other one")
    for status, following in (transitions or {}).items():
        print_line(f"  {shorten(status)} to {', '.join(map(shorten, following)) or 'none'}")
    print_line(f"  triggers of {target.table.name} run as {row['role']} then, with search_path = {row['search_path']}")


async def _print_counts(connection: Connection, target: Target, print_line: PrintLine) -> None:
    """Print every status with its count, and how long the first count of the totals takes."""
    table = replace(target.table, rows=await estimate_rows(connection, target.table))
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
        status = "null" if row["status"] is None else shorten(row["status"])
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


async def _print_index_advice(connection: Connection, target: Target, print_line: PrintLine) -> None:
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
        "select orderwire.map_can_raise($1::text::regclass, $2::text::jsonb)", relation, target.map_json
    )
    keys = target.key_columns
    order = [quote_identifier(name) for name in ([columns["created_at"]] if columns["created_at"] else []) + keys]
    advice = []
    if not _has_index(target.table, [columns["created_at"]] if columns["created_at"] else keys):
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
    lines = [(f"({', '.join(dict.fromkeys(names))})", purpose) for names, purpose in advice]
    unsearchable = await connection.fetchval(
        """
        select array_agg(distinct c.attname::text)
        from
            unnest($2::text[]) as e,
            orderwire.plain_column($1::text::regclass, orderwire.map_expression($1::text::regclass, e)) as c
        where
            orderwire.base_type(c.atttypid) in ('text'::regtype, 'varchar'::regtype)
            and not orderwire.is_searchable($1::text::regclass, c.attnum, false)
        """,
        relation,
        [found[member] for member in ("number", "customer_name") if found.get(member)],
    )
    total = await connection.fetchval(
        """
        select c.attname::text
        from orderwire.field_column($1::text::regclass, $2::text::jsonb, 'total') as c
        where
            cardinality(orderwire.amount_statements($1::text::regclass, $2::text::jsonb)) > 0
            and not orderwire.is_searchable($1::text::regclass, c.attnum, true)
        """,
        relation,
        target.map_json,
    )
    if total is not None:
        lines.append((f"({quote_identifier(total)})", "the search for an amount"))
    if unsearchable:
        columns_sql = ", ".join(f"{quote_identifier(name)} gin_trgm_ops" for name in unsearchable)
        lines.append((f"using gin ({columns_sql})", "the search; needs the extension pg_trgm"))
    concurrently = "" if target.table.is_partitioned else "concurrently "
    if lines:
        print_line("indexes that would help (yours to create):")
    for definition, purpose in lines:
        print_line(f"  create index {concurrently}on {relation} {definition};  -- {purpose}")


def _has_index(table: Table, columns: Sequence[str]) -> bool:
    return any(list(index.columns[: len(columns)]) == list(columns) for index in table.indexes)


def _has_expression(table: Table, column: str) -> bool:
    wanted = f"{quote_identifier(column)}::text"
    return any(index.columns[0].replace("(", "").replace(")", "") == wanted for index in table.indexes if index.columns)


def _format_row(row: asyncpg.Record) -> str:
    shown = {name: value for name, value in row.items() if value is not None and name not in ("is_pending", "is_counted")}
    text = ", ".join(f"{name} {shorten(value)}" for name, value in shown.items())
    if "is_pending" in row.keys():  # noqa: SIM118 (a record's `in` looks at its values)
        text += " — pending" if row["is_pending"] else "" if row["is_counted"] else " — cancelled"
    return text
