"""A transaction that takes its time: its events have old ids when they come, and nobody misses them."""

from __future__ import annotations

from typing import Any

import asyncpg

from tests.support import Client, Connect, Message, Server, StartServer

BULKS = 10
EVENTS = 100_000
# So many single changes before the client leaves, and so many before the late transaction commits.
BEFORE, AWAY = 20, 100
# The last event that the client had was written when only the late transaction was open.
MOST_TWINS = 0


async def singles(db: Any, name: str, count: int) -> None:
    for number in range(count):
        await db.execute("insert into orders (customer_name, total) values ($1, $2)", name, number)


def events_are_all(count: int) -> Any:
    """Counted as cheaply as can be: it is asked after every frame."""
    return lambda client: len(client.frames) > count and len(client.events) >= count


async def test_late_commit_reaches_those_who_follow_and_those_who_come_back(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    # Two clients that parse JSON in this one process are slow for a bulk of this size, and are not to be closed for it.
    roomy = {"SEND_QUEUE_FRAMES": "200000", "SEND_QUEUE_BYTES": "64MiB"}
    here: Server = await start_server(database_url, **roomy)
    there: Server = await start_server(database_url, **roomy)
    follower: Client = await connect(here.ws_url)
    leaver: Client = await connect(here.ws_url)

    late = await asyncpg.connect(database_url)
    transaction = late.transaction()
    await transaction.start()
    await late.execute("insert into orders (customer_name, total) values ('late', 1)")
    for _ in range(BULKS):
        await db.execute(
            "insert into orders (customer_name, total) select 'bulk', n from generate_series(1, $1::int) n", EVENTS // BULKS
        )
    await singles(db, "before", BEFORE)
    await leaver.wait_until(events_are_all(EVENTS + BEFORE), "everything but the late one")
    await leaver.disconnect()
    await singles(db, "away", AWAY)
    await late.execute("update orders set status = 'ready' where customer_name = 'late'")
    await transaction.commit()
    await late.close()

    back: Client = await connect(f"{there.ws_url}?last_event_id={leaver.events[-1]['id']}")
    await back.wait_until(events_are_all(AWAY + 2), "what was missed")
    await follower.wait_until(events_are_all(EVENTS + BEFORE + AWAY + 2), "everything, live")

    def is_late(event: Message) -> bool:
        return bool(event["order_id"] == 1)

    assert int(follower.events[-1]["id"].split("-")[2]) == EVENTS + BEFORE + AWAY + 2
    assert [event["type"] for event in filter(is_late, follower.events)] == ["new_order", "order_status_update"]
    assert [event["type"] for event in filter(is_late, back.events)] == ["new_order", "order_status_update"]
    held, came = [event["id"] for event in leaver.events], [event["id"] for event in back.events]
    everything = {event["id"] for event in follower.events}
    assert len(everything) == len(follower.events) == EVENTS + BEFORE + AWAY + 2
    assert set(held) | set(came) == everything
    # The other server may not have read the last of them yet when the client comes: those come live.
    assert len(came) == len(set(came)) >= back.of_type("resumed")[0]["replayed"]
    assert back.of_type("resumed")[0]["recovered"] is True
    twins = len(set(held) & set(came))
    print(f"twins: {twins}")
    assert twins <= MOST_TWINS
