"""What each role may and may not see: live, replayed and historical."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from tests.conftest import needs_one_worker
from tests.gateway.conftest import App, StartApp, StartTarget, Target
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, Client, Connect, within


@pytest.fixture
async def app(start_app: StartApp) -> App:
    return await start_app(JWT_SECRET=SECRET)


@pytest.fixture
async def target(start_target: StartTarget) -> Target:
    return await start_target(JWT_SECRET=SECRET)


def shown(role: str, **claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(role, **claims)}"}


async def insert(db: Any, name: str, customer_id: str | None = None) -> int:
    order_id: int = await db.fetchval(
        "insert into orders (customer_name, customer_id, total) values ($1, $2, 10) returning id", name, customer_id
    )
    return order_id


async def settle(client: Client) -> None:
    """Wait until all messages sent so far have arrived."""
    pongs = len(client.of_type("pong"))
    await client.send('{"type":"ping"}')
    await client.wait_until(lambda c: len(c.of_type("pong")) > pongs, "pong")


async def ask(client: Client, kind: str, *topics: str) -> dict[str, Any]:
    """The response to subscribe or unsubscribe."""
    known = len(client.of_type("subscribed") + client.of_type("error"))
    await client.send(json.dumps({"type": kind, "topics": topics}))
    await client.wait_until(
        lambda c: len(c.of_type("subscribed") + c.of_type("error")) > known, f"an answer to {kind} {topics}"
    )
    return next(frame for frame in reversed(client.messages) if frame["type"] in ("subscribed", "error"))


async def test_a_customer_sees_their_own_orders_and_nothing_else(target: Target, connect: Connect, db: Any) -> None:
    own, listed, others = await insert(db, "Anna", "anna"), await insert(db, "Bo", "bo"), await insert(db, "Cy", "cy")
    admin = await connect(target.ws_url, headers=shown("admin"))
    customer = await connect(target.ws_url, headers=shown("customer", sub="anna", orders=[listed]))
    await customer.wait_until(lambda c: len(c.messages) >= 2, "the first messages")
    assert customer.messages[0] == {"type": "subscribed", "topics": ["orders"]}
    assert customer.messages[1]["type"] == "authenticated"
    assert await ask(customer, "subscribe", f"order:{own}") == {
        "type": "subscribed",
        "topics": sorted([f"order:{own}", "orders"]),
    }
    # Another customer's order, one that does not exist, the totals: the responses are the same.
    for topic in (f"order:{others}", "order:999999", "analytics"):
        answer = await ask(customer, "subscribe", topic)
        assert (answer["type"], answer["code"]) == ("error", "not_permitted"), topic
        assert answer["message"] == f"not permitted: {topic}"

    await db.execute("update orders set status = 'ready'")
    await db.execute("update orders set customer_name = 'Other name' where id = $1", others)
    await db.execute("delete from orders where id = $1", own)
    await admin.wait_until(lambda c: c.totals["total_orders"] == 2, "the totals after the delete")
    # The admin's worker may be another one than the customer's.
    await customer.wait_until(lambda c: bool(c.of_type("order_delete")), "the last of the customer's own events")
    await settle(customer)
    assert {event["order_id"] for event in customer.events} == {own, listed}
    assert [event["type"] for event in customer.events if event["order_id"] == own] == ["order_status_update", "order_delete"]
    text = json.dumps(customer.messages)
    assert "Cy" not in text
    assert "Other name" not in text
    assert customer.of_type("analytics_update") == []


@pytest.mark.parametrize("claim", ["sub", "orders"])
async def test_a_customer_gets_the_events_of_all_their_own_orders_unasked(
    target: Target, connect: Connect, db: Any, claim: str
) -> None:
    """Of those that there are when they connect and, by ``sub``, of those that come later; not those of other customers."""
    own, other = await insert(db, "Anna", "anna"), await insert(db, "Bo", "bo")
    admin = await connect(target.ws_url, headers=shown("admin"))
    customer = await connect(target.ws_url, headers=shown("customer", **{claim: "anna" if claim == "sub" else [own]}))
    await customer.wait_until(lambda c: len(c.messages) >= 2, "the first messages")
    assert customer.messages[0] == {"type": "subscribed", "topics": ["orders"]}
    await db.execute("update orders set status = 'ready' where id = $1", other)
    later = await insert(db, "Anna again", "anna")
    for foreign in ("bo", "", None, "ANNA", "anna ", str(own)):
        await insert(db, f"not hers: {foreign}", foreign)
    await db.execute("delete from orders where id = $1", later)
    await db.execute("update orders set status = 'ready' where id = $1", own)
    await admin.wait_until(lambda c: len(c.events) == 10, "all events")
    await customer.wait_until(lambda c: bool(c.of_type("order_status_update")), "the last of their own events")
    await settle(customer)
    expected = [("new_order", later), ("order_delete", later)] if claim == "sub" else []
    assert [(event["type"], event["order_id"]) for event in customer.events] == [*expected, ("order_status_update", own)]
    assert customer.of_type("analytics_update") == []
    text = json.dumps(customer.messages)
    assert "Bo" not in text
    assert "not hers" not in text
    # The same again for a client that comes back.
    back = await resumed(connect, target, admin.events[0]["id"], "orders", **{claim: "anna" if claim == "sub" else [own]})
    assert back.of_type("resumed")[0]["replayed"] == len(customer.events)
    assert back.events == customer.events


async def test_a_customer_may_leave_their_own_orders_and_come_back(target: Target, connect: Connect, db: Any) -> None:
    own, other = await insert(db, "Anna", "anna"), await insert(db, "Anna", "anna")
    customer = await connect(target.ws_url, headers=shown("customer", sub="anna"))
    await customer.wait_until(lambda c: len(c.messages) >= 2, "the first messages")
    assert (await ask(customer, "subscribe", f"order:{own}"))["topics"] == [f"order:{own}", "orders"]
    assert (await ask(customer, "unsubscribe", "orders"))["topics"] == [f"order:{own}"]
    await db.execute("update orders set status = 'confirmed' where id = $1", other)
    await db.execute("update orders set status = 'confirmed' where id = $1", own)
    await customer.wait_until(lambda c: len(c.events) == 1, "the event of the one order")
    assert (await ask(customer, "subscribe", "orders"))["topics"] == [f"order:{own}", "orders"]
    await db.execute("update orders set status = 'ready' where id = $1", own)
    await db.execute("update orders set status = 'ready' where id = $1", other)
    await customer.wait_until(lambda c: len(c.events) == 3, "an event of each, once")
    assert [event["order_id"] for event in customer.events] == [own, own, other]


async def test_a_new_token_changes_whose_orders_are_followed(target: Target, connect: Connect, db: Any) -> None:
    """The topic stays the same, and means something else: for an admin all orders, for a customer their own."""
    client = await connect(f"{target.ws_url}?topics=orders", headers=shown("admin"))
    await client.wait_until(lambda c: len(c.of_type("authenticated")) == 1, "the first messages")
    expected: list[str] = []
    tokens = [
        (token("admin"), {"anna", "bo"}),
        (token("customer", sub="anna"), {"anna"}),
        (token("customer", sub="bo"), {"bo"}),
        (token("admin"), {"anna", "bo"}),
    ]
    for count, (fresh, sees) in enumerate(tokens, start=2):
        await client.send(json.dumps({"type": "auth", "token": fresh}))
        await client.wait_until(lambda c, n=count: len(c.of_type("authenticated")) == n, "the answer")  # type: ignore[misc]
        hidden_first = sorted(("anna", "bo"), key=sees.__contains__)  # so that all are published when the last one is there
        expected += [name for name in hidden_first if name in sees]
        for name in hidden_first:
            await insert(db, name, name)
        seen = len(expected)
        await client.wait_until(lambda c, n=seen: len(c.events) == n, "what this token lets through")  # type: ignore[misc]
    assert [event["customer_name"] for event in client.events] == expected


async def test_an_order_that_changes_hands_is_deleted_for_the_former_customer_and_new_to_the_next(
    target: Target, connect: Connect, db: Any
) -> None:
    """Neither learns what the other one's was. Live, replayed, and in the histories alike."""
    order = await insert(db, "Anna", "anna")
    admin = await connect(target.ws_url, headers=shown("admin"))
    clients = {name: await connect(target.ws_url, headers=shown("customer", sub=name)) for name in ("anna", "bo")}
    claimant = await connect(target.ws_url, headers=shown("customer", orders=[order]))
    for client in (admin, *clients.values(), claimant):
        await client.wait_until(lambda c: len(c.messages) >= 2, "the first messages")
    before = await insert(db, "Cy", "cy")
    await db.execute("update orders set status = 'confirmed' where id = $1", order)
    await db.execute(
        "update orders set customer_id = 'bo', customer_name = 'Bo', order_number = 'BO-1', status = 'ready', total = 77,"
        " created_at = '2021-01-01' where id = $1",
        order,
    )
    await db.execute("update orders set status = 'delivered' where id = $1", order)
    # Taken away from Bo, with a new name: nobody's.
    await db.execute(
        "update orders set customer_id = null, customer_name = 'Walk-in', total = 78, created_at = '2022-02-02' where id = $1",
        order,
    )
    await db.execute("update orders set total = 79 where id = $1", order)
    # And to Anna again, with nothing else changed: to her it has all that a new order has.
    await db.execute("update orders set customer_id = 'anna' where id = $1", order)
    await admin.wait_until(lambda c: len(c.events) == 7, "all events")
    changed = [event["type"] for event in admin.events if event["order_id"] == order]
    assert changed == ["order_status_update"] * 3 + ["order_update"] * 3
    await claimant.wait_until(lambda c: len(c.events) == 6, "all events of the order")
    assert claimant.events == [event for event in admin.events if event["order_id"] == order]

    ids = {event["id"] for event in admin.events}
    expected = {
        "anna": [("order_status_update", "confirmed"), ("order_delete", None), ("new_order", "delivered")],
        "bo": [("new_order", "ready"), ("order_status_update", "delivered"), ("order_delete", None)],
    }
    created_at = next(event["created_at"] for event in admin.events if event["order_id"] == order)
    foreign = {
        "anna": ["Bo", '"77.00"', "BO-", '"78.00"', "ready", "2021-01-01", "2022-02-02"],
        "bo": ["Anna", "ORD-", "confirmed", "Walk-in", '"78.00"', '"10.00"', created_at, "2022-02-02"],
    }
    first = next(event["id"] for event in admin.events if event["order_id"] == before)
    for name, client in clients.items():
        await client.wait_until(lambda c: len(c.events) == 3, "their events")
        await settle(client)
        assert [(event["type"], event.get("status")) for event in client.events] == expected[name]
        assert {event["order_id"] for event in client.events} == {order}
        assert {event["id"] for event in client.events} <= ids
        for text in foreign[name]:
            seen = client.events if name == "bo" else client.events[:2]
            assert text not in json.dumps([{**event, "id": "", "at": ""} for event in seen]), text
        (taken,) = client.of_type("order_delete")
        assert set(taken) == {"type", "id", "order_id", "key", "at"}
        (given,) = client.of_type("new_order")
        assert not [member for member in given if member.startswith("previous_")]
        back = await resumed(connect, target, first, "orders", sub=name)
        assert back.events == client.events
        async with aiohttp.ClientSession(headers=shown("customer", sub=name)) as http:
            async with http.get(target.http_url + "/api/events?limit=1000") as response:
                events = (await response.json())["events"]
                assert [event for event in events if event["type"] != "new_order" or name != "anna"][-3:] == [
                    event for event in client.events if event["type"] != "new_order" or name != "anna"
                ]
            async with http.get(f"{target.http_url}/api/orders/{order}/events") as response:
                history = (await response.json()).get("events", [])
                assert history[: len(client.events)] == client.events[::-1]
    new = clients["bo"].events[0]
    assert {name: new[name] for name in ("order_number", "customer_name", "total", "created_at")} == {
        "order_number": "BO-1",
        "customer_name": "Bo",
        "total": "77.00",
        "created_at": "2021-01-01T00:00:00.000000Z",
    }
    again = clients["anna"].events[2]
    assert {name: again[name] for name in ("order_number", "customer_name", "total")} == {
        "order_number": "BO-1",
        "customer_name": "Walk-in",
        "total": "79.00",
    }


