"""``PATCH /api/orders/KEY`` and ``POST /api/test-order``: who may change what, and what becomes of it when things go wrong."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from db import order_writer
from db.embedded.postgres import EmbeddedPostgres
from tests.gateway.conftest import App, StartApp, StartTarget, Target
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, open_connections, url_with_role, within

INSERT = "insert into orders (customer_name, customer_id, total) values ('Anna', 'anna', 5) returning id"
READY = {"status": "ready", "from": "pending"}
TRANSITIONS = {"pending": ["confirmed"], "confirmed": ["ready"]}
ATTACH = "select orderwire.attach(relation, map || $1) from orderwire.attached_tables where name = 'orders'"


def admin(subject: str | None = "olga") -> dict[str, str]:
    return {"Authorization": f"Bearer {token('admin', sub=subject)}"}


async def patch(app: Target, key: object, body: Any, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    """The status, and the JSON of the answer."""
    url = f"{app.http_url}/api/orders/{quote(str(key), safe='')}"
    async with aiohttp.ClientSession() as http, http.patch(url, json=body, headers=headers or admin()) as response:
        assert response.content_type == "application/json"
        return response.status, await response.json()


async def get_json(app: App, path: str, headers: dict[str, str]) -> Any:
    async with app.http.get(path, headers=headers) as response:
        assert response.status == 200, await response.text()
        return await response.json()


@pytest.fixture
async def app(start_app: StartApp) -> App:
    """An application with login."""
    return await start_app(JWT_SECRET=SECRET, HANDSHAKES_PER_SECOND="10000")


@pytest.mark.parametrize("request_line", ["PATCH /api/orders/1", "POST /api/test-order"])
async def test_a_body_that_does_not_come_is_not_waited_for(
    app: App, monkeypatch: pytest.MonkeyPatch, request_line: str
) -> None:
    monkeypatch.setattr("gateway.http.json_body.MAX_BODY_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection(*app.address)
    fields = {"Host": "127.0.0.1", "Content-Type": "application/json", "Content-Length": "20", **admin()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    writer.write(f"{request_line} HTTP/1.1\r\n{head}\r\n{{".encode())
    answer = await within(TIMEOUT_SECONDS, reader.readuntil(b"}}"), "the answer")
    writer.close()
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert b'{"error":{"code":"request_timeout","message":"the body did not come within 0.1 s"}}' in answer


# ---------------------------------------------------------------- a change


async def test_a_change_is_answered_with_its_event_and_the_order(start_target: StartTarget, connect: Connect, db: Any) -> None:
    target = await start_target(JWT_SECRET=SECRET)
    key = await db.fetchval(INSERT)
    client: Client = await connect(target.ws_url, headers=admin())
    status, body = await patch(target, key, READY)
    assert status == 200
    await client.wait_until(lambda c: len(c.events) == 1, "the event")
    (event,) = client.events
    assert body["id"] == event["id"]
    assert (event["type"], event["previous_status"], event["status"]) == ("order_status_update", "pending", "ready")
    role = await db.fetchval("select current_user")
    assert event["actor"] == {"role": role, "application_name": "dashboard: olga"}
    assert (body["order"]["id"], body["order"]["status"], body["order"]["customer_name"]) == (key, "ready", "Anna")
    url = f"{target.http_url}/api/orders/{key}"
    async with aiohttp.ClientSession() as http, http.get(url, headers=admin()) as response:
        assert await response.json() == body["order"]


async def test_who_changed_it_is_not_told_to_customers(app: App, connect: Connect, db: Any) -> None:
    key = await db.fetchval(INSERT)
    customer = {"Authorization": f"Bearer {token('customer', sub='anna')}"}
    client: Client = await connect(app.ws_url, headers=customer)
    await client.wait_until(lambda c: len(c.messages) == 2, "the first messages")
    assert (await patch(app, key, READY))[0] == 200
    await client.wait_until(lambda c: len(c.events) == 1, "the event")
    history = (await get_json(app, f"/api/orders/{key}/events", customer))["events"]
    listed = (await get_json(app, "/api/events", customer))["events"]
    for event in (client.events[0], history[0], listed[-1]):
        assert event["status"] == "ready"
        assert "actor" not in event
    assert (await get_json(app, f"/api/orders/{key}/events", admin()))["events"][0]["actor"]["application_name"]


async def test_a_retried_change_is_a_conflict_with_the_wanted_status(app: App, db: Any) -> None:
    key = await db.fetchval(INSERT)
    assert (await patch(app, key, READY))[0] == 200
    status, body = await patch(app, key, READY)
    actor = body["error"].pop("actor")
    assert (status, body) == (
        409,
        {"error": {"code": "conflict", "message": "the order has changed meanwhile", "status": "ready"}},
    )
    assert actor["application_name"] == "dashboard: olga"
    assert await db.fetchval("select count(*) from orderwire.journal") == 2


async def test_of_two_admins_at_once_one_is_told_who_was_first(app: App, db: Any, database_url: str) -> None:
    key = await db.fetchval(INSERT)
    async with open_connections(database_url, 1) as (holder,):
        held = holder.transaction()
        await held.start()
        await holder.execute("select from orders for update")
        both = [
            asyncio.create_task(patch(app, key, {"status": name, "from": "pending"}, admin(name)))
            for name in ("confirmed", "cancelled")
        ]
        await blocked(db, 2)
        await held.rollback()
        answers = sorted(await asyncio.gather(*both), key=lambda answer: answer[0])
    assert [status for status, _ in answers] == [200, 409]
    won = answers[0][1]["order"]["status"]
    error = answers[1][1]["error"]
    assert error["status"] == won == await db.fetchval("select status from orders")
    assert error["actor"]["application_name"] == f"dashboard: {won}"


async def blocked(db: Any, count: int) -> None:
    """Return when so many sessions wait for a lock."""

    async def wait() -> None:
        sql = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        while await db.fetchval(sql) < count:
            pass

    await within(TIMEOUT_SECONDS, wait(), f"{count} sessions that wait for a lock")


@pytest.mark.parametrize(
    ("subject", "author"),
    [
        (None, "dashboard"),
        ("olga@shop.example", "dashboard: olga@shop.example"),
        ("Ольга", "dashboard: %D0%9E%D0%BB%D1%8C%D0%B3%D0%B0"),
        ("a\nb%", "dashboard: a%0Ab%25"),
    ],
)
async def test_the_author_is_the_subject_of_the_token(app: App, db: Any, subject: str | None, author: str) -> None:
    key = await db.fetchval(INSERT)
    assert (await patch(app, key, READY, admin(subject)))[0] == 200
    assert await db.fetchval("select actor_application from orderwire.journal order by id desc limit 1") == author


async def test_undo_by_the_same_subject(app: App, db: Any) -> None:
    await db.execute(ATTACH, json.dumps({"write": {"status": True, "transitions": TRANSITIONS}}))
    key = await db.fetchval(INSERT)
    _, made = await patch(app, key, {"status": "confirmed", "from": "pending"})
    back = {"status": "pending", "from": "confirmed"}
    status, body = await patch(app, key, back)
    assert (status, body["error"]["reason"]) == (403, "transition")
    status, body = await patch(app, key, {**back, "undo": made["id"]}, admin("bo"))
    assert (status, body["error"]["reason"]) == (403, "undo")
    status, body = await patch(app, key, {**back, "undo": made["id"]})
    assert (status, body["order"]["status"]) == (200, "pending")
    assert (await patch(app, key, {**back, "undo": made["id"]}))[0] == 409


# ---------------------------------------------------------------- what is refused


async def test_only_admins_with_a_token_may_change_orders(start_app: StartApp, app: App, db: Any) -> None:
    key = await db.fetchval(INSERT)
    for role in ("viewer", "customer"):
        headers = {"Authorization": f"Bearer {token(role, sub='anna')}"}
        status, body = await patch(app, key, READY, headers)
        assert (status, body["error"]["code"], body["error"]["reason"]) == (403, "forbidden", "role")
        assert (await get_json(app, "/api/meta", headers))["write"]["reason"] == "role"
    assert (await patch(app, key, READY, {"X": "y"}))[0] == 401
    assert (await get_json(app, "/api/meta", admin()))["write"] == {"status": True, "reason": None, "transitions": None}
    for settings in ({}, {"ALLOW_ANONYMOUS": "1"}):
        anonymous = await start_app(**settings)
        status, body = await patch(anonymous, key, READY)
        assert (status, body["error"]["reason"]) == (403, "no_login")
        assert "JWT_SECRET" in body["error"]["message"]
        assert (await get_json(anonymous, "/api/meta", {}))["write"]["reason"] == "no_login"
    assert await db.fetchval("select status from orders") == "pending"


async def test_the_map_decides(app: App, db: Any) -> None:
    key = await db.fetchval(INSERT)
    await db.execute(ATTACH, json.dumps({"write": {"status": True, "transitions": TRANSITIONS}}))
    meta = await get_json(app, "/api/meta", admin())
    assert meta["write"] == {"status": True, "reason": None, "transitions": TRANSITIONS}
    for wanted in ("ready", "nonsense"):
        status, body = await patch(app, key, {"status": wanted, "from": "pending"})
        assert (status, body["error"]["reason"]) == (403, "transition")
    await db.execute(ATTACH, json.dumps({"write": {"status": False}}))
    status, body = await patch(app, key, READY)
    assert (status, body["error"]["reason"]) == (403, "not_in_map")
    assert (await get_json(app, "/api/meta", admin()))["write"]["reason"] == "not_in_map"
    await db.execute("select orderwire.detach()")
    assert (await patch(app, key, READY))[1]["error"]["reason"] == "not_in_map"


async def test_an_order_that_is_not_there(app: App, db: Any) -> None:
    await db.execute(INSERT)
    for key in ("2", "x", "\0", "9" * 300, "1 or 1=1"):
        status, body = await patch(app, key, READY)
        assert (status, body["error"]["code"]) == (404, "not_found"), key


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"[" * 5000, "the body is not JSON"),
        (b'{"status":"\xff","from":"a"}', "the body is not JSON"),
        (b'{"status":"a","status":"b","from":"c"}', "the body is not JSON"),
        (b"[]", "not a JSON object"),
        (b'"ready"', "not a JSON object"),
        (b"{}", "from: expected a text"),
        (b'{"from":"pending"}', "status: expected a text"),
        (b'{"status":"ready"}', "from: expected a text"),
        (b'{"status":1,"from":"pending"}', "status: expected a text"),
        (b'{"status":"","from":"pending"}', "status: expected a text"),
        (b'{"status":"a\\u0000","from":"pending"}', "status: expected a text"),
        (b'{"status":"\\ud800","from":"pending"}', "status: expected a text"),
        (b'{"status":"' + b"x" * 101 + b'","from":"pending"}', "status: expected a text of 1 to 100"),
        (b'{"status":"pending","from":"pending"}', "another one than from"),
        (b'{"status":"ready","from":"pending","total":1}', "unknown member 'total': expected status, from, undo"),
        (b'{"status":"ready","from":"pending","undo":null}', "undo: expected a text"),
        (b'{"status":"ready","from":"pending","undo":"1"}', "undo: expected the id of an event"),
        (b'{"status":"ready","from":"pending","undo":"0123abcd-s1.2"}', "undo: expected the id of an event"),
        (b'{"status":"ready","from":"pending","undo":"0123abcd-01-2-3"}', "undo: expected the id of an event"),
    ],
)
async def test_a_bad_body_says_what_is_wrong(app: App, db: Any, body: bytes, message: str) -> None:
    key = await db.fetchval(INSERT)
    headers = {**admin(), "Content-Type": "application/json"}
    async with app.http.patch(f"/api/orders/{key}", data=body, headers=headers) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert error["code"] == "bad_request"
    assert message in error["message"]


async def test_a_body_of_another_type_or_size(app: App, db: Any) -> None:
    """What a form of another site can send is none of them."""
    key = await db.fetchval(INSERT)
    body = json.dumps(READY).encode()
    for content_type in ("text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", ""):
        headers = {**admin(), "Content-Type": content_type}
        async with app.http.patch(f"/api/orders/{key}", data=body, headers=headers) as response:
            assert response.status == 400, content_type
            assert "Content-Type: application/json" in (await response.json())["error"]["message"]
    headers = {**admin(), "Content-Type": "application/json"}
    async with app.http.patch(f"/api/orders/{key}", data=body + b" " * 9000, headers=headers) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (413, "too_large")
    headers["Content-Type"] = "application/json; charset=UTF-8"
    async with app.http.patch(f"/api/orders/{key}", data=body, headers=headers) as response:
        assert response.status == 200


async def test_what_the_table_refuses_is_said(app: App, db: Any) -> None:
    key = await db.fetchval(INSERT)
    await db.execute(
        "create function unpaid() returns trigger language plpgsql as $$ begin raise exception 'order % is not paid', new.id;"
        " end $$; create trigger unpaid before update on orders for each row execute function unpaid()"
    )
    status, body = await patch(app, key, READY)
    assert (status, body["error"]["reason"]) == (403, "refused")
    assert body["error"]["message"].endswith(f"order {key} is not paid")
    await db.execute("drop trigger unpaid on orders")
    await db.execute("alter table orders add constraint not_ready check (status <> 'ready')")
    status, body = await patch(app, key, READY)
    assert (status, body["error"]["reason"]) == (403, "refused")
    assert "not_ready" in body["error"]["message"]
    await db.execute(
        "alter table orders drop constraint not_ready;"
        "create function late() returns trigger language plpgsql as $$ begin raise exception 'at commit'; end $$;"
        "create constraint trigger late after update on orders deferrable initially deferred"
        " for each row execute function late()"
    )
    status, body = await patch(app, key, READY)
    assert (status, body["error"]["reason"]) == (403, "refused")
    assert await db.fetchval("select status from orders") == "pending"
    await db.execute("drop trigger late on orders")
    assert (await patch(app, key, READY))[0] == 200, "the connection is good"


_OWN_STATES = ("99999", "38000", "09000", "2F000", "54000", "XX000", "27000", "0A000", "21000", "42501", "42P01", "42883")

# SQL in a trigger of the shop, and what it raises.
_RAISED = {
    **{state: (f"raise exception 'not now' using errcode = '{state}'", "not now") for state in _OWN_STATES},
    "a table that is not there": ("perform 1 from orderwire_of_the_shop", 'relation "orderwire_of_the_shop" does not exist'),
    "long": ("raise exception '%', repeat('x', 5000)", "x" * 300),
}


@pytest.mark.parametrize("what", _RAISED)
@pytest.mark.parametrize("when", ["during the change", "at COMMIT"])
async def test_whatever_a_trigger_raises_is_a_refusal(app: App, db: Any, what: str, when: str) -> None:
    sql, text = _RAISED[what]
    kind = "constraint trigger" if when == "at COMMIT" else "trigger"
    deferred = "deferrable initially deferred" if when == "at COMMIT" else ""
    key = await db.fetchval(INSERT)
    await db.execute(
        f"create function raises() returns trigger language plpgsql as $$ begin {sql}; return null; end $$;"
        f"create {kind} raises after update on orders {deferred} for each row execute function raises()"
    )
    status, body = await patch(app, key, READY)
    assert (status, body["error"]["reason"]) == (403, "refused"), body
    assert body["error"]["message"] == f"the table has refused the change: {text}"
    assert await db.fetchval("select status from orders") == "pending"


@pytest.mark.parametrize("state", ["08000", "40001", "53000", "57000", "58000", "25006", "55P03"])
async def test_what_is_no_refusal_may_be_tried_again(app: App, db: Any, state: str) -> None:
    key = await db.fetchval(INSERT)
    await db.execute(
        "create function raises() returns trigger language plpgsql as"
        f" $$ begin raise exception 'not now' using errcode = '{state}'; end $$;"
        "create trigger raises before update on orders for each row execute function raises()"
    )
    status, body = await patch(app, key, READY)
    assert (status, body["error"]["code"]) == (503, "unavailable")


async def test_a_role_whose_trigger_would_run_with_the_rights_of_a_change(app: App, db: Any) -> None:
    """A GRANT after the table was attached."""
    key = await db.fetchval(INSERT)
    await db.execute("grant all on orders to public")
    status, body = await patch(app, key, READY)
    assert (status, body["error"]["reason"]) == (403, "refused")
    assert "public may create triggers on public.orders" in body["error"]["message"]
    await db.execute("revoke trigger on orders from public")
    assert (await patch(app, key, READY))[0] == 200


@pytest.mark.parametrize("when", ["during the change", "at COMMIT"])
async def test_a_trigger_with_a_temporary_table(app: App, db: Any, when: str) -> None:
    """Its session would have a temporary schema from then on, so it makes no second change."""
    kind = "constraint trigger" if when == "at COMMIT" else "trigger"
    deferred = "deferrable initially deferred" if when == "at COMMIT" else ""
    await db.execute(
        "create function scratch() returns trigger language plpgsql as"
        " $$ begin create temp table scratch (x int) on commit drop; return null; end $$;"
        f"create {kind} scratch after update on orders {deferred} for each row execute function scratch()"
    )
    for _ in range(2 * order_writer.MAX_CONNECTIONS + 1):
        status, body = await patch(app, await db.fetchval(INSERT), READY)
        assert status == 200, body


async def test_an_ordinary_connection_is_kept(app: App, db: Any) -> None:
    await db.execute(
        "create table pids (pid integer);"
        "create function pid() returns trigger language plpgsql as $$ begin insert into pids values (pg_backend_pid());"
        " return null; end $$; create trigger pid after update on orders for each row execute function pid()"
    )
    for _ in range(5):
        assert (await patch(app, await db.fetchval(INSERT), READY))[0] == 200
    pids = {row["pid"] for row in await db.fetch("select pid from pids")}
    assert len(pids) <= order_writer.MAX_CONNECTIONS


async def test_a_conflict_shows_a_status_of_bounded_length(app: App, db: Any) -> None:
    key = await db.fetchval(INSERT)
    await db.execute("alter table orders drop constraint orders_status_check")
    await db.execute("update orders set status = repeat('x', 100000)")
    status, body = await patch(app, key, READY)
    assert (status, body["error"]["status"]) == (409, "x" * 101)


async def test_what_a_policy_refuses_is_said(app: App, db: Any) -> None:
    """Row level security that holds for the owner of the table too, who is no superuser here."""
    await db.execute("create role policed; alter table orders owner to policed")
    try:
        await db.execute(
            "alter table orders enable row level security, force row level security;"
            "create policy reads on orders for select using (true);"
            "create policy writes on orders for update using (status <> 'cancelled') with check (status <> 'ready');"
            "select orderwire.attach(relation, map) from orderwire.attached_tables"
        )
        key = await db.fetchval(INSERT)
        status, body = await patch(app, key, READY)
        assert (status, body["error"]["reason"]) == (403, "refused")
        assert "row-level security" in body["error"]["message"]
        assert (await patch(app, key, {"status": "cancelled", "from": "pending"}))[0] == 200
        status, body = await patch(app, key, {"status": "pending", "from": "cancelled"})
        assert (status, body["error"]["reason"]) == (403, "refused")
        assert await db.fetchval("select status from orders") == "cancelled"
    finally:
        await db.execute("reassign owned by policed to current_user; drop owned by policed; drop role policed")


# ---------------------------------------------------------------- the database


async def test_a_row_that_is_locked_for_long(app: App, db: Any, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads go on meanwhile, and further changes do not wait longer than for a connection."""
    monkeypatch.setattr(order_writer, "CONNECTION_WAIT_SECONDS", 0.1)
    keys = [await db.fetchval(INSERT) for _ in range(order_writer.MAX_CONNECTIONS)]
    other = await db.fetchval(INSERT)
    async with open_connections(database_url, 1) as (holder,), holder.transaction():
        await holder.execute("select from orders where id = any($1) for update", keys)
        waiting = [asyncio.create_task(patch(app, key, READY)) for key in keys]
        await blocked(db, order_writer.MAX_CONNECTIONS)
        status, body = await patch(app, other, READY)
        assert (status, body["error"]["code"]) == (503, "unavailable")
        assert "other changes of orders wait" in body["error"]["message"]
        assert (await get_json(app, f"/api/orders/{keys[0]}", admin()))["status"] == "pending"
        for status, body in await asyncio.gather(*waiting):
            assert (status, body["error"]["code"]) == (503, "unavailable")
            assert "another transaction" in body["error"]["message"]
        assert (await patch(app, other, READY))[0] == 200
    assert (await patch(app, keys[0], READY))[0] == 200


