"""Each map of examples/maps/: attached to its system's tables, it makes the right orders and events of what the shop writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from db.attach.command import Options, apply, check
from db.attach.map_file import load_map
from tests.database.attach.conftest import CreateShape
from tests.support import ROOT

MAPS = sorted((ROOT / "examples" / "maps").glob("*.toml"))


@dataclass(frozen=True)
class Case:
    """What a shop writes, with the key as $1, and what the order and its events have to be."""

    insert: str
    order: dict[str, Any]
    change: str
    status: str
    remove: str
    # No order yet, if the system keeps such rows in the table. Has to become one by `complete`.
    cart: str | None = None
    complete: str | None = None
    data: dict[str, Any] = field(default_factory=dict)


def _order(
    number: str | None, customer_name: str | None, customer_id: str | None, total: str | None, currency: str | None, status: str
) -> dict[str, Any]:
    """The order that each `insert` makes: placed at ten o'clock on the first of March."""
    return {
        "number": number,
        "customer_name": customer_name,
        "customer_id": customer_id,
        "total": total,
        "currency": currency,
        "status": status,
        "created_at": "2026-03-01T10:00:00.000000Z",
    }


CASES = {
    "saleor": Case(
        """
        insert into order_order (
            number, created_at, updated_at, status, user_id, user_email, currency, total_net_amount, total_gross_amount,
            undiscounted_total_gross_amount
        )
        values (900, '2026-03-01 10:00Z', now(), 'UNFULFILLED', 1, 'x@example.com', 'EUR', 10, 12.345, 12.345)
        returning id::text
        """,
        _order("900", "Jan Nowak1", "1", "12.345", "EUR", "UNFULFILLED"),
        "update order_order set status = 'FULFILLED' where id = $1::text::uuid",
        "FULFILLED",
        "delete from order_order where id = $1::text::uuid",
        """
        insert into order_order (
            number, created_at, updated_at, status, user_email, currency, total_net_amount, total_gross_amount,
            undiscounted_total_gross_amount
        )
        values (901, now(), now(), 'DRAFT', 'guest@example.com', 'EUR', 1, 1, 1) returning id::text
        """,
        "update order_order set status = 'UNCONFIRMED' where id = $1::text::uuid",
        {"charge_status": "none", "origin": "checkout"},
    ),
    "medusa1": Case(
        """
        insert into "order" (id, customer_id, email, currency_code, created_at)
        values ('order_01HNEW', 'cus_01H1', 'x@example.com', 'eur', '2026-03-01 10:00Z') returning id
        """,
        _order("201", "Ada Smith1", "cus_01H1", None, "eur", "not_fulfilled"),
        """update "order" set fulfillment_status = 'shipped' where id = $1""",
        "shipped",
        """delete from "order" where id = $1""",
        data={"payment_status": "not_paid"},
    ),
    "medusa2": Case(
        """
        insert into "order" (id, customer_id, email, currency_code, created_at)
        values ('order_01JNEW', 'cus_1', 'x@example.com', 'eur', '2026-03-01 10:00Z') returning id
        """,
        _order("201", "Ada Smith1", "cus_1", None, "eur", "pending"),
        """update "order" set status = 'completed' where id = $1""",
        "completed",
        """update "order" set deleted_at = now() where id = $1""",
        """
        insert into "order" (id, email, currency_code, status, is_draft_order)
        values ('order_01JDRAFT', 'x@example.com', 'eur', 'draft', true) returning id
        """,
        """update "order" set status = 'pending', is_draft_order = false where id = $1""",
    ),
    "spree": Case(
        """
        insert into spree_orders (
            number, total, state, user_id, completed_at, bill_address_id, shipment_state, payment_state, email,
            created_at, updated_at, currency
        )
        values (
            'R900', 99.5, 'complete', 1, '2026-03-01 10:00', 1, 'pending', 'paid', 'x@example.com', now(), now(), 'USD'
        )
        returning id::text
        """,
        _order("R900", "Ada Smith1", "1", "99.50", "USD", "pending"),
        "update spree_orders set shipment_state = 'shipped' where id = $1::text::int",
        "shipped",
        "delete from spree_orders where id = $1::text::int",
        """
        insert into spree_orders (number, total, state, email, created_at, updated_at, currency)
        values ('R901', 1, 'cart', 'x@example.com', now(), now(), 'USD') returning id::text
        """,
        "update spree_orders set state = 'complete', completed_at = now() where id = $1::text::int",
        {"payment_state": "paid", "item_count": 0},
    ),
    "odoo": Case(
        """
        insert into sale_order (partner_id, partner_invoice_id, partner_shipping_id, name, state, amount_total, date_order)
        values (1, 1, 1, 'S90000', 'sale', 99.5, '2026-03-01 10:00') returning id::text
        """,
        _order("S90000", "Company 1", "1", "99.5", None, "sale"),
        "update sale_order set state = 'done' where id = $1::text::int",
        "done",
        "delete from sale_order where id = $1::text::int",
        """
        insert into sale_order (partner_id, partner_invoice_id, partner_shipping_id, name, state, amount_total, date_order)
        values (1, 1, 1, 'S90001', 'sent', 1, now()) returning id::text
        """,
        "update sale_order set state = 'sale' where id = $1::text::int",
        {"client_order_ref": None, "invoice_status": None},
    ),
    "vendure": Case(
        """
        insert into "order" (
            code, state, active, "orderPlacedAt", "currencyCode", "customerId", "subTotal", "subTotalWithTax", "shippingWithTax"
        )
        values ('CODE1', 'PaymentSettled', false, '2026-03-01 10:00', 'USD', 1, 900, 1000, 250) returning id::text
        """,
        _order("CODE1", "Ada Smith1", "1", "12.50", "USD", "PaymentSettled"),
        """update "order" set state = 'Shipped' where id = $1::text::int""",
        "Shipped",
        """delete from "order" where id = $1::text::int""",
        """
        insert into "order" (code, state, "currencyCode", "subTotal", "subTotalWithTax")
        values ('CODE2', 'AddingItems', 'USD', 0, 0) returning id::text
        """,
        """
        update "order" set state = 'PaymentSettled', active = false, "orderPlacedAt" = now() where id = $1::text::int
        """,
    ),
    "sylius": Case(
        """
        insert into sylius_order (
            customer_id, number, state, checkout_completed_at, items_total, adjustments_total, total, created_at, currency_code,
            checkout_state, payment_state, shipping_state
        )
        values (1, '900', 'new', '2026-03-01 10:00', 1000, 250, 1250, now(), 'EUR', 'completed', 'paid', 'ready')
        returning id::text
        """,
        _order("900", "Ada Smith1", "1", "12.50", "EUR", "new"),
        "update sylius_order set state = 'fulfilled' where id = $1::text::int",
        "fulfilled",
        "delete from sylius_order where id = $1::text::int",
        """
        insert into sylius_order (
            state, items_total, adjustments_total, total, created_at, currency_code, checkout_state, payment_state,
            shipping_state
        )
        values ('cart', 0, 0, 0, now(), 'EUR', 'cart', 'cart', 'cart') returning id::text
        """,
        "update sylius_order set state = 'new', number = '901', checkout_completed_at = now() where id = $1::text::int",
        {"payment_state": "paid", "shipping_state": "ready"},
    ),
    "oscar": Case(
        """
        insert into order_order (
            number, currency, total_incl_tax, total_excl_tax, shipping_incl_tax, shipping_excl_tax, status, guest_email,
            date_placed
        )
        values ('900', 'GBP', 12.5, 10, 0, 0, 'Pending', 'guest@example.com', '2026-03-01 10:00Z') returning id::text
        """,
        _order("900", "guest@example.com", None, "12.50", "GBP", "Pending"),
        "update order_order set status = 'Being processed' where id = $1::text::bigint",
        "Being processed",
        "delete from order_order where id = $1::text::bigint",
        data={"shipping_method": ""},
    ),
    "nopcommerce": Case(
        """
        insert into "Order" (
            "CustomOrderNumber", "BillingAddressId", "CustomerId", "OrderStatusId", "ShippingStatusId", "PaymentStatusId",
            "OrderSubtotalInclTax", "OrderTotal", "Deleted", "CreatedOnUtc"
        )
        values ('900', 1, 1, 10, 20, 30, 10, 12.5, false, '2026-03-01 10:00') returning "Id"::text
        """,
        _order("900", "Ada Smith1", "1", "12.5000", None, "Pending"),
        """update "Order" set "OrderStatusId" = 30 where "Id" = $1::text::int""",
        "Complete",
        """update "Order" set "Deleted" = true where "Id" = $1::text::int""",
    ),
    "prisma": Case(
        """
        insert into "Order" (id, "totalAmount", "userId", "createdAt", "updatedAt")
        select 'clonew', 12.5, u.id, '2026-03-01 10:00', now() from "User" as u where u.email = 'u1@example.com' returning id
        """,
        _order(None, "Ada Smith1", "cluc4ca4238a0b923820dcc509a6f75849b", "12.50", None, "PENDING"),
        """update "Order" set status = 'SHIPPED' where id = $1""",
        "SHIPPED",
        """delete from "Order" where id = $1""",
    ),
    "drizzle": Case(
        """
        insert into orders (order_number, customer_id, total_cents, created_at)
        select 'A-900', null, 1250, '2026-03-01 10:00Z' returning id::text
        """,
        _order("A-900", None, None, "12.50", None, "pending"),
        "update orders set status = 'shipped' where id = $1::text::uuid",
        "shipped",
        "delete from orders where id = $1::text::uuid",
    ),
}