async def test_a_viewer_sees_the_totals_only(app: App, connect: Connect, db: Any) -> None:
    order = await insert(db, "Anna", "anna")
    viewer = await connect(app.ws_url, headers=shown("viewer"))
    await viewer.wait_until(lambda c: len(c.messages) >= 2, "the first messages")
    assert viewer.totals["total_orders"] == 1
    for topic in ("orders", f"order:{order}"):
        assert (await ask(viewer, "subscribe", topic))["code"] == "not_permitted"
    await insert(db, "Bo")
    await viewer.wait_until(lambda c: c.totals["total_orders"] == 2, "the totals")
    assert viewer.events == []


async def test_topics_are_chosen_in_the_url_or_by_commands(target: Target, connect: Connect, db: Any) -> None:
    first, second = await insert(db, "Anna"), await insert(db, "Bo")
    everything = await connect(target.ws_url, headers=shown("admin"))
    one = await connect(f"{target.ws_url}?topics=order:{first}", headers=shown("admin"))
    await one.wait_until(lambda c: len(c.messages) >= 2, "the first messages")
    assert one.messages[0] == {"type": "subscribed", "topics": [f"order:{first}"]}
    await db.execute("update orders set status = 'ready'")
    await one.wait_until(lambda c: len(c.events) == 1, "an event")
    assert one.of_type("analytics_update") == []
    await everything.wait_until(lambda c: c.totals["pending_orders"] == 0, "the totals after the update")
    # A subscription to the totals sends them at once.
    await ask(one, "subscribe", "analytics")
    await one.wait_until(lambda c: bool(c.of_type("analytics_update")), "the totals")
    # An event of two subscribed topics is delivered once.
    await ask(one, "subscribe", "orders")
    await db.execute("update orders set status = 'delivered'")
    await one.wait_until(lambda c: len(c.events) == 3, "both events")
    assert (await ask(one, "unsubscribe", "orders", "analytics"))["topics"] == [f"order:{first}"]
    await db.execute("update orders set status = 'cancelled' where id = $1", second)
    await db.execute("update orders set status = 'cancelled' where id = $1", first)
    await one.wait_until(lambda c: len(c.events) == 4, "one event")
    await settle(one)
    assert [event["order_id"] for event in one.events] == [first, first, second, first]
    totals = one.of_type("analytics_update")
    # The same totals come again if they are announced after the subscription: ``everything`` may have them from an announcement
    # that was due before (a session takes the newest totals), or from another worker.
    assert totals in (totals[:1], totals[:1] * 2)
    for topics in (["order:"], ["order:%"], ["order:1 "], ["Orders"], [""], ["stock"], ["stock:1"], [1], [None]):
        await one.send(json.dumps({"type": "subscribe", "topics": topics}))
    await settle(one)
    assert [error["code"] for error in one.of_type("error")] == ["bad_topic"] * 9


