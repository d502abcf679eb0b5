"""`?conflate=N`: rather than very many events at once a client is told how many there were, and fetches anew."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Client, Connect, Process, Server, StartServer, open_connections

ROWS = 3000


async def insert(db: Any, count: int, name: str) -> None:
    await db.execute("insert into orders (customer_name, total) select $2, 1 from generate_series(1, $1::int)", count, name)


async def test_many_at_once_are_told_as_one_and_single_orders_still_one_by_one(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    await insert(db, ROWS, "first")
    server: Server = await start_server(database_url)
    plain: Client = await connect(server.ws_url)
    client: Client = await connect(f"{server.ws_url}?conflate=50&topics=orders,analytics,order:7,order:2500")
    await db.execute("update orders set status = 'ready'")
    await plain.wait_until(lambda c: len(c.events) == ROWS, "every event, for who did not ask for less")
    await client.wait_until(
        lambda c: bool(c.events) and c.events[-1]["id"] == plain.events[-1]["id"], "the position of the last"
    )

    kinds = [frame["type"] for frame in client.messages if frame["type"] != "analytics_update"]
    assert kinds[0] == "bulk"
    assert set(kinds) <= {"bulk", "order_status_update", "position"}
    singles = client.of_type("order_status_update")
    assert sum(frame["events"] for frame in client.of_type("bulk")) + len(singles) >= ROWS
    assert [frame["order_id"] for frame in singles if frame["order_id"] in (7, 2500)] == [7, 2500]
    assert singles == [event for event in plain.events if event in singles], "the same, in the same order"
    assert "bulk" not in {frame["type"] for frame in plain.messages}
    await client.wait_until(lambda c: c.totals["pending_orders"] == 0, "the totals, as ever")

    # From the position on a resume lacks nothing and repeats nothing.
    await client.disconnect()
    await insert(db, 3, "meanwhile")
    back: Client = await connect(f"{server.ws_url}?conflate=50&last_event_id={client.events[-1]['id']}")
    await back.wait_until(lambda c: len(c.events) == 3, "what was missed")
    assert [event["customer_name"] for event in back.events] == ["meanwhile"] * 3
    # Few at once come as they are.
    await insert(db, 1, "live")
    await back.wait_until(lambda c: len(c.events) == 4, "a single one")
    assert not back.of_type("bulk")


async def test_client_that_does_not_read_for_long_is_told_less_instead_of_being_closed(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, SEND_QUEUE_FRAMES="10", SEND_QUEUE_BYTES="10000")
    plain: Client = await connect(server.ws_url)
    lazy: Client = await connect(f"{server.ws_url}?conflate=10000")
    assert lazy.ws._conn is not None
    transport: Any = lazy.ws._conn.transport
    transport.pause_reading()
    name = "x" * 2000
    async with open_connections(database_url, 1) as (writer,):
        for written in range(1, 21):
            await insert(writer, 500, name)
            await plain.wait_until(lambda c: len(c.events) == written * 500, "everything")  # noqa: B023  (used at once)
    transport.resume_reading()
    await lazy.wait_until(lambda c: bool(c.events) and c.events[-1]["id"] == plain.events[-1]["id"], "the position of the last")
    assert lazy.close_code is None
    assert lazy.of_type("bulk"), "the kernel took all of it: this run shows nothing"
    assert sum(frame["events"] for frame in lazy.of_type("bulk")) + len(lazy.of_type("new_order")) == 10_000


async def test_stream_of_server_sent_events_does_it_too(start_server: StartServer, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url)
    follow = await Process.start("curl", "-sN", f"{server.http_url}/api/sse?conflate=50")
    await follow.wait_for_line("analytics_update")
    await insert(db, ROWS, "bulk")
    last = await db.fetchrow(
        "select i.epoch || '-' || j.txid || '-' || j.id from orderwire.journal j, orderwire.journal_identity i "
        "order by j.id desc limit 1"
    )
    await follow.wait_for_line(f"id: {last[0]}")
    await follow.stop_group()
    text = follow.output
    assert "event: bulk\ndata: {" in text
    assert f'event: position\nid: {last[0]}\ndata: {{"type":"position","id":"{last[0]}"}}' in text


@pytest.mark.parametrize("value", ["0", "-1", "10001", "yes", "", "1e3", "99999999999"])
async def test_what_cannot_be_understood_is_refused(
    start_server: StartServer, connect: Connect, database_url: str, value: str
) -> None:
    server: Server = await start_server(database_url)
    client: Client = await connect(f"{server.ws_url}?conflate={value}")
    assert await client.wait_closed() == 3501
