"""GET /api/series: its sums are those of the table, and a client that adds the later events to an answer stays exact.

``SERIES_SEED=…`` repeats a run.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import asyncpg
import pytest

from db import series as series_queries
from db.series import SeriesReader
from gateway.app_keys import SERIES_COUNTER
from push.journal import series_counter
from push.journal.series import OrderCounts, bucket_bounds
from tests.gateway.conftest import App, StartApp
from tests.helpers.series_client import SeriesClient, sums_of
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, Connect, open_connections, within

PERIODS = {"1h": (60, timedelta(minutes=1)), "24h": (96, timedelta(minutes=15)), "7d": (84, timedelta(hours=2))}
SHOP = """
create schema shop;
create table shop.orders (
    id text primary key,
    customer text,
    owner text,
    amount numeric,
    currency text,
    state text,
    created timestamptz,
    hidden boolean
)
"""
MAP = {
    "key": "id",
    "customer_name": "customer",
    "customer_id": "owner",
    "total": "amount",
    "currency": "currency",
    "status": "state",
    "created_at": "created",
    "where": "not o.hidden",
    "cancelled": ["void", "lost"],
    "pending": ["new"],
}
INSERT_SQL = "insert into orders (customer_name, total) values ('Anna', 5)"
WRITERS = 4
TRANSACTIONS = 40


@pytest.fixture
async def shop(db: Any) -> Any:
    await db.execute(SHOP)
    await db.execute("select orderwire.detach()")
    await db.execute("select orderwire.attach('shop.orders', $1)", json.dumps(MAP))
    return db


async def get_series(app: App, period: str, **headers: str) -> Any:
    """The first complete answer."""

    async def poll() -> Any:
        while True:
            async with app.http.get("/api/series", params={"period": period}, headers=headers) as response:
                assert response.status == 200, await response.text()
                assert response.headers["Cache-Control"] == "no-store"
                answer = await response.json()
            if answer["complete"]:
                return answer
            assert answer["position"] is None
            assert answer["statuses"] == {}
            assert not any(bucket["statuses"] for bucket in answer["buckets"])

    return await within(TIMEOUT_SECONDS, poll(), "a complete answer")


def check_buckets(answer: Any) -> None:
    count, width = PERIODS[answer["period"]]
    bounds = [(datetime.fromisoformat(bucket["from"]), datetime.fromisoformat(bucket["to"])) for bucket in answer["buckets"]]
    assert len(bounds) == count
    assert [end for _, end in bounds[:-1]] == [start for start, _ in bounds[1:]]
    if answer["time_zone"] == "UTC":
        assert {end - start for start, end in bounds} == {width}
    assert bounds[-1][0] <= datetime.now(UTC) + timedelta(seconds=1)
    assert bounds[-1][1] >= datetime.now(UTC) - timedelta(minutes=1)


# ---------------------------------------------------------------- one answer


async def test_an_answer_has_every_member(app: App, db: Any) -> None:
    await db.execute("insert into orders (customer_name, total) values ('a', 12.50), ('b', 7.50)")
    await db.execute("insert into orders (customer_name, total, status) values ('c', 100, 'cancelled'), ('d', 0, 'ready')")
    async with app.http.get("/api/series") as response:
        answer = await response.json()
    assert list(answer) == ["period", "time_zone", "buckets", "statuses", "compare", "position", "complete"]
    check_buckets(answer)
    expected = {
        "cancelled": {"orders": 1, "revenue": {}},
        "pending": {"orders": 2, "revenue": {"": "20.00"}},
        "ready": {"orders": 1, "revenue": {}},
    }
    assert answer["statuses"] == expected
    # Midnight, and the end of a bucket, may just have passed.
    assert [bucket["statuses"] for bucket in answer["buckets"] if bucket["statuses"]] == [expected]
    assert answer["compare"]["yesterday"] == answer["compare"]["last_week"] == {}
    assert answer["compare"]["today"] in (expected, {})
    assert (answer["period"], answer["time_zone"], answer["complete"]) == ("24h", "UTC", True)


@pytest.mark.parametrize("period", ["", "1H", "30d", "24h ", "1h,24h"])
async def test_an_unknown_period_is_an_error_that_names_the_known_ones(app: App, period: str) -> None:
    async with app.http.get("/api/series", params={"period": period}) as response:
        assert response.status == 400
        assert (await response.json())["error"]["message"] == "period: expected one of 1h, 24h, 7d"


async def test_without_a_table_there_are_no_orders(app: App, db: Any) -> None:
    await db.execute("select orderwire.detach()")
    for period in PERIODS:
        answer = await get_series(app, period)
        check_buckets(answer)
        assert answer["statuses"] == {}
        assert answer["compare"] == {"today": {}, "yesterday": {}, "last_week": {}}
        assert answer["position"]


async def test_buckets_begin_where_the_hours_of_the_shop_do(start_app: StartApp, db: Any) -> None:
    """And compared days where its days do."""
    app = await start_app(TIME_ZONE="asia/kathmandu")  # 5 hours and 45 minutes ahead
    zone = ZoneInfo("Asia/Kathmandu")
    now = datetime.now(zone)
    yesterday = now - timedelta(days=1)
    times = {
        "before": yesterday - timedelta(minutes=1),
        "after": yesterday + timedelta(minutes=10),
        "week": now - timedelta(days=7, minutes=1),
    }
    for name, created_at in times.items():
        await db.execute(
            "insert into orders (customer_name, total, created_at, status) values ($1, 1, $2, 'ready')", name, created_at
        )
    answer = await get_series(app, "7d")
    check_buckets(answer)
    assert answer["time_zone"] == "Asia/Kathmandu"
    starts = [datetime.fromisoformat(bucket["from"]).astimezone(zone) for bucket in answer["buckets"]]
    assert all(start.hour % 2 == 0 and start.minute == 0 for start in starts)
    one = {"ready": {"orders": 1, "revenue": {"": "1.00"}}}
    if now.hour not in (0, 23):  # the days are the same for all three
        assert answer["compare"] == {"today": {}, "yesterday": one, "last_week": one}


async def test_admins_and_viewers_may_ask_and_customers_may_not(start_app: StartApp, db: Any) -> None:
    await db.execute(INSERT_SQL)
    app = await start_app(JWT_SECRET=SECRET)
    for role, status in (("admin", 200), ("viewer", 200), ("customer", 403)):
        async with app.http.get("/api/series", headers={"Authorization": f"Bearer {token(role, sub='x')}"}) as response:
            assert response.status == status, role


async def test_a_time_that_cannot_be_had_is_in_no_bucket(start_app: StartApp, db: Any) -> None:
    await db.execute("create schema shop; create table shop.orders (id integer primary key, made text, amount integer)")
    await db.execute("select orderwire.detach()")
    created_at = "o.made::timestamp at time zone 'UTC'"
    await db.execute(
        "select orderwire.attach('shop.orders', $1)", json.dumps({"key": "id", "created_at": created_at, "total": "amount"})
    )
    made = [None, "soon", "infinity", "-infinity", "0044-03-15 12:00:00 BC", "20000-01-01", "now"]
    made[-1] = (datetime.now(UTC) - timedelta(seconds=1)).strftime("%Y-%m-%d %H:%M:%S")
    await db.executemany("insert into shop.orders values ($1, $2, 2)", list(enumerate(made)))
    app = await start_app()
    answer = await get_series(app, "24h")
    assert answer["statuses"] == {"": {"orders": 7, "revenue": {"": "14"}}}
    assert sum(bucket["statuses"].get("", {"orders": 0})["orders"] for bucket in answer["buckets"]) == 1


async def test_an_answer_is_encoded_once_for_the_requests_that_wait_for_it(
    app: App, db: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They wait for one count, which a lock of the table holds up."""
    await db.execute(INSERT_SQL)
    monkeypatch.setattr(series_counter, "PATIENCE", TIMEOUT_SECONDS)
    encodes = Mock(wraps=bucket_bounds)
    monkeypatch.setattr("push.protocol.series.bucket_bounds", encodes)
    counter = app.app[SERIES_COUNTER]
    waiting = 0
    all_wait = asyncio.Event()
    counts = counter.counts

    async def count_callers() -> OrderCounts | None:
        nonlocal waiting
        waiting += 1
        if waiting == 40:
            all_wait.set()
        return await counts()

    monkeypatch.setattr(counter, "counts", count_callers)
    async with locked_table(database_url):
        requests = [asyncio.create_task(get_series(app, "7d")) for _ in range(40)]
        await within(TIMEOUT_SECONDS, all_wait.wait(), "40 requests")
    answers = await asyncio.gather(*requests)
    assert answers[0]["statuses"] == {"pending": {"orders": 1, "revenue": {"": "5.00"}}}
    # Some may have come after the count had begun: these wait for the next one.
    assert encodes.call_count == len({answer["position"] + answer["buckets"][-1]["to"] for answer in answers}) <= 4


