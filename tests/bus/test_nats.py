"""bus.nats with real nodes of NATS: delivery, the stream, requests for reads, timelines, and what is lost with the nodes."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest

from bus import connection
from bus.local.nodes import BrokerNodes
from bus.timeline import TimelineKey
from push.errors import BusUnavailable
from tests.helpers.buses import Member, member
from tests.support import within


async def stored(reader: Member, count: int, wanted: int) -> list[bytes]:
    """What the stream has, once it has so many."""
    found: list[bytes] = []

    async def wait() -> None:
        nonlocal found
        while len(found) < wanted:
            try:
                found = list(await reader.bus.stored(count))
            except BusUnavailable:
                found = []
            await asyncio.sleep(0.02)

    await within(30, wait(), f"{wanted} messages in the stream")
    return found


async def test_a_message_reaches_every_other_process_and_is_stored(node: BrokerNodes) -> None:
    async with member(node.urls, relays=True) as relay, member(node.urls) as one, member(node.urls) as other:
        # Until the relay has made the stream, messages are only live.
        await stored_after_publishing(relay, one, b"first")
        for number in range(5):
            await relay.bus.publish(b"fact %d" % number)
        for edge in (one, other):
            await edge.wait_for(b"fact 4")
        assert [message for message in one.received if message.startswith(b"fact")] == [b"fact %d" % n for n in range(5)]
        assert relay.received == []
        assert relay.bus.heard_at is None
        assert one.bus.heard_at is not None
        found = await stored(one, 3, 3)
        assert found == [b"fact 2", b"fact 3", b"fact 4"]


async def stored_after_publishing(relay: Member, reader: Member, message: bytes) -> None:
    """Publish until the stream has it."""

    async def wait() -> None:
        while True:
            await relay.bus.publish(message)
            try:
                if message in await reader.bus.stored(1):
                    return
            except BusUnavailable:
                pass
            await asyncio.sleep(0.05)

    await within(30, wait(), "the stream")


async def publish_until_received(relay: Member, reader: Member, message: bytes) -> None:
    """Publish again and again, also while the relay has no connection."""
    while message not in reader.received:
        with suppress(BusUnavailable):
            await relay.bus.publish(message)
        await asyncio.sleep(0.05)


async def test_a_large_stream_is_read_in_batches_from_its_end(node: BrokerNodes) -> None:
    async with member(node.urls, relays=True) as relay, member(node.urls) as edge:
        await stored_after_publishing(relay, edge, b"begin")
        messages = [b"%04d" % number + b"x" * 20_000 for number in range(700)]
        for message in messages:
            while True:
                try:
                    await relay.bus.publish(message)
                    break
                except BusUnavailable:  # the buffer is full
                    await asyncio.sleep(0.01)
        await edge.wait_for(messages[-1])
        while (found := list(await edge.bus.stored(600)))[-1] != messages[-1]:
            await asyncio.sleep(0.02)
        assert found == messages[-600:]


async def test_the_relay_answers_requests_for_a_read(node: BrokerNodes) -> None:
    async with member(node.urls) as edge:
        with pytest.raises(BusUnavailable):  # at once, since there is no relay
            await within(0.9, edge.bus.request_read(), "the refusal")
        async with member(node.urls, relays=True) as relay:
            answers = 0

            async def read() -> bytes:
                nonlocal answers
                answers += 1
                if answers == 1:
                    await asyncio.sleep(0.2)
                return b"answer %d" % answers

            relay.bus.serve_reads(read)

            async def ask() -> bytes:
                while True:
                    try:
                        return await edge.bus.request_read()
                    except BusUnavailable:
                        await asyncio.sleep(0.02)

            await within(30, ask(), "an answer")
            both = await asyncio.gather(edge.bus.request_read(), edge.bus.request_read())
            assert all(answer.startswith(b"answer") for answer in both)
            relay.bus.set_relaying(None)
            async with asyncio.timeout(30):
                while True:
                    try:
                        await edge.bus.request_read()
                    except BusUnavailable:
                        break
                    await asyncio.sleep(0.02)


async def test_facts_of_an_old_primary_are_ignored_and_refused(node: BrokerNodes) -> None:
    newer: list[int] = []
    async with member(node.urls, relays=True, timeline=1) as old, member(node.urls, on_timeline=newer.append) as edge:
        await old.bus.publish(b"before")
        await edge.wait_for(b"before")
        async with member(node.urls, relays=True, timeline=2) as new:
            await new.bus.publish(b"after")
            await edge.wait_for(b"after")
            assert newer == [2]
            await old.wait_until(lambda: old.bus.timeline == 2, "the old relay knows of the new primary")
            with pytest.raises(BusUnavailable, match="this server reads an old primary, on timeline 1; there is a new one"):
                await old.bus.publish(b"wrong")
        # Also by a process that starts later, and has heard nothing but what NATS remembers.
        assert old.bus._connection is not None
        assert old.bus._subjects is not None
        key = TimelineKey(old.bus._connection, old.bus._subjects.stream)

        async def is_known() -> None:
            while await key.read() != 2:
                await asyncio.sleep(0.02)

        await within(30, is_known(), "NATS knows the timeline")
        async with member(node.urls) as late:
            await late.wait_until(lambda: late.bus.timeline == 2, "the timeline that NATS has")


async def test_databases_do_not_meet(node: BrokerNodes) -> None:
    one, other = (1, 5), (1, 6)
    async with (
        member(node.urls, relays=True, database=one) as relay,
        member(node.urls, database=one) as edge,
        member(node.urls, database=other) as stranger,
    ):
        await relay.bus.publish(b"for one")
        await edge.wait_for(b"for one")
        assert stranger.received == []
        # It is told that its address leads to the first one now.
        stranger.bus.use_database(*one, 1)
        await stranger.wait_lost()
        await stranger.wait_connected()
        await relay.bus.publish(b"for both")
        await stranger.wait_for(b"for both")


async def test_without_a_broker_every_method_fails_at_once(node: BrokerNodes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with member(node.urls, relays=True) as relay, member(node.urls) as edge:
        await stored_after_publishing(relay, edge, b"one")
        await node.kill(0, forget=True)
        for lonely in (relay, edge):
            await lonely.wait_lost()
        for attempt in (relay.bus.publish(b"x"), edge.bus.stored(1), edge.bus.request_read()):
            with pytest.raises(BusUnavailable, match="NATS"):
                await within(0.5, attempt, "an error")
        await node.start_node(0)
        for back in (relay, edge):
            await back.wait_connected()
        # The node has forgotten the stream: the relay makes it anew.
        await stored_after_publishing(relay, edge, b"two")
        await edge.wait_for(b"two")
    losses = [record.getMessage() for record in caplog.records if "no connection to NATS" in record.getMessage()]
    assert 2 <= len(losses) <= 6  # each cause once, for each of the two
    assert any("connected to NATS at 127.0.0.1" in record.getMessage() for record in caplog.records)


async def test_a_frozen_node_is_left(nodes: BrokerNodes) -> None:
    async with member(nodes.urls, relays=True) as relay, member(nodes.urls) as edge:
        await stored_after_publishing(relay, edge, b"one")
        connection = edge.bus._connection
        assert connection is not None
        number = nodes.ports.index(int(connection.server.rpartition(":")[2]))
        nodes.freeze(number)
        try:
            await within(10, connection.lost.wait(), "the edge leaves the frozen node")
            await edge.wait_connected()
            await relay.wait_connected()

            await within(20, publish_until_received(relay, edge, b"two"), "messages by way of the other nodes")
        finally:
            nodes.resume(number)


async def test_live_messages_go_on_when_the_leader_of_the_stream_is_killed(nodes: BrokerNodes) -> None:
    async with member(nodes.urls, relays=True) as relay, member(nodes.urls) as edge:
        await stored_after_publishing(relay, edge, b"one")
        assert relay.bus._connection is not None
        assert relay.bus._subjects is not None
        info = await relay.bus._connection.client.jetstream().stream_info(relay.bus._subjects.stream)
        assert info.cluster is not None
        assert info.config.num_replicas == 3
        await nodes.kill(int(str(info.cluster.leader).removeprefix("nats")) - 1)
        for process in (relay, edge):
            await process.wait_connected()

        # An election takes NATS four seconds and more.
        await within(2.5, publish_until_received(relay, edge, b"two"), "a message with two nodes of three")
        assert b"one" in await stored(edge, 100, 1)


async def test_a_stream_grows_with_the_cluster(nodes: BrokerNodes) -> None:
    async with member(nodes.urls, relays=True, replicas=1) as relay, member(nodes.urls) as edge:
        await stored_after_publishing(relay, edge, b"one")
    async with member(nodes.urls, relays=True) as relay, member(nodes.urls) as edge:
        assert relay.bus._connection is not None
        jetstream = relay.bus._connection.client.jetstream()
        assert relay.bus._subjects is not None
        name = relay.bus._subjects.stream

        async def grow() -> None:
            while (await jetstream.stream_info(name)).config.num_replicas != 3:
                await asyncio.sleep(0.1)

        await within(30, grow(), "three replicas")


async def test_a_node_that_is_too_old_is_named_once_and_its_stream_not_waited_for(
    node: BrokerNodes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It answers the first message of a batch, and never says that there are no more."""
    monkeypatch.setattr(connection, "MIN_VERSION", (99, 0))
    async with member(node.urls, relays=True) as relay, member(node.urls) as edge:
        with pytest.raises(BusUnavailable, match=r"upgrade it to 2\.11 or newer"):
            await edge.bus.stored(3)
        first = relay.bus._connection
        assert first is not None
        first.mark_lost("the test says so")
        # The next one may be there at once.
        await relay.wait_until(lambda: relay.bus._connection not in (None, first), "another connection")
    assert sum("; to mend it: upgrade it" in record.getMessage() for record in caplog.records) == 2  # one of each process
