"""Sessions over Server-Sent Events (HTML standard, section 9.2)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Sequence

from aiohttp import web

from gateway.app_keys import METRICS
from gateway.http.request_guard import REQUEST_GUARD, ConnectionSlot
from gateway.http.request_head import REQUEST_HEAD, RequestHead
from gateway.sessions.session_adapter import CLOSE_TIMEOUT_SECONDS, SessionAdapter, not_started_reason
from push.delivery.batch import CHUNK_BYTES
from push.delivery.session import PING_MESSAGE
from push.protocol.access import Role

__all__ = ["sse_handler"]

log = logging.getLogger("orderwire.session")

# How long a browser waits before it reconnects.
RETRY_FIELD = b"retry: 1000\n\n"
HEARTBEAT_COMMENT = b": ping\n\n"


async def sse_handler(request: web.Request) -> web.StreamResponse:
    """``GET /api/sse``: one session, until either side ends it."""
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/event-stream; charset=utf-8",
            "Cache-Control": "no-store",
            "X-Accel-Buffering": "no",  # nginx would hold events back
        }
    )
    if (trouble := not_started_reason(request.app)) is not None:
        # A browser comes back to a stream that ends, and to a server that is not there; never to one that says 503 (section
        # 9.2.3, "fail the connection").
        await response.prepare(request)
        await response.write(f": {trouble}\n".encode() + RETRY_FIELD)
        await response.write_eof()
        return response
    door, opening = request.app[REQUEST_GUARD], request[REQUEST_HEAD]
    grant = await door.require_role(opening, *Role)
    seat = door.reserve_slot(opening)
    try:
        client = _SseTransport(request.app, opening, seat, response)
        await client.adapter.admit(grant)
    except BaseException:
        seat.release()
        raise
    try:
        await response.prepare(request)
        await response.write(RETRY_FIELD)
        await client.run()
    finally:
        client.adapter.connection_lost()
        if request.transport is not None:
            # A client that does not read would keep the transport, and what is buffered in it, alive for ever.
            request.transport.abort()
    return response


def _encode_position(cursor: str) -> bytes:
    """A cursor without an event: it is kept by the browser, and nothing is dispatched (section 9.2.6)."""
    return f"id: {cursor}\n\n".encode()


class _SseTransport:
    """Carries the frames of one session."""

    def __init__(self, app: web.Application, head: RequestHead, slot: ConnectionSlot, response: web.StreamResponse) -> None:
        self._response = response
        self._pending = asyncio.Event()
        self._aborted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.adapter = SessionAdapter(app, head, slot, "sse", self, _encode_position)
        self._session = self.adapter.session
        metrics = app[METRICS]
        self._messages_counter = metrics.sent_messages.labels("sse")
        self._bytes_counter = metrics.sent_bytes.labels("sse")

    def notify_pending(self) -> None:
        """See SessionTransport."""
        self._pending.set()
        if self._session.aborted and not self._aborted.done():
            self._aborted.set_result(None)

    def flush_broadcast(self) -> None:
        """See SessionTransport."""
        self.notify_pending()

    async def run(self) -> None:
        """Until the session ends. aiohttp cancels it when the client leaves."""
        sender = asyncio.create_task(self._send(), name="session sender")
        try:
            # The sender may be waiting for a client that does not read. It must not be cancelled before the end is told: it
            # would take aiohttp's future for "writable again" with it, and the goodbye waits for the same one.
            await asyncio.wait({sender, self._aborted}, return_when=asyncio.FIRST_COMPLETED)
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_TIMEOUT_SECONDS):
                    await self._response.write_eof()
        finally:
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)
            if not sender.cancelled() and (error := sender.exception()) and not isinstance(error, ConnectionError):
                log.error("a session ended unexpectedly", exc_info=error)

    async def _send(self) -> None:
        while True:
            while batches := self._session.take(CHUNK_BYTES):
                await self._response.write(b"".join(batch.encoded(_encode_events) for batch in batches))
                # There is no pong: that the client takes what is sent is its sign of life.
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
    fields = json.loads(message)
    cursor = f"id: {fields['id']}\n" if "id" in fields else ""
    return f"event: {fields['type']}\n{cursor}data: ".encode() + message + b"\n\n"
