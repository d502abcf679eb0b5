"""A client comes back with its last cursor and misses nothing."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp

from tests.support import Client, Connect, Message, Server, StartServer


def resumed(client: Client) -> Message:
    return client.of_type("resumed")[0]


async def test_resume_replays_exactly_what_was_missed(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url)
    first: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('seen', 1)")
    await first.wait_until(lambda c: len(c.events) == 1, "the first event")
    await first.disconnect()
    witness: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) select 'missed', n from generate_series(1, 7) n")
    await witness.wait_until(lambda c: len(c.events) == 7, "published")  # else some of them would come live, after the replay

    second: Client = await connect(f"{server.ws_url}?last_event_id={first.events[0]['id']}")
    await second.wait_until(lambda c: len(c.events) == 7, "seven missed events")
    assert [frame["type"] for frame in second.messages[:3]] == ["analytics_update", "resumed", "new_order"]
    assert resumed(second) == {"type": "resumed", "recovered": True, "replayed": 7}
    await db.execute("insert into orders (customer_name, total) values ('live', 1)")
    await second.wait_until(lambda c: len(c.events) == 8, "the live event")
    assert [event["customer_name"] for event in second.events] == ["missed"] * 7 + ["live"]


async def test_resume_on_another_server_after_a_restart(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url)
    first: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('seen', 1)")
    await first.wait_until(lambda c: len(c.events) == 1, "the first event")
    await server.kill()
    await db.execute("insert into orders (customer_name, total) select 'missed', n from generate_series(1, 3000) n")

    other: Server = await start_server(database_url)
    second: Client = await connect(f"{other.ws_url}?last_event_id={first.events[0]['id']}")
    await second.wait_until(lambda c: len(c.events) == 3000, "the missed events")
    assert resumed(second) == {"type": "resumed", "recovered": True, "replayed": 3000}


async def test_gap_that_cannot_be_closed_is_told(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url)
    witness: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('x', 1)")
    await witness.wait_until(lambda c: len(c.events) == 1, "published")  # else it would come live
    epoch = await db.fetchval("select epoch from orderwire.journal_identity")
    impossible = [f"{epoch}-{snapshot}" for snapshot in ("s5.3", "s0.0", "s5.9.4", "s5.9.9", "s5.9.8.6", "p1-1_s5.3_1")]
    for cursor in ("garbage", "00000000-1-1", f"{epoch}-1-1", f"{epoch}-99999999-99999999", *impossible):
        client: Client = await connect(f"{server.ws_url}?last_event_id={cursor}")
        await client.wait_until(lambda c: bool(c.of_type("resumed")), f"an answer to {cursor}")
        assert resumed(client) == {"type": "resumed", "recovered": False, "replayed": 0}
        assert client.events == []
    async with aiohttp.ClientSession() as http:
        for cursor in impossible:
            async with http.get(f"{server.http_url}/api/events", params={"after": cursor}) as response:
                assert response.status == 400


async def test_more_than_the_bounded_replay_is_refused(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url)
    first: Client = await connect(server.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('seen', 1)")
    await first.wait_until(lambda c: len(c.events) == 1, "the first event")
    await db.execute("insert into orders (customer_name, total) select 'm', 1 from generate_series(1, 10001)")
    await first.wait_until(lambda c: len(c.events) == 10_002, "everything, live")
    second: Client = await connect(f"{server.ws_url}?last_event_id={first.events[0]['id']}")
    await second.wait_until(lambda c: bool(c.of_type("resumed")), "an answer")
    assert resumed(second)["recovered"] is False


async def test_history_pages_through_everything_once(start_server: StartServer, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url)
    await db.execute("insert into orders (customer_name, total) select 'h', n from generate_series(1, 250) n")
    await db.execute("update orders set status = 'ready' where id <= 100")
    seen: list[str] = []
    url = f"{server.http_url}/api/events?limit=40"
    async with aiohttp.ClientSession() as http:
        query = ""
        while True:
            async with http.get(url + query) as response:
                assert response.status == 200
                page = await response.json()
            seen += [event["id"] for event in page["events"]]
            query = "&after=" + page["next"]
            if not page["more"]:
                break
        assert len(seen) == len(set(seen)) == 350
        async with http.get(url + query) as response:
            assert (await response.json())["events"] == []
        await db.execute("delete from orders where id = 1")
        async with http.get(url + query) as response:
            assert [event["type"] for event in (await response.json())["events"]] == ["order_delete"]
        async with http.get(url + "&after=00000000-1-1") as response:
            assert response.status == 410
            assert (await response.json())["error"]["code"] == "gone"
        async with http.get(url + "&after=nonsense") as response:
            assert response.status == 400


async def read_sse(response: aiohttp.ClientResponse, events: int) -> list[dict[str, str]]:
    """So many events that carry a change, with whatever comes in between."""
    found: list[dict[str, str]] = []
    block: dict[str, str] = {}
    async with asyncio.timeout(30):
        async for raw in response.content:
            line = raw.decode().rstrip("\n")
            if line:
                name, _, value = line.partition(": ")
                block[name] = value
                continue
            if block:
                found.append(block)
                block = {}
            if sum("id" in item and "data" in item for item in found) >= events:
                break
    return found


async def test_server_sent_events_carry_the_same_frames_and_resume(
    start_server: StartServer, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{server.http_url}/api/sse") as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            await db.execute("insert into orders (customer_name, total) select 'n', n from generate_series(1, 3) n")
            found = await read_sse(response, 3)
        assert found[1]["event"] == "analytics_update"
        start = next(item["id"] for item in found if "data" not in item and "id" in item)
        changes = [item for item in found if item.get("event") == "new_order"]
        assert [json.loads(item["data"])["id"] for item in changes] == [item["id"] for item in changes]
        # The position from before the first event resumes too.
        for cursor, count in ((start, 3), (changes[0]["id"], 2), (changes[2]["id"], 0)):
            async with http.get(f"{server.http_url}/api/sse", headers={"Last-Event-ID": cursor}) as response:
                found = await read_sse(response, count) if count else []
            assert len([item for item in found if item.get("event") == "new_order"]) == count