async def test_max_topics_limits_the_subscriptions(start_app: StartApp, connect: Connect) -> None:
    app = await start_app(MAX_TOPICS="5")
    client = await connect(app.ws_url)
    await client.wait_until(lambda c: len(c.messages) == 1, "the first message")
    assert len((await ask(client, "subscribe", "order:1", "order:2", "order:3"))["topics"]) == 5
    assert (await ask(client, "subscribe", "order:4"))["code"] == "too_many_topics"
    assert len((await ask(client, "subscribe", "order:3"))["topics"]) == 5


@pytest.mark.parametrize(
    ("query", "role", "code"),
    [("topics=nonsense", "admin", 3501), ("topics=analytics", "customer", 3507), ("topics=order:1", "viewer", 3507)],
)
async def test_bad_or_forbidden_topics_in_the_url_are_rejected(
    app: App, connect: Connect, query: str, role: str, code: int
) -> None:
    claims = {"sub": "anna"} if role == "customer" else {}
    client = await connect(f"{app.ws_url}?{query}", headers=shown(role, **claims))
    assert await client.wait_closed() == code
    async with app.http.get(f"/api/sse?{query}", headers=shown(role, **claims)) as response:
        assert response.status == {3501: 400, 3507: 403}[code]


async def resumed(connect: Connect, target: Target, cursor: str, topics: str, **claims: Any) -> Client:
    client = await connect(f"{target.ws_url}?last_event_id={cursor}&topics={topics}", headers=shown("customer", **claims))
    await client.wait_until(lambda c: len(c.of_type("resumed")) == 1, "the answer to the resume")
    await client.wait_until(lambda c: len(c.events) >= c.of_type("resumed")[0]["replayed"], "the replay")
    await settle(client)
    return client


