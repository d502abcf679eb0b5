"""The guess is right for the tables of real systems, and can be attached as it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from db.attach.catalog import find_table, read_samples, read_tables
from db.attach.command import Options, apply
from db.attach.guess import Guess
from db.attach.guess_map import guess_map
from tests.database.attach.conftest import SHAPES, CreateShape

# Of both versions of Medusa.
_MEDUSA = {
    "key": "id",
    "number": "display_id",
    "customer_name": "coalesce(nullif(concat_ws(' ', customer.first_name, customer.last_name), ''), o.email)",
    "joins": "left join public.customer as customer on customer.id = o.customer_id",
    "customer_id": "customer_id",
    "currency": "currency_code",
    "total_currency": "eur",
    "status": "status",
    "pending": ["pending", "requires_action"],
    "cancelled": ["canceled"],
    "statuses": ["pending", "completed", "archived", "canceled", "requires_action"],
    "created_at": "created_at",
}

# The orders table of each shape, and the members of its map. What a guess cannot know has no entry.
EXPECTED: dict[str, tuple[str, dict[str, Any]]] = {
    "saleor": (
        "public.order_order",
        {
            "key": "id",
            "number": "number",
            "customer_name": "coalesce(nullif(concat_ws(' ', customer.first_name, customer.last_name), ''), o.user_email)",
            "joins": "left join public.account_user as customer on customer.id = o.user_id",
            "customer_id": "user_id",
            "total": "total_gross_amount",
            "currency": "currency",
            "total_currency": "EUR",
            "status": "status",
            "pending": ["UNCONFIRMED", "UNFULFILLED"],
            "cancelled": ["CANCELED", "RETURNED"],
            "statuses": ["UNCONFIRMED", "UNFULFILLED", "PARTIALLY_FULFILLED", "FULFILLED", "CANCELED", "RETURNED"],
            "created_at": "created_at",
            "where": "o.status <> 'DRAFT'",
        },
    ),
    "medusa1": ('public."order"', _MEDUSA),
    "medusa2": (
        'public."order"',
        _MEDUSA | {"where": "o.status <> 'draft' and not o.is_draft_order and o.deleted_at is null"},
    ),
    "spree": (
        "public.spree_orders",
        {
            "key": "id",
            "number": "number",
            "customer_name": "coalesce(nullif(concat_ws(' ', address.firstname, address.lastname), ''), o.email)",
            "joins": "left join public.spree_addresses as address on address.id = o.bill_address_id",
            "customer_id": "user_id",
            "total": "total",
            "currency": "currency",
            "total_currency": "USD",
            "status": "state",
            "cancelled": ["canceled", "returned"],
            "statuses": ["complete", "canceled", "returned"],
            "created_at": "o.completed_at at time zone 'UTC'",
            "where": "o.completed_at is not null",
        },
    ),
    "odoo": (
        "public.sale_order",
        {
            "key": "id",
            "number": "name",
            "customer_name": "customer.name",
            "joins": "left join public.res_partner as customer on customer.id = o.partner_id",
            "customer_id": "partner_id",
            "total": "amount_total",
            "status": "state",
            "pending": ["sale"],
            "cancelled": ["cancel"],
            "statuses": ["sale", "done", "cancel"],
            "created_at": "o.date_order at time zone 'UTC'",
            "where": "o.state not in ('draft', 'sent')",
        },
    ),
    "vendure": (
        'public."order"',
        {
            "key": "id",
            "number": "code",
            "customer_name": """nullif(concat_ws(' ', customer."firstName", customer."lastName"), '')""",
            "joins": 'left join public.customer as customer on customer.id = o."customerId"',
            "customer_id": "customerId",
            "total": '(o."subTotalWithTax"::numeric + o."shippingWithTax") * 0.01',
            "currency": "currencyCode",
            "total_currency": "USD",
            "status": "state",
            "pending": ["PaymentAuthorized", "PaymentSettled"],
            "cancelled": ["Cancelled"],
            "statuses": ["PaymentAuthorized", "PaymentSettled", "Shipped", "Delivered", "Cancelled"],
            "created_at": "o.\"orderPlacedAt\" at time zone 'UTC'",
            "where": 'o."orderPlacedAt" is not null',
        },
    ),
    "sylius": (
        "public.sylius_order",
        {
            "key": "id",
            "number": "number",
            "customer_name": "nullif(concat_ws(' ', customer.first_name, customer.last_name), '')",
            "joins": "left join public.sylius_customer as customer on customer.id = o.customer_id",
            "customer_id": "customer_id",
            "total": "o.total * 0.01",
            "currency": "currency_code",
            "total_currency": "EUR",
            "status": "state",
            "pending": ["new"],
            "cancelled": ["cancelled"],
            "statuses": ["new", "fulfilled", "cancelled"],
            "created_at": "o.checkout_completed_at at time zone 'UTC'",
            "where": "o.checkout_completed_at is not null",
        },
    ),
    "oscar": (
        "public.order_order",
        {
            "key": "id",
            "number": "number",
            "customer_name": "coalesce(nullif(concat_ws(' ', customer.first_name, customer.last_name), ''), o.guest_email)",
            "joins": "left join public.auth_user as customer on customer.id = o.user_id",
            "customer_id": "user_id",
            "total": "total_incl_tax",
            "currency": "currency",
            "total_currency": "GBP",
            "status": "status",
            "pending": ["Pending"],
            "cancelled": ["Cancelled"],
            "statuses": ["Pending", "Being processed", "Complete", "Cancelled"],
            "created_at": "date_placed",
        },
    ),
    "nopcommerce": (
        'public."Order"',
        {
            "key": "Id",
            "number": "CustomOrderNumber",
            "customer_name": """nullif(concat_ws(' ', customer."FirstName", customer."LastName"), '')""",
            "joins": 'left join public."Customer" as customer on customer."Id" = o."CustomerId"',
            "customer_id": "CustomerId",
            "total": "OrderTotal",
            "currency": "CustomerCurrencyCode",
            "total_currency": "USD",
            "status": "case o.\"OrderStatusId\" when 10 then 'Pending' when 20 then 'Processing' when 30 then 'Complete' "
            "when 40 then 'Cancelled' else o.\"OrderStatusId\"::text end",
            "pending": ["Pending"],
            "cancelled": ["Cancelled"],
            "statuses": ["Pending", "Processing", "Complete", "Cancelled"],
            "created_at": "o.\"CreatedOnUtc\" at time zone 'UTC'",
            "where": 'not o."Deleted"',
        },
    ),
    "prisma": (
        'public."Order"',
        {
            "key": "id",
            "customer_name": "customer.name",
            "joins": 'left join public."User" as customer on customer.id = o."userId"',
            "customer_id": "userId",
            "total": "totalAmount",
            "status": "status",
            "pending": ["PENDING"],
            "cancelled": ["CANCELLED"],
            "statuses": ["PENDING", "PAID", "SHIPPED", "DELIVERED", "CANCELLED"],
            "created_at": "o.\"createdAt\" at time zone 'UTC'",
        },
    ),
    "drizzle": (
        "public.orders",
        {
            "key": "id",
            "number": "order_number",
            "customer_name": "customer.name",
            "joins": "left join public.customers as customer on customer.id = o.customer_id",
            "customer_id": "customer_id",
            "total": "o.total_cents * 0.01",
            "status": "status",
            "pending": ["pending"],
            "cancelled": ["cancelled", "refunded"],
            "statuses": ["pending", "processing", "shipped", "delivered", "cancelled", "refunded"],
            "created_at": "created_at",
        },
    ),
    "bestellungen": (
        "public.bestellungen",
        {
            "key": "id",
            "number": "bestellnummer",
            "customer_name": "nullif(concat_ws(' ', customer.vorname, customer.nachname), '')",
            "joins": "left join public.kunden as customer on customer.id = o.kunden_id",
            "customer_id": "kunden_id",
            "total": "gesamtbetrag",
            "status": "case o.status_id when 1 then 'offen' when 2 then 'bezahlt' when 3 then 'versandt' "
            "when 4 then 'storniert' else o.status_id::text end",
            "pending": ["offen"],
            "cancelled": ["storniert"],
            "statuses": ["offen", "bezahlt", "versandt", "storniert"],
            "created_at": "bestelldatum",
        },
    ),
    "zamowienia": (
        "public.zamowienia",
        {
            "key": "id",
            "number": "numer",
            "customer_name": "klient",
            "customer_id": "email",
            "total": "kwota",
            "currency": "waluta",
            "total_currency": "PLN",
            "status": "status",
            "pending": ["nowe"],
            "cancelled": ["anulowane"],
            "statuses": ["nowe", "oplacone", "wyslane", "dostarczone", "anulowane"],
            "created_at": "o.data_zamowienia at time zone 'UTC'",
            "where": "not o.usuniete",
        },
    ),
    "pedidos": (
        "public.pedidos",
        {
            "key": "pedido_id",
            "number": "codigo",
            "customer_name": "nullif(concat_ws(' ', customer.nombre, customer.apellidos), '')",
            "joins": "left join public.clientes as customer on customer.cliente_id = o.cliente_id",
            "customer_id": "cliente_id",
            "total": "importe_total",
            "currency": "moneda",
            "total_currency": "MXN",
            "status": "estado",
            "pending": ["pendiente"],
            "cancelled": ["cancelado"],
            "statuses": ["pendiente", "pagado", "enviado", "entregado", "cancelado"],
            "created_at": "to_timestamp(o.creado / 1000.0)",
        },
    ),
    "tenants": (
        "public.orders",
        {
            "key": ["tenant_id", "id"],
            "customer_name": "customer_name",
            "total": "total",
            "currency": "currency",
            "total_currency": "EUR",
            "status": "status",
            "pending": ["new"],
            "cancelled": ["cancelled"],
            "statuses": ["new", "paid", "shipped", "cancelled"],
            "created_at": "created_at",
        },
    ),
    "partitioned": (
        "public.orders",
        {
            "key": "id",
            "key_is_unique": True,
            "number": "order_no",
            "customer_name": "customer",
            "total": "amount",
            "status": "state",
            "pending": ["open"],
            "cancelled": ["cancelled"],
            "statuses": ["open", "packed", "shipped", "cancelled"],
            "created_at": "created_at",
        },
    ),
}
# Where money is in another table, a guess says so.
WITHOUT_TOTAL = {"medusa1": "public.line_item may have it", "medusa2": "public.order_summary may have it"}


# The small table that a table of orders refers to, and that has no words for a status.
_BRANCHES = """
create table filiale (nr smallint primary key, ort text);
insert into filiale values (1, 'Bonn'), (2, 'Köln');
"""


async def guesses(connection: Any) -> list[Guess]:
    """A guess for each table, the best first."""
    tables = await read_tables(connection)
    found = [guess_map(await read_samples(connection, table), tables) for table in tables.values()]
    return sorted(found, key=lambda guess: -guess.score)


async def guess_of(connection: Any, relation: str) -> Guess:
    [guess] = [guess for guess in await guesses(connection) if guess.table.relation == relation]
    return guess


def test_every_shape_is_expected() -> None:
    assert {path.stem for path in SHAPES.glob("*.sql")} == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
async def test_the_table_of_orders_comes_first_with_the_right_map(name: str, create_shape: CreateShape) -> None:
    best, *others = await guesses(await create_shape(name))
    table, expected = EXPECTED[name]
    assert best.table.name == table
    assert best.map == expected | ({"statuses": best.map["statuses"]} if "statuses" not in expected else {})
    assert all(other.score < best.score - 20 for other in others), [(other.table.name, other.score) for other in others]
    assert all(choice.reason for choice in best.choices.values())
    if name in WITHOUT_TOTAL:
        [note] = [note for note in best.notes if note.startswith("total:")]
        assert WITHOUT_TOTAL[name] in note


@pytest.mark.parametrize("name", EXPECTED)
async def test_the_guess_can_be_attached(name: str, create_shape: CreateShape, empty_database_url: str) -> None:
    db = await create_shape(name)
    await apply(empty_database_url, Options(EXPECTED[name][0]), lambda line: None)
    stored = await db.fetchval("select map::text from orderwire.attached_tables where name = 'orders'")
    assert json.loads(stored) == EXPECTED[name][1]
    assert await db.fetch("select problem from orderwire.diagnose_attached()") == []
    row = await db.fetchrow("select count(*), count(key), count(status), count(created_at) from orderwire.all_orders()")
    assert 100 <= row[0] == row[1] == row[2] == row[3]
    # The totals have a map of their own, without joins.
    counted = await db.fetchrow(
        "select count(*), coalesce(sum(m.total) filter (where m.is_counted and ($1::text is null or m.currency = $1)), 0), "
        "count(*) filter (where m.is_pending) from orderwire.all_orders() as m",
        EXPECTED[name][1].get("total_currency"),
    )
    assert counted == await db.fetchrow("select total_orders, total_revenue, pending_orders from orderwire.order_analytics")
    assert (counted[1] > 0) == ("total" in EXPECTED[name][1])


async def test_known_systems_are_named_with_a_map_made_for_them(create_shape: CreateShape, root: Any) -> None:
    [best, *_] = await guesses(await create_shape("saleor"))
    assert best.system == "saleor"
    assert (root / "examples" / "maps" / "saleor.toml").exists()


async def test_tables_are_found_by_the_names_that_people_write(create_shape: CreateShape) -> None:
    tables = await read_tables(await create_shape("nopcommerce"))
    for written in ("Order", '"Order"', "order", "public.Order", 'public."Order"'):
        assert find_table(tables, written).name == 'public."Order"'


async def test_statuses_of_an_empty_table_come_from_its_check(empty_db: Any) -> None:
    await empty_db.execute(
        """
        create table orders (
            id serial primary key,
            status text not null default 'new' check (status in ('new', 'it''s packed', 'sent', 'cancelled'))
        )
        """
    )
    [best] = await guesses(empty_db)
    assert best.map["statuses"] == ["new", "it's packed", "sent", "cancelled"]
    assert (best.map["pending"], best.map["cancelled"]) == (["new"], ["cancelled"])


async def test_an_empty_table_without_a_check_says_what_is_missing(empty_db: Any) -> None:
    await empty_db.execute("create table orders (id serial primary key, status text)")
    [best] = await guesses(empty_db)
    assert best.map == {"key": "id", "status": "status"}
    assert any(note.startswith("pending, cancelled, statuses: the table has no rows yet") for note in best.notes)


async def test_a_status_is_found_by_the_table_of_its_codes_whatever_its_name(empty_db: Any, empty_database_url: str) -> None:
    await empty_db.execute(
        _BRANCHES
        + """
        create table auftrag_stand (code smallint primary key, text text not null, rang integer);
        insert into auftrag_stand values (1, 'neu', 1), (2, 'bezahlt', 2), (3, 'in Arbeit', 3), (4, 'storniert', 4);
        create table auftrag (
            nr bigint primary key, filiale smallint references filiale, stand smallint references auftrag_stand, summe numeric
        );
        insert into auftrag select n, 1 + n % 2, 1 + n % 2, 10 from generate_series(1, 20) as n
        """
    )
    best = await guess_of(empty_db, "auftrag")
    assert best.map["status"] == (
        "case o.stand when 1 then 'neu' when 2 then 'bezahlt' when 3 then 'in Arbeit' when 4 then 'storniert' "
        "else o.stand::text end"
    )
    assert (best.map["pending"], best.map["cancelled"]) == (["neu"], ["storniert"])
    await apply(empty_database_url, Options("auftrag"), lambda line: None)
    assert await empty_db.fetchval("select count(*) from orderwire.all_orders() as o where o.status = 'bezahlt'") == 10


async def test_a_small_table_of_other_words_is_no_status(empty_db: Any) -> None:
    await empty_db.execute(_BRANCHES + "create table auftrag (nr bigint primary key, filiale smallint references filiale)")
    best = await guess_of(empty_db, "auftrag")
    assert "status" not in best.map
