"""The dashboard of a table that is not the starter table, in Chromium with a real server."""

from __future__ import annotations

import json
from typing import Any

import asyncpg
import pytest
from playwright.async_api import Page, expect

from tests.browser.page_helpers import expect_online, expect_order_count, open_dashboard, read_table_rows
from tests.support import Server, StartServer

# Keys beyond what JavaScript's numbers hold, amounts of any currency, statuses and nulls of any kind.
SHOP = """
    create table shop_orders (
        id bigint primary key,
        reference text,
        buyer text,
        amount numeric,
        currency text,
        state text,
        placed_at timestamptz,
        delivery_address text
    )
"""
MAP = {
    "key": "id",
    "number": "reference",
    "customer_name": "buyer",
    "total": "amount",
    "currency": "currency",
    "status": "state",
    "created_at": "placed_at",
    "data": ["delivery_address"],
    "statuses": ["UNFULFILLED", "sent_to_kitchen"],
    "pending": ["UNFULFILLED"],
    "cancelled": ["VOIDED"],
}
FIRST_KEY = 2**53


@pytest.fixture
async def server(start_server: StartServer, empty_database_url: str) -> Server:
    server: Server = await start_server(empty_database_url, CURRENCY="EUR")
    return server


@pytest.fixture
async def shop(server: Server, empty_database_url: str) -> Any:
    """A connection to the database, as the shop has it. The server has made its schema."""
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(SHOP)
    yield connection
    await connection.close()


async def attach(shop: Any) -> None:
    await shop.execute("select orderwire.attach('shop_orders', $1::text::jsonb)", json.dumps(MAP))


async def insert(shop: Any, key: int, **columns: object) -> None:
    values: dict[str, object] = {
        "id": key,
        "reference": f"SO-{key - FIRST_KEY}",
        "buyer": "Anna",
        "amount": "1",
        "currency": "EUR",
    }
    values |= {"state": "UNFULFILLED", "placed_at": "2026-01-02 03:04:05+00", **columns}
    await shop.execute(
        "insert into shop_orders select * from jsonb_populate_record(null::shop_orders, $1::text::jsonb)",
        json.dumps(values),
    )


async def test_page_without_a_table_names_the_command_and_shows_the_table_once_it_is_attached(
    server: Server, shop: Any, page: Page
) -> None:
    await page.goto(f"{server.http_url}/admin/dashboard")
    await expect_online(page)
    await expect(page.locator(".notice pre")).to_have_text("python server.py attach")
    await expect(page.locator("[data-total=orders]")).to_have_text("0")
    await insert(shop, FIRST_KEY)
    await attach(shop)
    await expect(page.locator(".grid[aria-busy=false]")).to_be_visible()
    await expect_order_count(page, 1)
    await insert(shop, FIRST_KEY + 1)
    await expect_order_count(page, 2)


async def test_rows_show_null_fields_odd_dates_and_each_currency(server: Server, shop: Any, page: Page) -> None:
    await insert(shop, FIRST_KEY, placed_at="2020-01-01 00:00:00+00")
    await insert(shop, FIRST_KEY + 1, amount="1.5", currency="KWD", state="sent_to_kitchen")
    await insert(shop, FIRST_KEY + 2, amount="1500", currency="JPY", placed_at="2026-01-02 03:04:06+00")
    await insert(shop, FIRST_KEY + 3, reference=None, buyer=None, amount=None, currency=None, state=None, placed_at=None)
    await insert(shop, FIRST_KEY + 4, amount="12.345", currency="USDT", placed_at="20260-01-01 00:00:00+00", state="VOIDED")
    await attach(shop)
    await open_dashboard(page, server)
    rows = await read_table_rows(page)
    # Newest first by the time of creation, then by key; null comes last.
    assert [row[:4] for row in rows] == [
        ["SO-4", "Anna", "12,345 USDT", "Voided"],
        ["SO-2", "Anna", "1 500 ¥", "Unfulfilled"],
        ["SO-1", "Anna", "1,500 KWD", "Sent to kitchen"],
        ["SO-0", "Anna", "1,00 €", "Unfulfilled"],
        [str(FIRST_KEY + 3), "–", "–", "Без статуса"],
    ]
    # RFC 3339 has no years beyond 9999.
    assert [rows[0][4], rows[4][4]] == ["–", "–"]
    revenue = page.locator(".total.revenue")
    await expect(revenue.locator("[data-total=revenue]")).to_have_text("1,00 €")
    await expect(revenue.locator("small")).to_have_text("1 500 ¥ · 1,500 KWD")


async def test_changes_of_orders_whose_keys_are_one_number_in_javascript_reach_their_rows(
    server: Server, shop: Any, page: Page
) -> None:
    await attach(shop)
    await open_dashboard(page, server)
    await insert(shop, FIRST_KEY + 1, buyer="Second")
    await insert(shop, FIRST_KEY, buyer="First", state=None)
    await expect_order_count(page, 2)
    assert [row[1] for row in await read_table_rows(page)] == [
        "First",
        "Second",
    ]  # the newest on top, although its key is smaller
    await shop.execute(
        "update shop_orders set state = 'sent_to_kitchen', amount = 0.001, currency = 'KWD' where id = $1", FIRST_KEY
    )
    await expect(page.locator(".grid-body .badge")).to_have_text(["Sent to kitchen", "Unfulfilled"])
    await expect(page.locator(".event .badge")).to_have_text(["Без статуса", "Sent to kitchen"])
    await shop.execute("delete from shop_orders where id = $1", FIRST_KEY + 1)
    await expect_order_count(page, 1)
    assert [row[:3] for row in await read_table_rows(page)] == [["SO-0", "First", "0,001 KWD"]]


async def test_any_status_can_be_filtered_by_and_has_a_colour_of_its_own(server: Server, shop: Any, page: Page) -> None:
    for key, state in enumerate(("UNFULFILLED", "sent_to_kitchen", "modal hidden", None, "UNFULFILLED"), FIRST_KEY):
        await insert(shop, key, state=state)
    await attach(shop)
    await open_dashboard(page, server)
    names = ["Unfulfilled", "Sent to kitchen", "Voided", "Modal hidden", "Без статуса"]
    await expect(page.locator(".status-name")).to_have_text(names)
    colours = await page.locator(".status-bar span").evaluate_all(
        "bars => bars.map((bar) => getComputedStyle(bar).backgroundColor)"
    )
    assert len(set(colours)) == len(names)
    await page.locator(".status-select summary").click()
    for name, count in zip(names, (2, 1, 0, 1, 1), strict=True):
        await page.get_by_role("checkbox", name=name).check()
        await expect_order_count(page, count)
        await page.get_by_role("checkbox", name=name).uncheck()
    await expect_order_count(page, 5)


async def test_page_of_an_order_shows_the_key_the_data_of_the_map_and_what_events_have_cut(
    server: Server, shop: Any, page: Page
) -> None:
    await attach(shop)
    await open_dashboard(page, server)
    name = "Anna " * 200 + "the last word"
    await insert(shop, FIRST_KEY, buyer=name, delivery_address="ul. Długa <b>5</b>")
    await expect_order_count(page, 1)
    await page.locator(".cell-number a").click()
    details = page.locator(".details")
    await expect(details).to_contain_text(str(FIRST_KEY))
    await expect(details).to_contain_text("Delivery addressul. Długa <b>5</b>")
    await expect(details).to_contain_text("the last word")
