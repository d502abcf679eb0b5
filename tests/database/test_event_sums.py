"""What an event says of sums: status, total, currency and time of creation, as they are and as they were."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from tests.database.journal_rows import recorded_events
from tests.support import Message

SUMMED = ("total", "status", "currency", "created_at")
INSERT_SQL = (
    "insert into orders (customer_name, customer_id, total, created_at) values ('Anna', 'anna', 5, '2026-05-01 12:00:00+02')"
)
CREATED_AT = "2026-05-01T10:00:00.000000Z"


def of_sums(event: Message) -> dict[str, Any]:
    """The members of an event that are about sums."""
    return {name: value for name, value in event.items() if name.removeprefix("previous_") in SUMMED}


async def attach_with_currency(db: Any, **members: Any) -> None:
    await db.execute("alter table orders add column currency text")
    await db.execute(
        "select orderwire.attach('public.orders', a.map || $1) from orderwire.attached_tables as a",
        json.dumps({"currency": "currency", **members}),
    )


async def test_each_event_has_what_an_order_counts_for_and_what_it_counted_for(db: Any) -> None:
    await attach_with_currency(db)
    await db.execute(INSERT_SQL)
    for assignment in (
        "customer_name = 'Bo'",
        "currency = 'EUR'",
        "total = 7, currency = 'PLN'",
        "status = 'ready'",
        "status = 'cancelled', total = 8, currency = null, created_at = '2026-05-02 00:00:00+00'",
        "created_at = '2026-05-03 00:00:00+00'",
    ):
        await db.execute(f"update orders set {assignment}")
    await db.execute("delete from orders")
    now = {"total": "5.00", "status": "pending", "created_at": CREATED_AT}
    later = {"total": "8.00", "status": "cancelled", "created_at": "2026-05-02T00:00:00.000000Z"}
    events = await recorded_events(db)
    assert [(event["type"], of_sums(event)) for event in events] == [
        ("new_order", now),
        ("order_update", now),
        ("order_update", {**now, "currency": "EUR", "previous_currency": None}),
        (
            "order_update",
            {**now, "total": "7.00", "currency": "PLN", "previous_total": "5.00", "previous_currency": "EUR"},
        ),
        (
            "order_status_update",
            {**now, "total": "7.00", "status": "ready", "currency": "PLN", "previous_status": "pending"},
        ),
        (
            "order_status_update",
            {
                **later,
                "currency": None,
                "previous_total": "7.00",
                "previous_status": "ready",
                "previous_currency": "PLN",
                "previous_created_at": CREATED_AT,
            },
        ),
        ("order_update", {**later, "created_at": "2026-05-03T00:00:00.000000Z", "previous_created_at": later["created_at"]}),
        (
            "order_delete",
            {"previous_total": "8.00", "previous_status": "cancelled", "created_at": "2026-05-03T00:00:00.000000Z"},
        ),
    ]


async def test_a_deleted_order_has_the_currency_and_the_time_that_it_had(db: Any) -> None:
    """Deleted, truncated, and no order any more by the map's condition, in the update that changes it too."""
    await db.execute("alter table orders add column hidden boolean")
    await attach_with_currency(db, where="o.hidden is not true")
    had = {"previous_total": "5.00", "previous_status": "pending", "currency": "EUR", "created_at": CREATED_AT}
    for statement in (
        "delete from orders",
        "truncate orders",
        "update orders set hidden = true, total = 9, currency = 'PLN', status = 'ready', created_at = '2020-01-01'",
    ):
        await db.execute(INSERT_SQL)
        await db.execute("update orders set currency = 'EUR'")
        await db.execute(statement)
        event = (await recorded_events(db))[-1]
        assert (event["type"], of_sums(event)) == ("order_delete", had), statement
    await db.execute("update orders set hidden = false")
    event = (await recorded_events(db))[-1]
    assert (event["type"], of_sums(event)) == (
        "new_order",
        {"total": "9.00", "status": "ready", "currency": "PLN", "created_at": "2020-01-01T00:00:00.000000Z"},
    )


@pytest.mark.parametrize(
    "moment", ["infinity", "-infinity", "0044-03-15 12:00:00+00 BC", "20000-01-01 00:00:00+00", "10000-01-01 00:00:00+00"]
)
async def test_a_time_that_rfc_3339_cannot_say_is_null(db: Any, moment: str) -> None:
    await db.execute("insert into orders (customer_name, total, created_at) values ('a', 1, $1::text::timestamptz)", moment)
    await db.execute("update orders set created_at = '9999-12-31 23:59:59.999999+00'")
    await db.execute("update orders set created_at = $1::text::timestamptz", moment)
    await db.execute("delete from orders")
    last = "9999-12-31T23:59:59.999999Z"
    assert [{name: value for name, value in event.items() if "created_at" in name} for event in await recorded_events(db)] == [
        {"created_at": None},
        {"created_at": last, "previous_created_at": None},
        {"created_at": None, "previous_created_at": last},
        {"created_at": None},
    ]


