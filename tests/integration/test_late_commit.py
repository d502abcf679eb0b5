"""A transaction that commits late: its events have old ids, and every client receives them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import asyncpg

from tests.support import Client, Connect, Message, Server, StartServer

BULKS = 10
EVENTS = 100_000
# Single changes before the client leaves, and from then until the late transaction commits.
BEFORE, AWAY = 20, 100
# Events that are delivered again after the resume. The client's last event was written when only the late transaction was open.
MAX_DUPLICATES = 0


async def singles(db: Any, name: str, count: int) -> None:
    for number in range(count):
        await db.execute("insert into orders (customer_name, total) values ($1, $2)", name, number)


def has_events(count: int) -> Callable[[Client], bool]:
    return lambda client: len(client.events) >= count


async def test_a_late_commit_reaches_connected_and_returning_clients(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    # Large send queues: two clients that parse this many events are slow, and must not be closed for it.
    large_queues = {"SEND_QUEUE_FRAMES": "200000", "SEND_QUEUE_BYTES": "64MiB"}
    here: Server = await start_server(database_url, **large_queues)
    there: Server = await start_server(database_url, **large_queues)
    follower = await connect(here.ws_url)
    leaver = await connect(here.ws_url)

    late = await asyncpg.connect(database_url)
    transaction = late.transaction()
    await transaction.start()
    await late.execute("insert into orders (customer_name, total) values ('late', 1)")
    for _ in range(BULKS):
        await db.execute(
            "insert into orders (customer_name, total) select 'bulk', n from generate_series(1, $1::int) n", EVENTS // BULKS
        )
    await singles(db, "before", BEFORE)
    await leaver.wait_until(has_events(EVENTS + BEFORE), "all events but the late ones")
    await leaver.disconnect()
    await singles(db, "away", AWAY)
    await late.execute("update orders set status = 'ready' where customer_name = 'late'")
    await transaction.commit()
    await late.close()

    back = await connect(f"{there.ws_url}?last_event_id={leaver.events[-1]['id']}")
    await back.wait_until(has_events(AWAY + 2), "the missed events")
    await follower.wait_until(has_events(EVENTS + BEFORE + AWAY + 2), "all events")

    def is_late(event: Message) -> bool:
        return bool(event["order_id"] == 1)

    assert int(follower.events[-1]["id"].split("-")[3]) == EVENTS + BEFORE + AWAY + 2
    assert [event["type"] for event in filter(is_late, follower.events)] == ["new_order", "order_status_update"]
    assert [event["type"] for event in filter(is_late, back.events)] == ["new_order", "order_status_update"]
    held, came = [event["id"] for event in leaver.events], [event["id"] for event in back.events]
    everything = {event["id"] for event in follower.events}
    assert len(everything) == len(follower.events) == EVENTS + BEFORE + AWAY + 2
    assert set(held) | set(came) == everything
    # Events that the other server has not read yet when the client connects are not part of the replay.
    assert len(came) == len(set(came)) >= back.of_type("resumed")[0]["replayed"]
    assert back.of_type("resumed")[0]["recovered"] is True
    duplicates = len(set(held) & set(came))
    print(f"duplicates: {duplicates}")
    assert duplicates <= MAX_DUPLICATES
