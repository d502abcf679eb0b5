"""`/metrics` is valid, and each metric changes with its cause. With WORKERS=2: added up over the workers."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import aiohttp
import asyncpg
from prometheus_client.parser import text_string_to_metric_families

from push.metrics import Metrics
from tests.helpers.contending_writers import contending_writers
from tests.helpers.tokens import SECRET, token
from tests.support import TIMEOUT_SECONDS, WORKERS, Client, Connect, Server, StartServer

ADMIN = {"Authorization": f"Bearer {token('admin')}"}

# Prometheus's own checker, where it is installed. The parser of its Python client is always used.
PROMTOOL = shutil.which("promtool")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


async def samples(server: Server) -> Samples:
    """The value of each sample by name and labels, as the parser of Prometheus finds them."""
    async with aiohttp.ClientSession() as http, http.get(server.http_url + "/metrics", headers=ADMIN) as response:
        assert response.status == 200
        assert response.headers["Content-Type"].startswith("text/plain; version=")
        text = await response.text()
    if PROMTOOL is not None:
        subprocess.run([PROMTOOL, "check", "metrics"], input=text, text=True, capture_output=True, check=True)
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, "twice"
            found[key] = sample.value
    return found


class Watched:
    """Waits until samples have the values that a test expects. ``moved``: the metrics that it has waited for."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.moved: set[str] = set()

    async def value(self, name: str, **labels: str) -> float:
        return (await samples(self.server)).get((name, tuple(sorted(labels.items()))), 0.0)

    async def reaches(self, condition: Callable[[float], bool], name: str, **labels: str) -> float:
        found = float("nan")
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not condition(found := await self.value(name, **labels)):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"{name} {labels} is {found}") from None
        self.moved.add(re.sub(r"_(total|count|sum|bucket)$", "", name))
        return found


