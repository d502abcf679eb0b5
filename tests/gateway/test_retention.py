"""Clients and the retention of the journal: cursors older than the journal, and clients that stay connected."""

from __future__ import annotations

from typing import Any

from tests.gateway.conftest import App, StartApp
from tests.helpers.retention import insert_order, maintain_settled, make_old, names_in_journal
from tests.support import Connect, wait_until


async def first_page(app: App) -> Any:
    async with app.http.get("/api/events") as response:
        return await response.json()


async def test_a_cursor_older_than_the_journal_cannot_be_resumed(start_app: StartApp, connect: Connect, db: Any) -> None:
    before = await start_app()
    client = await connect(before.ws_url)

    async def nothing_else_runs() -> bool:
        # The age of an event is that of the oldest transaction that ran when it was written.
        return bool(await db.fetchval("select pg_snapshot_xmin(s) = pg_snapshot_xmax(s) from pg_current_snapshot() as s"))

    start = await first_page(before)
    for name in ("old", "old too", "kept", "newest"):
        await wait_until(nothing_else_runs, "the end of the first maintenance", 60)
        await insert_order(db, name)
    await client.wait_until(lambda c: len(c.events) == 4, "four events")
    await before.close()
    await make_old(db, "old")
    await make_old(db, "old too")
    await maintain_settled(db)

    app = await start_app()
    cursors = [start["next"], *(event["id"] for event in client.events)]
    for cursor, recovered in zip(cursors, (False, False, False, True, True), strict=True):
        back = await connect(f"{app.ws_url}?last_event_id={cursor}")
        await back.wait_until(lambda c: bool(c.of_type("resumed")), "an answer")
        assert back.of_type("resumed")[0]["recovered"] is recovered, cursor
    for cursor, status in zip(cursors, (410, 410, 410, 200, 200), strict=True):
        async with app.http.get("/api/events", params={"after": cursor}) as response:
            assert response.status == status, cursor
    assert [event["customer_name"] for event in (await first_page(app))["events"]] == ["kept", "newest"]


async def test_the_journal_is_trimmed_and_connected_clients_do_not_notice(
    start_app: StartApp, connect: Connect, db: Any
) -> None:
    app = await start_app(JOURNAL_RETENTION="10s")
    client = await connect(app.ws_url)
    await insert_order(db, "old")

    async def trimmed() -> bool:
        return "old" not in await names_in_journal(db)

    await wait_until(trimmed, "the event is trimmed", 60)
    await insert_order(db, "new")
    await client.wait_until(lambda c: len(c.events) == 2, "both events")
    assert client.of_type("resumed") == [], "trimming is no gap for connected clients"