@pytest.mark.parametrize("after_restart", [False, True])
async def test_a_replay_has_and_counts_only_the_events_that_the_role_may_see(
    target: Target, start_target: StartTarget, connect: Connect, db: Any, after_restart: bool
) -> None:
    """From the recent events in memory and, on a server that has just started, from the journal."""
    own = await insert(db, "Anna", "anna")
    other = await insert(db, "Bo", "bo")
    anna = await connect(f"{target.ws_url}?topics=order:{own}", headers=shown("customer", sub="anna"))
    await settle(anna)
    await db.execute("update orders set status = 'confirmed' where id = $1", own)
    await anna.wait_until(lambda c: len(c.events) == 1, "an event")
    cursor = anna.events[0]["id"]
    await anna.disconnect()
    witness = await connect(f"{target.ws_url}?topics=order:{own}", headers=shown("admin"))
    await settle(witness)
    for n in range(1200):
        await db.execute("update orders set total = $2 where id = $1", other, n)
    await db.execute("update orders set status = 'ready' where id = $1", own)
    await witness.wait_until(lambda c: len(c.events) == 1, "published")  # else it would come live, after the replay
    if after_restart:
        target = await start_target(JWT_SECRET=SECRET)
    back = await resumed(connect, target, cursor, f"order:{own}", sub="anna")
    assert back.of_type("resumed") == [{"type": "resumed", "recovered": True, "replayed": 1}]
    assert [event["status"] for event in back.events] == ["ready"]
    # The cursor of an event that the client may not see reveals nothing.
    other_customer = await resumed(connect, target, cursor, f"order:{other}", sub="bo", orders=[])
    assert {event["order_id"] for event in other_customer.events} == {other}
    await db.execute("update orders set status = 'delivered'")
    await back.wait_until(lambda c: len(c.events) == 2, "live again")
    await settle(back)
    assert {event["order_id"] for event in back.events} == {own}


