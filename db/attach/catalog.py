"""Reads what is known of tables: the catalog, and a bounded sample of rows. Takes no lock beyond ACCESS SHARE."""

from __future__ import annotations

import difflib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import asyncpg

from db.attach.facts import Column, ForeignKey, Index, Table
from db.connect import Connection
from db.errors import DatabaseMisconfigured

__all__ = ["estimate_rows", "find_table", "read_samples", "read_tables", "sampled"]

SAMPLED_ROWS = 2000
# Longer texts are cut: they are no status, code or name.
SAMPLED_CHARACTERS = 200
MAX_LOOKUP_ROWS = 50
_SAMPLED_TYPES = frozenset(
    {"text", "character varying", "character", "name", "citext", "smallint", "integer", "bigint", "boolean", "enum", "uuid"}
    | {"timestamp with time zone", "timestamp without time zone"}
)

_TABLES_SQL = """
select
    c.oid, n.nspname::text as schema, c.relname::text as relation, c.relkind = 'p' as is_partitioned,
    case
        when c.relkind = 'r' then c.reltuples
        else (
            select sum(greatest(l.reltuples, 0)) from pg_partition_tree(c.oid) as t join pg_class as l on l.oid = t.relid
            where t.isleaf
        )
    end::float8 as rows,
    array(
        select a.attname::text from pg_partitioned_table as p, unnest(p.partattrs) as k
        join pg_attribute as a on a.attnum = k
        where p.partrelid = c.oid and a.attrelid = c.oid
    ) as partition_columns,
    has_table_privilege(c.oid, 'select') and has_table_privilege(c.oid, 'trigger')
        and has_schema_privilege(n.oid, 'usage') as may
from pg_class as c
join pg_namespace as n on n.oid = c.relnamespace
where
    c.relkind in ('r', 'p') and not c.relispartition and c.relpersistence <> 't'
    and n.nspname not in ('pg_catalog', 'information_schema', 'orderwire') and n.nspname !~ '^pg_'
    and not exists (
        select from pg_depend as d where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'e'
    )
order by n.nspname <> 'public', n.nspname, c.relname
"""
_COLUMNS_SQL = """
select
    a.attrelid as oid, a.attname::text as name, a.attnotnull as not_null, b.typtype = 'e' as is_enum,
    format_type(b.oid, null) as type,
    case when b.oid = 'numeric'::regtype and m.typmod > 0 then (m.typmod - 4) >> 16 end as precision,
    case when b.oid = 'numeric'::regtype and m.typmod > 0 then (m.typmod - 4) & 2047 end as scale,
    array(select e.enumlabel::text from pg_enum as e where e.enumtypid = b.oid order by e.enumsortorder) as labels,
    case when a.attidentity <> '' then 'identity' else coalesce(pg_get_expr(d.adbin, d.adrelid), '') end as default,
    coalesce(to_jsonb(a) ->> 'attgenerated' = 'v', false) as is_virtual
from pg_attribute as a
cross join lateral (
    with recursive types as (
        select t.oid, t.typbasetype, t.typtype, a.atttypmod as typmod from pg_type as t where t.oid = a.atttypid
        union all
        select t.oid, t.typbasetype, t.typtype, case when d.typtypmod >= 0 then d.typtypmod else -1 end
        from types as u
        join pg_type as d on d.oid = u.oid
        join pg_type as t on t.oid = u.typbasetype
        where u.typtype = 'd'
    )
    select u.oid, u.typmod from types as u where u.typtype <> 'd'
) as m
join pg_type as b on b.oid = m.oid
left join pg_attrdef as d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = any($1::oid[]) and a.attnum > 0 and not a.attisdropped
order by a.attrelid, a.attnum
"""
_INDEXES_SQL = """
select
    x.indrelid as oid, x.indisunique and x.indimmediate as is_unique, x.indisprimary as is_primary,
    array(select pg_get_indexdef(x.indexrelid, n, true) from generate_series(1, x.indnkeyatts) as n) as definitions,
    array(
        select a.attname::text
        from generate_series(0, x.indnkeyatts - 1) as n
        left join pg_attribute as a on a.attrelid = x.indrelid and a.attnum = x.indkey[n] and x.indkey[n] > 0
        order by n
    ) as columns
from pg_index as x
where x.indrelid = any($1::oid[]) and x.indisvalid and x.indpred is null
"""
_FOREIGN_KEYS_SQL = """
select
    k.conrelid as oid, a.attname::text as column, format('%I.%I', n.nspname, c.relname) as table, t.attname::text as target
from pg_constraint as k
join pg_class as c on c.oid = k.confrelid
join pg_namespace as n on n.oid = c.relnamespace
join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
join pg_attribute as t on t.attrelid = k.confrelid and t.attnum = k.confkey[1]
where k.contype = 'f' and cardinality(k.conkey) = 1 and k.conrelid = any($1::oid[])
"""
# Conditions of one column, such as status in ('new', 'shipped').
_CHECKS_SQL = """
select k.conrelid as oid, a.attname::text as column, pg_get_constraintdef(k.oid) as definition
from pg_constraint as k
join pg_attribute as a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]
where k.contype = 'c' and cardinality(k.conkey) = 1 and k.conrelid = any($1::oid[])
"""


