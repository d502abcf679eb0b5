"""Orders tables of many shapes, each with the statements that the tests of this directory run on them.

Templates contain ``{n}``, the number of a row. The attached table is named ``o`` in assignments and conditions, as in a map.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

__all__ = ["SHAPES", "Shape", "shape_named"]


@dataclass(frozen=True, slots=True)
class Shape:
    """A table, its map, and what to do with its rows."""

    name: str
    create: str
    map: Mapping[str, Any]
    #: Column to expression, as SQL writes both.
    row: Mapping[str, str]
    #: Assignments that change the total, respectively the status, of an order.
    change: str = "total = o.total + 1"
    cancel: str = "status = 'cancelled'"
    table: str = "public.shop_orders"
    #: As SQL writes them.
    key: Sequence[str] = ("id",)
    #: A column that the map uses, with another type for it, and one that it does not use.
    used: tuple[str, str] = ("total", "text")
    unused: str = "note"
    #: Assignments that make an order a row that is none, and back.
    hide: str | None = None
    show: str | None = None
    #: Assignment that moves a row to another partition.
    move: str | None = None
    #: Partitions or child tables. Rows of numbers for which `n % 2` is 0 belong into the first one.
    children: Sequence[str] = ()
    #: Statement that creates a further partition, named `third`, in which the row 1003 belongs.
    new_child: str | None = None
    #: Columns of a unique index for ON CONFLICT; None where there is none.
    conflict: Sequence[str] | None = field(default=("id",))
    min_version: int = 14

    def expressions(self, n: int) -> list[str]:
        return [expression.format(n=n) for expression in self.row.values()]

    def insert(self, *numbers: int, into: str | None = None) -> str:
        rows = ", ".join(f"({', '.join(self.expressions(n))})" for n in numbers)
        return f"insert into {into or self.table} as o ({', '.join(self.row)}) values {rows}"

    def matches(self, *numbers: int) -> str:
        """The condition for rows of these numbers."""
        rows = ("(" + " and ".join(f"o.{k} = {self.row[k].format(n=n)}" for k in self.key) + ")" for n in numbers)
        return "(" + " or ".join(rows) + ")"

    def update(self, assignments: str, *numbers: int, of: str | None = None) -> str:
        return f"update {of or self.table} as o set {assignments} where {self.matches(*numbers)}"

    def delete(self, *numbers: int, of: str | None = None) -> str:
        return f"delete from {of or self.table} as o where {self.matches(*numbers)}"

    def change_key(self, old: int, new: int) -> str:
        return self.update(", ".join(f"{k} = {self.row[k].format(n=new)}" for k in self.key), old)

    def upsert(self, *numbers: int) -> str:
        return f"{self.insert(*numbers)} on conflict ({', '.join(self.conflict or ())}) do update set {self.change}"

    def merge(self, delete: int, *numbers: int) -> str:
        """Delete one row; change those of the other numbers that exist, and insert those that do not."""
        names = [f"c{position}" for position in range(len(self.row))]
        source = " union all ".join(
            f"select {n} as n, {', '.join(f'{e} as {name}' for e, name in zip(self.expressions(n), names, strict=True))}"
            for n in (delete, *numbers)
        )
        of_column = dict(zip(self.row, names, strict=True))
        return (
            f"merge into {self.table} as o using ({source}) as s "
            f"on {' and '.join(f'o.{k} = s.{of_column[k]}' for k in self.key)} "
            f"when matched and s.n = {delete} then delete when matched then update set {self.change} "
            f"when not matched then insert ({', '.join(self.row)}) values ({', '.join(f's.{name}' for name in names)})"
        )

    async def copy(self, db: Any, *numbers: int) -> None:
        """COPY FROM STDIN in the text format."""
        rows = "\n".join(
            [
                "\t".join(
                    _copy_text(value)
                    for value in await db.fetchrow("select " + ", ".join(f"({e})::text" for e in self.expressions(n)))
                )
                for n in numbers
            ]
        )
        schema, table = (part.strip('"').replace('""', '"') for part in self.table.split("."))
        columns = [column.strip('"') for column in self.row]
        await db.copy_to_table(table, schema_name=schema, columns=columns, source=_Bytes((rows + "\n").encode()))

    async def install(self, db: Any) -> None:
        """Create the table, with the rows 1, 2 and 3."""
        if db.get_server_version().major < self.min_version:
            pytest.skip(f"needs PostgreSQL {self.min_version}")
        await db.execute(self.create)
        await db.execute(self.insert(1, 2, 3))

    async def attach(self, db: Any, **changes: Any) -> None:
        await db.execute("select orderwire.attach($1::text::regclass, $2)", self.table, json.dumps({**self.map, **changes}))


class _Bytes:
    """An asynchronous source for asyncpg's COPY."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __aiter__(self) -> _Bytes:
        return self

    async def __anext__(self) -> bytes:
        content, self._content = self._content, b""
        if not content:
            raise StopAsyncIteration
        return content