# ---------------------------------------------------------------- slow, and impossible counts


@asynccontextmanager
async def locked_table(url: str, table: str = "public.orders") -> AsyncIterator[None]:
    """While a transaction holds the table, no count of it ends."""
    async with open_connections(url, 1) as (connection,), connection.transaction():
        await connection.execute(f"lock table {table} in access exclusive mode")
        yield


async def test_a_count_that_takes_long_is_answered_at_once_and_goes_on(
    app: App, db: Any, database_url: str, connect: Connect
) -> None:
    await db.execute(INSERT_SQL)
    await db.execute("create table public.stock (sku text primary key)")
    await db.execute("select orderwire.attach_stream('stock', 'public.stock', '{\"key\": \"sku\"}')")
    client = await connect(f"{app.ws_url}?topics=stock")
    async with locked_table(database_url):
        for _ in range(2):
            async with app.http.get("/api/series?period=1h") as response:
                answer = await response.json()
            assert (answer["complete"], answer["position"], answer["statuses"]) == (False, None, {})
            assert answer["compare"] == {"today": {}, "yesterday": {}, "last_week": {}}
            check_buckets(answer)
        counting = "select count(*) from pg_stat_activity where query like '%count_orders%' and pid <> pg_backend_pid()"
        assert await db.fetchval(counting) == 1
        # Events flow meanwhile.
        await db.execute("insert into public.stock values ('a')")
        await client.wait_until(lambda c: bool(c.events), "an event of another table")
    assert (await get_series(app, "1h"))["statuses"] == {"pending": {"orders": 1, "revenue": {"": "5.00"}}}


