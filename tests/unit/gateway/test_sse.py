"""gateway.sse: messages as events of a stream, encoded once and written to all streams by the cohort that they are in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from gateway.net.transports import TransportBackend
from gateway.sessions.connection import ClientConnection
from gateway.sse import HEARTBEAT_COMMENT, LAST_CHUNK, SseBroadcaster, _encode_event, _encode_events, _SseClient
from push.delivery.batch import CHUNK_BYTES
from push.delivery.hub import Hub
from push.delivery.send_queue import SendQueue
from push.delivery.session import MAX_MISSED_HEARTBEATS, Session
from push.journal.totals import Totals
from push.metrics import Metrics
from push.protocol.access import ANONYMOUS_GRANT
from push.protocol.messages import CloseCode
from tests.helpers.builders import make_event
from tests.helpers.recording_transport import RecordingTransport


@pytest.mark.parametrize(
    ("message", "head"),
    [
        ('{"type":"new_order","id":"0a0b0c0d-1-2","order_id":1}', "event: new_order\nid: 0a0b0c0d-1-2\n"),
        ('{"type":"row_update","id":"0a0b0c0d-1-2"}', "event: row_update\nid: 0a0b0c0d-1-2\n"),
        ('{"type":"position","id":"0a0b0c0d-s3.5.4"}', "event: position\nid: 0a0b0c0d-s3.5.4\n"),
        ('{"id":"0a0b0c0d-1-2","type":"new_order"}', "event: new_order\nid: 0a0b0c0d-1-2\n"),
        ('{"type":"analytics_update","total_orders":1}', "event: analytics_update\n"),
        ('{"type":"error","message":"{\\"type\\":\\"x\\",\\"id\\":\\"1\\"}"}', "event: error\n"),
    ],
)
def test_event_has_the_type_and_the_cursor_of_its_message(message: str, head: str) -> None:
    assert _encode_event(message.encode()).decode() == f"{head}data: {message}\n\n"


class Stream(_SseClient):
    """The server's client object of an admitted session, on a transport that records what is written."""

    def __init__(self, hub: Hub, broadcaster: SseBroadcaster, *, in_chunks: bool = True) -> None:
        ClientConnection.__init__(self, lambda _: None)
        self._broadcaster = broadcaster
        self._flush_scheduled = False
        self.variant = in_chunks
        self.session = self._session = Session(SendQueue(10, 10**6), self)
        self.close_recorded = False
        self.adapter = cast(
            Any, SimpleNamespace(record_close=self._record_close, connection_lost=lambda: hub.remove(self.session))
        )
        hub.add(self.session)
        self.session.apply_grant(ANONYMOUS_GRANT, ANONYMOUS_GRANT.default_topics())
        self.session.send_initial_message(hub.totals_batch)
        hub.go_live(self.session)
        self.recorded = RecordingTransport()
        self.start(self.recorded)

    def _record_close(self) -> None:
        self.close_recorded = True

    @property
    def body(self) -> bytes:
        """What has been written since the first messages, without the framing of chunks, which is checked."""
        written = b"".join(self.recorded.written)
        if not self.variant:
            return written
        body = b""
        while written and written != LAST_CHUNK:
            size, _, written = written.partition(b"\r\n")
            body += written[: int(size, 16)]
            assert written[int(size, 16) :].startswith(b"\r\n")
            written = written[int(size, 16) + 2 :]
        return body


class Streams:
    """A hub and its streams."""

    def __init__(self, max_messages: int = 10) -> None:
        self.hub = Hub(max_messages=max_messages)
        self.metrics = Metrics()
        self.broadcaster = SseBroadcaster(self.metrics, self.hub, TransportBackend())
        self.published: list[bytes] = []

    async def open(self, *, in_chunks: bool = True) -> Stream:
        """A stream that has its first messages, and is in a cohort."""
        stream = Stream(self.hub, self.broadcaster, in_chunks=in_chunks)
        await asyncio.sleep(0)
        stream.recorded.written.clear()
        return stream

    async def publish(self, count: int = 1, size: int = 0) -> None:
        """Publish events with ``size`` bytes of text, and run the pass."""
        start = len(self.published)
        messages = [
            b'{"type":"new_order","id":"0a0b0c0d-1-%d","text":"%b"}' % (number, b"x" * size)
            for number in range(start, start + count)
        ]
        self.hub.publish([make_event(payload=message) for message in messages], Totals())
        self.published += messages
        await asyncio.sleep(0)

    def body(self, start: int = 0) -> bytes:
        """What a stream has of the events from number ``start`` on."""
        return _encode_events(self.published[start:])