def _copy_text(value: str | None) -> str:
    if value is None:
        return r"\N"
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


_PLAIN_MAP = {
    "key": "id",
    "number": "number",
    "customer_name": "customer",
    "total": "total",
    "status": "status",
    "created_at": "placed_at",
    "pending": ["pending"],
    "cancelled": ["cancelled"],
}
_PLAIN_ROW = {
    "id": "{n}",
    "number": "'N-{n}'",
    "customer": "'customer {n}'",
    "total": "{n}.25",
    "status": "case when {n} % 3 = 0 then 'done' else 'pending' end",
    "placed_at": "timestamptz '2026-01-01 12:00:00Z' + {n} * interval '1 minute'",
    "note": "'note {n}'",
}
_PLAIN_COLUMNS = """
    id bigint primary key, number text, customer text, total numeric(12, 2), status text, placed_at timestamptz not null,
    note text
""".strip()

# The others differ from this one in what their names say.
_PLAIN = Shape("plain", f"create table public.shop_orders ({_PLAIN_COLUMNS})", _PLAIN_MAP, _PLAIN_ROW)

_PARTITIONED_COLUMNS = (
    "id bigint, number text, customer text, total numeric(12, 2), status text, placed_at timestamptz not null, note text, "
    "region text not null, primary key (id, region)"
)
_PARTITIONED = replace(
    _PLAIN,
    name="partitioned",
    create=f"""
        create table public.shop_orders ({_PARTITIONED_COLUMNS}) partition by list (region);
        create table public.shop_orders_north partition of public.shop_orders for values in ('north');
        create table public.shop_orders_south partition of public.shop_orders for values in ('south');
    """,
    map={**_PLAIN_MAP, "key_is_unique": True},
    row={**_PLAIN_ROW, "region": "case when {n} = 1003 then 'third' when {n} % 2 = 0 then 'north' else 'south' end"},
    move="region = case o.region when 'north' then 'south' else 'north' end",
    children=("public.shop_orders_north", "public.shop_orders_south"),
    new_child="create table public.third partition of public.shop_orders for values in ('third')",
    conflict=("id", "region"),
)