async def test_a_trigger_that_takes_too_long(app: App, db: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    key = await db.fetchval(INSERT)
    await db.execute(
        "create function slow() returns trigger language plpgsql as $$ begin perform pg_sleep(100); return new; end $$;"
        "create trigger slow before update on orders for each row execute function slow()"
    )
    with monkeypatch.context() as patched:
        patched.setattr(order_writer, "_SETTINGS_SQL", order_writer._SETTINGS_SQL + "set local statement_timeout = '50ms'")
        status, body = await patch(app, key, READY)
    assert (status, body["error"]["code"]) == (503, "unavailable")
    assert "and was not made" in body["error"]["message"]
    await db.execute("drop trigger slow on orders")
    assert (await patch(app, key, READY))[0] == 200


async def test_a_role_that_reads_only_by_default(app: App, db: Any) -> None:
    """Which is a setting, and no right."""
    key = await db.fetchval(INSERT)
    await db.execute(f"alter database {await db.fetchval('select current_database()')} set default_transaction_read_only = on")
    assert (await patch(app, key, READY))[0] == 200


async def test_a_database_that_is_read_only_or_away(
    app: App, db: Any, postgres: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, name = await db.fetchval(INSERT), await db.fetchval("select current_database()")
    with monkeypatch.context() as patched:
        patched.setattr(order_writer, "_SETTINGS_SQL", "set transaction read only")
        status, body = await patch(app, key, READY)
        assert (status, body["error"]["message"]) == (503, "the database is read-only")
    async with open_connections(postgres.url, 1) as (other,):
        await other.execute(f"alter database {name} allow_connections false")
        await other.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name)
        status, body = await patch(app, key, READY)
        assert (status, body["error"]["code"]) == (503, "unavailable")
        await other.execute(f"alter database {name} allow_connections true")
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while (status := (await patch(app, key, READY))[0]) == 503:
            pass
    assert status == 200


async def test_a_serving_role(start_app: StartApp, db: Any, database_url: str) -> None:
    """It changes the status through our function alone; without the right to call that, this is said."""
    await db.execute("create role patch_server login password 'secret'; select orderwire.grant_serving('patch_server')")
    try:
        key = await db.fetchval(INSERT)
        app = await start_app(url_with_role(database_url, "patch_server", "secret"), JWT_SECRET=SECRET)
        assert (await patch(app, key, READY))[0] == 200
        actor = (await get_json(app, f"/api/orders/{key}/events", admin()))["events"][0]["actor"]
        assert actor == {"role": "patch_server", "application_name": "dashboard: olga"}
        await db.execute(
            "revoke execute on function orderwire.change_order_status(text, text, text, text, text) from patch_server"
        )
        status, body = await patch(app, key, {"status": "pending", "from": "ready"})
        assert (status, body["error"]["code"]) == (503, "unavailable")
        assert "lacks a privilege" in body["error"]["message"]
        await app.close()
    finally:
        await db.execute("drop owned by patch_server; drop role patch_server")


_WAITS = {
    "for the row": "",
    "in a trigger": (
        "create function wait() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(7); return null;"
        " end $$; create trigger wait after update on orders for each row execute function wait()"
    ),
    "at COMMIT": (
        "create function wait() returns trigger language plpgsql as $$ begin perform pg_advisory_xact_lock(7); return null;"
        " end $$; create constraint trigger wait after update on orders deferrable initially deferred"
        " for each row execute function wait()"
    ),
}


@pytest.mark.parametrize("where", _WAITS)
async def test_a_server_that_is_killed_during_a_change_leaves_all_of_it_or_nothing(
    start_server: StartServer, db: Any, database_url: str, where: str
) -> None:
    key = await db.fetchval(INSERT)
    await db.execute(_WAITS[where] or "select 1")
    server: Server = await start_server(database_url, JWT_SECRET=SECRET)
    async with open_connections(database_url, 1) as (holder,):
        held = holder.transaction()
        await held.start()
        await holder.execute("select pg_advisory_xact_lock(7)" if _WAITS[where] else "select from orders for update")
        request = asyncio.create_task(patch(server, key, READY))
        await blocked(db, 1)
        await server.kill()
        with pytest.raises(aiohttp.ClientError):
            await request
        await held.rollback()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while await db.fetchval(
            "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        ):
            pass
    status = await db.fetchval("select status from orders")
    events = await db.fetch("select status, actor_application from orderwire.journal where was_order")
    assert (status, [tuple(event) for event in events]) in (
        ("pending", []),
        ("ready", [("ready", "dashboard: olga")]),
    )
    if where == "at COMMIT":
        assert status == "ready", "PostgreSQL ends what it was told to end"


# ---------------------------------------------------------------- test orders


@asynccontextmanager
async def posted(app: App, headers: dict[str, str], body: bytes = b"{}") -> AsyncIterator[aiohttp.ClientResponse]:
    sent = {"Content-Type": "application/json", **headers}
    async with app.http.post("/api/test-order", data=body, headers=sent) as response:
        yield response


@pytest.mark.parametrize("login", [False, True])
async def test_a_test_order_on_the_embedded_database(start_app: StartApp, connect: Connect, db: Any, login: bool) -> None:
    app = await start_app(embedded=True, **({"JWT_SECRET": SECRET} if login else {}))
    headers = admin() if login else {}
    client: Client = await connect(app.ws_url, headers=headers)
    assert (await get_json(app, "/api/meta", headers))["test_order"] is True
    async with posted(app, headers) as response:
        assert response.status == 201
        body = await response.json()
    await client.wait_until(lambda c: len(c.events) == 1, "the event")
    assert {"id": client.events[0]["id"], "key": client.events[0]["key"]} == body
    row = await db.fetchrow("select * from orders")
    assert (str(row["id"]), row["status"]) == (body["key"], "pending")
    assert 5 <= row["total"] <= 300
    async with posted(app, headers, b'{"total":1}') as response:
        assert response.status == 400
    async with posted(app, {**headers, "Content-Type": "text/plain"}) as response:
        assert response.status == 400
    if login:
        viewer = {"Authorization": f"Bearer {token('viewer')}"}
        assert (await get_json(app, "/api/meta", viewer))["test_order"] is False
        async with posted(app, viewer) as response:
            assert (response.status, (await response.json())["error"]["reason"]) == (403, "role")
    assert await db.fetchval("select count(*) from orders") == 1


async def test_no_test_order_elsewhere(start_app: StartApp, db: Any) -> None:
    """Not in a database of the shop, nor in another table."""
    foreign = await start_app()
    embedded = await start_app(embedded=True)
    await db.execute("select orderwire.detach()")
    await db.execute("create table sales (id bigint primary key)")
    await db.execute("select orderwire.attach('public.sales', $1)", json.dumps({"key": "id"}))
    for app in (foreign, embedded):
        assert (await get_json(app, "/api/meta", {}))["test_order"] is False
        async with posted(app, {}) as response:
            assert (response.status, (await response.json())["error"]["reason"]) == (403, "playground")
    assert await db.fetchval("select count(*) from orders") == 0