async def test_a_count_that_takes_too_long_is_given_up_and_logged_once(
    app: App, db: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await db.execute(INSERT_SQL)
    monkeypatch.setattr(series_queries, "COUNT_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(series_counter, "PATIENCE", 0.1)
    async with locked_table(database_url):
        async with app.http.get("/api/series") as response:
            assert (response.status, (await response.json())["complete"]) == (200, False)
        await app.wait_for_line("the orders cannot be counted for /api/series: a query took longer than 0.3 s")
        async with app.http.get("/api/series") as response:
            assert (response.status, (await response.json())["complete"]) == (200, False)
    assert (await get_series(app, "24h"))["statuses"]["pending"]["orders"] == 1
    assert sum("cannot be counted" in line for line in app.lines) == 1


async def test_too_many_statuses_are_refused_by_one_line(app: App, db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_queries, "MAX_GROUPS", 2)
    await db.execute(
        "insert into orders (customer_name, total, status) select 'c', 1, s"
        " from unnest('{ready,pending,delivered}'::text[]) as s"
    )
    for _ in range(2):
        async with app.http.get("/api/series") as response:
            assert response.status == 503
            assert (await response.json())["error"]["message"] == "the orders have too many different statuses or currencies"
    assert sum("cannot be counted for /api/series: they have more than 2 combinations" in line for line in app.lines) == 1


# ---------------------------------------------------------------- random writes


class Writer:
    """Transactions of random statements on the shop's table."""

    def __init__(self, connection: Any, choose: random.Random, number: int) -> None:
        self._connection = connection
        self._choose = choose
        self._number = number
        self.committed = 0

    def _value(self, column: str) -> str:
        choose = self._choose
        now = "clock_timestamp()"
        values = {
            "customer": ["'Anna'", "'Bo'", "null"],
            "owner": ["'u1'", "'u2'", "null", "''"],
            "amount": ["1.10", "2.205", "0", "null", "'NaN'", "1e30", "-3", "99999999.99", "0.00000001"],
            "currency": ["'EUR'", "'PLN'", "null", "''", "repeat('x', 30)"],
            "state": ["'new'", "'done'", "'void'", "'lost'", "null", "''", "repeat('ś', 150)", "'Ünï\"x'"],
            "hidden": ["false", "false", "false", "true", "null"],
            "created": [
                *(f"{now} - interval '{choose.randrange(3600)} s'" for _ in range(2)),
                *(f"{now} - interval '{choose.randrange(24 * 3600)} s'" for _ in range(2)),
                *(f"{now} - interval '{choose.randrange(9 * 86400)} s'" for _ in range(2)),
                *(now, "null", "'infinity'", "'-infinity'", "'0044-03-15 12:00:00+00 BC'", "'20000-01-01 00:00:00+00'"),
            ],
        }
        return choose.choice(values[column])

    def statement(self) -> str:
        choose = self._choose
        columns = ("customer", "owner", "amount", "currency", "state", "created", "hidden")
        ids = [str(choose.randrange(60)) for _ in range(choose.choice([1, 1, 2, 10]))]
        some = "id in ('" + "', '".join(sorted(set(ids))) + "')"
        changed = choose.sample(columns, choose.choice([1, 1, 2, 4]))
        assignments = ", ".join(f"{column} = {self._value(column)}" for column in changed)
        rows = ", ".join(f"('{i}', {', '.join(self._value(column) for column in columns)})" for i in sorted(set(ids)))
        insert = f"insert into shop.orders (id, {', '.join(columns)}) values {rows} on conflict (id) do"
        swap = f"update shop.orders set id = case id when '{ids[0]}' then 'x' else '{ids[0]}' end where id in ('{ids[0]}', 'x')"
        return choose.choice(
            [
                *[f"{insert} nothing"] * 2,
                *[f"{insert} update set {assignments}"] * 2,
                *[f"update shop.orders set {assignments} where {some}"] * 4,
                f"update shop.orders set created = {self._value('created')} where {some}",
                f"update shop.orders set currency = {self._value('currency')} where {some}",
                f"update shop.orders set id = id || '/' || '{choose.randrange(9)}' where {some}",
                f"update shop.orders set id = split_part(id, '/', 1) where id like '%/%' and {choose.randrange(2)} = 1",
                swap,
                f"delete from shop.orders where {some}",
                *(["truncate shop.orders"] if choose.random() < 0.15 else []),
            ]
        )

    async def transaction(self) -> None:
        """One transaction; one that is in another's way is rolled back, and some are for no reason."""
        choose = self._choose
        statements = [self.statement() for _ in range(choose.choice([1, 1, 2, 3]))]
        truncates = any(statement.startswith("truncate") for statement in statements)
        isolation = "read_committed" if truncates else choose.choice(["read_committed", "repeatable_read"])
        with contextlib.suppress(
            asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError, ZeroDivisionError
        ):
            async with self._connection.transaction(isolation=isolation):
                for statement in statements:
                    await self._connection.execute(statement)
                    if choose.random() < 0.3:
                        await self._connection.execute("select pg_sleep($1)", choose.random() / 100)
                if choose.random() < 0.1:
                    raise ZeroDivisionError
            self.committed += 1


async def expected_sums(connection: Any, answer: Any) -> Iterable[Any]:
    """The sums of each bucket, as a query counts them."""
    rows = await connection.fetch(
        "select b.n, coalesce(left(o.state, 100), '') as status, left(coalesce(o.currency, ''), 20) as currency,"
        " count(*) as orders,"
        " sum(o.amount) filter (where coalesce(o.state not in ('void', 'lost'), true) and o.amount < 1e24) as revenue"
        " from unnest($1::timestamptz[], $2::timestamptz[]) with ordinality as b (start, upto, n)"
        " join shop.orders as o on o.created >= b.start and o.created < b.upto and not o.hidden group by 1, 2, 3",
        [datetime.fromisoformat(bucket["from"]) for bucket in answer["buckets"]],
        [datetime.fromisoformat(bucket["to"]) for bucket in answer["buckets"]],
    )
    found: list[dict[str, tuple[int, dict[str, Decimal]]]] = [{} for _ in answer["buckets"]]
    for row in rows:
        orders, revenue = found[row["n"] - 1].setdefault(row["status"], (0, {}))
        if row["revenue"]:
            revenue[row["currency"]] = row["revenue"]
        found[row["n"] - 1][row["status"]] = (orders + row["orders"], revenue)
    return found


async def check_against_table(connection: Any, answer: Any) -> None:
    """The sums of an answer are those of the totals and of queries, while there are no writes."""
    statuses = sums_of(answer["statuses"])
    totals = await connection.fetchrow("select * from orderwire.order_analytics")
    assert sum(orders for orders, _ in statuses.values()) == totals["total_orders"]
    assert statuses.get("new", (0, {}))[0] == totals["pending_orders"]
    by_currency: dict[str, Decimal] = {}
    for _, revenue in statuses.values():
        for currency, amount in revenue.items():
            by_currency[currency] = by_currency.get(currency, Decimal(0)) + amount
    expected = json.loads(totals["revenue_by_currency"], parse_float=Decimal, parse_int=Decimal)
    # The totals do not sum what has no currency.
    expected[""] = expected.get("", Decimal(0)) + await connection.fetchval(
        "select coalesce(sum(m.total), 0) from orderwire.all_orders() as m where m.is_counted and m.currency is null"
    )
    assert {name: amount for name, amount in by_currency.items() if amount} == {
        name: amount for name, amount in expected.items() if amount
    }
    assert [sums_of(bucket["statuses"]) for bucket in answer["buckets"]] == await expected_sums(connection, answer)


@pytest.mark.parametrize("way", ["counted", "brought up to date"])
async def test_an_answer_and_the_later_events_make_the_next_answer(
    start_app: StartApp, connect: Connect, shop: Any, database_url: str, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof that a page's sums and chart can be exact: answers from random moments of random writes."""
    seed = int(os.environ.get("SERIES_SEED", random.randrange(10**9)))
    print(f"SERIES_SEED={seed}")
    choose = random.Random(seed)
    folded = 0
    if way == "brought up to date":
        count_orders, orders_since = SeriesReader.count_orders, SeriesReader.orders_since

        async def slowly(reader: SeriesReader, *args: Any) -> OrderCounts:
            counts = await count_orders(reader, *args)
            await asyncio.sleep(0.2)
            return counts

        async def counted(reader: SeriesReader, counts: OrderCounts) -> OrderCounts | None:
            nonlocal folded
            folded += 1
            return await orders_since(reader, counts)

        monkeypatch.setattr(SeriesReader, "count_orders", slowly)
        monkeypatch.setattr(SeriesReader, "orders_since", counted)

    app = await start_app(TIME_ZONE="Europe/Warsaw", SEND_QUEUE_FRAMES="100000", SEND_QUEUE_BYTES="100MiB")
    client = await connect(f"{app.ws_url}?topics=orders,analytics")
    await client.wait_until(lambda c: len(c.messages) >= 1, "the first message")
    cancelled = frozenset(MAP["cancelled"])
    pages: list[SeriesClient] = []
    stop = asyncio.Event()

    async def ask() -> None:
        while not stop.is_set():
            answer = await get_series(app, choose.choice(list(PERIODS)))
            pages.append(SeriesClient(answer, cancelled))
            await asyncio.sleep(choose.random() / 20)

    async with open_connections(database_url, WRITERS) as connections:
        writers = [Writer(connection, random.Random(seed + n), n) for n, connection in enumerate(connections, 1)]

        async def write(writer: Writer) -> None:
            while writer.committed < TRANSACTIONS or len(pages) < 25:
                await writer.transaction()

        async with asyncio.timeout(TIMEOUT_SECONDS), asyncio.TaskGroup() as tasks:
            asking = [tasks.create_task(ask()) for _ in range(2)]
            await asyncio.gather(*(write(writer) for writer in writers))
            stop.set()
            await asyncio.wait(asking)
    await shop.execute("insert into shop.orders (id, amount, state, hidden) values ('the last one', 1, 'new', false)")
    await client.wait_until(lambda c: bool(c.events) and c.events[-1]["key"] == "the last one", "the last event")
    assert not client.of_type("resumed")

    last = {period: await get_series(app, period) for period in PERIODS}
    for answer in last.values():
        check_buckets(answer)
        await check_against_table(shop, answer)
    assert folded > 10 or way == "counted"
    applied = 0
    for page in pages:
        applied += page.apply(client.events)
        answer = last[page.period]
        assert page.statuses == sums_of(answer["statuses"]), f"SERIES_SEED={seed}"
        buckets = {bucket["from"]: sums_of(bucket["statuses"]) for bucket in answer["buckets"]}
        shared = page.buckets.keys() & buckets.keys()
        assert len(shared) >= PERIODS[page.period][0] - 5
        for start in shared:
            assert page.buckets[start] == buckets[start], f"SERIES_SEED={seed}: {start}"
    assert len(pages) >= 25
    assert 0 < applied < len(pages) * len(client.events), "answers from between the first event and the last"
