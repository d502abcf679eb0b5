"""Tables of any shape: text keys, currencies, null fields and streams, as clients get them; what /readyz says of them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from push.feed_monitor import NOT_RECORDED
from service import database_state
from service.application import __version__
from tests.gateway.conftest import App, StartApp, StartTarget
from tests.helpers.tokens import SECRET, token
from tests.support import Client, Connect

SHOP = """
create schema shop;
create table shop.orders (
    id       text primary key,
    customer text,
    owner    text,
    amount   numeric,
    currency text,
    state    text,
    at       timestamptz default clock_timestamp()
);
create table shop.products (
    sku      text primary key,
    order_id text,
    stock    integer
);
"""
MAP = {
    "key": "id",
    "customer_name": "customer",
    "customer_id": "owner",
    "total": "amount",
    "currency": "currency",
    "status": "state",
    "created_at": "at",
    "statuses": ["new", "done"],
    "pending": ["new"],
    "cancelled": ["void"],
}
STOCK_MAP = {"key": "sku", "order_key": "order_id", "data": ["stock"]}
# Of all that has to be encoded in a URL, or separates topics.
ODD_KEY = "№1/ä,%2F?&=+ #:"


@pytest.fixture
async def shop(db: Any) -> Any:
    """A connection to a database in which the shop's own table is attached, and another one as a stream."""
    await db.execute(SHOP)
    await db.execute("select orderwire.detach()")
    await db.execute("select orderwire.attach('shop.orders', $1)", json.dumps(MAP))
    await db.execute("select orderwire.attach_stream('stock', 'shop.products', $1)", json.dumps(STOCK_MAP))
    return db


async def insert(db: Any, key: str, amount: str | None = "1", currency: str | None = "PLN", owner: str | None = None) -> None:
    await db.execute(
        "insert into shop.orders (id, customer, owner, amount, currency, state)"
        " values ($1, 'Anna', $4, $2::text::numeric, $3, 'new')",
        key,
        amount,
        currency,
        owner,
    )


def has_events(count: int, client: Client) -> bool:
    return len(client.events) >= count


def has_message(kind: str, client: Client) -> bool:
    return bool(client.of_type(kind))


async def get_json(app: App, path: str, **headers: str) -> Any:
    async with app.http.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def test_a_key_is_the_same_text_in_events_topics_queries_and_paths(
    start_target: StartTarget, connect: Connect, shop: Any
) -> None:
    target = await start_target()
    everything = await connect(target.ws_url)
    topic = f"order:{quote(ODD_KEY, safe='')}"
    one = await connect(f"{target.ws_url}?topics={quote(topic, safe='')}")
    other = await connect(f"{target.ws_url}?topics=order:1")
    await insert(shop, "1")
    await insert(shop, ODD_KEY)
    await everything.wait_until(lambda c: len(c.events) == 2, "both events")
    await one.wait_until(lambda c: len(c.events) == 1, "the order's event")
    await other.wait_until(lambda c: len(c.events) == 1, "the other order's event")
    assert [(event["order_id"], event["key"]) for event in everything.events] == [("1", "1"), (ODD_KEY, ODD_KEY)]
    assert one.messages[0] == {"type": "subscribed", "topics": [topic]}
    assert one.events == everything.events[1:]


async def test_an_order_is_found_by_its_key_in_a_path(start_app: StartApp, shop: Any) -> None:
    app = await start_app()
    for key in (ODD_KEY, "a b", "..a", "%", "k" * 200):
        await insert(shop, key)
        assert (await get_json(app, f"/api/orders/{quote(key, safe='')}"))["key"] == key
        (event,) = (await get_json(app, f"/api/orders/{quote(key, safe='')}/events"))["events"]
        assert event["key"] == key
    listed = (await get_json(app, f"/api/orders?q={quote(ODD_KEY, safe='')}"))["orders"]
    assert [order["key"] for order in listed] == [ODD_KEY]