async def test_every_metric_changes_with_its_cause(
    start_server: StartServer, connect: Connect, database_url: str, db: Any
) -> None:
    server: Server = await start_server(
        database_url,
        NOTIFY_MODE="auto",
        JWT_SECRET=SECRET,
        SEND_QUEUE_FRAMES="50",
        HEARTBEAT_SECONDS="3600",
        AUDIT_SECONDS="0.3",
        FRAMES_PER_SECOND="20",
        AUTH_SECONDS="0.2",
        HANDSHAKES_PER_SECOND="100000",
    )
    metrics = Watched(server)
    await metrics.reaches(lambda n: n == 1, "orderwire_ready")
    before = await metrics.value("orderwire_tcp_connections")

    # Sessions.
    client: Client = await connect(server.ws_url, headers=ADMIN)
    await client.wait_until(lambda c: len(c.messages) >= 2, "the first messages")
    await metrics.reaches(lambda n: n == 1, "orderwire_sessions", transport="websocket", role="admin")
    await metrics.reaches(lambda n: n > before, "orderwire_tcp_connections")
    async with aiohttp.ClientSession() as http:
        viewer = {"Authorization": f"Bearer {token('viewer')}"}
        async with http.get(server.http_url + "/api/sse", headers=viewer):
            await metrics.reaches(lambda n: n == 1, "orderwire_sessions", transport="sse", role="viewer")
    await metrics.reaches(lambda n: n == 0, "orderwire_sessions", transport="sse", role="viewer")
    leaving: Client = await connect(server.ws_url, headers=ADMIN)
    await leaving.disconnect()
    await metrics.reaches(lambda n: n >= 1, "orderwire_sessions_closed_total", code="1000")

    # Events.
    assert await metrics.value("orderwire_events_total") == 0
    frames = await metrics.value("orderwire_sent_messages_total", transport="websocket")
    await db.execute("insert into orders (customer_name, total) select 'x', n from generate_series(1, 3) as n")
    await client.wait_until(lambda c: len(c.events) == 3, "the events")
    await metrics.reaches(lambda n: n == 3, "orderwire_events_total")
    await metrics.reaches(lambda n: n >= frames + 3, "orderwire_sent_messages_total", transport="websocket")
    size = sum(len(json.dumps(event)) for event in client.events)
    await metrics.reaches(lambda n: n > size * 0.8, "orderwire_sent_bytes_total", transport="websocket")
    await metrics.reaches(lambda n: n >= 1, "orderwire_fanout_seconds_count")
    await metrics.reaches(lambda n: n == 3 * WORKERS, "orderwire_delivery_seconds_count")
    assert 0 < await metrics.value("orderwire_delivery_seconds_sum") < 3 * TIMEOUT_SECONDS

    # Resumes.
    back: Client = await connect(f"{server.ws_url}?last_event_id={client.events[0]['id']}", headers=ADMIN)
    await back.wait_until(lambda c: len(c.events) == 2, "the replay")
    await metrics.reaches(lambda n: n == 1, "orderwire_resumes_total", outcome="recovered")
    await metrics.reaches(lambda n: n == 2, "orderwire_replayed_events_total")
    await connect(f"{server.ws_url}?last_event_id=nonsense", headers=ADMIN)
    await metrics.reaches(lambda n: n == 1, "orderwire_resumes_total", outcome="fetch_anew")

    # Rejections.
    async with aiohttp.ClientSession(server.http_url) as http:
        for reason, headers in {
            "origin": {"Origin": "https://evil.example", **ADMIN},
            "invalid_token": {"Authorization": "Bearer x"},
            "token_expired": {"Authorization": f"Bearer {token(ttl=-5)}"},
            "not_authenticated": {},
            "not_permitted": {"Authorization": f"Bearer {token('viewer')}"},
        }.items():
            async with http.get("/api/orders", headers=headers) as response:
                assert response.status in (401, 403)
            await metrics.reaches(lambda n: n >= 1, "orderwire_rejections_total", reason=reason)
    flood: Client = await connect(server.ws_url, headers=ADMIN)
    for _ in range(100):
        await flood.ws.send_str("{}")
    assert await flood.wait_closed() == 3013
    await metrics.reaches(lambda n: n == 1, "orderwire_rejections_total", reason="too_fast")
    assert await (await connect(server.ws_url)).wait_closed() == 3502
    await metrics.reaches(lambda n: n == 1, "orderwire_sessions_closed_total", code="3502")

    # A client that does not read.
    stalled: Client = await connect(server.ws_url, headers=ADMIN)
    connection = stalled.ws._response.connection
    assert connection is not None
    transport = connection.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    async with asyncio.timeout(TIMEOUT_SECONDS):
        while not await metrics.value("orderwire_send_queue_overflows_total"):
            await db.execute(
                "insert into orders (customer_name, total) select repeat('🍕', 500), 1 from generate_series(1, 450)"
            )
    await metrics.reaches(lambda n: n >= 1, "orderwire_send_queue_overflows_total")
    transport.resume_reading()

    await metrics.reaches(lambda n: 0 < n < 1, "orderwire_open_files_ratio")

    # The database.
    await db.execute("set session_replication_role = replica; delete from orders; set session_replication_role = origin")
    await metrics.reaches(lambda n: n == WORKERS, "orderwire_totals_corrections_total")
    assert await metrics.value("orderwire_listener_reconnects_total") == 0
    catch_ups = await metrics.value("orderwire_catch_up_events_count")
    # The listener's connection is closed; the next one catches up.
    await db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name = 'orderwire listener' and datname = current_database()"
    )
    await metrics.reaches(lambda n: n == WORKERS, "orderwire_listener_reconnects_total")
    await metrics.reaches(lambda n: n == catch_ups + WORKERS, "orderwire_catch_up_events_count")
    await metrics.reaches(lambda n: n == 1, "orderwire_ready")
    await metrics.reaches(lambda n: n == 1, "orderwire_feed_live")  # 0: tests/faults/test_feed_status.py
    await metrics.reaches(lambda n: 0 <= n < 30, "orderwire_listener_lag_seconds")

    # Writers that wait for each other suppress NOTIFY; without them it is allowed again.
    assert await metrics.value("orderwire_notify_suppressed") == 0
    async with asyncio.timeout(TIMEOUT_SECONDS), contending_writers(database_url) as write:
        while not await metrics.value("orderwire_notify_suppressed"):
            await write()
    await metrics.reaches(lambda n: n == 0, "orderwire_notify_suppressed")

    # A listener in an open transaction lets the notification queue fill.
    blocking_listener = await asyncpg.connect(database_url)
    try:
        await blocking_listener.execute("listen orderwire_test_full")
        await blocking_listener.execute("begin; select 1")
        await db.execute("select pg_notify('orderwire_test_full', repeat('x', 7000) || n) from generate_series(1, 2000) as n")
        await metrics.reaches(lambda n: n > 0, "orderwire_notification_queue_usage_ratio")
    finally:
        await blocking_listener.close()

    # An event that the server cannot read.
    await db.execute("insert into orderwire.journal (is_order, key, total) values (true, '9', 'NaN')")
    await metrics.reaches(lambda n: n == 1, "orderwire_placeholder_events_total")

    named = {family.name for family in Metrics().registry.collect()}
    # Those of several servers: tests/faults/test_cluster.py.
    clustered = {"orderwire_relay", "orderwire_broker_silence_seconds", "orderwire_fact_gaps"}
    clustered |= {f"orderwire_facts_{how}" for how in ("used", "old", "joined")}
    assert metrics.moved - clustered == named - clustered
