"""The descriptions against the running server: every example of /openapi.json and /asyncapi.json, and every kind of message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import jsonschema
import pytest

from gateway.description.operations import OPERATIONS, Operation, Parameter
from push.protocol.schema import CLIENT_MESSAGES, EVENTS, SCHEMAS
from tests.gateway.conftest import App, StartApp
from tests.helpers.npm import installed
from tests.helpers.schemas import MESSAGES, assert_described, assert_message_described, same_shape
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, Client, Connect, within

ADMIN = {"Authorization": f"Bearer {token('admin', sub='anna')}"}
INSERT = "insert into orders (customer_name, total) values ('Иван Иванов', 150.50)"
ATTACH = "select orderwire.attach(relation, map || $1) from orderwire.attached_tables where name = 'orders'"
STREAMED = ("/api/ws", "/api/sse")


@pytest.fixture(scope="session")
def asyncapi_schema() -> Any:
    """The schema by which the AsyncAPI Initiative defines version 3.0.0."""
    package = installed(Path(__file__).parent / "asyncapi") / "node_modules" / "@asyncapi" / "specs"
    return json.loads((package / "schemas" / "3.0.0-without-$id.json").read_text(encoding="utf-8"))


@pytest.fixture
async def app(start_app: StartApp, db: Any) -> App:
    """An application with login, one order, and a map that allows changes."""
    await db.execute(ATTACH, json.dumps({"write": {"status": True}}))
    await db.execute("create table stock (id integer primary key, remaining integer)")
    await db.execute("""select orderwire.attach_stream('stock', 'stock', '{"key": "id", "data": ["remaining"]}')""")
    app = await start_app(embedded=True, JWT_SECRET=SECRET)
    await db.execute(INSERT)
    return app


async def document(app: App, name: str) -> Any:
    async with app.http.get(f"/{name}") as response:
        assert (response.status, response.content_type) == (200, "application/json")
        return await response.json()


async def test_the_documents_are_served_to_everyone(app: App) -> None:
    assert set((await document(app, "openapi.json"))["paths"]) == {path for _, path in OPERATIONS}
    assert (await document(app, "asyncapi.json"))["asyncapi"] == "3.0.0"


async def test_asyncapi_is_valid(app: App, asyncapi_schema: Any) -> None:
    served = await document(app, "asyncapi.json")
    errors = [f"{e.json_path}: {e.message}" for e in jsonschema.Draft7Validator(asyncapi_schema).iter_errors(served)]
    assert errors == []
    del served["channels"]["websocket"]["messages"]["Ping"]["$ref"]
    served["operations"]["receivePing"]["action"] = "ask"
    assert not jsonschema.Draft7Validator(asyncapi_schema).is_valid(served)


# ---------------------------------------------------------------- HTTP


async def cursors(app: App) -> dict[str, str]:
    """A value for each parameter that takes a cursor of this database, by the path."""
    async with app.http.get("/api/orders?limit=1", headers=ADMIN) as response:
        position = (await response.json())["position"]
    return {"/api/events": position, "/api/sse": position, "/api/ws": position}


def value_of(parameter: Parameter, path: str, known: dict[str, str]) -> Any:
    """The example; for a cursor, one of this database."""
    return known.get(path, parameter.example) if parameter.schema.get("format") == "cursor" else parameter.example


async def test_every_example_is_answered_as_described(app: App) -> None:
    """Once with the required parameters alone, and once for each of the others. The answer has the example's members."""
    known = await cursors(app)
    # What changes orders comes last.
    for (method, path), operation in sorted(OPERATIONS.items(), key=lambda item: item[0][0] != "GET"):
        if path not in STREAMED:
            for extra in (None, *(parameter for parameter in operation.parameters if parameter.where != "path")):
                query = {} if extra is None else {extra.name: value_of(extra, path, known)}
                await check_answer(app, method, path, operation, query)


async def check_answer(app: App, method: str, path: str, operation: Operation, query: dict[str, Any]) -> None:
    for parameter in operation.parameters:
        if parameter.where == "path":
            path = path.replace(f"{{{parameter.name}}}", parameter.example)
    body = None if operation.body is None else operation.body[1]
    async with app.http.request(method, path, params=query, json=body, headers=ADMIN) as response:
        assert response.status == operation.answer.status, f"{path} {query}: {await response.text()}"
        assert response.content_type == operation.answer.content_type
        if operation.answer.schema is None:
            assert await response.text()
            return
        answer = await response.json()
    assert_described(answer, operation.answer.schema)
    assert same_shape(operation.answer.example, answer), answer


ERRORS = {
    400: ("GET", "/api/orders?limit=0", ADMIN, None),
    401: ("GET", "/api/orders", {}, None),
    403: ("GET", "/api/orders", {"Authorization": f"Bearer {token('viewer')}"}, None),
    404: ("GET", "/api/orders/none", ADMIN, None),
    405: ("DELETE", "/api/orders", ADMIN, None),
    409: ("PATCH", "/api/orders/1", ADMIN, {"status": "ready", "from": "delivered"}),
    410: ("GET", "/api/events?after=5f0c12ab-761-2731524096-1", ADMIN, None),
}


async def test_errors_are_answered_as_described(app: App) -> None:
    responses = (await document(app, "openapi.json"))["components"]["responses"]
    for status, (method, path, headers, body) in ERRORS.items():
        async with app.http.request(method, path, headers=headers, json=body) as response:
            assert response.status == status
            answer = await response.json()
        assert_described(answer, "Error")
        example = responses[answer["error"]["code"]]["content"]["application/json"]["example"]
        assert same_shape(example, answer)


# ---------------------------------------------------------------- messages


