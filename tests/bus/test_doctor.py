"""bus.doctor with real nodes of NATS."""

from __future__ import annotations

from pathlib import Path

from bus.connection import BrokerOptions
from bus.doctor import diagnose
from bus.local.nodes import BrokerNodes
from bus.nats import Subjects
from tests.helpers.buses import DATABASE, member

SUBJECTS = Subjects.of_database(*DATABASE)


async def texts(urls: str, replicas: int | None = 1) -> list[str]:
    return [problem for problem, _ in await diagnose(BrokerOptions(tuple(urls.split(","))), replicas, SUBJECTS)]


async def test_a_node_with_the_stream_has_no_problem(node: BrokerNodes) -> None:
    assert await texts(node.urls) == [f"the stream {SUBJECTS.stream} is not in NATS"]
    async with member(node.urls, relays=True) as relay:
        assert relay.bus._connection is not None
        jetstream = relay.bus._connection.client.jetstream()
        await relay.wait_until(lambda: not relay.bus._upkeep_due.is_set(), "the stream is looked after")
        while SUBJECTS.stream not in [info.config.name for info in await jetstream.streams_info()]:
            pass
        assert await texts(node.urls) == []
        assert await texts(node.urls, 3) == [f"the stream {SUBJECTS.stream} is on 1 of 3 nodes"]
        assert await texts(node.urls, None) == ["BROKER_URL names 1 of NATS's nodes: without it each edge reads PostgreSQL"]


async def test_a_node_that_is_away_is_named(node: BrokerNodes) -> None:
    await node.kill(0)
    (text,) = await texts(node.urls)
    assert text == f"NATS at 127.0.0.1:{node.ports[0]}: Connection refused"


async def test_a_node_without_jetstream_and_with_a_small_max_payload(tmp_path: Path) -> None:
    nodes = BrokerNodes(tmp_path, count=1, extra="max_payload: 65536", jetstream_bytes=0)
    await nodes.start()
    try:
        payload, jetstream = await texts(nodes.urls)
        assert payload.endswith("takes messages of 65,536 bytes at most")
        assert jetstream.startswith("JetStream does not answer at ")
    finally:
        await nodes.stop()
