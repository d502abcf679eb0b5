"""Finding orders by statuses, time and text (sql/functions/22_find_orders.sql): what is found, by what, and the bounds."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from db.database import Database
from db.migrate import migrate
from push.protocol.order_list import OrderFilter, OrderOwner, OrderPage, OrderPageRequest

# The starter table's, and those that attach advises for it.
TRIGRAM_SQL = "create index on orders using gin (order_number gin_trgm_ops, customer_name gin_trgm_ops)"
TOTAL_SQL = "create index on orders (total)"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with Database(database_url).open() as database:
        yield database


@pytest.fixture
def no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search is over with the first row that it looks at, except for what indexes find."""
    monkeypatch.setattr("db.order_lists.SEARCH_TIME", timedelta(0))


def ids(orders: Sequence[str]) -> list[int]:
    return [json.loads(order)["id"] for order in orders]


async def find(database: Database, wanted: OrderFilter, limit: int = 10, after: Any = None) -> OrderPage:
    return await database.list_orders(OrderPageRequest(limit, wanted, after))


async def find_all(database: Database, wanted: OrderFilter, limit: int) -> list[int]:
    """The orders of all pages."""
    found: list[int] = []
    after = None
    while True:
        page = await find(database, wanted, limit, after)
        found += ids(page.orders)
        if (after := page.next_cursor) is None:
            return found


async def create_trigrams(db: Any) -> None:
    try:
        await db.execute("create extension pg_trgm")
    except asyncpg.PostgresError:
        pytest.skip("this PostgreSQL has no pg_trgm")


async def plan_of(db: Any, query: str) -> str:
    rows = await db.fetch(f"explain (costs off) {query}")
    return "\n".join(row[0] for row in rows)


async def scan_plan(db: Any, wanted: OrderFilter, deadline: str = "'infinity'") -> str:
    query = await db.fetchval(
        f"select orderwire.orders_query('m.key', $1, $2, $3, $4, null, null, {deadline})",
        list(wanted.statuses) or None,
        wanted.created_from,
        wanted.created_to,
        wanted.search,
    )
    await db.execute("set search_path = pg_catalog, pg_temp; set enable_seqscan = off; set enable_sort = off")
    plan = await plan_of(db, f"{query} limit 10")
    await db.execute("reset search_path; reset enable_seqscan; reset enable_sort")
    return plan


async def test_a_search_that_is_cut_says_how_far_it_came_and_goes_on_from_there(
    database: Database, db: Any, no_time: None
) -> None:
    await db.execute(
        "insert into orders (customer_name, total, created_at)"
        " select case n when 2 then 'rare' else 'c' end, 1, $1::timestamptz + n * interval '1 second'"
        " from generate_series(1, 5) as n",
        NOON,
    )
    wanted = OrderFilter(search="rare")
    page = await find(database, wanted)
    assert (ids(page.orders), page.complete, page.searched_to) == ([], False, "2026-01-01T12:00:05.000000Z")
    assert await find_all(database, wanted, 10) == [2]


async def test_without_a_time_limit_in_sight_a_search_is_complete(database: Database, db: Any) -> None:
    await db.execute("insert into orders (customer_name, total) select 'c', 1 from generate_series(1, 3000)")
    page = await find(database, OrderFilter(search="no such name"))
    assert (list(page.orders), page.complete, page.next_cursor, page.searched_to) == ([], True, None, None)


