"""Streams of events after they have left aiohttp: framing, slow clients, the end by either side, what a client sends."""

from __future__ import annotations

import asyncio
import json
import signal
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from push.delivery.session import MAX_MISSED_HEARTBEATS
from tests.conftest import needs_one_worker
from tests.helpers.certificates import issue_certificate
from tests.helpers.raw_sse import RawSse
from tests.support import TIMEOUT_SECONDS, Server, StartServer, within

INSERT = "insert into orders (customer_name, total) select repeat('x', $1), n from generate_series(1, $2) as n"


@pytest.fixture
async def streams() -> AsyncIterator[list[RawSse]]:
    """Streams to close at the end."""
    opened: list[RawSse] = []
    yield opened
    for stream in opened:
        stream.close()


def totals_of(stream: RawSse) -> list[str]:
    return [json.loads(event)["total"] for event in stream.events]


async def metric(server: Server, name: str, **labels: str) -> float:
    async with aiohttp.ClientSession() as http, http.get(server.http_url + "/metrics") as response:
        families = text_string_to_metric_families(await response.text())
    found = (sample.value for family in families for sample in family.samples if (sample.name, sample.labels) == (name, labels))
    return next(found, 0.0)


async def until_metric(value: float, server: Server, name: str, **labels: str) -> None:
    async def poll() -> None:
        while await metric(server, name, **labels) != value:
            await asyncio.sleep(0.02)

    await within(TIMEOUT_SECONDS, poll(), f"{name} {labels} is {value}")


async def until_sessions(count: int, server: Server) -> None:
    await until_metric(count, server, "orderwire_sessions", transport="sse", role="admin")


@pytest.mark.parametrize("how", ["transport", "descriptor", "auto", "tls"])
async def test_every_stream_has_every_event_in_order_and_a_drain_ends_it_properly(
    start_server: StartServer, database_url: str, db: Any, tmp_path: Path, streams: list[RawSse], how: str
) -> None:
    settings, tls = {"WEBSOCKET_IO": how}, None
    if how == "tls":
        cert_file, key_file = issue_certificate(tmp_path, "x")
        settings = {"TLS_CERT_FILE": str(cert_file), "TLS_KEY_FILE": str(key_file)}
        tls = ssl.create_default_context(cafile=str(cert_file))
    limits = {"SEND_QUEUE_BYTES": "64MiB", "SEND_QUEUE_FRAMES": "100000"}
    # Anonymous: HTTP/1.0 is what some proxies speak, so such a client may be on another machine.
    server: Server = await start_server(database_url, ALLOW_ANONYMOUS="1", **limits, **settings)
    url = server.ws_url.replace("ws", "http", 1).removesuffix("/api/ws")
    for version in ("1.1", "1.1", "1.0"):
        streams.append(await RawSse.open(url, version=version, tls=tls))
        await streams[-1].read(lambda stream: "\nid: " in stream.body, "the cursor from which it is live")
    await db.execute(INSERT, 10, 1)
    await db.execute(INSERT, 1500, 1500)  # 3 MB: more than a socket takes at once
    await asyncio.gather(*(stream.read_events(1501) for stream in streams))
    server.process.send_signal(signal.SIGTERM)
    await asyncio.gather(*(stream.read_to_the_end() for stream in streams))
    assert await server.wait_for_exit() == 0
    assert [stream.in_chunks for stream in streams] == [True, True, False]
    assert [stream.is_complete for stream in streams] == [True] * 3
    assert streams[0].events == streams[1].events == streams[2].events
    assert totals_of(streams[0]) == ["1.00", *(f"{n}.00" for n in range(1, 1501))]
    assert [stream.body.startswith("retry: 1000\n\nevent: analytics_update\n") for stream in streams] == [True] * 3
    assert all("\r\nConnection: close\r\n" in stream.head for stream in streams[:2])


@needs_one_worker
async def test_slow_stream_is_ended_and_has_a_gapless_part_in_x(
    start_server: StartServer, database_url: str, db: Any, streams: list[RawSse]
) -> None:
    server: Server = await start_server(database_url, HEARTBEAT_SECONDS="3600")
    streams += [await RawSse.open(server.http_url, receive_buffer=buffer) for buffer in (4096, 4096, None)]
    quick = streams[-1]
    await until_sessions(3, server)
    written = 0
    while await metric(server, "orderwire_send_queue_overflows_total") < 2:
        await db.execute(INSERT, 500, 500)
        written += 500
        await quick.read_events(written)
        assert written < 50_000, "no stream is ever too slow"
    for stream in streams[:2]:
        # It reads again within the time for closing: all that was written to it is whole.
        await stream.read_to_the_end()
        assert stream.is_complete
        assert 0 < len(stream.events) < written
        assert stream.events == quick.events[: len(stream.events)]
    assert len(quick.events) == written
    await until_sessions(1, server)


@needs_one_worker
@pytest.mark.parametrize("how", ["transport", "auto"])
async def test_a_client_that_ends_its_side_or_disappears_ends_the_session(
    start_server: StartServer, database_url: str, streams: list[RawSse], how: str
) -> None:
    server: Server = await start_server(database_url, WEBSOCKET_IO=how, HEARTBEAT_SECONDS="3600")
    streams += [await RawSse.open(server.http_url) for _ in range(3)]
    connections = await metric(server, "orderwire_tcp_connections")
    await until_sessions(3, server)
    streams[0].writer.write_eof()
    streams[1].close()
    await streams[0].read_to_the_end()
    await until_sessions(1, server)
    await until_metric(connections - 2, server, "orderwire_tcp_connections")


@needs_one_worker
async def test_what_follows_the_request_is_dropped_and_a_flood_of_it_closes_the_stream(
    start_server: StartServer, database_url: str, db: Any, streams: list[RawSse]
) -> None:
    server: Server = await start_server(database_url, BYTES_PER_SECOND="100000")
    request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    stream = await RawSse.open(server.http_url, more=request * 3)
    streams.append(stream)
    await stream.read(lambda stream: "\nid: " in stream.body, "the cursor from which it is live")
    stream.writer.write(request)
    await db.execute(INSERT, 10, 1)
    await stream.read_events(1)
    assert "HTTP/1.1" not in stream.body
    stream.writer.write(bytes(10**6))
    await until_metric(1, server, "orderwire_sessions_closed_total", code="3013")
    assert await metric(server, "orderwire_rejections_total", reason="too_fast") == 1


async def test_head_request_is_answered_with_the_head_alone(start_server: StartServer, database_url: str) -> None:
    server: Server = await start_server(database_url)
    stream = await RawSse.open(server.http_url, method="HEAD", more=b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert stream.head.startswith("HTTP/1.1 200 ")
    assert "text/event-stream" in stream.head
    assert not stream.in_chunks
    await stream.read(lambda stream: stream.body.endswith('{"status":"ok"}'), "the answer to the next request")
    assert stream.body.startswith("HTTP/1.1 200 OK\r\n")
    stream.close()


async def test_idle_stream_gets_heartbeats_and_lives(
    start_server: StartServer, database_url: str, streams: list[RawSse]
) -> None:
    server: Server = await start_server(database_url, HEARTBEAT_SECONDS="0.2")
    streams.append(await RawSse.open(server.http_url))
    await streams[0].read(lambda stream: stream.body.count("\n: ping\n") >= 2 * MAX_MISSED_HEARTBEATS, "heartbeats")