async def test_a_customers_history_and_orders_are_their_own(app: App, db: Any) -> None:
    own = [await insert(db, f"Anna {n}", "anna") for n in range(3)]
    others = [await insert(db, f"Bo {n}", "bo") for n in range(3)]
    await db.execute("update orders set status = 'ready' where id = $1", own[2])

    async def get(path: str, **claims: Any) -> Any:
        async with app.http.get(path, headers=shown("customer", **claims)) as response:
            assert response.status == 200
            return await response.json()

    assert [order["id"] for order in (await get("/api/orders", sub="anna"))["orders"]] == own[::-1]
    assert [order["id"] for order in (await get("/api/orders", sub="anna", orders=[others[0]]))["orders"]] == [
        others[0],
        *own[::-1],
    ]
    assert [order["id"] for order in (await get("/api/orders", orders=[*own[:1], 10**9]))["orders"]] == own[:1]
    assert [order["id"] for order in (await get("/api/orders?limit=2", sub="anna"))["orders"]] == own[:0:-1]
    assert [order["id"] for order in (await get("/api/orders?status=ready", sub="anna"))["orders"]] == own[2:]
    first = await get("/api/orders?limit=1", sub="anna")
    assert [order["id"] for order in (await get(f"/api/orders?after={first['next']}", sub="anna"))["orders"]] == own[1::-1]
    assert [order["id"] for order in (await get("/api/orders?q=ANNA", sub="anna"))["orders"]] == own[::-1]
    assert (await get("/api/orders?q=bo", sub="anna"))["orders"] == []
    assert [order["id"] for order in (await get("/api/orders?q=bo", orders=others[:1]))["orders"]] == others[:1]
    assert (await get("/api/orders", sub="unknown"))["orders"] == []

    found, path = [], "/api/events?limit=2"
    while True:
        page = await get(path, sub="anna")
        found += page["events"]
        if not page["more"]:
            break
        path = f"/api/events?limit=2&after={page['next']}"
    assert [(event["type"], event["order_id"]) for event in found] == [
        *(("new_order", order) for order in own),
        ("order_status_update", own[2]),
    ]


