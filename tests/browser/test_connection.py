"""The dashboard when the line, the server or the tab goes away and comes back."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page, Route, expect

from tests.browser.conftest import NewPage
from tests.browser.looking import comes_back, finds, insert, offline, online, open_dashboard, rows, shows_totals
from tests.support import Server, StartServer, free_port


async def event_names(page: Page) -> list[str]:
    """The numbers of the orders in the list of events, oldest first."""
    return list(reversed(await page.locator(".events .event b").all_text_contents()))


async def test_a_killed_server_is_seen_and_nothing_is_missed_when_it_is_back(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await open_dashboard(page, server)
    numbers = [await insert(db, "before")]
    await finds(page, 1)

    await server.kill()
    await offline(page)
    await expect(page.locator(".connection-state")).to_have_text("⚪ Офлайн")
    await expect(page.locator(".connection-detail")).to_contain_text("попытка 1 через")
    await expect(page).to_have_title("⚪ 1 · Orderwire")
    await expect(page.get_by_role("button", name="Сейчас", exact=True)).to_be_visible()
    numbers += [await insert(db, f"while down {n}") for n in range(5)]
    await db.execute("update orders set status = 'ready' where customer_name = 'before'")
    await start_server(database_url, PORT=port)
    await comes_back(page)
    await finds(page, 6)
    await shows_totals(page, "6", "903,00 zł", "5")
    await expect(page.locator(".events .event")).to_have_count(7)
    assert await event_names(page) == [*numbers, numbers[0]]
    assert [cells[0] for cells in await rows(page)] == numbers[::-1]
    await expect(page.locator(".gap")).to_have_count(0)


async def test_it_comes_back_by_itself_and_counts_down(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await open_dashboard(page, server)
    await server.stop()
    await offline(page)
    await start_server(database_url, PORT=port)
    await online(page)  # nobody clicked
    await insert(db, "after")
    await finds(page, 1)


async def test_orders_from_before_the_first_event_are_not_missed(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    """Without an event there is no cursor to resume from: the orders are fetched anew."""
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await open_dashboard(page, server)
    await server.kill()
    await offline(page)
    await insert(db, "while down")
    await start_server(database_url, PORT=port)
    await comes_back(page)
    await finds(page, 1)


async def test_offline_and_online_again(start_server: StartServer, database_url: str, db: Any, page: Page) -> None:
    server: Server = await start_server(database_url)
    await open_dashboard(page, server)
    await insert(db, "before")
    await finds(page, 1)
    await page.context.set_offline(True)
    await offline(page)
    await insert(db, "meanwhile")
    await page.context.set_offline(False)
    await online(page)
    await finds(page, 2)
    await expect(page.locator(".events .event")).to_have_count(2)


async def test_what_happens_while_the_orders_are_being_fetched_is_there_once(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url)
    await db.execute("insert into orders (customer_name, total) values ('old', 1), ('gone', 2)")
    writes = iter(
        [
            "insert into orders (customer_name, total) values ('in between', 3)",
            "update orders set status = 'ready' where customer_name = 'old'",
            "delete from orders where customer_name = 'gone'",
        ]
    )

    async def slow(route: Route) -> None:
        """The rows are read; then, before they arrive, everything changes."""
        answer = await route.fetch()
        for sql in writes:
            await db.execute(sql)
        await expect(page.locator(".events .event")).to_have_count(3)
        await route.fulfill(response=answer)

    await page.route("**/api/orders**", slow)
    await open_dashboard(page, server)
    await finds(page, 2)
    assert [[cells[1], cells[3]] for cells in await rows(page)] == [["in between", "Ожидает"], ["old", "Готов"]]


async def test_a_gap_is_said_and_the_orders_are_fetched_anew(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await open_dashboard(page, server)
    await insert(db, "before")
    await finds(page, 1)
    await server.kill()
    await offline(page)
    # More than a resume replays.
    await db.execute("insert into orders (customer_name, total) select 'many', 1 from generate_series(1, 10001)")
    await start_server(database_url, PORT=port)
    await comes_back(page)
    await expect(page.locator(".gap")).to_have_count(1)
    await shows_totals(page, "10 002", "10 151,50 zł", "10 002")
    await expect(page.locator(".grid-body .cell-customer").first).to_have_text("many")


async def test_two_tabs_show_the_same_and_outlive_each_other(
    start_server: StartServer, database_url: str, db: Any, new_page: NewPage
) -> None:
    server: Server = await start_server(database_url)
    first = await new_page()
    second = await new_page(first.context)
    for tab in (first, second):
        await open_dashboard(tab, server)
    await insert(db, "both")
    for tab in (first, second):
        await finds(tab, 1)
        await expect(tab.locator(".events .event")).to_have_count(1)
    await first.close()
    await insert(db, "one")
    await finds(second, 2)
    third = await new_page(second.context)
    await open_dashboard(third, server)
    await finds(third, 2)
    await insert(db, "both again")
    for tab in (second, third):
        await finds(tab, 3)
        await shows_totals(tab, "3", "451,50 zł", "3")


async def test_a_server_that_is_not_ready_is_waited_for(
    start_server: StartServer, database_url: str, db: Any, page: Page
) -> None:
    server: Server = await start_server(database_url)
    await insert(db, "there")
    failures = iter([True, True])

    async def fail_twice(route: Route) -> None:
        if next(failures, False):
            await route.fulfill(status=503, json={"error": {"code": "unavailable", "message": "not now"}})
        else:
            await route.continue_()

    await page.route("**/api/orders**", fail_twice)
    await page.goto(f"{server.http_url}/admin/dashboard")
    await expect(page.get_by_role("alert")).to_contain_text("Не удалось загрузить")
    await finds(page, 1)
    await expect(page.get_by_role("alert")).to_have_count(0)
