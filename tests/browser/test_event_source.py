"""A real browser, left to itself, misses nothing when the server is restarted."""

from __future__ import annotations

from typing import Any

from playwright.async_api import Page

from tests.support import Server, free_port

LISTEN = """
() => {
    window.names = [];
    window.source = new EventSource("/api/sse");
    window.source.addEventListener("new_order", (event) => window.names.push(JSON.parse(event.data).customer_name));
    return new Promise((resolve) => { window.source.onopen = () => resolve(true); });
}
"""


async def test_event_source_resumes_by_itself(start_server: Any, database_url: str, db: Any, page: Page) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await page.goto(f"{server.http_url}/admin/dashboard")
    await page.evaluate(LISTEN)
    await db.execute("insert into orders (customer_name, total) values ('before', 1)")
    await page.wait_for_function("() => names.length === 1")

    await server.kill()
    await db.execute("insert into orders (customer_name, total) values ('while down', 1)")
    await start_server(database_url, PORT=port)
    await page.wait_for_function("() => names.length === 2")
    await db.execute("insert into orders (customer_name, total) values ('after', 1)")
    await page.wait_for_function("() => names.length === 3")
    assert await page.evaluate("names") == ["before", "while down", "after"]


async def test_event_source_resumes_from_before_the_first_event(
    start_server: Any, database_url: str, db: Any, page: Page
) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await page.goto(f"{server.http_url}/admin/dashboard")
    await page.evaluate(LISTEN)
    await server.stop()
    await db.execute("insert into orders (customer_name, total) values ('while down', 1)")
    await start_server(database_url, PORT=port)
    await page.wait_for_function("() => names.length === 1")


async def test_dashboard_shows_totals_and_events_and_resumes(start_server: Any, database_url: str, db: Any, page: Page) -> None:
    port = free_port()
    server: Server = await start_server(database_url, PORT=port)
    await page.goto(f"{server.http_url}/")
    await page.get_by_text("online", exact=True).wait_for()
    await db.execute("insert into orders (customer_name, total) values ('<b>Иван</b>', 150.50)")
    await page.get_by_text("<b>Иван</b>, 150.50").wait_for()
    await page.wait_for_function("document.getElementById('total_revenue').textContent === '150.50'")
    await server.kill()
    await page.get_by_text("offline", exact=True).wait_for()
    await db.execute("update orders set status = 'ready'")
    await start_server(database_url, PORT=port)
    await page.get_by_text("pending → ready").wait_for()
