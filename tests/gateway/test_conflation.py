"""`?conflate=N`: instead of more than N events at once, a client gets their number and fetches the rows again."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.conftest import StartApp, StartTarget
from tests.support import Connect, Process, open_connections

ROWS = 3000


async def insert(db: Any, count: int, name: str) -> None:
    await db.execute("insert into orders (customer_name, total) select $2, 1 from generate_series(1, $1::int)", count, name)


async def test_many_events_become_one_message_except_those_of_subscribed_orders(
    start_target: StartTarget, connect: Connect, db: Any
) -> None:
    await insert(db, ROWS, "first")
    target = await start_target()
    plain = await connect(target.ws_url)
    client = await connect(f"{target.ws_url}?conflate=50&topics=orders,analytics,order:7,order:2500")
    await db.execute("update orders set status = 'ready'")
    await plain.wait_until(lambda c: len(c.events) == ROWS, "every event, without conflation")
    await client.wait_until(
        lambda c: bool(c.events) and c.events[-1]["id"] == plain.events[-1]["id"], "the position of the last"
    )

    kinds = [frame["type"] for frame in client.messages if frame["type"] != "analytics_update"]
    assert kinds[0] == "bulk"
    assert set(kinds) <= {"bulk", "order_status_update", "position"}
    singles = client.of_type("order_status_update")
    assert sum(frame["events"] for frame in client.of_type("bulk")) + len(singles) >= ROWS
    assert sorted(frame["order_id"] for frame in singles if frame["order_id"] in (7, 2500)) == [7, 2500]
    assert singles == [event for event in plain.events if event in singles], "the same, in the same order"
    assert "bulk" not in {frame["type"] for frame in plain.messages}
    await client.wait_until(lambda c: c.totals["pending_orders"] == 0, "the totals")

    # A resume from the position of a bulk message neither misses nor repeats an event.
    await client.disconnect()
    await insert(db, 3, "meanwhile")
    back = await connect(f"{target.ws_url}?conflate=50&last_event_id={client.events[-1]['id']}")
    await back.wait_until(lambda c: len(c.events) == 3, "what was missed")
    assert [event["customer_name"] for event in back.events] == ["meanwhile"] * 3
    # Up to N events at once are sent one by one.
    await insert(db, 1, "live")
    await back.wait_until(lambda c: len(c.events) == 4, "a single one")
    assert not back.of_type("bulk")


async def test_a_slow_client_that_conflates_gets_fewer_messages_and_stays_connected(
    start_target: StartTarget, connect: Connect, database_url: str
) -> None:
    target = await start_target(SEND_QUEUE_FRAMES="10", SEND_QUEUE_BYTES="10000")
    plain = await connect(target.ws_url)
    lazy = await connect(f"{target.ws_url}?conflate=10000")
    assert lazy.ws._conn is not None
    transport: Any = lazy.ws._conn.transport
    transport.pause_reading()
    name = "🍕" * 500  # 2000 bytes: an event has up to 500 characters of a name
    async with open_connections(database_url, 1) as (writer,):
        for written in range(1, 21):
            await insert(writer, 500, name)
            await plain.wait_until(lambda c: len(c.events) == written * 500, "all events")  # noqa: B023  (used at once)
    transport.resume_reading()
    await lazy.wait_until(lambda c: bool(c.events) and c.events[-1]["id"] == plain.events[-1]["id"], "the position of the last")
    assert lazy.close_code is None
    assert lazy.of_type("bulk"), "the kernel buffered everything: this run tests nothing"
    assert sum(frame["events"] for frame in lazy.of_type("bulk")) + len(lazy.of_type("new_order")) == 10_000


async def test_sse_streams_are_conflated_too(start_app: StartApp, db: Any) -> None:
    app = await start_app()
    follow = await Process.start("curl", "-sN", f"{app.http_url}/api/sse?conflate=50")
    await follow.wait_for_line("analytics_update")
    await insert(db, ROWS, "bulk")
    last = await db.fetchrow(
        "select i.epoch || '-' || j.txid || '-' || orderwire.event_tag(j.at) || '-' || j.id "
        "from orderwire.journal j, orderwire.journal_identity i order by j.id desc limit 1"
    )
    await follow.wait_for_line(f"id: {last[0]}")
    await follow.stop_group()
    text = follow.output
    assert "event: bulk\ndata: {" in text
    assert f'event: position\nid: {last[0]}\ndata: {{"type":"position","id":"{last[0]}"}}' in text


@pytest.mark.parametrize("value", ["0", "-1", "10001", "yes", "", "1e3", "99999999999"])
async def test_a_bad_value_is_rejected(start_app: StartApp, connect: Connect, value: str) -> None:
    app = await start_app()
    client = await connect(f"{app.ws_url}?conflate={value}")
    assert await client.wait_closed() == 3501