async def test_every_filter_and_every_size_of_page_finds_the_same(database: Database, db: Any) -> None:
    """All combinations, against a plain query; with the statuses' index and without any index but that of the key."""
    await db.execute(
        "insert into orders (customer_name, customer_id, total, status, created_at)"
        " select (array['Anna', 'Bo', 'anna b'])[1 + n % 3], 'user-' || n % 5, n % 7,"
        " (array['pending', 'ready', 'delivered'])[1 + n % 3 * n % 3], $1::timestamptz + n % 10 * interval '1 hour'"
        " from generate_series(1, 120) as n",
        NOON,
    )
    start, end = NOON + timedelta(hours=2), NOON + timedelta(hours=8)
    for index in ("select", "drop index orders_status_created_at_id_idx", "drop index orders_created_at_id_idx"):
        await db.execute(index)
        for statuses in ((), ("ready",), ("ready", "pending"), ("unheard of",)):
            for search in (None, "ann", "user-3", "6", "#ORD", "12"):
                for created_from, created_to in ((None, None), (start, None), (None, end), (start, end)):
                    wanted = OrderFilter(statuses, search, created_from, created_to)
                    expected = [
                        row[0]
                        for row in await db.fetch(
                            """
                            select o.id from orders as o
                            where
                                ($1::text[] is null or o.status = any($1))
                                and ($3::timestamptz is null or o.created_at >= $3)
                                and ($4::timestamptz is null or o.created_at < $4)
                                and (
                                    $2::text is null or o.order_number ilike '%' || ltrim($2, '#') || '%'
                                    or o.customer_name ilike '%' || $2 || '%' or o.customer_id = $2 or o.id::text = $2
                                    or o.total::text = $2 || '.00'
                                )
                            order by o.id::text = $2 desc, o.created_at desc, o.id desc
                            """,
                            list(statuses) or None,
                            search,
                            created_from,
                            created_to,
                        )
                    ]
                    assert await find_all(database, wanted, 50) == expected, (index, wanted)
                    assert ids((await find(database, wanted, 1000)).orders) == expected, (index, wanted)