async def test_one_order_and_its_history_are_shown_to_its_customer_alone(app: App, db: Any) -> None:
    own, other = await insert(db, "Anna", "anna"), await insert(db, "Bo", "bo")
    await db.execute("update orders set customer_id = 'anna' where id = $1", other)  # Bo's until now

    async def get(path: str, **claims: Any) -> tuple[int, Any]:
        async with app.http.get(f"/api/orders/{path}", headers=shown("customer", **claims)) as response:
            return response.status, await response.json()

    def types(found: tuple[int, Any]) -> list[str]:
        assert found[0] == 200
        return [event["type"] for event in found[1]["events"]]

    assert (await get(f"{own}", sub="anna"))[1]["customer_name"] == "Anna"
    assert (await get(f"{own}", orders=[str(own)]))[0] == (await get(f"{own}", orders=[own]))[0] == 200
    assert types(await get(f"{own}/events", sub="anna")) == ["new_order"]
    # Of an order that was another customer's: the events since, of which the first is a new order. By the claim: all.
    assert types(await get(f"{other}/events", sub="anna")) == ["new_order"]
    assert types(await get(f"{other}/events", orders=[other])) == ["order_update", "new_order"]
    # Another's order, and one that does not exist: the responses are the same.
    for path in (f"{own}", f"{own}/events"):
        for claims in ({"sub": "bo"}, {"orders": [other]}):
            missing = await get(path.replace(str(own), "999"), **claims)
            assert await get(path, **claims) == (404, json.loads(json.dumps(missing[1]).replace("999", str(own))))
    async with app.http.get("/api/meta", headers=shown("customer", sub="anna")) as response:
        assert {"table", "streams"}.isdisjoint(await response.json())


async def test_sse_follows_the_same_rules(app: App, db: Any) -> None:
    own, other = await insert(db, "Anna", "anna"), await insert(db, "Bo", "bo")
    async with app.http.get("/api/sse", headers=shown("customer", sub="anna")) as response:
        assert response.status == 200
        text = ""

        async def read_until(part: str) -> None:
            nonlocal text
            while part not in text:
                text += (await response.content.readany()).decode()

        await read_until("event: authenticated")
        await db.execute("update orders set status = 'ready' where id = $1", other)
        await db.execute("update orders set status = 'ready' where id = $1", own)
        await read_until("order_status_update")
        assert text.count("event: order_status_update") == 1
        assert f'"order_id":{own}' in text
        assert "analytics_update" not in text
        assert "Bo" not in text


# ---------------------------------------------------------------- expiry and revocation


async def test_a_session_is_closed_when_its_token_expires(app: App, connect: Connect, db: Any) -> None:
    until = time.time() + 2
    client = await connect(app.ws_url, headers=shown("admin", exp=int(until)))
    await client.wait_until(lambda c: len(c.of_type("authenticated")) == 1, "the first messages")
    assert client.of_type("authenticated")[0]["role"] == "admin"
    assert await client.wait_closed() == 3005
    assert int(until) <= time.time() < until + 5
    await insert(db, "Anna")
    assert client.events == []


async def test_a_new_token_extends_the_session(app: App, connect: Connect, db: Any) -> None:
    client = await connect(app.ws_url, headers=shown("admin", exp=int(time.time()) + 2))
    await client.wait_until(lambda c: len(c.of_type("authenticated")) == 1, "the first messages")
    await client.send(json.dumps({"type": "auth", "token": token("admin")}))
    await client.wait_until(lambda c: len(c.of_type("authenticated")) == 2, "the answer")
    other = await connect(app.ws_url, headers=shown("admin", exp=int(time.time()) + 2))
    assert await other.wait_closed() == 3005  # by then the first one would have been closed too
    await insert(db, "Anna")
    await client.wait_until(lambda c: len(c.events) == 1, "an event")


