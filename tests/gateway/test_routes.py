"""The HTTP routes: responses and errors. The WebSocket and SSE have modules of their own."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import asyncpg

from service.application import __version__
from tests.gateway.conftest import App, StartApp
from tests.support import TIMEOUT_SECONDS, Connect

RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")
ODD_NAMES = [
    "double \" and single ' quotes",
    "back \\ slash / and </script>",
    "line\nbreak\ttab \x01 control",
    "Иван Иванов",
    "李小龍 🍜 é\u0301",
    "",
    " " * 10,
    "n" * 5000,
]


async def get_json(app: App, path: str) -> Any:
    async with app.http.get(path) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/json"
        assert response.headers["Cache-Control"] == "no-store"
        return await response.json()


MOMENT_EXPECTED = "{}: expected a date like 2026-01-31, or a time like 2026-01-31T12:00:00+01:00"
STATUSES = ("pending", "confirmed", "preparing", "ready", "delivering", "delivered", "cancelled")


async def order_ids(app: App, query: str) -> list[int]:
    return [order["id"] for order in (await get_json(app, f"/api/orders{query}"))["orders"]]


async def test_an_order_has_every_field_with_its_type(app: App, db: Any) -> None:
    # The time zone of the database must not matter. It is set before the application's first query.
    await db.execute(
        "do $$ begin execute format('alter database %I set timezone = ''Asia/Kathmandu''', current_database()); end $$"
    )
    empty = await get_json(app, "/api/orders")
    assert re.fullmatch(r"[0-9a-f]{8}-s\d+\.\d+(\.\d+)*", empty.pop("position"))
    assert empty == {"orders": [], "next": None, "complete": True}
    await db.execute("insert into orders (customer_name, customer_id, total) values ('Anna', 'user-7', 9999999999.90)")
    await db.execute("insert into orders (customer_name, total, order_number, status) values ('Bo', 0, '№ \"7\"', 'ready')")
    second, first = (await get_json(app, "/api/orders"))["orders"]
    row = await db.fetchrow("select created_at, order_number from orders where id = 1")
    assert all(RFC3339.fullmatch(order["created_at"]) for order in (first, second))
    assert datetime.fromisoformat(first["created_at"]) == row["created_at"]
    assert list(first) == ["id", "key", "order_number", "customer_name", "customer_id", "total", "status", "created_at"]
    assert await get_json(app, "/api/orders/1") == first
    assert [{name: value for name, value in order.items() if name != "created_at"} for order in (first, second)] == [
        {
            "id": 1,
            "key": "1",
            "order_number": row["order_number"],
            "customer_name": "Anna",
            "customer_id": "user-7",
            "total": "9999999999.90",
            "status": "pending",
        },
        {
            "id": 2,
            "key": "2",
            "order_number": '№ "7"',
            "customer_name": "Bo",
            "customer_id": None,
            "total": "0.00",
            "status": "ready",
        },
    ]


async def test_names_of_any_characters_and_length_are_returned_unchanged(app: App, db: Any) -> None:
    await db.executemany("insert into orders (customer_name, customer_id, total) values ($1, $1, 1)", [(n,) for n in ODD_NAMES])
    orders = (await get_json(app, "/api/orders"))["orders"]
    assert [order["customer_name"] for order in reversed(orders)] == ODD_NAMES
    assert [order["customer_id"] for order in reversed(orders)] == ODD_NAMES


async def test_orders_are_newest_first_and_take_limit_status_and_after(app: App, db: Any) -> None:
    await db.execute(
        "insert into orders (customer_name, total, status)"
        " select 'c', n, ($1::text[])[1 + n % 7] from generate_series(1, 1200) n",
        list(STATUSES),
    )
    # The time decides, then the key: order 600 is the newest.
    await db.execute("update orders set created_at = created_at + interval '1 hour' where id = 600")
    expected = [600, *(n for n in range(1200, 0, -1) if n != 600)]
    assert await order_ids(app, "") == expected[:100]  # the default is 100
    assert await order_ids(app, "?limit=3") == expected[:3]
    assert await order_ids(app, "?limit=1000") == expected[:1000]
    for nth, status in enumerate(STATUSES):
        assert await order_ids(app, f"?status={status}&limit=20") == [n for n in expected if n % 7 == nth][:20]
    assert await order_ids(app, "?status=unheard%20of") == []
    for query in ("limit=500", "limit=400", "limit=500&status=ready"):
        paged: list[int] = []
        page = await get_json(app, f"/api/orders?{query}")
        while True:
            paged += [order["id"] for order in page["orders"]]
            if page["next"] is None:
                break
            page = await get_json(app, f"/api/orders?{query}&after={page['next']}")
        assert paged == [n for n in expected if "status" not in query or n % 7 == STATUSES.index("ready")]


async def test_the_position_of_a_list_is_that_of_its_orders(app: App, connect: Connect, db: Any, database_url: str) -> None:
    """A client that lists and then follows from the position misses no change, also of a transaction that was open."""
    await db.execute("insert into orders (customer_name, total) values ('before', 1)")
    other = await asyncpg.connect(database_url)
    try:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("insert into orders (customer_name, total) values ('open', 1)")
        await db.execute("insert into orders (customer_name, total) values ('also before', 1)")
        page = await get_json(app, "/api/orders")
        assert [order["customer_name"] for order in page["orders"]] == ["also before", "before"]
        await transaction.commit()
    finally:
        await other.close()
    await db.execute("insert into orders (customer_name, total) values ('after', 1)")
    client = await connect(f"{app.ws_url}?last_event_id={page['position']}")
    await client.wait_until(lambda c: len(c.events) == 2, "what the list lacks")
    assert [event["customer_name"] for event in client.events] == ["open", "after"]
    assert client.of_type("resumed") == [{"type": "resumed", "recovered": True, "replayed": 2}]


async def test_orders_are_searched_by_number_customer_key_and_amount(app: App, db: Any) -> None:
    await db.execute(
        "insert into orders (customer_name, customer_id, order_number, total) values ('Анна Nowak', 'user-1', 'A-100', 150.50),"
        " ('Bo', null, 'B-2', 1), ('bo%_', 'user-12', 'C-1', 150), ('Cy', 'X', '#77', 150.5)"
    )
    for text, expected in {
        "анна": [1],
        "BO": [3, 2],
        "%25_": [3],
        "-": [3, 2, 1],
        "a-1": [1],
        "%23a-1": [1],
        "%23": [4],
        "77": [4],
        "%2377": [4],
        "%23bo": [],  # with # it is a number
        "4": [4],
        "1": [1, 3, 2],  # the order with this very key comes first; a part of a number; the total 1
        "user-1": [1],  # as a whole
        "User-1": [1],
        "150.50": [4, 1],
        "150,5": [4, 1],
        "150": [3],
        "%20150%20": [3],
        "%23150": [],
        "nobody": [],
        "bo&status=pending": [3, 2],
        "bo&status=ready": [],
        "bo&status=ready&status=pending": [3, 2],
    }.items():
        page = await get_json(app, f"/api/orders?q={text}")
        assert [order["id"] for order in page["orders"]] == expected, text
        assert (page["complete"], page["next"]) == (True, None)
        assert "searched_to" not in page
    assert await order_ids(app, "?q=") == [4, 3, 2, 1]
    for limit in (1, 2):  # the pages of a search have each order once
        paged, page = [], await get_json(app, f"/api/orders?q=1&limit={limit}")
        while page["next"] is not None:
            paged += page["orders"]
            page = await get_json(app, f"/api/orders?q=1&limit={limit}&after={page['next']}")
        assert [order["id"] for order in [*paged, *page["orders"]]] == [1, 3, 2]


async def test_orders_are_listed_by_the_time_of_their_creation(start_app: StartApp, db: Any) -> None:
    app = await start_app(TIME_ZONE="Europe/Warsaw")
    await db.execute(
        "insert into orders (customer_name, total, status, created_at) values"
        " ('c', 1, 'ready', '2026-03-28 22:59:59.999999+00'), ('c', 1, 'ready', '2026-03-28 23:00+00'),"
        " ('c', 1, 'pending', '2026-03-29 12:00+00'), ('c', 1, 'ready', '2026-03-29 21:59+00'),"
        " ('c', 1, 'ready', '2026-03-29 22:00+00')"
    )
    for query, expected in {
        "from=2026-03-29&to=2026-03-30": [4, 3, 2],  # a day of 23 hours
        "from=2026-03-29": [5, 4, 3, 2],
        "to=2026-03-29": [1],
        "from=2026-03-29T12:00:00Z&to=2026-03-29T23:59:00%2B02:00": [3],
        "from=2026-03-29t14:00:00.5+02:00": [5, 4],  # a + that is not encoded
        "from=&to=": [5, 4, 3, 2, 1],
        "from=2026-03-30&to=2026-03-29": [],
        "from=2026-03-29&to=2026-03-30&status=ready": [4, 2],
        "from=2026-03-29&to=2026-03-30&status=ready&status=pending&q=c": [4, 3, 2],
        "from=0002-01-01&to=9999-12-31": [5, 4, 3, 2, 1],
    }.items():
        page = await get_json(app, f"/api/orders?{query}")
        assert [order["id"] for order in page["orders"]] == expected, query
        first = await get_json(app, f"/api/orders?{query}&limit=1")
        if len(expected) > 1:
            rest = await get_json(app, f"/api/orders?{query}&after={first['next']}")
            assert [order["id"] for order in rest["orders"]] == expected[1:], query
    assert (await get_json(app, "/api/meta"))["time_zone"] == "Europe/Warsaw"


async def test_an_order_that_is_too_long_fails_no_list(app: App, db: Any) -> None:
    """A control character is six bytes of JSON: the second name alone would be more than a list should have."""
    await db.execute("insert into orders (customer_name, total) values ('before', 1)")
    for length in (100_000, 3_000_000):
        await db.execute("insert into orders (customer_name, total) values (repeat(e'\\x01', $1), 1)", length)
    long, longer, before = [await get_json(app, f"/api/orders/{key}") for key in (2, 3, 1)]
    assert (len(long["customer_name"]), "truncated" in long) == (100_000, False), "one order is whole"
    assert (len(longer["customer_name"]), longer["truncated"]) == (500, ["customer_name"])
    cut = {**long, "customer_name": "\x01" * 500, "truncated": ["customer_name"]}
    for query in ("", "?q=ORD-", "?q=%01"):
        listed = (await get_json(app, f"/api/orders{query}"))["orders"]
        assert [order for order in listed if order["id"] != 1] == [longer, cut]
    assert before["customer_name"] == "before"


async def test_one_order_and_its_history(app: App, db: Any) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1), ('Bo', 2)")
    await db.execute("update orders set status = 'ready' where id = 1")
    await db.execute("update orders set total = 3 where id = 1")
    assert (await get_json(app, "/api/orders/1"))["total"] == "3.00"
    events = (await get_json(app, "/api/orders/1/events"))["events"]
    assert [event["type"] for event in events] == ["order_update", "order_status_update", "new_order"]
    assert {event["order_id"] for event in events} == {1}
    assert (await get_json(app, "/api/orders/1/events?limit=1"))["events"] == events[:1]
    await db.execute("delete from orders where id = 1")
    assert await error_of(app, "GET", "/api/orders/1", 404) == ("not_found", "no such order: 1")
    assert len((await get_json(app, "/api/orders/1/events"))["events"]) == 4
    for path in ("3", "x", "a%2Fb", "%00", "%FF", "1%20or%201=1", "9" * 300):
        for of in ("", "/events"):
            code, message = await error_of(app, "GET", f"/api/orders/{path}{of}", 404)
            assert code == "not_found"
            assert message.startswith("no such order: ")


async def test_meta_says_what_the_map_says(app: App) -> None:
    assert await get_json(app, "/api/meta") == {
        "role": "admin",
        "statuses": list(STATUSES),
        "pending": ["pending"],
        "cancelled": ["cancelled"],
        "currency": "PLN",
        "time_zone": "UTC",
        "search_indexed": False,
        "version": __version__,
        "write": {"status": False, "reason": "no_login", "transitions": None},
        "test_order": False,
        "table": "public.orders",
        "streams": [],
    }


async def test_orders_are_returned_in_their_current_state(app: App, db: Any) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1), ('Bo', 2)")
    await db.execute("update orders set status = 'ready' where id = 1")
    await db.execute("delete from orders where id = 2")
    (order,) = (await get_json(app, "/api/orders"))["orders"]
    assert (order["id"], order["status"]) == (1, "ready")


async def test_analytics_equals_the_last_analytics_update(app: App, connect: Connect, db: Any) -> None:
    async def read() -> Any:
        """The totals as of now, without ``as_of``. A busy machine may answer with older ones, and says so."""
        asked_at = datetime.now(UTC)
        async with asyncio.timeout(TIMEOUT_SECONDS):
            while True:
                totals = await get_json(app, "/api/analytics")
                as_of = datetime.fromisoformat(totals.pop("as_of"))
                assert as_of <= datetime.now(UTC)
                if as_of >= asked_at:
                    return totals

    client = await connect(app.ws_url)
    empty = {"type": "analytics_update", "total_orders": 0, "total_revenue": "0", "pending_orders": 0}
    assert await read() == empty
    await db.execute("insert into orders (customer_name, total) select 'c', n + 0.10 from generate_series(1, 10) n")
    await db.execute("update orders set status = 'cancelled' where id = 10")
    await db.execute("update orders set status = 'ready' where id = 9")
    await client.wait_until(lambda c: c.totals["pending_orders"] == 8, "the totals")
    expected = {"type": "analytics_update", "total_orders": 10, "total_revenue": "45.90", "pending_orders": 8}
    assert await read() == client.totals == expected
    row = await db.fetchrow("select * from order_analytics")
    assert tuple(row) == (10, Decimal("45.90"), 8)


async def test_health_and_readiness(app: App) -> None:
    assert await get_json(app, "/healthz") == {"status": "ok"}
    assert await get_json(app, "/readyz") == {"status": "ok"}


async def test_the_root_redirects_to_the_dashboard(app: App) -> None:
    async with app.http.get("/", allow_redirects=False) as response:
        assert response.status == 302
        assert response.headers["Location"] == "/admin/dashboard"
    async with app.http.get("/") as response:
        assert response.url.path == "/admin/dashboard"
        assert response.status == 200
        assert response.content_type == "text/html"
        assert response.headers["Cache-Control"] == "no-cache"
        assert "<title>Orderwire" in await response.text()


async def error_of(app: App, method: str, path: str, status: int) -> tuple[str, str]:
    """Code and message of an error response, which is JSON in every case."""
    async with app.http.request(method, path) as response:
        assert response.status == status, path
        assert response.content_type == "application/json"
        body = await response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}
    return body["error"]["code"], body["error"]["message"]


async def test_an_unknown_path_is_404(app: App) -> None:
    for path in ("/nonsense", "/api", "/api/orders/1/2", "/admin", "/%FF", "/..%2Fsettings.py", "/Иван<b>"):
        code, message = await error_of(app, "GET", path, 404)
        assert code == "not_found"
        assert message.startswith("no such path: /")


async def test_a_wrong_method_is_405_and_lists_those_allowed(app: App) -> None:
    for path in ("/", "/admin/dashboard", "/api/ws", "/api/orders", "/api/analytics", "/healthz", "/readyz"):
        for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
            assert (await error_of(app, method, path, 405))[0] == "method_not_allowed"
    async with app.http.post("/api/orders") as response:
        assert set(response.headers["Allow"].split(",")) == {"GET", "HEAD"}


async def test_a_bad_parameter_is_400_and_names_what_is_expected(app: App, db: Any) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1)")
    for query, expected in {
        "limit=0": "limit: expected a whole number from 1 to 1000",
        "limit=1001": "limit: expected a whole number from 1 to 1000",
        "limit=-1": "limit: expected a whole number from 1 to 1000",
        "limit=1.0": "limit: expected a whole number from 1 to 1000",
        "limit=": "limit: expected a whole number from 1 to 1000",
        "limit=%D9%A3": "limit: expected a whole number from 1 to 1000",  # a 3 in Arabic digits
        "limit=" + "9" * 5000: "limit: expected a whole number from 1 to 1000",
        "after=0": "after: expected the next of an earlier page",
        "after=": "after: expected the next of an earlier page",
        "after=" + "A" * 5000: "after: expected the next of an earlier page",
        "after=WyJcdTAwMDAiLCJhIl0": "after: expected the next of an earlier page",  # a NUL
        "after=WzEsMl0": "after: expected the next of an earlier page",  # numbers
        "status=" + "&status=".join(map(str, range(51))): "status: expected at most 50 of these",
        "from=2026-02-30": MOMENT_EXPECTED.format("from"),
        "from=2026-01-01T00:00:00": MOMENT_EXPECTED.format("from"),
        "to=2026-01-01T25:00:00Z": MOMENT_EXPECTED.format("to"),
        "to=2026-01-01T00:00:00%2B30:00": MOMENT_EXPECTED.format("to"),
        "to=0000-01-01": MOMENT_EXPECTED.format("to"),
        "to=%D9%A2026-01-01": MOMENT_EXPECTED.format("to"),
        "to=today": MOMENT_EXPECTED.format("to"),
        "status=pending%00": "status: expected a text of up to 100 characters",
        "status=" + "x" * 101: "status: expected a text of up to 100 characters",
        "q=%00": "q: expected a text of up to 200 characters",
        "q=" + "x" * 201: "q: expected a text of up to 200 characters",
    }.items():
        for path in ("/api/orders", "/api/orders.csv"):
            if path == "/api/orders" or query.startswith(("status", "q", "from", "to")):
                assert await error_of(app, "GET", f"{path}?{query}", 400) == ("bad_request", expected)
    assert await order_ids(app, "?unknown=1") == [1]
