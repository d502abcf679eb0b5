"""Compressed WebSockets (RFC 7692): the same frames in fewer bytes, whoever comes, lags, leaves and comes back."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.faults.wire import HANDSHAKE, OFFER, WireClient
from tests.support import PATIENCE_SECONDS, Client, Server, within

ONE = "insert into orders (customer_name, total) values ('Иван ' || $1, $2)"
MOVE = "update orders set status = case when status = 'preparing' then 'ready' else 'preparing' end where id = $1"


async def shop(db: Any, count: int, start: int = 0) -> None:
    """So many changes, one by one."""
    for n in range(start, start + count):
        if n % 3 == 0:
            await db.execute(ONE, str(n * 7919 % 1000), n % 100)
        else:
            await db.execute(MOVE, n // 3 + 1)


async def test_another_implementation_reads_and_is_read(start_server: Any, connect: Any, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1")
    compressed: Client = await connect(server.ws_url, compress=15)
    plain: Client = await connect(server.ws_url)
    assert (compressed.ws.compress, plain.ws.compress) == (15, 0)
    for client in (compressed, plain):
        await client.until(lambda c: len(c.frames) == 1, "the totals")
    await shop(db, 100)
    await compressed.send('{"type":"ping"}')
    await compressed.send(json.dumps({"type": "subscribe", "topics": ["order:1"], "x": "y" * 10_000}))
    for client in (compressed, plain):
        await client.until(lambda c: len(c.events) == 100 and c.totals["total_orders"] == 34, "100 events")
    await compressed.until(lambda c: bool(c.of("subscribed")), "the topics")
    await shop(db, 100, 100)
    for client in (compressed, plain):
        await client.until(lambda c: len(c.events) == 200, "200 events")
    assert compressed.events == plain.events
    assert len(compressed.of("pong")) == 1


async def test_it_is_a_quarter_of_the_bytes_and_less(start_server: Any, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1")
    clients = [await WireClient.connect(server.ws_url, headers=headers) for headers in (OFFER, OFFER, {})]
    try:
        before = [client.bytes for client in clients]
        await shop(db, 600)
        for client in clients:
            await client.until(lambda c: len(c.events) == 600 and c.totals["total_orders"] == 200, "600 events")
        first, second, plain = (client.bytes - earlier for client, earlier in zip(clients, before, strict=True))
        assert [client.events == clients[0].events for client in clients] == [True] * 3
        print(f"{first} and {second} of {plain} bytes")
        assert max(first, second) < plain / 4
        assert clients[2].compressed == 0
        # What is for one alone is not in the stream.
        compressed = clients[0].compressed
        clients[0].say({"type": "ping"})
        await clients[0].until(lambda c: {"type": "pong"} in c.others, "a pong")
        assert clients[0].compressed == compressed
    finally:
        for client in clients:
            await client.disconnect()


@pytest.mark.alone  # has to read again within the server's time-out for a close
async def test_who_lags_gets_everything_and_who_lags_too_far_is_ended(start_server: Any, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1", SEND_QUEUE_FRAMES="3000", SEND_QUEUE_BYTES="100MiB")
    lagging, stuck, quick = [
        await WireClient.connect(server.ws_url, headers=OFFER, receive_buffer=buffer) for buffer in (4096, 4096, None)
    ]
    try:
        await shop(db, 30)
        for client in (lagging, stuck, quick):
            await client.until(lambda c: len(c.events) == 30, "30 events")
        lagging.transport.pause_reading()
        stuck.transport.pause_reading()
        # As random as text can be, so that it stays large: more than the kernel keeps for one that takes nothing.
        large = "insert into orders (customer_name, total) select string_agg(md5(random()::text || n || m), ''), 1 "
        large += "from generate_series(1, 500) n, generate_series(1, 60) m group by n"
        for n in range(1, 6):
            await db.execute(large)
            await quick.until(lambda c: len(c.events) == 30 + n * 500, "500 events")  # noqa: B023  (used at once)
        lagging.transport.resume_reading()
        await lagging.until(lambda c: len(c.events) == 2530, "what it has missed")
        for n in range(6, 16):
            await db.execute(large)
            for client in (lagging, quick):
                await client.until(lambda c: len(c.events) == 30 + n * 500, "500 events")  # noqa: B023  (used at once)
        assert lagging.events == quick.events
        await shop(db, 30, 30)
        for client in (lagging, quick):
            await client.until(lambda c: len(c.events) == 60 + 7500, "the last events")
        assert lagging.compressed > 60 + 7500 - 30
        stuck.transport.resume_reading()
        await stuck.until(lambda c: c.cut, "the end of the one that is stuck")
        assert stuck.close_code == 3008
        assert stuck.events == quick.events[: len(stuck.events)]
    finally:
        for client in (lagging, stuck, quick):
            await client.disconnect()


async def test_who_comes_back_resumes_uncompressed_and_joins(
    start_server: Any, connect: Any, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1")
    staying: Client = await connect(server.ws_url, compress=15)
    await shop(db, 30)
    await staying.until(lambda c: len(c.events) == 30, "30 events")
    cursor = staying.events[9]["id"]
    writing = asyncio.create_task(shop(db, 300, 30))
    coming = [await connect(f"{server.ws_url}?last_event_id={cursor}", compress=15) for _ in range(5)]
    await writing
    await staying.until(lambda c: len(c.events) == 330, "everything")
    for client in coming:
        await client.until(lambda c: len(c.events) >= 320, "everything since")
        assert client.events == staying.events[10:]


async def test_who_follows_a_part_gets_nothing_that_is_compressed(start_server: Any, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1")
    whole, part = [await WireClient.connect(server.ws_url, headers=OFFER) for _ in range(2)]
    try:
        part.say({"type": "unsubscribe", "topics": ["analytics"]})
        await part.until(lambda c: any(frame["type"] == "subscribed" for frame in c.others), "the topics")
        await shop(db, 30)
        for client in (whole, part):
            await client.until(lambda c: len(c.events) == 30, "30 events")
        assert part.compressed == 0
        assert whole.compressed >= 30
        part.say({"type": "subscribe", "topics": ["analytics"]})
        await part.until(lambda c: len([f for f in c.others if f["type"] == "subscribed"]) == 2, "the topics")
        for known in range(30, 150, 30):  # thirty may come as one batch, and the joining point is after it
            await shop(db, 30, known)
            for client in (whole, part):
                await client.until(lambda c: len(c.events) == known + 30, "30 more")  # noqa: B023  (used at once)
            if part.compressed:
                break
        assert part.compressed > 0
    finally:
        for client in (whole, part):
            await client.disconnect()


@pytest.mark.parametrize(("setting", "offer", "answered"), [("1", True, True), ("0", True, False), ("1", False, False)])
async def test_it_is_agreed_on_or_not(start_server: Any, database_url: str, setting: str, offer: bool, answered: bool) -> None:
    server: Server = await start_server(database_url, COMPRESSION=setting)
    parts = urlsplit(server.http_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    more = "".join(f"{name}: {value}\r\n" for name, value in OFFER.items()) if offer else ""
    writer.write(HANDSHAKE.format(path="/api/ws", host=parts.netloc, more=more).encode())
    head = await within(PATIENCE_SECONDS, reader.readuntil(b"\r\n\r\n"), "the handshake")
    assert (b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n" in head) == answered
    assert (b"permessage-deflate" in head) == answered
    writer.close()