async def test_customers_see_orders_with_text_keys(start_app: StartApp, connect: Connect, shop: Any) -> None:
    app = await start_app(JWT_SECRET=SECRET)
    await insert(shop, "a/1", owner="anna")
    await insert(shop, "b/2", owner="bo")
    by_claim = await connect(app.ws_url, headers={"Authorization": f"Bearer {token('customer', orders=['b/2'])}"})
    headers = {"Authorization": f"Bearer {token('customer', sub='anna')}"}
    by_subject = await connect(f"{app.ws_url}?topics=order:a%252F1", headers=headers)
    await by_subject.wait_until(lambda c: len(c.messages) == 2, "the first messages")
    await by_claim.wait_until(lambda c: len(c.messages) == 2, "the first messages")
    assert by_claim.messages[0]["topics"] == ["orders"]
    await shop.execute("update shop.orders set state = 'done'")
    await by_claim.wait_until(lambda c: bool(c.events), "the event of the claim's order")
    await by_subject.wait_until(lambda c: bool(c.events), "the event of the subject's order")
    assert [[event["key"] for event in client.events] for client in (by_claim, by_subject)] == [["b/2"], ["a/1"]]
    assert [order["key"] for order in (await get_json(app, "/api/orders", **headers))["orders"]] == ["a/1"]
    denied = await connect(f"{app.ws_url}?topics=order:b%252F2", headers=headers)
    assert await denied.wait_closed() == 3507
    # Streams are not for customers, whether they exist or not.
    for topic in ("stock", "stock:1", "nonsense"):
        client = await connect(f"{app.ws_url}?topics={topic}", headers=headers)
        assert await client.wait_closed() == 3507


async def test_null_fields_are_null_in_events_and_lists(start_app: StartApp, connect: Connect, shop: Any) -> None:
    app = await start_app()
    client = await connect(app.ws_url)
    await shop.execute("insert into shop.orders (id, at) values ('x', null)")
    await client.wait_until(lambda c: bool(c.events), "the event")
    assert [client.events[0][name] for name in ("customer_name", "total", "status")] == [None, None, None]
    (order,) = (await get_json(app, "/api/orders"))["orders"]
    names = ("order_number", "customer_name", "customer_id", "total", "status", "created_at")
    assert [order[name] for name in names] == [None] * 6
    await insert(shop, "y")
    first = await get_json(app, "/api/orders?limit=1")
    assert [order["key"] for order in first["orders"]] == ["y"]
    last = await get_json(app, f"/api/orders?limit=1&after={first['next']}")
    assert [order["key"] for order in last["orders"]] == ["x"]
    assert last["next"] is None


async def test_totals_are_counted_by_currency(start_app: StartApp, connect: Connect, database_url: str, shop: Any) -> None:
    await insert(shop, "before", "7.50", "EUR")
    app = await start_app(CURRENCY="EUR", AUDIT_SECONDS="0.2")
    client = await connect(app.ws_url)
    await client.wait_until(lambda c: bool(c.messages), "the first message")
    assert client.totals["revenue_by_currency"] == {"EUR": "7.50"}
    await insert(shop, "pln", "100.5", "PLN")
    await insert(shop, "jpy", "300", "JPY")
    await insert(shop, "none", "9", None)
    await insert(shop, "unknown", None, "EUR")
    await shop.execute("update shop.orders set currency = 'EUR', amount = 20 where id = 'pln'")
    await shop.execute("update shop.orders set state = 'void' where id = 'before'")
    expected = {
        "type": "analytics_update",
        "total_orders": 5,
        "total_revenue": "20.00",
        "pending_orders": 4,
        "revenue_by_currency": {"EUR": "20.00", "JPY": "300"},
    }
    await client.wait_until(
        lambda c: c.totals["total_orders"] == 5 and c.totals["pending_orders"] == 4, "the totals after the last change"
    )
    found = dict(client.totals)
    assert {name: float(revenue) for name, revenue in found.pop("revenue_by_currency").items()} == {"EUR": 20, "JPY": 300}
    assert float(found.pop("total_revenue")) == 20
    assert found == {name: value for name, value in expected.items() if name not in ("revenue_by_currency", "total_revenue")}
    # A change that the triggers do not see is found by the audit, in its currency.
    writer = await asyncpg.connect(database_url)
    try:
        async with writer.transaction():
            await writer.execute("set local session_replication_role = replica")
            await writer.execute("update shop.orders set amount = 310 where id = 'jpy'")
    finally:
        await writer.close()
    await client.wait_until(lambda c: c.totals["revenue_by_currency"]["JPY"] == "310", "the corrected totals")
    assert "+10 JPY revenue" in await app.log.wait_for_line("drifted")
    assert (await get_json(app, "/api/meta"))["currency"] == "EUR"


