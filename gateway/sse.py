"""Sessions over Server-Sent Events: `GET /api/sse` (HTML standard, section 9.2).

aiohttp reads the request and writes the head of the response. Then the connection leaves it, as a WebSocket's does, and the
session takes part in the same passes and cohorts: an event is encoded once for all streams, and written to all by one call.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from aiohttp import HttpVersion11, hdrs, web

from gateway.http.detach import DetachedResponse, detach_transport
from gateway.http.request_guard import REQUEST_GUARD, ConnectionSlot
from gateway.http.request_head import REQUEST_HEAD, RequestHead
from gateway.net.transports import CLOSE_TIMEOUT_SECONDS, TRANSPORTS, Transport, TransportBackend
from gateway.sessions.broadcast import Broadcaster, CohortParts, TransportCohort
from gateway.sessions.connection import ClientConnection
from gateway.sessions.session_adapter import SessionAdapter, not_started_reason
from push.delivery.batch import Batch
from push.delivery.hub import Hub
from push.delivery.session import PING_MESSAGE, Session
from push.metrics import Metrics
from push.protocol.access import Role

__all__ = ["SSE_BROADCASTER", "SseBroadcaster", "sse_handler"]

# How many milliseconds a browser waits before it reconnects.
RETRY_FIELD = b"retry: 1000\n\n"
HEARTBEAT_COMMENT = b": ping\n\n"
# Ends a response in chunks (RFC 9112 section 7.1).
LAST_CHUNK = b"0\r\n\r\n"
# What an event from the database begins with (orderwire.event_json); no such text has an escape in it.
_EVENT_START = re.compile(rb'\{"type":"([a-z_]+)","id":"([0-9a-f-]+)"[,}]')


async def sse_handler(request: web.Request) -> web.StreamResponse:
    """``GET /api/sse``: open one session, and detach its connection from aiohttp."""
    app = request.app
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # else nginx buffers events
        }
    )
    if (reason := not_started_reason(app)) is not None:
        # Not 503: an EventSource reconnects when a stream ends and when no server answers, but never after an error status
        # (section 9.2.3, "fail the connection").
        await response.prepare(request)
        await response.write(f": {reason}\n".encode() + RETRY_FIELD)
        await response.write_eof()
        return response
    guard, head = app[REQUEST_GUARD], request[REQUEST_HEAD]
    grant = await guard.require_role(head, *Role)
    if request.method == hdrs.METH_HEAD:
        return response  # aiohttp writes the head, and no body
    in_chunks = request.version >= HttpVersion11
    slot = guard.reserve_slot(head)
    try:
        client = _SseClient(app, head, slot, in_chunks=in_chunks)
        await client.adapter.admit(grant)
    except BaseException:
        slot.release()
        raise
    try:
        # The connection is closed behind the stream, since a client has nothing to ask for meanwhile.
        response.force_close()
        await response.prepare(request)
        await response.write(RETRY_FIELD)
        transport, _ = detach_transport(request, client)
        attached = app[TRANSPORTS].attach(transport, client)
        guard.upgraded(transport, attached)
    except BaseException:
        client.on_connection_lost()
        raise
    client.start(attached)
    return DetachedResponse()


class SseBroadcaster(Broadcaster["_SseClient"]):
    """Encodes messages as events, and flushes the SSE clients of one process. One per application."""

    def __init__(self, metrics: Metrics, hub: Hub, backend: TransportBackend) -> None:
        super().__init__("sse", metrics, hub, backend)

    def encode(self, batches: list[Batch], client_count: int = 1, *, in_chunks: bool) -> tuple[bytes, int]:
        """Encode the batches, which count as sent to ``client_count`` clients. Returns also the size of the messages."""
        combined = self.combine(batches, client_count)
        return combined.encoded(_encode_chunk if in_chunks else _encode_events), combined.size

    def create_cohort(self, variant: bool, *parts: *CohortParts) -> TransportCohort[_SseClient]:
        return _SseCohort(self, variant, self._backend, *parts)


SSE_BROADCASTER = web.AppKey("SSE_BROADCASTER", SseBroadcaster)


class _SseCohort(TransportCohort["_SseClient"]):
    """A cohort whose members get the body of the response in chunks, or none of whom does."""

    def __init__(self, broadcaster: SseBroadcaster, in_chunks: bool, backend: TransportBackend, *parts: *CohortParts) -> None:
        super().__init__(backend, *parts)
        self._broadcaster = broadcaster
        self._in_chunks = in_chunks

    def encode(self, batches: list[Batch]) -> bytes:
        return self._broadcaster.encode(batches, len(self.members), in_chunks=self._in_chunks)[0]

    def ping(self, members: Iterable[Session]) -> None:
        """As ``_SseClient.flush``: a member whose socket takes the heartbeat is alive. The others have left the cohort."""
        super().ping(members)
        for session in self.members:
            session.mark_alive()


class _SseClient(ClientConnection):
    """The connection of one SSE session: its SessionTransport."""

    __slots__ = ("_broadcaster", "_flush_scheduled", "_session", "adapter", "variant")

    def __init__(self, app: web.Application, head: RequestHead, slot: ConnectionSlot, *, in_chunks: bool) -> None:
        super().__init__(app[REQUEST_GUARD].connection_lost)
        self._broadcaster = app[SSE_BROADCASTER]
        self._flush_scheduled = False
        # Whether the body is sent in chunks. HTTP/1.0 has none: there it ends with the connection.
        self.variant = in_chunks
        self.adapter = SessionAdapter(app, head, slot, "sse", self, _encode_cursor)
        self._session = self.adapter.session

    def start(self, transport: Transport) -> None:
        """Begin on this transport, on which the head of the response has been written."""
        self._transport = transport
        if not self._flush_scheduled:
            self.flush()

    def schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._broadcaster.schedule_flush(self)

    def flush_broadcast(self) -> int:
        return 0 if self._flush_scheduled else self.flush()

    def on_writable(self) -> None:
        self.schedule_flush()

    def flush(self) -> int:
        """Write a chunk of what the session has queued; end the response if the session is closed and nothing is left."""
        self._flush_scheduled = False
        if self.closing or self._transport is None:
            return 0
        session = self._session
        written = self._broadcaster.write_pending(session, self)
        if not self.write_paused:
            session.mark_alive()  # SSE has no pong: that the socket has taken everything shows that the client is alive
        if session.close_code is not None:
            self._abort_after(CLOSE_TIMEOUT_SECONDS)
            if not session.has_output:
                self._end_response(self._transport)
        return written

    def _end_response(self, transport: Transport) -> None:
        """End the response behind what the transport still holds. The client has CLOSE_TIMEOUT_SECONDS to read that."""
        self.adapter.record_close()
        self.closing = True
        if self.variant:
            transport.write(LAST_CHUNK)
        transport.close()

    def encode(self, batches: list[Batch]) -> tuple[bytes, int]:
        return self._broadcaster.encode(batches, in_chunks=self.variant)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._session.detach()

    def data_received(self, data: bytes) -> None:
        """Drop what follows the request: its body, or requests that the end of the stream would have to be awaited for."""
        self._session.charge_rate_limit(len(data))

    def on_connection_lost(self) -> None:
        self.adapter.connection_lost()


def _encode_cursor(cursor: str) -> bytes:
    """A cursor without an event: the browser stores it and dispatches nothing (section 9.2.6)."""
    return f"id: {cursor}\n\n".encode()


def _encode_chunk(messages: Sequence[bytes]) -> bytes:
    """The messages as events in one chunk of the body (RFC 9112 section 7.1)."""
    data = _encode_events(messages)
    return b"%x\r\n%b\r\n" % (len(data), data)


def _encode_events(messages: Sequence[bytes]) -> bytes:
    return b"".join(map(_encode_event, messages))


def _encode_event(message: bytes) -> bytes:
    if message == PING_MESSAGE:
        return HEARTBEAT_COMMENT
    if message.startswith(b"id: "):
        return message
    match = _EVENT_START.match(message)
    if match is not None:  # an event: not parsed, for a replay has thousands
        return b"event: %b\nid: %b\ndata: %b\n\n" % (match[1], match[2], message)
    fields = json.loads(message)
    cursor = f"id: {fields['id']}\n" if "id" in fields else ""
    return f"event: {fields['type']}\n{cursor}data: ".encode() + message + b"\n\n"
