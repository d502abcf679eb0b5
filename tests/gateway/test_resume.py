"""A client that reconnects with its last cursor misses nothing; the journal over HTTP and SSE."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest

from gateway.sse import _encode_events
from tests.gateway.conftest import StartApp, StartTarget
from tests.support import TIMEOUT_SECONDS, Client, Connect, Message, within


def resumed(client: Client) -> Message:
    return client.of_type("resumed")[0]


async def test_a_resume_replays_exactly_the_missed_events(start_target: StartTarget, connect: Connect, db: Any) -> None:
    target = await start_target()
    first = await connect(target.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('seen', 1)")
    await first.wait_until(lambda c: len(c.events) == 1, "the first event")
    await first.disconnect()
    witness = await connect(target.ws_url)
    await db.execute("insert into orders (customer_name, total) select 'missed', n from generate_series(1, 7) n")
    await witness.wait_until(lambda c: len(c.events) == 7, "published")  # else some of them would come live, after the replay

    second = await connect(f"{target.ws_url}?last_event_id={first.events[0]['id']}")
    await second.wait_until(lambda c: len(c.events) == 7, "seven missed events")
    assert [frame["type"] for frame in second.messages[:3]] == ["analytics_update", "resumed", "new_order"]
    assert resumed(second) == {"type": "resumed", "recovered": True, "replayed": 7}
    await db.execute("insert into orders (customer_name, total) values ('live', 1)")
    await second.wait_until(lambda c: len(c.events) == 8, "the live event")
    assert [event["customer_name"] for event in second.events] == ["missed"] * 7 + ["live"]


async def test_a_resume_on_another_server_reads_the_journal(start_target: StartTarget, connect: Connect, db: Any) -> None:
    target = await start_target()
    first = await connect(target.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('seen', 1)")
    await first.wait_until(lambda c: len(c.events) == 1, "the first event")
    await target.kill()
    await db.execute("insert into orders (customer_name, total) select 'missed', n from generate_series(1, 3000) n")

    other = await start_target()
    second = await connect(f"{other.ws_url}?last_event_id={first.events[0]['id']}")
    await second.wait_until(lambda c: len(c.events) == 3000, "the missed events")
    assert resumed(second) == {"type": "resumed", "recovered": True, "replayed": 3000}


async def test_a_cursor_that_cannot_be_resumed_is_reported(start_app: StartApp, connect: Connect, db: Any) -> None:
    app = await start_app()
    witness = await connect(app.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('x', 1)")
    await witness.wait_until(lambda c: len(c.events) == 1, "published")  # else it would come live
    epoch = await db.fetchval("select epoch from orderwire.journal_identity")
    impossible = [f"{epoch}-{snapshot}" for snapshot in ("s5.3", "s0.0", "s5.9.4", "s5.9.9", "s5.9.8.6", "p1-0-1_s5.3_1")]
    for cursor in ("garbage", "00000000-1-0-1", f"{epoch}-1-0-1", f"{epoch}-99999999-0-99999999", *impossible):
        client = await connect(f"{app.ws_url}?last_event_id={cursor}")
        await client.wait_until(lambda c: bool(c.of_type("resumed")), f"an answer to {cursor}")
        assert resumed(client) == {"type": "resumed", "recovered": False, "replayed": 0}
        assert client.events == []
    async with aiohttp.ClientSession() as http:
        for cursor in impossible:
            async with http.get(f"{app.http_url}/api/events", params={"after": cursor}) as response:
                assert response.status == 400


async def test_a_replay_of_more_events_than_the_maximum_is_refused(start_app: StartApp, connect: Connect, db: Any) -> None:
    app = await start_app()
    first = await connect(app.ws_url)
    await db.execute("insert into orders (customer_name, total) values ('seen', 1)")
    await first.wait_until(lambda c: len(c.events) == 1, "the first event")
    await db.execute("insert into orders (customer_name, total) select 'm', 1 from generate_series(1, 10001)")
    await first.wait_until(lambda c: len(c.events) == 10_002, "everything, live")
    second = await connect(f"{app.ws_url}?last_event_id={first.events[0]['id']}")
    await second.wait_until(lambda c: bool(c.of_type("resumed")), "an answer")
    assert resumed(second)["recovered"] is False


async def test_pages_of_the_history_have_every_event_once(start_app: StartApp, db: Any) -> None:
    app = await start_app()
    await db.execute("insert into orders (customer_name, total) select 'h', n from generate_series(1, 250) n")
    await db.execute("update orders set status = 'ready' where id <= 100")
    seen: list[str] = []
    url = f"{app.http_url}/api/events?limit=40"
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
        async with http.get(url + "&after=00000000-1-0-1") as response:
            assert response.status == 410
            assert (await response.json())["error"]["code"] == "gone"
        async with http.get(url + "&after=nonsense") as response:
            assert response.status == 400


async def read_sse(response: aiohttp.ClientResponse, events: int) -> list[dict[str, str]]:
    """Read until ``events`` of them carry a change; returns these and all that come between them."""
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


async def test_sse_events_are_the_same_messages_and_can_be_resumed(start_app: StartApp, db: Any) -> None:
    app = await start_app()
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{app.http_url}/api/sse") as response:
            assert response.headers["Content-Type"].startswith("text/event-stream")
            await db.execute("insert into orders (customer_name, total) select 'n', n from generate_series(1, 3) n")
            found = await read_sse(response, 3)
        assert found[1]["event"] == "analytics_update"
        start = next(item["id"] for item in found if "data" not in item and "id" in item)
        changes = [item for item in found if item.get("event") == "new_order"]
        assert [json.loads(item["data"])["id"] for item in changes] == [item["id"] for item in changes]
        # The cursor that precedes the first event can be resumed from too.
        for cursor, count in ((start, 3), (changes[0]["id"], 2), (changes[2]["id"], 0)):
            async with http.get(f"{app.http_url}/api/sse", headers={"Last-Event-ID": cursor}) as response:
                found = await read_sse(response, count) if count else []
            assert len([item for item in found if item.get("event") == "new_order"]) == count


async def test_messages_are_encoded_once_for_all_sse_clients(
    start_app: StartApp, db: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[bytes] = []

    def encode(messages: Sequence[bytes]) -> bytes:
        encoded.extend(messages)
        return _encode_events(messages)

    monkeypatch.setattr("gateway.sse._encode_events", encode)
    app = await start_app(SEND_QUEUE_BYTES="16MiB", SEND_QUEUE_FRAMES="10000")
    async with aiohttp.ClientSession() as http, contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(http.get(f"{app.http_url}/api/sse")) for _ in range(5)]
        for stream in streams:
            await within(TIMEOUT_SECONDS, stream.content.readuntil(b"id: "), "the cursor from which it is live")
        encoded.clear()
        await db.execute("insert into orders (customer_name, total) select repeat('x', 400), 1 from generate_series(1, 900)")
        await asyncio.gather(*(read_sse(stream, 900) for stream in streams))
    assert sum(b'"new_order"' in message for message in encoded) == 900