async def test_events_of_a_stream_have_topics_of_their_own(start_target: StartTarget, connect: Connect, shop: Any) -> None:
    target = await start_target()
    await insert(shop, "o/1")
    clients = {
        topics: await connect(f"{target.ws_url}?topics={topics}")
        for topics in ("orders", "stock", "stock:b%252F2", "order:o%252F1", "orders,stock", "order:x")
    }
    for client in clients.values():
        await client.wait_until(lambda c: len(c.messages) == 1, "the first message")
    await shop.execute("insert into shop.products values ('a', null, 5), ('b/2', 'o/1', 7)")
    await shop.execute("update shop.products set stock = 6")
    await shop.execute("update shop.orders set state = 'done'")
    await shop.execute("delete from shop.products where sku = 'a'")
    everything = clients["orders,stock"]
    await everything.wait_until(lambda c: len(c.events) == 6, "all events")
    inserts = sorted(everything.events[:2], key=lambda event: event["key"])
    assert [{name: value for name, value in event.items() if name not in ("id", "at")} for event in inserts] == [
        {"type": "row_insert", "stream": "stock", "key": "a", "data": {"stock": 5}},
        {"type": "row_insert", "stream": "stock", "order_id": "o/1", "key": "b/2", "data": {"stock": 7}},
    ]
    expected = {
        "orders": [event for event in everything.events if "stream" not in event],
        "stock": [event for event in everything.events if "stream" in event],
        "stock:b%252F2": [event for event in everything.events if event["key"] == "b/2"],
        "order:o%252F1": [event for event in everything.events if event["key"] in ("b/2", "o/1")],
        "order:x": [],
    }
    for topics, events in expected.items():
        await clients[topics].wait_until(partial(has_events, len(events)), f"the events of {topics}")
        assert clients[topics].events == events, topics
    # A resume gets the same, and says how many.
    for topics in ("orders", "orders,stock", "stock"):
        cursor = everything.events[0]["id"]
        back = await connect(f"{target.ws_url}?topics={topics}&last_event_id={cursor}")
        wanted = [event for event in clients[topics].events if event["id"] != cursor]
        await back.wait_until(partial(has_events, len(wanted)), "the replay")
        assert back.of_type("resumed") == [{"type": "resumed", "recovered": True, "replayed": len(wanted)}]
        assert back.events == wanted
    unknown = await connect(f"{target.ws_url}?topics=stocks")
    assert await unknown.wait_closed() == 3501


async def test_a_topic_of_a_stream_that_is_not_attached_is_an_error(start_app: StartApp, connect: Connect, shop: Any) -> None:
    app = await start_app()
    client = await connect(app.ws_url)
    for topic, answer in (("stock:1", "subscribed"), ("stocks", "error")):
        await client.send(json.dumps({"type": "subscribe", "topics": [topic]}))
        await client.wait_until(partial(has_message, answer), f"the answer for {topic}")
    assert client.of_type("error") == [{"type": "error", "code": "bad_topic", "message": "no such topic: stocks"}]
    assert (await get_json(app, "/api/meta"))["streams"] == ["stock"]


async def test_the_history_of_an_order_has_the_rows_of_streams(start_app: StartApp, shop: Any) -> None:
    app = await start_app()
    await insert(shop, "o")
    await shop.execute("insert into shop.products values ('p', 'o', 5), ('q', null, 5)")
    events = (await get_json(app, "/api/orders/o/events"))["events"]
    assert [event["type"] for event in events] == ["row_insert", "new_order"]


async def test_attaching_another_table_makes_clients_fetch_anew(start_app: StartApp, connect: Connect, db: Any) -> None:
    await db.execute(SHOP)
    await db.execute("select orderwire.detach()")
    app = await start_app()
    assert (await get_json(app, "/readyz")) == {"status": "ok"}
    assert await get_json(app, "/api/meta") == {
        "role": "admin",
        "statuses": [],
        "pending": [],
        "cancelled": [],
        "currency": "PLN",
        "time_zone": "UTC",
        "search_indexed": False,
        "version": __version__,
        "write": {"status": False, "reason": "no_login", "transitions": None},
        "test_order": False,
        "table": None,
        "streams": [],
    }
    assert (await get_json(app, "/api/orders"))["orders"] == []
    client = await connect(app.ws_url)
    await insert(db, "1")
    await client.wait_until(lambda c: bool(c.messages), "the first message")
    assert client.totals["total_orders"] == 0
    await db.execute("select orderwire.attach('shop.orders', $1)", json.dumps(MAP))
    await client.wait_until(lambda c: bool(c.of_type("resumed")), "the client is told")
    await client.wait_until(lambda c: c.totals["total_orders"] == 1, "the totals")
    await insert(db, "2")
    await client.wait_until(lambda c: [event["key"] for event in c.events] == ["2"], "the event")