async def read_tables(connection: Connection) -> dict[str, Table]:
    """All tables that could be attached, by their qualified name, without samples."""
    rows = await connection.fetch(_TABLES_SQL)
    oids = [row["oid"] for row in rows]
    allowed: dict[tuple[int, str], tuple[str, ...]] = {}
    for row in await connection.fetch(_CHECKS_SQL, oids):
        if listed := re.search(r"= ANY \(\(*ARRAY\[(.*?)\]", row["definition"]):
            values = re.findall(r"'((?:[^']|'')*)'", listed[1])
            allowed[row["oid"], row["column"]] = tuple(value.replace("''", "'") for value in values)
    columns: dict[int, list[Column]] = {oid: [] for oid in oids}
    for row in await connection.fetch(_COLUMNS_SQL, oids):
        columns[row["oid"]].append(
            Column(
                row["name"],
                "enum" if row["is_enum"] else row["type"],
                not_null=row["not_null"],
                precision=row["precision"],
                scale=row["scale"],
                labels=tuple(row["labels"]) or allowed.get((row["oid"], row["name"]), ()),
                default=row["default"],
                is_virtual=row["is_virtual"],
            )
        )
    indexes: dict[int, list[Index]] = {oid: [] for oid in oids}
    for row in await connection.fetch(_INDEXES_SQL, oids):
        names = tuple(name or definition for name, definition in zip(row["columns"], row["definitions"], strict=True))
        indexes[row["oid"]].append(Index(names, row["is_unique"], row["is_primary"]))
    keys: dict[int, list[ForeignKey]] = {oid: [] for oid in oids}
    for row in await connection.fetch(_FOREIGN_KEYS_SQL, oids):
        keys[row["oid"]].append(ForeignKey(row["column"], row["table"], row["target"]))
    tables = [
        Table(
            row["schema"],
            row["relation"],
            columns[row["oid"]],
            indexes[row["oid"]],
            keys[row["oid"]],
            rows=row["rows"] if row["rows"] is not None else -1,
            is_partitioned=row["is_partitioned"],
            partition_columns=row["partition_columns"],
            may_attach=row["may"],
        )
        for row in rows
    ]
    return {table.name: table for table in tables}


def find_table(tables: Mapping[str, Table], name: str) -> Table:
    """The table that an operator means. Raises DatabaseMisconfigured when there is none, or there are several."""
    plain = name.replace('"', "")
    for matches in (
        [table for table in tables.values() if name == table.name],
        [table for table in tables.values() if plain in (table.relation, f"{table.schema}.{table.relation}")],
        [
            table
            for table in tables.values()
            if plain.lower() in (table.relation.lower(), f"{table.schema}.{table.relation}".lower())
        ],
    ):
        if len(matches) == 1:
            return matches[0]
        if matches:
            public = [table for table in matches if table.schema == "public"]
            if len(public) == 1:
                return public[0]
            names = ", ".join(table.name for table in matches)
            raise DatabaseMisconfigured(f"{name!r} may be any of {names}: write it with its schema")
    close = difflib.get_close_matches(plain, [table.relation for table in tables.values()], n=3, cutoff=0.5)
    hint = f"; there is {', '.join(close)}" if close else ""
    raise DatabaseMisconfigured(f"there is no table {name!r} that could be attached in this database{hint}")


async def read_samples(connection: Connection, table: Table) -> Table:
    """The table with the counts of its sampled values, and with the small tables that its foreign keys refer to."""
    if not table.may_attach:
        return table
    columns = [column for column in table.columns if column.type in _SAMPLED_TYPES and not column.is_virtual]
    values: dict[str, Mapping[str | None, int]] = {}
    if columns:
        selected = ", ".join(f"left({column.sql}::text, {SAMPLED_CHARACTERS})" for column in columns)
        rows: Sequence[Any] = await connection.fetch(f"select {selected} from {sampled(table)} limit {SAMPLED_ROWS}")
        for position, column in enumerate(columns):
            counts = Counter(row[position] for row in rows)
            values[column.name] = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0] or "")))
    lookups: dict[str, Sequence[Mapping[str, str | None]]] = {}
    for key in table.foreign_keys:
        named = "status" in key.column.lower() or "state" in key.column.lower()
        own = table.column(key.column)
        if named or (own is not None and own.is_integer):
            try:
                async with connection.transaction():
                    found = await connection.fetch(f"select l.* from {key.table} as l limit {MAX_LOOKUP_ROWS + 1}")
            except asyncpg.PostgresError:
                continue  # no privilege: codes stay codes
            texts = {name for row in found for name, value in row.items() if isinstance(value, str)} - {key.target}
            if found and len(found) <= MAX_LOOKUP_ROWS and (named or len(texts) == 1):
                lookups[key.column] = [
                    {
                        name: None if value is None else str(value)
                        for name, value in row.items()
                        if named or name == key.target or name in texts
                    }
                    for row in found
                ]
    return replace(table, values=values, lookups=lookups)


def sampled(table: Table, rows: int = SAMPLED_ROWS) -> str:
    """A FROM item, named "o": about twice as many rows, from all over a table that is much larger; else the table."""
    if table.rows > 4 * rows:
        percent = max(0.0001, 100.0 * 2 * rows / table.rows)
        return f"{table.name} as o tablesample system ({percent:.6f})"
    return f"{table.name} as o"


async def estimate_rows(connection: Connection, table: Table) -> float:
    """The planner's estimate: from the table's size now, also where it was never analyzed."""
    plan = await connection.fetchval(f"explain (format json) select from {table.name}")
    return float(json.loads(plan)[0]["Plan"]["Plan Rows"])