async def test_a_customer_searches_among_the_newest_of_their_own(
    database: Database, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.execute(
        "insert into orders (customer_name, customer_id, total, status) values"
        " ('a', 'anna', 1, 'pending'), ('b', 'ben', 2, 'ready'), ('c', 'anna', 3, 'ready'), ('d', null, 4, 'pending')"
    )
    owner = OrderOwner("anna", frozenset({"4"}))

    async def own(wanted: OrderFilter, limit: int = 10, after: Any = None) -> OrderPage:
        return await database.list_orders(OrderPageRequest(limit, wanted, after, owner))

    page = await own(OrderFilter(search="A"))
    assert (ids(page.orders), page.complete, page.next_cursor) == ([1], True, None)
    assert ids((await own(OrderFilter(("ready", "pending")))).orders) == [4, 3, 1]
    assert ids((await own(OrderFilter(search="b"))).orders) == [], "another customer's order has this name"
    first = await own(OrderFilter(("pending",)), 1)
    assert ids(first.orders) == [4]
    assert ids((await own(OrderFilter(("pending",)), 1, first.next_cursor)).orders) == [1]
    monkeypatch.setattr("db.order_lists.MAX_SEARCHED", 2)
    page = await own(OrderFilter(search="A"))
    assert (ids(page.orders), page.complete) == ([], False)
    assert page.searched_to is not None
    assert ids((await own(OrderFilter(search="A"), 10, page.next_cursor)).orders) == [1]


async def test_an_old_order_is_found_by_the_index_of_its_number(database: Database, db: Any, no_time: None) -> None:
    await db.execute("insert into orders (customer_name, order_number, total) values ('old', 'A-1', 1)")
    await db.execute("insert into orders (customer_name, total) select 'A-1', 1 from generate_series(1, 3000)")
    for text in ("A-1", "#A-1"):
        page = await find(database, OrderFilter(search=text), 3)
        assert ids(page.orders)[0] == 1
    assert ids((await find(database, OrderFilter(search="A-1"), 3)).orders) == [1, 3001, 3000]


async def test_indexes_of_trigrams_answer_a_search(database: Database, db: Any, no_time: None) -> None:
    await create_trigrams(db)
    await db.execute(
        """
        insert into orders (customer_name, customer_id, order_number, total)
        values ('Анна Nowak', 'Xy', 'A-100', 150.50), ('bobo%_', null, 'B-2', 7.10), ('bobo', null, 'B-3', 1);
        insert into orders (customer_name, customer_id, total) select 'Cy', 'c' || n, 1 from generate_series(1, 3000) as n;
        create index on orders using gist (customer_name gist_trgm_ops);
        analyze orders;
        """
    )

    async def search(text: str, statuses: Sequence[str] = ()) -> tuple[list[int], bool]:
        page = await find(database, OrderFilter(statuses, text), 2)
        return ids(page.orders), page.complete

    async def is_indexed(text: str | None, statuses: Sequence[str] | None = None) -> bool:
        found: bool = await db.fetchval("select orderwire.is_filter_indexed($1, $2)", statuses, text)
        return found

    # Numbers have no trigrams yet, so that not all of them were looked at.
    assert await search("nowak") == ([1], False)
    assert not await is_indexed("nowak")
    assert not await database.search_indexed()
    await db.execute("create index on orders using gin (customer_id gin_trgm_ops, order_number gin_trgm_ops)")
    if await db.fetchval("select cardinality(show_trgm('анна'))"):  # else only ASCII has letters in this database's locale
        assert await search("АННА n") == ([1], True)
    assert await search("NOWAK") == ([1], True)
    assert await search("Xy") == ([1], False), "the customer's id; too short for trigrams"
    assert await search("wa") == ([], False), "too short for trigrams"
    assert await search("obo%_") == ([2], True), "no pattern of LIKE"
    assert await search("a-100") == ([1], True)
    assert await search("bob") == ([3, 2], True)
    assert await search("bob", ("ready",)) == ([], True)
    assert await search("ord-") == ([3003, 3002], True)
    assert await search("c1234") == ([1237], True), "the customer's id, by its index"
    assert await search("150.50") == ([], False), "totals have no index yet"
    assert not await database.search_indexed()
    await db.execute(TOTAL_SQL)
    assert await search("150,5") == ([1], True)
    assert await search("3002") == ([3002], True), "the key, and a number that contains it"
    assert await search("7.10") == ([2], True)
    assert await database.search_indexed()
    assert [await is_indexed(text) for text in ("nowak", "7.10", "wa", None)] == [True, True, False, True]
    assert await is_indexed("nowak", ["ready"])
    await db.execute("drop index orders_status_created_at_id_idx")
    assert not await is_indexed(None, ["ready"])
    await db.execute("drop index orders_created_at_id_idx")
    assert not await is_indexed("nowak")


async def test_pages_of_an_indexed_search_have_each_order_once(database: Database, db: Any, no_time: None) -> None:
    await create_trigrams(db)
    await db.execute(
        "insert into orders (customer_name, total) select case when n % 100 = 3 then 'rare one' else 'c' end, 5"
        f" from generate_series(1, 3000) as n; {TRIGRAM_SQL}; {TOTAL_SQL}; analyze orders"
    )
    expected = [n for n in range(3000, 0, -1) if n % 100 == 3]
    for limit in (1, 4, 30, 1000):
        assert await find_all(database, OrderFilter(search="rare o"), limit) == expected
    page = await find(database, OrderFilter(search="rare o"), 30)
    assert (page.complete, page.next_cursor) == (True, None)


async def test_filters_are_ranges_of_the_indexes(db: Any) -> None:
    """One status, several, and days far back: none reads, or sorts, what comes before in the list."""
    await db.execute(
        "insert into orders (customer_name, total, status, created_at)"
        " select 'c', 1, case when n % 5000 = 1 then 'cancelled' else 'delivered' end,"
        " $1::timestamptz + n * interval '1 minute' from generate_series(1, 20000) as n",
        NOON,
    )
    await db.execute("vacuum analyze orders")
    day = NOON + timedelta(days=1), NOON + timedelta(days=2)
    for wanted, conditions in (
        (OrderFilter(("cancelled",)), ["Index Cond: (status = 'cancelled'::text)"]),
        (OrderFilter(("cancelled", "ready")), ["Merge Append", "(status = 'cancelled'::text)", "(status = 'ready'::text)"]),
        (OrderFilter((), None, *day), ["Index Cond: ((created_at >= ", "(created_at < "]),
        (OrderFilter(("cancelled", "ready"), "c", *day), ["Merge Append", "(created_at >= ", "(status = 'ready'::text)"]),
        (OrderFilter((), "c"), ["Index Scan Backward using orders_created_at_id_idx"]),
    ):
        plan = await scan_plan(db, wanted)
        assert "Sort\n" not in plan + "\n", plan
        assert "Seq Scan" not in plan, plan
        for condition in conditions:
            assert condition in plan, plan


# The total in cents, times as numbers, ids that are numbers; and a map whose expressions may raise, with a join, which is not
# inlined.
SHAPES = {
    "inlined": (
        """
        create table shop (
            no bigint generated always as identity primary key, code varchar(30) not null, name text, user_id integer,
            cents bigint, state text, made bigint not null
        );
        create index on shop (made, no);
        create index on shop (state, made, no);
        create index on shop ((user_id::text), made, no);
        """,
        {
            "key": "no",
            "number": "code",
            "customer_name": "name",
            "customer_id": "user_id",
            "total": "o.cents * 0.01",
            "status": "state",
            "created_at": "to_timestamp(o.made / 1000.0)",
        },
        "extract(epoch from $1::timestamptz + n * interval '1 hour') * 1000",
    ),
    "raising": (
        """
        create table shop (
            no bigint generated always as identity primary key, code varchar(30) not null, name text, user_id integer,
            cents numeric(12, 2), state text, made timestamp not null
        );
        create table states (state text primary key, label text);
        insert into states values ('new', 'open'), ('done', 'closed');
        create index on shop (made, no);
        create index on shop (user_id);
        """,
        {
            "key": "no",
            "number": "code",
            "customer_name": "name",
            "customer_id": "user_id",
            "total": "o.cents / 100",
            "status": "state",
            "created_at": "o.made at time zone 'Europe/Warsaw'",
            "where": "o.cents / 1 >= 0",
            "data": {"label": "states.label"},
            "joins": "left join public.states on states.state = o.state",
        },
        "($1::timestamptz + n * interval '1 hour') at time zone 'Europe/Warsaw'",
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_table_of_another_shape_is_searched_by_its_indexes(
    database: Database, db: Any, no_time: None, shape: str
) -> None:
    await create_trigrams(db)
    create, order_map, made = SHAPES[shape]
    await db.execute("select orderwire.detach()")
    await db.execute(create)
    await db.execute("select orderwire.attach('public.shop', $1)", json.dumps(order_map))
    await db.execute(
        "insert into shop (code, name, user_id, cents, state, made)"
        " select 'No-' || n, case when n = 7 then 'Rare Name' else 'c' end,"
        f" n, n * 100, case when n % 100 = 7 then 'done' else 'new' end, {made} from generate_series(1, 3000) as n",
        NOON,
    )
    await db.execute("create index on shop using gin (code gin_trgm_ops, name gin_trgm_ops); create index on shop (cents)")
    await db.execute("vacuum analyze shop")
    assert await database.search_indexed()
    for text in ("No-0007", "rare n", "No-2007"):
        condition = (await db.fetchrow("select * from orderwire.index_condition($1)", text))["condition"]
        await db.execute("set search_path = pg_catalog, pg_temp; set enable_seqscan = off")
        plan = await plan_of(db, f"select from orderwire.order_rows(null, null, null, null) as s where {condition}")
        await db.execute("reset search_path; reset enable_seqscan")
        assert "Bitmap Index Scan on shop_code_name_idx" in plan, plan
        assert "Seq Scan" not in plan, plan
    for text in ("#No-7", "7"):  # no three letters in a row: the number and the key are found all the same
        assert ids((await find(database, OrderFilter(search=text), 1)).orders) == [7]
    for text, expected in {"No-2007": [2007], "rare n": [7], "1234": [1234], "77.00": [77]}.items():
        page = await find(database, OrderFilter(search=text), 1)
        assert (ids(page.orders), page.complete) == (expected, True), text
    # Orders 100 to 123 are those of one day.
    day = NOON + timedelta(hours=100), NOON + timedelta(hours=124)
    assert await find_all(database, OrderFilter((), None, *day), 7) == list(range(123, 99, -1))
    assert await find_all(database, OrderFilter(("done",), None, *day), 7) == [107]
    plan = await scan_plan(db, OrderFilter((), None, *day))
    assert "Index Cond: ((made >= " in plan, plan
    # Renamed columns are still found, though not by an index.
    await db.execute("alter table shop rename column name to customer; alter table shop rename column made to placed")
    assert ids((await find(database, OrderFilter(search="No-2007"), 1)).orders) == [2007]
    assert await find_all(database, OrderFilter((), None, *day), 7) == list(range(123, 99, -1))


async def test_a_rare_status_without_an_index_is_bounded(database: Database, db: Any, no_time: None) -> None:
    await db.execute(
        "insert into orders (customer_name, total, status) select 'c', 1, case n when 1 then 'cancelled' else 'ready' end"
        " from generate_series(1, 50) as n"
    )
    page = await find(database, OrderFilter(("cancelled",)))
    assert (ids(page.orders), page.complete) == ([1], True)
    await db.execute("drop index orders_status_created_at_id_idx")
    page = await find(database, OrderFilter(("cancelled",)))
    assert (ids(page.orders), page.complete) == ([], False)
    assert await find_all(database, OrderFilter(("cancelled",)), 10) == [1]


async def test_a_table_that_has_to_be_sorted_is_bounded(database: Database, db: Any, no_time: None) -> None:
    await db.execute("insert into orders (customer_name, total) select 'c', 1 from generate_series(1, 50)")
    await db.execute("drop index orders_status_created_at_id_idx; drop index orders_created_at_id_idx")
    page = await find(database, OrderFilter(search="c"))
    assert (page.complete, page.next_cursor) == (False, None)


async def test_a_text_that_is_searched_for_is_no_sql(database: Database, db: Any) -> None:
    await db.execute("insert into orders (customer_name, total) values ('o''x \\ % _ $1 %s', 1)")
    for text in ("'x", "\\", "%", "_", "$1", "%s", "'x \\ % _"):
        assert ids((await find(database, OrderFilter(search=text))).orders) == [1], text
    for text in ("'; select 1 --", "\\'", "{}", '"', "{a,b}"):
        assert ids((await find(database, OrderFilter((text, "a'b"), text))).orders) == [], text


async def test_without_an_attached_table_nothing_is_found(database: Database, db: Any) -> None:
    await db.execute("select orderwire.detach()")
    page = await find(database, OrderFilter(("ready",), "a", NOON, NOON))
    assert (list(page.orders), page.complete, page.next_cursor) == ([], True, None)
    assert not await database.search_indexed()


async def test_a_table_that_an_older_version_has_attached_gets_what_is_missing(
    database: Database, db: Any, database_url: str
) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    before = await db.fetchval(
        "select array_agg(p.oid::regprocedure::text order by 1) from pg_proc as p where proname ~ 'order'"
    )
    await db.execute("drop function orderwire.order_rows; update orderwire.functions set checksum = 'older'")
    await migrate(database_url)
    assert ids((await find(database, OrderFilter(search="anna"))).orders) == [1]
    after = await db.fetchval(
        "select array_agg(p.oid::regprocedure::text order by 1) from pg_proc as p where proname ~ 'order'"
    )
    assert sorted(after) == sorted(before)
    assert await db.fetchval("select total_orders from public.order_analytics") == 1
    await db.execute("select orderwire.detach()")
    assert await db.fetchval("select to_regproc('orderwire.order_rows')") is None


@pytest.mark.parametrize("customer", ["subject", "keys", "max_orders", "after_value", "after_key"])
async def test_columns_that_are_named_like_parameters_do_not_take_their_place(
    database: Database, db: Any, customer: str
) -> None:
    """A column would: the list of one customer had the orders of all whose ``subject`` was their own customer."""
    parameters = ("subject", "keys", "max_orders", "after_value", "after_key", "from_at", "to_at", "amount", "value", "bounds")
    names = (*parameters, "status")
    columns = ", ".join(f"{name} text" for name in names)
    await db.execute(f"create table public.odd (key bigint primary key, {columns})")
    order_map = {"key": "key", "customer_id": customer, "customer_name": "from_at", "status": "status"}
    await db.execute("select orderwire.detach('orders')")
    await db.execute("select orderwire.attach('public.odd', $1)", json.dumps(order_map))
    for key in range(1, 5):
        values = ", ".join(f"'{'anna' if key % 2 else 'bo'}'" for _ in names)
        await db.execute(f"insert into public.odd values ({key}, {values})")

    def listed(page: OrderPage) -> list[str]:
        return [json.loads(order)["key"] for order in page.orders]

    anna, by_claim = OrderOwner("anna", frozenset()), OrderOwner(None, frozenset({"2"}))
    first = await database.list_orders(OrderPageRequest(1, OrderFilter(), None, anna))
    assert listed(first) == ["3"]
    assert listed(await database.list_orders(OrderPageRequest(9, OrderFilter(), first.next_cursor, anna))) == ["1"]
    assert listed(await database.list_orders(OrderPageRequest(9, OrderFilter(), None, by_claim))) == ["2"]
    assert listed(await find(database, OrderFilter(search="bo"))) == ["4", "2"]
    page = await database.list_orders(OrderPageRequest(2, OrderFilter(), None))
    assert listed(page) == ["4", "3"]
    assert listed(await database.list_orders(OrderPageRequest(9, OrderFilter(), page.next_cursor))) == ["2", "1"]
    assert await database.find_order("2", anna) is None


@pytest.mark.parametrize("change", ["select", "drop index orders_created_at_id_idx, orders_status_created_at_id_idx"])
async def test_each_order_that_is_the_text_itself_is_on_one_page(database: Database, db: Any, change: str) -> None:
    """More of them than a page has, by their key and by their number: the others came on no page."""
    await db.execute(change)
    await db.execute(
        "alter table orders drop constraint orders_order_number_key; create index on orders (order_number);"
        " insert into orders (order_number, customer_name, total, status)"
        " select case when n % 2 = 0 then '2' else '#2' end, 'Anna', 5, case n % 3 when 0 then 'ready' else 'pending' end"
        " from generate_series(1, 24) as n;"
        " insert into orders (order_number, customer_name, total) values ('12', 'B', 5), ('x', 'C 2', 5), ('y', 'D', 2)"
    )
    rest = [27, 26, 25]
    for statuses, exact in (((), [2, *range(24, 2, -1), 1]), (("ready",), list(range(24, 2, -3)))):
        for limit in (1, 2, 3, 10, 24, 25, 100):
            found = await find_all(database, OrderFilter(statuses, "2"), limit)
            assert found == [*exact, *(rest if not statuses else [])], (statuses, limit)
    # Pages of different sizes.
    page = await find(database, OrderFilter(search="2"), 1)
    found = ids(page.orders)
    for limit in (2, 30, 30):
        if page.next_cursor is not None:
            page = await find(database, OrderFilter(search="2"), limit, page.next_cursor)
            found += ids(page.orders)
    assert found == [2, *range(24, 2, -1), 1, *rest]


async def test_a_number_that_very_many_orders_have_is_found_newest_first(database: Database, db: Any) -> None:
    await db.execute(
        "alter table orders drop constraint orders_order_number_key; create index on orders (order_number);"
        " insert into orders (order_number, customer_name, total) select 'none', 'c', 5 from generate_series(1, 150)"
    )
    for limit in (40, 149, 150):
        assert await find_all(database, OrderFilter(search="none"), limit) == list(range(150, 0, -1))


async def test_a_key_that_is_spelled_in_several_ways_is_one_order(database: Database, db: Any) -> None:
    await db.execute("insert into orders (customer_name, customer_id, total) select 'c', 'anna', 1 from generate_series(1, 3)")
    owner = OrderOwner(None, frozenset({"2", "02", " 2", "2 ", "+2", "3", "no key"}))
    for wanted in (OrderFilter(), OrderFilter(search="c")):
        assert ids((await database.list_orders(OrderPageRequest(10, wanted, None, owner))).orders) == [3, 2]
    async with database.export_orders(OrderFilter(), owner) as export:
        assert [order.key async for batch in export.batches for order in batch] == ["3", "2"]