async def readiness(app: App, status: int) -> str:
    """The reason, once /readyz answers with this status. The state of the tables is read every few milliseconds here."""
    while True:
        async with app.http.get("/readyz") as response:
            if response.status == status:
                return str((await response.json()).get("error", {}).get("message", ""))


@pytest.mark.parametrize(
    ("breaks", "mends", "reason"),
    [
        (
            "alter table shop.orders disable trigger zz_orderwire_update",
            "alter table shop.orders enable trigger zz_orderwire_update",
            "the trigger zz_orderwire_update of shop.orders is not enabled",
        ),
        (
            "drop trigger zz_orderwire_insert on shop.products",
            "select orderwire.attach_stream(name, relation, map) from orderwire.attached_tables where name = 'stock'",
            "the trigger zz_orderwire_insert of shop.products is missing",
        ),
        (
            "alter table shop.orders rename to orders_old; create table shop.orders (id text)",
            "drop table shop.orders; alter table shop.orders_old rename to orders",
            "shop.orders_old is attached as orders, but another table has its old name",
        ),
    ],
)
async def test_readiness_says_what_stops_the_events_of_a_table(
    start_app: StartApp, shop: Any, monkeypatch: pytest.MonkeyPatch, breaks: str, mends: str, reason: str
) -> None:
    monkeypatch.setattr(database_state, "ATTACHMENT_POLL_SECONDS", 0.05)
    app = await start_app()
    await readiness(app, 200)
    await shop.execute(breaks)
    assert (await readiness(app, 503)).startswith(reason)
    assert "orderwire_ready 0.0" in await (await app.http.get("/metrics")).text()
    assert "to mend it: " in await app.log.wait_for_line(reason)
    await shop.execute(mends)
    await readiness(app, 200)
    await app.log.wait_for_line("in order again")


async def test_a_table_whose_changes_are_not_recorded_is_said(
    start_app: StartApp, connect: Connect, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_state, "ATTACHMENT_POLL_SECONDS", 0.05)
    app = await start_app()
    client = await connect(app.ws_url)
    await client.wait_until(lambda c: bool(c.messages), "the first message")
    await db.execute("alter table orders disable trigger zz_orderwire_insert")
    disabled_at = datetime.now(UTC)
    await client.wait_until(lambda c: bool(c.of_type("feed_status")), "the client is told")
    (told,) = client.of_type("feed_status")
    assert told["live"] is False
    assert told["reason"] == NOT_RECORDED, "the trigger and the table are named in the log alone"
    async with app.http.get("/api/analytics") as response:
        assert datetime.fromisoformat((await response.json())["as_of"]) <= disabled_at
    await db.execute("alter table orders enable trigger zz_orderwire_insert")
    await client.wait_until(lambda c: c.of_type("feed_status")[-1]["live"], "the client is told")


async def test_what_stops_no_events_is_only_logged(start_app: StartApp, shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_state, "ATTACHMENT_POLL_SECONDS", 0.05)
    app = await start_app()
    await shop.execute("select orderwire.detach()")
    await app.log.wait_for_line("no table of orders is attached")
    await readiness(app, 200)


async def test_a_new_partition_gets_its_triggers(start_app: StartApp, connect: Connect, db: Any) -> None:
    await db.execute(
        "create table parted (id integer, month integer, primary key (id, month)) partition by range (month);"
        "create table parted_1 partition of parted for values from (1) to (2)"
    )
    await db.execute("select orderwire.detach()")
    await db.execute("select orderwire.attach('public.parted', $1)", json.dumps({"key": ["id", "month"]}))
    await db.execute("create table parted_2 partition of parted for values from (2) to (3)")
    app = await start_app(JOURNAL_RETENTION="10s")  # maintained every second
    client = await connect(app.ws_url)
    await app.log.wait_for_line("1 new partitions of attached tables have their triggers now")
    await db.execute("insert into parted_2 values (1, 2)")
    await client.wait_until(lambda c: [event["key"] for event in c.events] == ["1,2"], "the event")
