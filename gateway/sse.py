"""Sessions over Server-Sent Events: `GET /api/sse` (HTML standard, section 9.2)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Sequence

from aiohttp import web

from gateway.app_keys import METRICS
from gateway.http.request_guard import REQUEST_GUARD, ConnectionSlot
from gateway.http.request_head import REQUEST_HEAD, RequestHead
from gateway.net.transports import CLOSE_TIMEOUT_SECONDS
from gateway.sessions.session_adapter import SessionAdapter, not_started_reason
from gateway.sessions.write_turns import WRITE_TURNS
from push.delivery.batch import CHUNK_BYTES
from push.delivery.session import PING_MESSAGE
from push.protocol.access import Role

__all__ = ["sse_handler"]

log = logging.getLogger("orderwire.session")

# How many milliseconds a browser waits before it reconnects.
RETRY_FIELD = b"retry: 1000\n\n"
HEARTBEAT_COMMENT = b": ping\n\n"
# What an event from the database begins with (orderwire.event_json); no such text has an escape in it.
_EVENT_START = re.compile(rb'\{"type":"([a-z_]+)","id":"([0-9a-f-]+)"[,}]')


async def sse_handler(request: web.Request) -> web.StreamResponse:
    """``GET /api/sse``: one session. Returns when the client has disconnected or the session is closed."""
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # else nginx buffers events
        }
    )
    if (reason := not_started_reason(request.app)) is not None:
        # Not 503: an EventSource reconnects when a stream ends and when no server answers, but never after an error status
        # (section 9.2.3, "fail the connection").
        await response.prepare(request)
        await response.write(f": {reason}\n".encode() + RETRY_FIELD)
        await response.write_eof()
        return response
    guard, head = request.app[REQUEST_GUARD], request[REQUEST_HEAD]
    grant = await guard.require_role(head, *Role)
    slot = guard.reserve_slot(head)
    try:
        transport = _SseTransport(request.app, head, slot, response)
        await transport.adapter.admit(grant)
    except BaseException:
        slot.release()
        raise
    try:
        await response.prepare(request)
        await response.write(RETRY_FIELD)
        if request.transport is not None:
            # What a client does not read waits in the session's queue and in the log, where it is bounded and shared. (Not 0:
            # asyncio's TLS transport counts a buffer of exactly the limit as full.)
            request.transport.set_write_buffer_limits(high=1, low=0)
        await transport.run()
    finally:
        transport.adapter.connection_lost()
        if request.transport is not None:
            # A client that does not read would keep the transport and its write buffer alive without limit.
            request.transport.abort()
    return response


def _encode_cursor(cursor: str) -> bytes:
    """A cursor without an event: the browser stores it and dispatches nothing (section 9.2.6)."""
    return f"id: {cursor}\n\n".encode()


class _SseTransport:
    """The SessionTransport of one SSE session: writes its messages to the response. Owned by ``sse_handler``'s task."""

    def __init__(self, app: web.Application, head: RequestHead, slot: ConnectionSlot, response: web.StreamResponse) -> None:
        self._response = response
        self._pending = asyncio.Event()
        self._aborted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.adapter = SessionAdapter(app, head, slot, "sse", self, _encode_cursor)
        self._session = self.adapter.session
        self._write_turns = app[WRITE_TURNS]
        metrics = app[METRICS]
        self._messages_counter = metrics.sent_messages.labels("sse")
        self._bytes_counter = metrics.sent_bytes.labels("sse")

    def schedule_flush(self) -> None:
        self._pending.set()
        if self._session.aborted and not self._aborted.done():
            self._aborted.set_result(None)

    def flush_broadcast(self) -> int:
        self.schedule_flush()
        return 0

    async def run(self) -> None:
        """Send until the session is closed. aiohttp cancels it when the client disconnects."""
        sender = asyncio.create_task(self._send(), name="session sender")
        try:
            # The sender may be waiting for a client that does not read. It must not be cancelled before write_eof: that would
            # also cancel aiohttp's future for "writable again", which write_eof waits for.
            await asyncio.wait({sender, self._aborted}, return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await self._response.write_eof()
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            if not sender.cancelled() and (error := sender.exception()) and not isinstance(error, ConnectionError):
                log.error("a session failed", exc_info=error)

    async def _send(self) -> None:
        while True:
            while batches := self._session.take(CHUNK_BYTES):
                encoded = [batch.encoded(_encode_events) for batch in batches]
                data = encoded[0] if len(encoded) == 1 else b"".join(encoded)
                # A chunk for each client in turn: clients at one place in the log get the same bytes, encoded once, and other
                # tasks do not wait until this client has all that its socket takes.
                await self._write_turns.wait(len(data))
                await self._response.write(data)
                # SSE has no pong: that a write completes shows that the client is alive.
                self._session.mark_alive()
                self._messages_counter.inc(sum(batch.count for batch in batches))
                self._bytes_counter.inc(sum(batch.size for batch in batches))
            if self._session.close_code is not None:
                return
            await self._pending.wait()
            self._pending.clear()


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