async def test_an_event_is_encoded_once_for_all_streams_of_one_framing_which_get_the_same_object(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded: list[bytes] = []

    def encode(messages: Sequence[bytes]) -> bytes:
        encoded.extend(messages)
        return _encode_events(messages)

    streams = Streams()
    chunked, until_close = [await streams.open() for _ in range(5)], [await streams.open(in_chunks=False) for _ in range(3)]
    monkeypatch.setattr("gateway.sse._encode_events", encode)
    for client in (*chunked[:2], *until_close[:2]):
        client.session.detach()
    for count in (1, 3):
        await streams.publish(count)
    assert encoded == [message for batch in (streams.published[:1], streams.published[1:]) for message in [*batch, *batch]]
    for clients in (chunked, until_close):
        assert [client.body for client in clients] == [streams.body()] * len(clients)
        for first, *others in zip(*(client.recorded.written for client in clients), strict=True):
            assert all(data is first for data in others)
    await asyncio.sleep(0)  # counted once per tick
    assert streams.metrics.sent_messages.labels("sse")._value.get() == 8 * (1 + 4)  # the totals, and the events


async def test_a_stream_that_is_full_gets_the_rest_from_where_it_was_and_the_others_go_on() -> None:
    streams = Streams()
    slow, quick = await streams.open(), await streams.open()
    await streams.publish()
    slow.pause_writing()
    for _ in range(3):
        await streams.publish()
    assert (slow.body, quick.body) == (_encode_events(streams.published[:1]), streams.body())
    slow.resume_writing()
    await asyncio.sleep(0)
    assert slow.body == streams.body()
    await streams.publish()
    assert slow.recorded.written[-1] is quick.recorded.written[-1]  # in one cohort again


async def test_what_a_stream_has_missed_is_written_a_chunk_in_a_tick() -> None:
    streams = Streams()
    slow, other = await streams.open(), await streams.open()
    slow.pause_writing()
    await streams.publish(3, size=CHUNK_BYTES)
    slow.resume_writing()
    for chunks in (1, 2, 3):
        await asyncio.sleep(0)
        assert len(slow.recorded.written) == chunks
    assert slow.body == other.body == streams.body()
    await asyncio.sleep(0)
    assert slow.session.cohort is other.session.cohort


@pytest.mark.parametrize("in_chunks", [True, False])
async def test_a_slow_stream_is_ended_behind_what_its_transport_holds(*, in_chunks: bool) -> None:
    streams = Streams(max_messages=3)
    slow = await streams.open(in_chunks=in_chunks)
    await streams.publish()
    slow.pause_writing()
    for _ in range(6):
        await streams.publish()
    assert slow.session.close_code is CloseCode.SLOW_CONSUMER
    await asyncio.sleep(0)
    assert slow.close_recorded
    assert slow.body == _encode_events(streams.published[:1])
    assert (slow.recorded.written[-1] == LAST_CHUNK) == in_chunks
    assert slow.recorded.calls == ["close"]
    slow.resume_writing()
    await streams.publish()
    assert slow.body == _encode_events(streams.published[:1])
    slow.connection_lost(None)


async def test_a_closed_session_ends_its_stream_after_all_that_was_published() -> None:
    streams = Streams()
    client = await streams.open()
    await streams.publish()
    streams.hub.publish([make_event(payload=b'{"type":"new_order","id":"0a0b0c0d-1-1"}')], Totals())
    client.session.close(CloseCode.DRAIN)
    assert not client.close_recorded
    await asyncio.sleep(0)
    assert client.body.endswith(b'data: {"type":"new_order","id":"0a0b0c0d-1-1"}\n\n')
    assert (client.recorded.written[-1], client.recorded.calls) == (LAST_CHUNK, ["close"])
    client.connection_lost(None)
    assert len(streams.hub) == 0


async def test_a_stream_that_takes_its_heartbeats_is_alive_and_one_that_is_full_is_not() -> None:
    streams = Streams()
    client, in_cohort, full = [await streams.open() for _ in range(3)]
    client.session.detach()
    full.pause_writing()
    for _ in range(2 * MAX_MISSED_HEARTBEATS):
        cohort = cast(Any, in_cohort.session.cohort)
        cohort.ping([in_cohort.session])
        for one in (client, full):
            one.session.ping()
        await asyncio.sleep(0)
        client.session.detach()
    assert (client.session.close_code, in_cohort.session.close_code) == (None, None)
    assert client.body == in_cohort.body == HEARTBEAT_COMMENT * 2 * MAX_MISSED_HEARTBEATS
    assert full.session.close_code is CloseCode.NO_PONG
    full.connection_lost(None)