async def test_an_order_without_a_time(db: Any) -> None:
    """And one that gets a time, and loses it again. -infinity in the journal stands for none."""
    await db.execute("alter table orders alter column created_at drop not null")
    await db.execute("insert into orders (customer_name, total, created_at) values ('a', 1, null)")
    await db.execute("update orders set total = 2")
    await db.execute("update orders set created_at = '2026-05-01'")
    await db.execute("update orders set created_at = null")
    await db.execute("delete from orders")
    moment = "2026-05-01T00:00:00.000000Z"
    assert [{name: value for name, value in event.items() if "created_at" in name} for event in await recorded_events(db)] == [
        {},
        {},
        {"created_at": moment, "previous_created_at": None},
        {"created_at": None, "previous_created_at": moment},
        {},
    ]


async def test_an_expression_that_raises_gives_no_time(db: Any) -> None:
    await db.execute("create schema shop; create table shop.orders (id integer primary key, made text)")
    await db.execute("select orderwire.detach()")
    await db.execute(
        "select orderwire.attach('shop.orders', $1)",
        json.dumps({"key": "id", "created_at": "o.made::timestamp at time zone 'UTC'"}),
    )
    await db.execute("insert into shop.orders values (1, '2026-05-01 10:00:00'), (2, 'soon')")
    await db.execute("update shop.orders set made = case id when 1 then 'later' else '2026-05-01 10:00:00' end")
    assert [
        (event["key"], event["type"], event.get("created_at"), event.get("previous_created_at", "-"))
        for event in await recorded_events(db)
    ] == [
        ("1", "new_order", CREATED_AT, "-"),
        ("2", "new_order", None, "-"),
        ("1", "order_update", None, CREATED_AT),
        ("2", "order_update", CREATED_AT, None),
    ]


async def test_a_map_without_a_time_records_none(db: Any) -> None:
    await db.execute("select orderwire.attach('public.orders', a.map - 'created_at') from orderwire.attached_tables as a")
    await db.execute(INSERT_SQL)
    await db.execute("update orders set created_at = '2020-01-01'")
    await db.execute("update orders set total = 6")
    assert [event["type"] for event in await recorded_events(db)] == ["new_order", "order_update"]
    assert await db.fetchval("select count(created_at) + count(previous_created_at) from orderwire.journal") == 0
    assert "created_at" not in json.dumps(await recorded_events(db))


async def test_payloads_of_keys_have_no_sums_and_no_times(db: Any) -> None:
    await attach_with_currency(db, payload="keys")
    await db.execute(INSERT_SQL)
    await db.execute("update orders set total = 7, currency = 'EUR', created_at = '2020-01-01', status = 'ready'")
    await db.execute("delete from orders")
    payloads = await db.fetch(
        "select orderwire.event_keys_json(j, i.epoch, i.integer_keys)::json"
        " from orderwire.journal as j, orderwire.journal_identity as i"
    )
    assert [set(json.loads(row[0])) for row in payloads] == [{"type", "id", "order_id", "key"}] * 3


async def test_erasing_a_person_leaves_what_sums_are_made_of(db: Any) -> None:
    await db.execute(INSERT_SQL)
    await db.execute("update orders set total = 7")
    before = [of_sums(event) for event in await recorded_events(db)]
    assert await db.fetchval("select orderwire.erase('1')") > 0
    assert [of_sums(event) for event in await recorded_events(db)] == before


async def test_a_nested_change_of_the_time_comes_after_the_change_that_it_follows(db: Any) -> None:
    """A row trigger of the shop sets the time again: its statement is recorded first, and the outer one has the old time."""
    await db.execute(INSERT_SQL)
    await db.execute(
        "create function public.set_time() returns trigger language plpgsql as $$ begin"
        " update public.orders set created_at = '2020-01-01' where id = new.id; return null; end $$;"
        " create trigger set_time after update of customer_name on public.orders"
        " for each row execute function public.set_time()"
    )
    await db.execute("update orders set customer_name = 'Bo'")
    events = await recorded_events(db)
    assert [(event.get("customer_name"), event["created_at"]) for event in events] == [
        ("Anna", CREATED_AT),
        ("Bo", CREATED_AT),
        (None, "2020-01-01T00:00:00.000000Z"),
    ]
    assert Counter("previous_created_at" in event for event in events) == {False: 2, True: 1}


async def test_the_longest_event_is_within_its_bound(db: Any) -> None:
    """All texts of control characters, everything changed, and as much data as is carried."""
    await db.execute("select orderwire.detach()")
    await db.execute(
        "create table public.long (id text primary key, t text, n numeric, d text, at timestamptz);"
        "insert into public.long values (repeat(e'\\x01', 200), 'x', 1, 'x', now())"
    )
    text = "o.t"
    await db.execute(
        "select orderwire.attach('public.long', $1)",
        json.dumps(
            {
                "key": "id",
                **dict.fromkeys(("number", "customer_name", "customer_id", "currency", "status"), text),
                "total": "n",
                "created_at": "at",
                "data": ["d"],
                "actor": True,
            }
        ),
    )
    for letter in "\x01", "\x02":
        await db.execute(
            "update public.long set t = repeat($1, 1090), n = sign(-n) * 99999999999999999999999.99999999999999999999,"
            " d = repeat('x', 5980), at = at + interval '1 s'",
            letter,
        )
    longest = await db.fetchval("select octet_length(event::text) from orderwire.events order by id desc limit 1")
    assert 14_000 < longest <= 16_384
