"""db/attach/guess_map.py without a database: what each fact of the catalog decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from db.attach.facts import Column, ForeignKey, Index, Table, quote_identifier, spellings, split_words
from db.attach.guess import Guess
from db.attach.guess_map import guess_map, guess_stream


def table(
    *columns: Column,
    values: Mapping[str, Sequence[str | None]] | None = None,
    name: str = "orders",
    keys: Sequence[ForeignKey] = (),
    **facts: Any,
) -> Table:
    """A table with the primary key ``id``; ``values`` are sampled once each."""
    return Table(
        "public",
        name,
        [Column("id", "bigint", not_null=True), *columns],
        facts.pop("indexes", [Index(("id",), is_unique=True, is_primary=True)]),
        keys,
        values={column: dict.fromkeys(sampled, 1) for column, sampled in (values or {}).items()},
        **facts,
    )


def guessed(*columns: Column, **facts: Any) -> Guess:
    return guess_map(table(*columns, **facts))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("created_on_utc", ("created", "on", "utc")),
        ("CreatedOnUtc", ("created", "on", "utc")),
        ("createdOnUTC", ("created", "on", "utc")),
        ("subTotalWithTax", ("sub", "total", "with", "tax")),
        ("Währung", ("währung",)),
        ("ORDER", ("order",)),
    ],
)
def test_words_of_a_name(name: str, words: tuple[str, ...]) -> None:
    assert split_words(name) == words


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("gelöscht_am", "geloescht_am"),
        ("straße", "strasse"),
        ("beställning", "bestallning"),
        ("usunięte", "usuniete"),
        ("złożono", "zlozono"),
        ("créé_le", "cree_le"),
        ("total", "total"),
        ("сумма", "сумма"),
    ],
)
def test_letters_that_ascii_lacks_are_spelled(name: str, spelled: str) -> None:
    assert spelled in spellings(name)
    assert name in spellings(name)


@pytest.mark.parametrize(
    ("name", "quoted"), [("id", "id"), ("order", '"order"'), ("userId", '"userId"'), ('a"b', '"a""b"'), ("time", '"time"')]
)
def test_identifiers_are_quoted_where_postgresql_does(name: str, quoted: str) -> None:
    assert quote_identifier(name) == quoted


def test_the_key_is_the_primary_key() -> None:
    assert guessed().map["key"] == "id"
    two = [Index(("shop", "id"), is_unique=True, is_primary=True)]
    assert guessed(Column("shop", "integer", not_null=True), indexes=two).map["key"] == ["shop", "id"]


def test_without_a_primary_key_the_key_is_another_unique_column_that_is_not_null() -> None:
    unique = [Index(("code",), is_unique=True)]
    assert guessed(Column("code", "text", not_null=True), indexes=unique).map["key"] == "code"
    nullable = guessed(Column("code", "text"), indexes=unique)
    assert "key" not in nullable.map
    assert nullable.notes[0].startswith("key: no column is unique and not null")
    assert nullable.score < guessed().score


def test_a_partitioned_table_gets_a_key_without_the_column_of_its_partitions() -> None:
    both = [Index(("id", "created_at"), is_unique=True, is_primary=True)]
    partitioned: dict[str, Any] = {"indexes": both, "is_partitioned": True, "partition_columns": ["created_at"]}
    created = Column("created_at", "timestamp with time zone", not_null=True)
    guess = guessed(created, **partitioned)
    assert (guess.map["key"], guess.map["key_is_unique"]) == ("id", True)
    assert not guess.choices["key_is_unique"].is_sure
    doubled = table(created, **partitioned)
    assert "key" not in guess_map(Table(**{**_fields(doubled), "values": {"id": {"1": 2}}})).map


def _fields(one: Table) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Table.__slots__}


@pytest.mark.parametrize(
    ("columns", "total"),
    [
        ([("total", "numeric")], "total"),
        ([("subtotal", "numeric"), ("tax_total", "numeric"), ("grand_total", "numeric")], "grand_total"),
        ([("total_excl_tax", "numeric"), ("total_incl_tax", "numeric")], "total_incl_tax"),
        ([("item_total", "numeric"), ("amount", "numeric")], "amount"),
        ([("total_cents", "integer")], "o.total_cents * 0.01"),
        ([("kwota_groszy", "bigint")], "o.kwota_groszy * 0.01"),
        ([("kwota_gr", "integer"), ("koszt_gr", "integer")], "o.kwota_gr * 0.01"),
        ([("koszt_gr", "integer")], "o.koszt_gr * 0.01"),
        ([("brutto_cent", "bigint"), ("netto_cent", "bigint")], "o.brutto_cent * 0.01"),
        ([("do_zaplaty_gr", "integer"), ("rabat_gr", "integer")], "o.do_zaplaty_gr * 0.01"),
        ([("warenwert_cent", "integer"), ("pfand_cent", "integer")], None),
        ([("score", "integer")], None),
        ([("waga_gr", "integer")], None),
        ([("total", "integer")], "total"),
        ([("total", "text")], None),
        ([("payment_total", "numeric"), ("shipping_total", "numeric")], None),
        ([("refunded_amount", "numeric"), ("quantity", "integer")], None),
    ],
)
def test_total(columns: list[tuple[str, str]], total: str | None) -> None:
    guess = guessed(*(Column(*column) for column in columns))
    assert guess.map.get("total") == total
    assert (total is None) == any(note.startswith("total:") for note in guess.notes)


def test_without_a_total_the_numeric_columns_are_named() -> None:
    guess = guessed(
        Column("warenwert_cent", "integer"),
        Column("pfand_cent", "integer"),
        Column("kunde", "bigint"),
        Column("note", "text"),
        keys=[ForeignKey("kunde", "public.kunden", "id")],
    )
    [note] = [note for note in guess.notes if note.startswith("total:")]
    assert note.startswith("total: no column looks like one; numeric columns are warenwert_cent, pfand_cent. A map reads only")
    assert "numeric columns are none" in "".join(guessed().notes)


def test_an_integer_beside_a_currency_is_taken_for_hundredths_unless_the_currency_has_none() -> None:
    columns = [Column("total", "integer"), Column("currency", "text")]
    assert guessed(*columns, values={"currency": ["EUR"]}).map["total"] == "o.total * 0.01"
    assert not guessed(*columns, values={"currency": ["EUR"]}).choices["total"].is_sure
    assert guessed(*columns, values={"currency": ["JPY"]}).map["total"] == "total"


def test_statuses_are_sorted_as_an_order_lives() -> None:
    guess = guessed(Column("status", "text"), values={"status": ["delivered", "cancelled", "new", "shipped", "odd"]})
    assert guess.map["statuses"] == ["new", "shipped", "delivered", "cancelled", "odd"]
    assert guess.map["pending"] == ["new"]
    assert guess.map["cancelled"] == ["cancelled"]
    assert guess.choices["cancelled"].reason == "cancelled: no revenue"


def test_the_status_is_a_column_with_few_values() -> None:
    many = [str(number) for number in range(60)]
    guess = guessed(
        Column("status", "text"), Column("order_state", "text"), values={"status": many, "order_state": ["new", "shipped"]}
    )
    assert guess.map["status"] == "order_state"


def test_a_status_that_refers_to_a_table_of_names_gets_the_names() -> None:
    guess = guessed(
        Column("status_id", "smallint"),
        values={"status_id": ["1", "2"]},
        keys=[ForeignKey("status_id", "public.statuses", "id")],
        lookups={"status_id": [{"id": "1", "name": "new"}, {"id": "2", "name": "it's cancelled"}]},
    )
    assert guess.map["status"] == "case o.status_id when 1 then 'new' when 2 then 'it''s cancelled' else o.status_id::text end"
    assert guess.map["pending"] == ["new"]


def test_numbers_without_a_meaning_are_said() -> None:
    guess = guessed(Column("status", "integer"), values={"status": ["1", "2"]})
    assert guess.map["status"] == "status"
    assert not guess.choices["status"].is_sure
    assert "pending" not in guess.map
    assert any(note.startswith("pending:") for note in guess.notes)


@pytest.mark.parametrize(
    ("columns", "values", "where"),
    [
        ([Column("status", "text")], {"status": ["cart", "new"]}, "o.status <> 'cart'"),
        ([Column("status", "text")], {"status": ["cart", "address", "new"]}, "o.status not in ('address', 'cart')"),
        ([Column("status", "text")], {"status": ["address", "new"]}, None),
        ([Column("status", "text")], {"status": ["draft", None, "new"]}, "(o.status <> 'draft' or o.status is null)"),
        ([Column("deleted_at", "timestamp with time zone")], {}, "o.deleted_at is null"),
        ([Column("gelöscht_am", "timestamp with time zone")], {}, 'o."gelöscht_am" is null'),
        ([Column("geloescht", "timestamp without time zone")], {}, "o.geloescht is null"),
        ([Column("usunieto", "timestamp with time zone")], {}, "o.usunieto is null"),
        ([Column("usunięte", "boolean", not_null=True)], {}, 'not o."usunięte"'),
        ([Column("data_usunięcia", "date")], {}, 'o."data_usunięcia" is null'),
        ([Column("deleted", "timestamp with time zone", not_null=True)], {}, None),
        ([Column("isDeleted", "boolean", not_null=True)], {}, 'not o."isDeleted"'),
        ([Column("deleted", "boolean")], {}, "o.deleted is not true"),
        ([Column("placed_at", "timestamp with time zone")], {"placed_at": [None, "2026-01-01"]}, "o.placed_at is not null"),
        ([Column("placed_at", "timestamp with time zone")], {"placed_at": ["2026-01-01"]}, None),
        ([Column("completed_at", "timestamp with time zone")], {"completed_at": [None]}, None),
    ],
)
def test_rows_that_are_no_orders(columns: list[Column], values: dict[str, Any], where: str | None) -> None:
    assert guessed(*columns, values=values).map.get("where") == where


def test_a_map_without_a_mark_of_deletion_says_so() -> None:
    assert "where: no column looks like a mark of deletion; every row is an order" in guessed().notes
    cart = guessed(Column("status", "text"), values={"status": ["cart", "new"]})
    assert "where: no column looks like a mark of deletion" in cart.notes
    assert not any(note.startswith("where:") for note in guessed(Column("deleted_at", "timestamp with time zone")).notes)


@pytest.mark.parametrize(
    ("column_type", "values", "expression"),
    [
        ("timestamp with time zone", [], "created_at"),
        ("timestamp without time zone", [], "o.created_at at time zone 'UTC'"),
        ("date", [], "o.created_at::timestamp at time zone 'UTC'"),
        ("bigint", ["1767225600"], "to_timestamp(o.created_at)"),
        ("bigint", ["1767225600000"], "to_timestamp(o.created_at / 1000.0)"),
        ("bigint", ["7"], None),
        ("text", ["2026"], None),
    ],
)
def test_created_at(column_type: str, values: list[str], expression: str | None) -> None:
    guess = guessed(Column("created_at", column_type, not_null=True), values={"created_at": values})
    assert guess.map.get("created_at") == expression


def test_a_column_that_many_orders_share_is_no_number() -> None:
    shared = table(Column("code", "text"))
    facts = _fields(shared) | {"values": {"code": {"SUMMER": 150, "WINTER": 50}}}
    assert "number" not in guess_map(Table(**facts)).map


def test_a_virtual_column_is_not_used() -> None:
    assert "total" not in guessed(Column("total", "numeric", is_virtual=True)).map


def test_the_name_is_taken_from_the_table_that_the_customer_refers_to() -> None:
    people = Table(
        "shop",
        "people",
        [Column("id", "integer", not_null=True), Column("first_name", "text"), Column("last_name", "text")],
        [Index(("id",), is_unique=True, is_primary=True)],
    )
    orders = table(Column("customer_id", "integer"), keys=[ForeignKey("customer_id", "shop.people", "id")])
    guess = guess_map(orders, {people.name: people, orders.name: orders})
    assert guess.map["customer_name"] == "nullif(concat_ws(' ', customer.first_name, customer.last_name), '')"
    assert guess.map["joins"] == "left join shop.people as customer on customer.id = o.customer_id"
    assert guess.choices["customer_name"].is_sure


def test_items_of_orders_are_no_orders() -> None:
    items = table(
        Column("total", "numeric"),
        Column("status", "text"),
        name="order_items",
        keys=[ForeignKey("order_id", "public.orders", "id")],
    )
    assert guess_map(items).score < guess_map(table()).score


def test_a_stream_carries_plain_columns_and_refers_to_the_order() -> None:
    stock = table(
        Column("order_id", "bigint"),
        Column("quantity", "integer"),
        Column("api_token", "text"),
        Column("photo", "bytea"),
        name="shipments",
        keys=[ForeignKey("order_id", "public.orders", "id")],
    )
    found = {"key": "id", "order_key": "order_id", "data": ["order_id", "quantity"]}
    assert guess_stream(stock, table()).map == found
    assert "order_key" not in guess_stream(stock, table(name="others")).map


@pytest.mark.parametrize(
    ("key", "order_key"),
    [
        (Column("order_no", "text"), "order_no"),
        (Column("order_no", "bigint"), None),  # of another type
        (Column("number", "text"), None),
        (Column("id", "bigint"), None),  # every table has one
        (None, None),
    ],
)
def test_a_stream_without_a_foreign_key_refers_by_the_name_of_the_key(key: Column | None, order_key: str | None) -> None:
    guess = guess_stream(table(Column("order_no", "text"), name="history"), table(), key)
    assert guess.map.get("order_key") == order_key
    assert order_key is None or not guess.choices["order_key"].is_sure
