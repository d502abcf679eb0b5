"""Compressed WebSockets (RFC 7692): clients get the same messages in fewer bytes, also when they lag, leave and resume."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.helpers.raw_websocket import DEFLATE_OFFER, RawWebSocket, upgrade_request
from tests.support import TIMEOUT_SECONDS, Client, Connect, Server, StartServer, within

INSERT = "insert into orders (customer_name, total) values ('Иван ' || $1, $2)"
UPDATE = "update orders set status = case when status = 'preparing' then 'ready' else 'preparing' end where id = $1"

# 500 characters, as many as an event has: random ones of four bytes, which hardly compress; others in each row n.
LARGE_NAME = "(select string_agg(chr(66000 + (random() * 50000)::int), '') from generate_series(1, 500) where n > 0)"


async def write_orders(db: Any, count: int, start: int = 0) -> None:
    """Make ``count`` changes, one per transaction."""
    for n in range(start, start + count):
        if n % 3 == 0:
            await db.execute(INSERT, str(n * 7919 % 1000), n % 100)
        else:
            await db.execute(UPDATE, n // 3 + 1)


async def test_aiohttp_client_exchanges_compressed_messages(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1")
    compressed: Client = await connect(server.ws_url, compress=15)
    plain: Client = await connect(server.ws_url)
    assert (compressed.ws.compress, plain.ws.compress) == (9, 0)  # the window that it compresses with
    for client in (compressed, plain):
        await client.wait_until(lambda c: len(c.messages) == 1, "the totals")
    await write_orders(db, 100)
    await compressed.send('{"type":"ping"}')
    await compressed.send(json.dumps({"type": "subscribe", "topics": ["order:1"], "x": "y" * 10_000}))
    for client in (compressed, plain):
        await client.wait_until(lambda c: len(c.events) == 100 and c.totals["total_orders"] == 34, "100 events")
    await compressed.wait_until(lambda c: bool(c.of_type("subscribed")), "the topics")
    await write_orders(db, 100, 100)
    for client in (compressed, plain):
        await client.wait_until(lambda c: len(c.events) == 200, "200 events")
    assert compressed.events == plain.events
    assert len(compressed.of_type("pong")) == 1


async def test_compression_saves_three_quarters_of_the_bytes(start_server: StartServer, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1")
    clients = [await RawWebSocket.connect(server.ws_url, headers=headers) for headers in (DEFLATE_OFFER, DEFLATE_OFFER, {})]
    try:
        before = [client.bytes for client in clients]
        await write_orders(db, 600)
        for client in clients:
            await client.wait_until(lambda c: len(c.events) == 600 and c.totals["total_orders"] == 200, "600 events")
        first, second, plain = (client.bytes - earlier for client, earlier in zip(clients, before, strict=True))
        assert [client.events == clients[0].events for client in clients] == [True] * 3
        print(f"{first} and {second} of {plain} bytes")
        assert max(first, second) < plain / 4
        assert clients[2].compressed == 0
        # A message for one client is not compressed.
        compressed = clients[0].compressed
        clients[0].send_json({"type": "ping"})
        await clients[0].wait_until(lambda c: {"type": "pong"} in c.other_messages, "a pong")
        assert clients[0].compressed == compressed
    finally:
        for client in clients:
            await client.disconnect()


@pytest.mark.alone  # has to read again within the server's close time-out
async def test_lagging_client_gets_everything_and_one_too_far_behind_is_closed(
    start_server: StartServer, database_url: str, db: Any
) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1", SEND_QUEUE_FRAMES="3000", SEND_QUEUE_BYTES="100MiB")
    lagging, stuck, quick = [
        await RawWebSocket.connect(server.ws_url, headers=DEFLATE_OFFER, receive_buffer=buffer) for buffer in (4096, 4096, None)
    ]
    try:
        await write_orders(db, 30)
        for client in (lagging, stuck, quick):
            await client.wait_until(lambda c: len(c.events) == 30, "30 events")
        lagging.transport.pause_reading()
        stuck.transport.pause_reading()
        # More than the socket buffers of a client that does not read.
        large = f"insert into orders (customer_name, total) select {LARGE_NAME}, 1 from generate_series(1, 500) n"
        for n in range(1, 6):
            await db.execute(large)
            await quick.wait_until(lambda c: len(c.events) == 30 + n * 500, "500 events")  # noqa: B023
        lagging.transport.resume_reading()
        await lagging.wait_until(lambda c: len(c.events) == 2530, "what it has missed")
        for n in range(6, 16):
            await db.execute(large)
            for client in (lagging, quick):
                await client.wait_until(lambda c: len(c.events) == 30 + n * 500, "500 events")  # noqa: B023
        assert lagging.events == quick.events
        await write_orders(db, 30, 30)
        for client in (lagging, quick):
            await client.wait_until(lambda c: len(c.events) == 60 + 7500, "the last events")
        assert lagging.compressed > 60 + 7500 - 30
        stuck.transport.resume_reading()
        await stuck.wait_until(lambda c: c.lost, "the end of the client that does not read")
        assert stuck.close_code == 3008
        assert stuck.events == quick.events[: len(stuck.events)]
    finally:
        for client in (lagging, stuck, quick):
            await client.disconnect()


async def test_resumed_clients_miss_nothing(start_server: StartServer, connect: Connect, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1")
    staying: Client = await connect(server.ws_url, compress=15)
    await write_orders(db, 30)
    await staying.wait_until(lambda c: len(c.events) == 30, "30 events")
    cursor = staying.events[9]["id"]
    writing = asyncio.create_task(write_orders(db, 300, 30))
    resuming = [await connect(f"{server.ws_url}?last_event_id={cursor}", compress=15) for _ in range(5)]
    await writing
    await staying.wait_until(lambda c: len(c.events) == 330, "everything")
    for client in resuming:
        await client.wait_until(lambda c: len(c.events) >= 320, "everything since")
        assert client.events == staying.events[10:]


async def test_client_with_fewer_topics_gets_nothing_compressed(start_server: StartServer, database_url: str, db: Any) -> None:
    server: Server = await start_server(database_url, COMPRESSION="1")
    whole, part = [await RawWebSocket.connect(server.ws_url, headers=DEFLATE_OFFER) for _ in range(2)]
    try:
        part.send_json({"type": "unsubscribe", "topics": ["analytics"]})
        await part.wait_until(lambda c: any(message["type"] == "subscribed" for message in c.other_messages), "the topics")
        await write_orders(db, 30)
        for client in (whole, part):
            await client.wait_until(lambda c: len(c.events) == 30, "30 events")
        assert part.compressed == 0
        assert whole.compressed >= 30
        part.send_json({"type": "subscribe", "topics": ["analytics"]})
        await part.wait_until(lambda c: len([f for f in c.other_messages if f["type"] == "subscribed"]) == 2, "the topics")
        for known in range(30, 150, 30):  # thirty may come as one batch, and the join point is after it
            await write_orders(db, 30, known)
            for client in (whole, part):
                await client.wait_until(lambda c: len(c.events) == known + 30, "30 more")  # noqa: B023
            if part.compressed:
                break
        assert part.compressed > 0
    finally:
        for client in (whole, part):
            await client.disconnect()


@pytest.mark.parametrize(("setting", "offered", "accepted"), [("1", True, True), ("0", True, False), ("1", False, False)])
async def test_compression_is_negotiated_if_offered_and_enabled(
    start_server: StartServer, database_url: str, setting: str, offered: bool, accepted: bool
) -> None:
    server: Server = await start_server(database_url, COMPRESSION=setting)
    parts = urlsplit(server.http_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(upgrade_request(host=parts.netloc, headers=DEFLATE_OFFER if offered else None))
    head = await within(TIMEOUT_SECONDS, reader.readuntil(b"\r\n\r\n"), "the handshake")
    assert (b"Sec-WebSocket-Extensions: permessage-deflate\r\n" in head) == accepted
    assert (b"permessage-deflate" in head) == accepted
    writer.close()
