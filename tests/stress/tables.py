"""The tables that a stress run may write to: how they are attached, what writers do to them, and how to read them."""

from __future__ import annotations

import json
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from db.migrate import create_starter

__all__ = ["TABLES", "Table"]

Connection = Any

STATUSES = ("pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled")


@dataclass(frozen=True, slots=True)
class Table:
    """An attached table. Statements are SQL; the comments name their parameters."""

    #: Create and attach it, in the database at this URL.
    install: Callable[[str], Awaitable[object]]
    #: Random keys among the newest rows, of which some may be deleted; at most so many.
    draw_keys: Callable[[Connection, random.Random, int], Awaitable[list[Any]]]
    #: One row, without parameters.
    insert_marker: str
    #: $1, $2: a random row.
    insert: str
    random_row: Callable[[random.Random], tuple[Any, Any]]
    #: Schema, name and columns for COPY, and a random row for it.
    copy_target: tuple[str, str, Sequence[str]]
    random_copied_row: Callable[[random.Random], tuple[Any, Any]]
    #: $1: a status, $2: a key.
    set_status: str
    #: $1: a key.
    increment_total: str
    #: $1: keys.
    update_many: str
    #: $1: keys.
    delete: str
    #: $1: a number, which is unique.
    upsert: str
    #: $1: how many rows.
    insert_bulk: str
    update_bulk: str
    #: Three columns: key, status and total of each order, read without functions of Orderwire.
    select_orders: str
    #: The three totals.
    select_totals: str
    #: A change of another table that the map reads, which makes no event.
    change_other_table: str | None = None


# ---------------------------------------------------------------- the starter table


async def _draw_ids(connection: Connection, rng: random.Random, max_count: int) -> list[Any]:
    newest = await connection.fetchval("select coalesce(max(id), 1) from orders")
    low = max(1, newest - 400)
    return [rng.randint(low, newest) for _ in range(rng.randint(1, max_count))]


STARTER = Table(
    install=create_starter,
    draw_keys=_draw_ids,
    insert_marker="insert into orders (customer_name, total) values ('beacon', 1)",
    insert="insert into orders (customer_name, total) values ($1, $2)",
    random_row=lambda rng: (rng.choice(("Иван", 'a"b\\', "O'Neil")), rng.randint(0, 999)),
    copy_target=("public", "orders", ["customer_name", "total"]),
    random_copied_row=lambda rng: ("copied", rng.randint(1, 99)),
    set_status="update orders set status = $1 where id = $2",
    increment_total="update orders set total = total + 1 where id = $1",
    update_many="update orders set total = total + 0.01, customer_name = 'x' where id = any($1)",
    delete="delete from orders where id = any($1)",
    upsert="""
        insert into orders (order_number, customer_name, total) values ($1, 'upsert', 1)
        on conflict (order_number) do update set total = orders.total + 1, status = 'confirmed'
    """,
    insert_bulk="insert into orders (customer_name, total) select 'bulk', n from generate_series(1, $1::int) n",
    update_bulk="""
        update orders set status = case status when 'ready' then 'delivering' else 'ready' end
        where id in (select id from orders order by id desc limit $1 for update skip locked)
    """,
    select_orders="select id::text, status, total from orders",
    select_totals="select * from order_analytics",
)


# ---------------------------------------------------------------- keys are uuids, the status an enum, the total in cents

_CREATE_PURCHASES = f"""
create schema shop;
create type shop.purchase_status as enum ({", ".join(f"'{status}'" for status in STATUSES)});
create table shop.customers (id integer primary key, name text not null);
insert into shop.customers
select n, (array['Иван', 'a"b\\', 'O''Neil'])[n % 3 + 1] || ' ' || n from generate_series(1, 20) as n;
create table shop.purchases (
    id          uuid primary key default gen_random_uuid(),
    number      text unique,
    customer_id integer,
    status      shop.purchase_status not null default 'pending',
    total_cents integer not null,
    placed_at   timestamptz not null default clock_timestamp(),
    note        text
);
create index on shop.purchases (placed_at);
"""
_PURCHASES_MAP = {
    "key": "id",
    "number": "number",
    "customer_name": "c.name",
    "customer_id": "customer_id",
    "total": "o.total_cents / 100.0",
    "status": "status",
    "created_at": "placed_at",
    "joins": "left join shop.customers as c on c.id = o.customer_id",
    "pending": ["pending"],
    "cancelled": ["cancelled"],
    "statuses": list(STATUSES),
}


async def _install_purchases(url: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_CREATE_PURCHASES)
        await connection.execute("select orderwire.attach('shop.purchases', $1)", json.dumps(_PURCHASES_MAP))
    finally:
        await connection.close()


async def _draw_uuids(connection: Connection, rng: random.Random, max_count: int) -> list[Any]:
    rows = await connection.fetch("select id from shop.purchases order by placed_at desc limit 400")
    return [rng.choice(rows)["id"] for _ in range(rng.randint(1, max_count))] if rows else []


UUID = Table(
    install=_install_purchases,
    draw_keys=_draw_uuids,
    insert_marker="insert into shop.purchases (customer_id, total_cents) values (1, 150)",
    insert="insert into shop.purchases (customer_id, total_cents) values ($1, $2)",
    # 0 and 21: no such customer.
    random_row=lambda rng: (rng.choice((None, rng.randint(0, 21))), rng.randint(0, 99_999)),
    copy_target=("shop", "purchases", ["customer_id", "total_cents"]),
    random_copied_row=lambda rng: (rng.randint(1, 20), rng.randint(1, 9_999)),
    set_status="update shop.purchases set status = $1 where id = $2",
    increment_total="update shop.purchases set total_cents = total_cents + 1 where id = $1",
    update_many="update shop.purchases set total_cents = total_cents + 1, customer_id = 7, note = 'x' where id = any($1)",
    delete="delete from shop.purchases where id = any($1)",
    upsert="""
        insert into shop.purchases (number, customer_id, total_cents) values ($1, 3, 100)
        on conflict (number) do update set total_cents = purchases.total_cents + 1, status = 'confirmed'
    """,
    insert_bulk="insert into shop.purchases (customer_id, total_cents) select n % 20, n from generate_series(1, $1::int) n",
    update_bulk="""
        update shop.purchases
        set status = case status when 'ready' then 'delivering' else 'ready' end::shop.purchase_status
        where id in (select id from shop.purchases order by placed_at desc limit $1 for update skip locked)
    """,
    select_orders="select id::text, status::text, total_cents / 100.0 from shop.purchases",
    select_totals="""
        select
            count(*) as total_orders,
            coalesce(sum(total_cents) filter (where status <> 'cancelled'), 0) / 100.0 as total_revenue,
            count(*) filter (where status = 'pending') as pending_orders
        from shop.purchases
    """,
    change_other_table="update shop.customers set name = reverse(name) where id = 7",
)

#: By the names that ``make stress TABLE=…`` takes.
TABLES = {"starter": STARTER, "uuid": UUID}