SHAPES: list[Shape] = [
    _PLAIN,
    replace(
        _PLAIN,
        name="uuid_key",
        create=f"create table public.shop_orders ({_PLAIN_COLUMNS.replace('id bigint', 'id uuid', 1)})",
        row={**_PLAIN_ROW, "id": "md5('{n}')::uuid"},
    ),
    replace(
        _PLAIN,
        name="text_key",
        create=f"create table public.shop_orders ({_PLAIN_COLUMNS.replace('id bigint', 'id text', 1)})",
        row={**_PLAIN_ROW, "id": r"E'Заказ \"{n}\", 100 %41 ~/?&\t\\ ''x''\n'"},
    ),
    replace(_PLAIN, name="large_integer_key", row={**_PLAIN_ROW, "id": "9007199254740989 + {n}"}),
    replace(
        _PLAIN,
        name="composite_key",
        create=f"""
            create table public.shop_orders (
                branch text, {_PLAIN_COLUMNS.replace(" primary key", "", 1)}, primary key (branch, id)
            )
        """,
        map={**_PLAIN_MAP, "key": ["branch", "id"]},
        row={**_PLAIN_ROW, "branch": "'a,b%2C' || {n} % 2"},
        key=("branch", "id"),
        conflict=("branch", "id"),
    ),
    replace(
        _PLAIN,
        name="cents",
        create="""
            create table public.shop_orders (
                id integer primary key, number text, customer text, cents integer not null, status text,
                placed_at timestamptz not null, note text
            )
        """,
        map={**_PLAIN_MAP, "total": "o.cents / 100.0"},
        row={**{c: e for c, e in _PLAIN_ROW.items() if c != "total"}, "cents": "{n} * 125"},
        change="cents = o.cents + 1",
        used=("cents", "text"),
    ),
    replace(
        _PLAIN,
        name="currency",
        create=f"create table public.shop_orders ({_PLAIN_COLUMNS}, currency char(3))",
        map={**_PLAIN_MAP, "currency": "currency", "total_currency": "EUR"},
        row={**_PLAIN_ROW, "currency": "case {n} % 3 when 0 then 'EUR' when 1 then 'USD' end"},
        move="currency = case when o.currency = 'USD' then 'EUR' when o.currency is null then 'USD' end",
    ),
    replace(
        _PLAIN,
        name="enum_status",
        create=f"""
            create type public.order_state as enum ('pending', 'done', 'cancelled');
            create table public.shop_orders ({_PLAIN_COLUMNS.replace("status text", "status public.order_state", 1)})
        """,
        row={**_PLAIN_ROW, "status": "(case when {n} % 3 = 0 then 'done' else 'pending' end)::public.order_state"},
    ),
    replace(
        _PLAIN,
        name="status_code",
        create=f"create table public.shop_orders ({_PLAIN_COLUMNS.replace('status text', 'status smallint', 1)})",
        map={**_PLAIN_MAP, "status": "case o.status when 0 then 'pending' when 1 then 'done' when 9 then 'cancelled' end"},
        row={**_PLAIN_ROW, "status": "({n} % 3)::smallint"},  # 2: a code that the map does not know
        cancel="status = 9",
    ),
    replace(
        _PLAIN,
        name="status_spelling",
        map={**_PLAIN_MAP, "pending": ["In Bearbeitung", "Wartet auf Zahlung"], "cancelled": ["Storniert (Kunde)"]},
        row={**_PLAIN_ROW, "status": "case when {n} % 3 = 0 then 'Geliefert ✓' else 'In Bearbeitung' end"},
        cancel="status = 'Storniert (Kunde)'",
    ),
    replace(
        _PLAIN,
        name="soft_delete",
        create=f"create table public.shop_orders ({_PLAIN_COLUMNS}, deleted_at timestamptz)",
        map={**_PLAIN_MAP, "where": "o.deleted_at is null"},
        hide="deleted_at = now()",
        show="deleted_at = null",
    ),
    replace(
        _PLAIN,
        name="carts",
        create=f"create table public.shop_orders ({_PLAIN_COLUMNS}, is_cart boolean, session jsonb)",
        map={**_PLAIN_MAP, "where": "not o.is_cart and coalesce(o.session ->> 'kind', 'web') <> 'test'"},
        row={**_PLAIN_ROW, "is_cart": "{n} = 1", "session": '\'{{"kind": "web"}}\'::jsonb'},
        hide="is_cart = true",
        show="is_cart = false",
    ),
    replace(
        _PLAIN,
        name="customer_join",
        create=f"""
            create table public.customers (id bigint primary key, name text);
            insert into public.customers select n, 'Name ' || n from generate_series(0, 6) as n;
            create table public.shop_orders ({_PLAIN_COLUMNS.replace("customer text", "customer_id bigint", 1)})
        """,
        map={
            **_PLAIN_MAP,
            "customer_name": "c.name",
            "customer_id": "customer_id",
            "joins": "left join public.customers as c on c.id = o.customer_id",
            "data": {"customer": "c.name", "note_length": "0"},
        },
        row={**{c: e for c, e in _PLAIN_ROW.items() if c != "customer"}, "customer_id": "{n} % 8"},  # 7: no such customer
        move="customer_id = (o.customer_id + 1) % 8",
    ),
    replace(
        _PLAIN,
        name="quoted_names",
        table='"My Shop"."Customer""Orders"',
        create="""
            create schema "My Shop";
            create table "My Shop"."Customer""Orders" (
                "orderId" bigint primary key, "Number" text, "user" text, "Total Price" numeric(12, 2), "order" text,
                "placedAt" timestamptz not null, "Note's" text
            )
        """,
        map={
            "key": "orderId",
            "number": "Number",
            "customer_name": 'upper(o."user")',
            "total": "Total Price",
            "status": "order",
            "created_at": "placedAt",
            "data": ["Total Price", "user"],
            "pending": ["pending"],
            "cancelled": ["cancelled"],
        },
        row=dict(
            zip(
                ['"orderId"', '"Number"', '"user"', '"Total Price"', '"order"', '"placedAt"', '"Note\'s"'],
                _PLAIN_ROW.values(),
                strict=True,
            )
        ),
        change='"Total Price" = o."Total Price" + 1',
        cancel="\"order\" = 'cancelled'",
        key=('"orderId"',),
        used=('"Total Price"', "text"),
        unused='"Note\'s"',
        conflict=('"orderId"',),
    ),
    _PARTITIONED,
    replace(
        _PARTITIONED,
        name="partitioned_reordered",
        create=f"""
            create table public.shop_orders ({_PARTITIONED_COLUMNS}) partition by list (region);
            create table public.shop_orders_north (
                note text, gone text, region text not null, status text, total numeric(12, 2), placed_at timestamptz not null,
                customer text, number text, id bigint not null
            );
            alter table public.shop_orders_north drop column gone;
            alter table public.shop_orders attach partition public.shop_orders_north for values in ('north');
            create table public.shop_orders_south partition of public.shop_orders for values in ('south', 'west')
            partition by list (region);
            create table public.shop_orders_south_1 (
                region text not null, id bigint not null, customer text, total numeric(12, 2), number text, note text,
                status text,
                placed_at timestamptz not null
            );
            alter table public.shop_orders_south attach partition public.shop_orders_south_1 for values in ('south');
        """,
        map={**_PLAIN_MAP, "key": ["region", "id"]},
        key=("region", "id"),
        conflict=("region", "id"),
    ),
    replace(
        _PLAIN,
        name="inherited",
        create=f"""
            create table public.shop_orders ({_PLAIN_COLUMNS});
            create table public.web_orders (browser text, primary key (id)) inherits (public.shop_orders);
            create table public.phone_orders (agent text, primary key (id)) inherits (public.shop_orders);
        """,
        children=("public.web_orders", "public.phone_orders"),
        new_child="create table public.third (agent text, primary key (id)) inherits (public.shop_orders)",
    ),
    replace(
        _PLAIN,
        name="generated_column",
        create=f"""
            create table public.shop_orders (
                {_PLAIN_COLUMNS.replace("total numeric(12, 2)", "price numeric(12, 2), quantity integer", 1)},
                total numeric generated always as (price * quantity) stored
            )
        """,
        row={**{c: e for c, e in _PLAIN_ROW.items() if c != "total"}, "price": "{n}.25", "quantity": "{n} % 4 + 1"},
        change="quantity = o.quantity + 1",
    ),
    replace(
        _PLAIN,
        name="virtual_column",
        create=f"create table public.shop_orders ({_PLAIN_COLUMNS}, half numeric generated always as (total / 2) virtual)",
        min_version=18,
    ),
    replace(
        _PLAIN,
        name="domains",
        create=f"""
            create domain public.order_key as bigint check (value > 0);
            create domain public.money_amount as numeric(12, 2) check (value >= 0);
            create domain public.shop_money as public.money_amount not null;
            create domain public.state as text check (value in ('pending', 'done', 'cancelled'));
            create domain public.moment as timestamptz;
            create table public.shop_orders ({
            _PLAIN_COLUMNS.replace("id bigint", "id public.order_key", 1)
            .replace("numeric(12, 2)", "public.shop_money", 1)
            .replace("status text", "status public.state", 1)
            .replace("timestamptz", "public.moment", 1)
        })
        """,
    ),
    replace(
        _PLAIN,
        name="all_null",
        create="""
            create table public.shop_orders (
                id bigint primary key, number text, customer varchar(40), total double precision, status text,
                placed_at timestamp, note text
            )
        """,
        map={**_PLAIN_MAP, "customer_id": "note", "created_at": "o.placed_at at time zone 'UTC'", "data": {"x": "o.note"}},
        row={
            **{c: f"case when {{n}} % 2 = 0 then {e} end" for c, e in _PLAIN_ROW.items() if c not in ("id", "placed_at")},
            "id": "{n}",
            "placed_at": "case when {n} % 2 = 0 then timestamp '2026-01-01 12:00:00' + {n} * interval '1 minute' end",
        },
        change="total = coalesce(o.total, 0) + 1",
        move="customer = case when o.customer is null then 'somebody' end, number = case when o.number is null then 'N' end",
        unused="extra",
    ),
    replace(
        _PLAIN,
        name="data_types",
        create=f"""
            create table public.shop_orders (
                {_PLAIN_COLUMNS}, ready_at timestamptz, due_on date, open_for tstzrange, items json, options jsonb,
                tags text[], weight real,
                bits bytea, address inet, waiting interval, here point
            )
        """,
        map={
            **_PLAIN_MAP,
            "data": ["ready_at", "due_on", "items", "options", "tags", "weight", "bits", "address", "waiting", "here", "total"],
        },
        row={
            **_PLAIN_ROW,
            "ready_at": "timestamptz '2026-02-01 00:00:00.5Z' + {n} * interval '1 second'",
            "due_on": "date '2026-02-01' + {n}",
            "open_for": "tstzrange('2026-02-01', null)",
            "items": '\'[{{"sku":"a","n":{n}}}]\'::json',
            "options": "'{{\"wrap\": {n}}}'::jsonb",
            "tags": "array['x{n}', 'y']",
            "weight": "{n} / 7.0::real",
            "bits": "decode(lpad('{n}', 8, '0'), 'hex')",
            "address": "'10.0.0.1'::inet",
            "waiting": "{n} * interval '1 minute'",
            "here": "point({n}, 0.5)",
        },
        move="tags = o.tags || array['z'], items = '{}', here = null, ready_at = 'infinity'",
    ),
]


def shape_named(name: str) -> Shape:
    return next(shape for shape in SHAPES if shape.name == name)
