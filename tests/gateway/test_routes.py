"""The HTTP routes: responses and errors. The WebSocket and SSE have modules of their own."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from gateway.routes import ORDER_STATUSES
from tests.gateway.conftest import App
from tests.support import Connect

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


async def order_ids(app: App, query: str) -> list[int]:
    return [order["id"] for order in (await get_json(app, f"/api/orders{query}"))["orders"]]


async def test_an_order_has_every_field_with_its_type(app: App, db: Any) -> None:
    # The time zone of the database must not matter. It is set before the application's first query.
    await db.execute(
        "do $$ begin execute format('alter database %I set timezone = ''Asia/Kathmandu''', current_database()); end $$"
    )
    assert await get_json(app, "/api/orders") == {"orders": []}
    await db.execute("insert into orders (customer_name, customer_id, total) values ('Anna', 'user-7', 9999999999.90)")
    await db.execute("insert into orders (customer_name, total, order_number, status) values ('Bo', 0, '№ \"7\"', 'ready')")
    second, first = (await get_json(app, "/api/orders"))["orders"]
    row = await db.fetchrow("select created_at, updated_at, order_number from orders where id = 1")
    for order in (first, second):
        assert RFC3339.fullmatch(order["created_at"])
        assert RFC3339.fullmatch(order["updated_at"])
    assert datetime.fromisoformat(first["created_at"]) == row["created_at"]
    assert datetime.fromisoformat(first["updated_at"]) == row["updated_at"]
    assert list(first) == [
        *["id", "order_number", "customer_name", "customer_id", "total", "status", "created_at", "updated_at"]
    ]
    times = ("created_at", "updated_at")
    assert [{name: value for name, value in order.items() if name not in times} for order in (first, second)] == [
        {
            "id": 1,
            "order_number": row["order_number"],
            "customer_name": "Anna",
            "customer_id": "user-7",
            "total": "9999999999.90",
            "status": "pending",
        },
        {
            "id": 2,
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


async def test_orders_are_newest_first_and_take_limit_status_and_before(app: App, db: Any) -> None:
    await db.execute(
        "insert into orders (customer_name, total, status)"
        " select 'c', n, ($1::text[])[1 + n % 7] from generate_series(1, 1200) n",
        list(ORDER_STATUSES),
    )
    assert await order_ids(app, "") == list(range(1200, 1100, -1))  # the default is 100
    assert await order_ids(app, "?limit=3") == [1200, 1199, 1198]
    assert await order_ids(app, "?limit=1000") == list(range(1200, 200, -1))
    assert await order_ids(app, "?before=4") == [3, 2, 1]
    assert await order_ids(app, "?before=1") == []
    assert await order_ids(app, f"?before={2**63 - 1}&limit=1") == [1200]
    for nth, status in enumerate(ORDER_STATUSES):
        assert await order_ids(app, f"?status={status}&before=20") == [n for n in range(19, 0, -1) if n % 7 == nth]
    paged: list[int] = []
    while page := await order_ids(app, f"?limit=500&before={paged[-1] if paged else 10**9}"):
        paged += page
    assert paged == list(range(1200, 0, -1))


async def test_orders_are_returned_in_their_current_state(app: App, db: Any) -> None:
    await db.execute("insert into orders (customer_name, total) values ('Anna', 1), ('Bo', 2)")
    await db.execute("update orders set status = 'ready', updated_at = updated_at + interval '1 day' where id = 1")
    await db.execute("delete from orders where id = 2")
    (order,) = (await get_json(app, "/api/orders"))["orders"]
    assert (order["id"], order["status"]) == (1, "ready")
    between = datetime.fromisoformat(order["updated_at"]) - datetime.fromisoformat(order["created_at"])
    assert between == timedelta(days=1)


async def test_analytics_equals_the_last_analytics_update(app: App, connect: Connect, db: Any) -> None:
    client = await connect(app.ws_url)
    empty = {"type": "analytics_update", "total_orders": 0, "total_revenue": "0", "pending_orders": 0}
    assert await get_json(app, "/api/analytics") == empty
    await db.execute("insert into orders (customer_name, total) select 'c', n + 0.10 from generate_series(1, 10) n")
    await db.execute("update orders set status = 'cancelled' where id = 10")
    await db.execute("update orders set status = 'ready' where id = 9")
    await client.wait_until(lambda c: c.totals["pending_orders"] == 8, "the totals")
    expected = {"type": "analytics_update", "total_orders": 10, "total_revenue": "45.90", "pending_orders": 8}
    assert await get_json(app, "/api/analytics") == client.totals == expected
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
    for path in ("/nonsense", "/api", "/api/orders/1", "/admin", "/%FF", "/..%2Fsettings.py", "/Иван<b>"):
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
        "before=0": f"before: expected a whole number from 1 to {2**63 - 1}",
        f"before={2**63}": f"before: expected a whole number from 1 to {2**63 - 1}",
        "before=1%20or%201=1": f"before: expected a whole number from 1 to {2**63 - 1}",
        "before=%00": f"before: expected a whole number from 1 to {2**63 - 1}",
        "status=": "status: expected one of " + ", ".join(ORDER_STATUSES),
        "status=Pending": "status: expected one of " + ", ".join(ORDER_STATUSES),
        "status=pending%00": "status: expected one of " + ", ".join(ORDER_STATUSES),
        "status=%FF": "status: expected one of " + ", ".join(ORDER_STATUSES),
    }.items():
        assert await error_of(app, "GET", f"/api/orders?{query}", 400) == ("bad_request", expected)
    assert await order_ids(app, "?unknown=1") == [1]