async def test_a_token_with_fewer_rights_removes_topics(app: App, connect: Connect, db: Any) -> None:
    own = await insert(db, "Anna", "anna")
    client = await connect(app.ws_url, headers=shown("admin"))
    await client.wait_until(lambda c: len(c.of_type("authenticated")) == 1, "the first messages")
    # A busy server lets a client connect before it has read the journal again: then the order comes as an event.
    await client.wait_until(lambda c: c.totals["total_orders"] == 1, "totals with the order")
    known = len(client.events)
    await ask(client, "subscribe", f"order:{own}")
    await client.send(json.dumps({"type": "auth", "token": token("customer", sub="anna")}))
    await client.wait_until(lambda c: len(c.of_type("subscribed")) == 2, "what is left")
    assert client.of_type("subscribed")[-1]["topics"] == [f"order:{own}", "orders"]
    await insert(db, "Bo")
    await db.execute("update orders set status = 'ready' where id = $1", own)
    await client.wait_until(lambda c: len(c.events) > known, "an event")
    await settle(client)
    assert [(event["type"], event["order_id"]) for event in client.events[known:]] == [("order_status_update", own)]


@pytest.mark.parametrize(("bad", "code"), [("garbage", 3500), (token(ttl=-1), 3005), (token("owner"), 3507)])
async def test_a_bad_token_closes_the_session(app: App, connect: Connect, bad: str, code: int) -> None:
    client = await connect(app.ws_url, headers=shown("admin"))
    await client.wait_until(lambda c: len(c.of_type("authenticated")) == 1, "the first messages")
    await client.send(json.dumps({"type": "auth", "token": bad}))
    assert await client.wait_closed() == code


@needs_one_worker
async def test_the_sessions_of_a_revoked_subject_are_closed(target: Target, connect: Connect, db: Any) -> None:
    old = token("admin", sub="mallory", iat=int(time.time()) - 60)
    undated = token("admin", sub="mallory", iat=None)
    headers = {"Authorization": f"Bearer {old}"}
    mallory = await connect(target.ws_url, headers=headers)
    other = await connect(target.ws_url, headers=shown("admin", sub="alice"))
    await mallory.wait_until(lambda c: len(c.of_type("authenticated")) == 1, "the first messages")
    await db.execute("select orderwire.revoke('mallory')")
    assert await mallory.wait_closed() == 3500
    url = f"{target.http_url}/api/orders"
    async with aiohttp.ClientSession() as http:
        for revoked in (old, undated):
            async with http.get(url, headers={"Authorization": f"Bearer {revoked}"}) as response:
                assert response.status == 401
        fast = shown("admin", sub="mallory", iat=int(time.time()) + 3)  # dated by a clock that is fast
        async with http.get(url, headers=fast) as response:
            assert response.status == 401
        await db.execute("update orderwire.revocations set revoked_at = now() - interval '10 s'")

        async def until_accepted() -> None:
            status = 401
            while status == 401:
                await asyncio.sleep(0.05)  # not faster than HANDSHAKES_PER_SECOND
                async with http.get(url, headers=fast) as response:
                    status = response.status
            assert status == 200  # issued since

        await within(TIMEOUT_SECONDS, until_accepted(), "a token that was issued later")
    await insert(db, "Anna")
    await other.wait_until(lambda c: len(c.events) == 1, "an event")
    assert mallory.events == []


async def test_without_login_every_token_is_accepted(start_app: StartApp, connect: Connect) -> None:
    app = await start_app()
    client = await connect(app.ws_url)
    await client.send(json.dumps({"type": "auth", "token": "whatever"}))
    await client.wait_until(lambda c: len(c.of_type("authenticated")) == 1, "the answer")
    assert client.of_type("authenticated") == [{"type": "authenticated", "role": "admin", "expires": None}]