def test_every_map_has_a_case() -> None:
    assert {path.stem for path in MAPS} == set(CASES)


async def events(db: Any, key: str) -> Sequence[dict[str, Any]]:
    rows = await db.fetch("select event::text from orderwire.events where event ->> 'key' = $1 order by id", key)
    return [json.loads(row[0]) for row in rows]


async def totals(db: Any) -> tuple[int, Decimal, int]:
    row = await db.fetchrow("select total_orders, total_revenue, pending_orders from orderwire.order_analytics")
    return row[0], row[1], row[2]


@pytest.mark.parametrize("path", MAPS, ids=lambda path: path.stem)
async def test_map_makes_orders_and_events(path: Path, create_shape: CreateShape, empty_database_url: str) -> None:
    case = CASES[path.stem]
    db = await create_shape(path.stem)
    printed: list[str] = []
    await apply(empty_database_url, Options(file=load_map(path)), printed.append)
    assert any(line.startswith("attached public.") for line in printed), printed
    assert not [line for line in printed if line.startswith("problem")]
    assert await check(empty_database_url, Options(file=load_map(path)), printed.append), printed[-1]
    before = await totals(db)

    key = await db.fetchval(case.insert)
    [order] = await db.fetch(
        "select m.number, m.customer_name, m.customer_id, m.total::text as total, m.currency, m.status, "
        "orderwire.rfc3339(m.created_at) as created_at, m.data::text as data from orderwire.orders_by_key(array[$1]) as m",
        key,
    )
    assert json.loads(order["data"] or "{}") == case.data
    assert {name: value for name, value in order.items() if name != "data"} == case.order

    await db.execute(case.change, key)
    await db.execute(case.remove, key)
    created, changed, removed = await events(db, key)
    assert [created["type"], changed["type"], removed["type"]] == ["new_order", "order_status_update", "order_delete"]
    for name in ("customer_name", "total", "status"):
        assert created[name] == case.order[name]
    assert created.get("order_number") == case.order["number"]
    assert created.get("currency") == case.order["currency"]
    assert created.get("data", {}) == case.data
    assert (changed["previous_status"], changed["status"]) == (case.order["status"], case.status)
    assert await db.fetch("select from orderwire.orders_by_key(array[$1])", key) == []
    assert await totals(db) == before

    if case.cart and case.complete:
        key = await db.fetchval(case.cart)
        assert await events(db, key) == []
        await db.execute(case.complete, key)
        [created] = await events(db, key)
        assert created["type"] == "new_order"
        assert (await totals(db))[0] == before[0] + 1