async def every_message(app: App, connect: Connect, db: Any) -> list[Any]:
    """A run in which a client gets every message that a healthy server sends."""
    client: Client = await connect(f"{app.ws_url}?topics=orders,analytics,stock", headers=ADMIN)
    for statement in (
        INSERT,
        "update orders set status = 'preparing' where id = 2",
        "update orders set total = 99 where id = 2",
        "delete from orders where id = 2",
        "insert into stock values (7, 5)",
        "update stock set remaining = 4",
        "delete from stock",
    ):
        await db.execute(statement)
    await client.wait_until(lambda c: len(c.events) == 7, "the events")  # before a command that ends a subscription
    for name in CLIENT_MESSAGES.values():
        for example in SCHEMAS[name]["examples"]:
            sent = {**example, "token": token("admin")} if name == "Auth" else example
            await client.send(json.dumps(sent))
    await client.send('{"type":"subscribe","topics":["order"]}')
    await client.wait_until(lambda c: bool(c.of_type("error")), "the answers")
    back: Client = await connect(f"{app.ws_url}?last_event_id={client.events[0]['id']}", headers=ADMIN)
    await back.wait_until(lambda c: bool(c.of_type("resumed")), "the answer to the resume")
    slow: Client = await connect(f"{app.ws_url}?conflate=1", headers=ADMIN)
    await db.execute("insert into orders (customer_name, total) select 'Anna', n from generate_series(1, 500) n")
    await slow.wait_until(lambda c: bool(c.of_type("bulk")) and bool(c.of_type("position")), "the events in one")
    return [*client.messages, *back.messages, *slow.messages]


async def test_every_real_message_is_as_described(app: App, connect: Connect, db: Any) -> None:
    messages = await every_message(app, connect, db)
    for message in messages:
        assert_message_described(message)
    # The heartbeat comes after 30 s, and what happens when the database is away is shown elsewhere.
    assert {message["type"] for message in messages} == set(MESSAGES) - {"ping", "feed_status"}
    for type_ in {message["type"] for message in messages}:
        for example in SCHEMAS[MESSAGES[type_]]["examples"]:
            same = [message for message in messages if message["type"] == type_ and same_shape(without_actor(message), example)]
            assert same, f"no message has the members of the example {example}"


async def test_every_member_of_an_event_is_described(start_app: StartApp, connect: Connect, db: Any) -> None:
    """With a map that has everything, and texts that are cut."""
    members = {"actor": True, "currency": "'PLN'", "data": ["updated_at"]}
    await db.execute(ATTACH, json.dumps(members))
    await db.execute("create table stock (id integer primary key, order_id bigint)")
    stream = {"key": "id", "order_key": "order_id", "data": ["order_id"], "actor": True}
    await db.execute("select orderwire.attach_stream('stock', 'stock', $1)", json.dumps(stream))
    app = await start_app()
    client: Client = await connect(f"{app.ws_url}?topics=orders,analytics,stock")
    for statement in (
        "insert into orders (customer_name, total) values (repeat('x', 600), 5)",
        "update orders set status = 'ready'",
        "update orders set total = 6, created_at = created_at - interval '1 day', customer_name = 'Anna'",
        "insert into stock values (1, 1)",
        "update stock set order_id = null",
        "delete from stock",
        "delete from orders",
    ):
        await db.execute(statement)
    await client.wait_until(lambda c: len(c.events) == 7, "the events")
    for message in client.messages:
        assert_message_described(message)
    found = {name for event in client.events for name in event}
    described = {name for schema in EVENTS.values() for name in SCHEMAS[schema]["properties"]}
    assert found == described - {"previous_currency"}  # the map's currency is always the same
    assert "revenue_by_currency" in client.totals


def without_actor(message: Any) -> Any:
    return {name: value for name, value in message.items() if name != "actor"}


async def test_commands_are_answered_as_described(app: App, connect: Connect) -> None:
    operations = (await document(app, "asyncapi.json"))["operations"]
    client: Client = await connect(app.ws_url, headers=ADMIN)
    await client.wait_until(lambda c: len(c.messages) == 2, "the first messages")
    for name in CLIENT_MESSAGES.values():
        if "reply" not in operations[f"receive{name}"]:
            continue
        replies = {ref["$ref"].rpartition("/")[2] for ref in operations[f"receive{name}"]["reply"]["messages"]}
        count = len(client.messages)
        example = {**SCHEMAS[name]["examples"][0], **({"token": token("admin")} if name == "Auth" else {})}
        await client.send(json.dumps(example))
        await client.wait_until(lambda c: len(c.messages) > count, f"the answer to {name}")  # noqa: B023  (used at once)
        assert MESSAGES[client.messages[count]["type"]] in replies


async def test_the_event_stream_sends_what_is_described(app: App, db: Any) -> None:
    known = await cursors(app)
    described = (await document(app, "asyncapi.json"))["channels"]["eventStream"]["messages"]

    async def read(response: aiohttp.ClientResponse) -> list[Any]:
        found: list[Any] = []
        async for line in response.content:
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
                if found[-1]["type"] == "new_order":
                    return found
        raise AssertionError(f"the stream has ended: {found}")

    for parameter in OPERATIONS["GET", "/api/sse"].parameters:
        value = str(value_of(parameter, "/api/sse", known))
        query = {parameter.name: value} if parameter.where == "query" else {}
        headers = ADMIN if parameter.where == "query" else {**ADMIN, parameter.name: value}
        async with app.http.get("/api/sse", params=query, headers=headers) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            await db.execute(INSERT)
            for message in await within(TIMEOUT_SECONDS, read(response), "an event"):
                assert_message_described(message)
                assert MESSAGES[message["type"]] in described
