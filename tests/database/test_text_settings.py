"""What is read is the same whatever a database's defaults are for the text of times and numbers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.database import Database
from push.protocol.order_list import OrderFilter, OrderOwner, OrderPageRequest

# Moscow put its clock back by an hour then, and both hours have the same abbreviation.
START = datetime(2014, 10, 25, 21, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
DEFAULTS = {
    "german": {"datestyle": "German", "timezone": "Europe/Moscow"},
    "sql": {"datestyle": "SQL, DMY", "timezone": "Asia/Shanghai"},  # CST, which is a zone of America too
    "postgres": {"datestyle": "Postgres, DMY", "timezone": "Europe/Moscow"},
    "rounded": {"extra_float_digits": "0", "timezone": "Europe/Warsaw"},
    "short": {"extra_float_digits": "-10", "datestyle": "SQL, MDY"},
}
# A column of `created_at`, as the map has it, and its value at a moment $1.
COLUMNS = {
    "timestamptz": ("o.at", "$1::timestamptz"),
    "timestamp": ("o.at at time zone 'Europe/Warsaw'", "$1::timestamptz at time zone 'Europe/Warsaw'"),
    "double precision": ("to_timestamp(o.at)", "extract(epoch from $1::timestamptz)"),
}


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url).open() as database:
        yield database


async def pages(database: Database, wanted: OrderFilter, owner: OrderOwner | None = None) -> list[int]:
    """The keys of all pages; no more than the table has, twice."""
    found: list[int] = []
    after = None
    while len(found) <= 80:
        page = await database.list_orders(OrderPageRequest(7, wanted, after, owner))
        found += [int(json.loads(order)["key"]) for order in page.orders]
        if (after := page.next_cursor) is None:
            break
    return found


async def exported(database: Database, wanted: OrderFilter) -> list[tuple[int, str | None]]:
    async with database.export_orders(wanted, None) as export:
        return [(int(order.key), order.created_at) async for batch in export.batches for order in batch]


@pytest.mark.parametrize("type_name", COLUMNS)
@pytest.mark.parametrize("defaults", DEFAULTS)
async def test_reads_do_not_depend_on_the_defaults_of_the_database(
    database: Database, db: Any, defaults: str, type_name: str
) -> None:
    """Times differ by microseconds, as many as a number of seconds can tell; each half of them is in another hour."""
    created_at, value = COLUMNS[type_name]
    await db.execute("select orderwire.detach()")
    await db.execute(f"create table public.shop (id integer primary key, name text, owner text, at {type_name} not null)")
    order_map = {"key": "id", "customer_name": "name", "customer_id": "owner", "created_at": created_at}
    await db.execute("select orderwire.attach('public.shop', $1)", json.dumps(order_map))
    times = [START + n // 20 * HOUR + timedelta(microseconds=n) for n in range(40)]
    for n, moment in enumerate(times):
        await db.execute(f"insert into public.shop select $2, 'Anna', 'anna', {value}", moment, n)
    await db.execute("create index on public.shop (at, id)")
    name = await db.fetchval("select current_database()")
    for setting, default in DEFAULTS[defaults].items():
        await db.execute(f"alter database {name} set {setting} = '{default}'")

    newest_first = list(range(39, -1, -1))
    assert await pages(database, OrderFilter()) == newest_first
    assert await pages(database, OrderFilter(), OrderOwner("anna", frozenset())) == newest_first
    assert await pages(database, OrderFilter(search="nn")) == newest_first
    assert await pages(database, OrderFilter(search="nn"), OrderOwner("anna", frozenset())) == newest_first
    # In the midst of neighbours where each has its own time.
    start, end = times[5], times[35]
    if type_name == "double precision":
        start, end = START, START + HOUR
    within = OrderFilter((), None, start, end)
    expected = [n for n in newest_first if start <= times[n] < end]
    assert await pages(database, within) == expected
    rows = await exported(database, within)
    assert [key for key, _ in rows] == expected
    if type_name != "double precision":
        assert [text for _, text in rows] == [f"{times[key].isoformat(timespec='microseconds')[:-6]}Z" for key in expected]
    bounds = [START - HOUR, START + HOUR / 2, START + 2 * HOUR]
    counts = await database.series.count_orders(START, bounds)
    assert sorted((group.interval, group.orders) for group in counts.groups) == [(1, 20), (2, 20)]
