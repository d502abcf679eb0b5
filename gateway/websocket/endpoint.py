"""Sessions over WebSocket: admit a client after its handshake, and carry the messages of its session as frames."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from gateway.app_keys import SETTINGS
from gateway.http.detach import DetachedResponse, detach_transport
from gateway.http.request_guard import REQUEST_GUARD, ConnectionSlot
from gateway.http.request_head import REQUEST_HEAD, RequestHead
from gateway.net.transports import TRANSPORTS, Transport
from gateway.sessions.session_adapter import SessionAdapter
from gateway.websocket.broadcast import BROADCASTER
from gateway.websocket.connection import WebSocketProtocol
from gateway.websocket.frames import OP_BINARY, Message, ProtocolError
from gateway.websocket.handshake import WINDOW_BUDGET, Handshake, negotiate
from gateway.websocket.permessage_deflate import Agreement
from gateway.websocket.shared_deflate import Segment
from push.delivery.batch import CHUNK_BYTES, Batch
from push.delivery.client_messages import receive_binary, receive_text
from push.protocol.access import AccessDenied
from push.protocol.messages import CloseCode

__all__ = ["admit_client", "check_upgrade", "start", "websocket_handler"]

# Frames that a rejected client may still send before it has read the close frame; its own close frame is one of them.
MAX_FRAMES_AFTER_REJECTION = 100
# Why ``negotiate`` failed, by the status of its error response.
_HANDSHAKE_FAILURES = {400: "malformed_handshake", 426: "unsupported_version", 503: "not_started"}


async def websocket_handler(request: web.Request) -> web.StreamResponse:
    """``GET /api/ws``, for requests that aiohttp parses: all that ``gateway.inbound`` does not recognize as a plain upgrade
    request in the first bytes of the connection.
    """
    app, head = request.app, request[REQUEST_HEAD]
    try:
        handshake = negotiate(app, head)
    except web.HTTPException as error:
        app[REQUEST_GUARD].report_rejection(_HANDSHAKE_FAILURES[error.status], head.peer.address, counted=False)
        raise
    client = await admit_client(app, head, handshake)
    try:
        transport, early = detach_transport(request, client)
    except BaseException:
        client.on_connection_lost()
        raise
    start(app, transport, client, handshake, early)
    return DetachedResponse()


def check_upgrade(app: web.Application, head: RequestHead) -> Handshake | None:
    """Check an upgrade request that ``gateway.inbound`` parsed. Returns None if the answer is an HTTP error, which aiohttp
    sends after it has parsed the request again.
    """
    if app[REQUEST_GUARD].find_rejection(head) is not None:
        return None
    try:
        return negotiate(app, head)
    except web.HTTPException:
        return None


async def admit_client(app: web.Application, head: RequestHead, handshake: Handshake) -> WebSocketProtocol:
    """Admit the client. For a client that is rejected, returns a connection that only sends a close code, because a page cannot
    read the status of a failed upgrade.

    A session receives events from here on. The caller must call ``start`` or the client's ``on_connection_lost``.
    """
    guard, extension = app[REQUEST_GUARD], handshake.extension
    slot = guard.reserve_slot(head)
    if extension is not None and extension.client_window_bytes:
        slot = _with_window(slot, app[WINDOW_BUDGET].reserve(extension))
    try:
        guard.reject_page(head)
    except AccessDenied as denied:
        return _RejectedClient(app, slot, denied, extension)
    try:
        client = _SessionClient(app, head, slot, extension)
        await client.adapter.admit(await guard.authenticate(head))
    except AccessDenied as denied:
        guard.report_denied(denied, head)
        return _RejectedClient(app, slot, denied, extension)
    except BaseException:
        slot.release()
        raise
    return client


def _with_window(slot: ConnectionSlot, release_window: Callable[[], None]) -> ConnectionSlot:
    """The slot of a client with a reserved window: both are released together."""

    def release() -> None:
        release_window()
        slot.release()

    return ConnectionSlot(slot.within_limits, release)


def start(app: web.Application, transport: Transport, client: WebSocketProtocol, handshake: Handshake, early: bytes) -> None:
    """Attach the client to its connection and send the 101 response.

    ``early``: the bytes that the client has already sent after its request.
    """
    try:
        attached = app[TRANSPORTS].attach(transport, client)
        app[REQUEST_GUARD].upgraded(transport, attached)
    except BaseException:
        client.on_connection_lost()
        raise
    client.start(attached, handshake.response, early)


class _SessionClient(WebSocketProtocol):
    """The WebSocket of one session: its SessionTransport, a Follower of the shared deflate stream, a CohortClient."""

    __slots__ = ("_broadcaster", "_close_reason", "_compression", "_flush_scheduled", "_session", "adapter", "segment")

    def __init__(self, app: web.Application, head: RequestHead, slot: ConnectionSlot, extension: Agreement | None) -> None:
        super().__init__(app[SETTINGS].max_frame_bytes, app[REQUEST_GUARD].connection_lost, extension)
        self._broadcaster = app[BROADCASTER]
        self._flush_scheduled = False
        self._compression = extension is not None
        # What the close frame says after a protocol error; else it is the reason of the close code.
        self._close_reason: str | None = None
        # The last segment of the shared deflate stream that the client has; None while it has not joined the stream.
        self.segment: Segment | None = None
        self.adapter = SessionAdapter(app, head, slot, "websocket", self)
        self._session = self.adapter.session

    # ---------------------------------------------------------------- to the client

    def start(self, transport: Transport, response: bytes, early: bytes) -> None:
        """Write the response together with the messages that were queued since the session was admitted."""
        if batches := self._session.take(CHUNK_BYTES):
            response += self.encode(batches)[0]
        super().start(transport, response, early)
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
        """Write a chunk of what the session has queued; close if the session is closed and nothing is left."""
        self._flush_scheduled = False
        if self.closing or self._transport is None:
            return 0
        session = self._session
        written = self._broadcaster.write_pending(session, self)
        if self.write_paused:
            self._broadcaster.on_blocked(self)
        if session.close_code is not None:
            if session.has_output:
                self._abort_later()
            else:
                self.adapter.record_close()
                self.close(session.close_code, self._close_reason or session.close_code.reason)
        return written

    def encode(self, batches: list[Batch]) -> tuple[bytes, int]:
        follower = self if self._compression and self._session.subscription.receives_everything else None
        if follower is None and self.segment is not None:
            self._broadcaster.remove_follower(self)
        return self._broadcaster.encode(batches, follower)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._session.detach()

    @property
    def variant(self) -> bool:
        return self._compression

    @property
    def client_count(self) -> int:
        return 1

    # ---------------------------------------------------------------- from the client

    def check_rate(self, size: int, frames: int) -> bool:
        return self._session.charge_rate_limit(size, frames)

    def on_message(self, message: Message) -> None:
        if message.opcode == OP_BINARY:
            receive_binary(self._session)
            return
        command = receive_text(self._session, message.text)
        if command is not None:
            self.pause()
            self.adapter.handle_command(command, self.resume)

    def on_protocol_error(self, error: ProtocolError) -> None:
        """Close the session with the error's code. The answers to earlier commands are sent first."""
        was_open = self._session.close_code is None
        self._session.close(CloseCode(error.code))
        if was_open and self._session.close_code == error.code:  # not if it is too far behind
            self._close_reason = str(error)

    def on_close_received(self) -> None:
        self._session.close(CloseCode.NORMAL, flush=False)

    def on_connection_lost(self) -> None:
        # First the adapter: it detaches the session from its cohort, and detaching sets ``segment``.
        self.adapter.connection_lost()
        self._broadcaster.remove_follower(self)


class _RejectedClient(WebSocketProtocol):
    """A client that gets a close code instead of a session. It is read until it has answered the close frame."""

    __slots__ = ("_denied", "_frames_left", "_slot")

    def __init__(self, app: web.Application, slot: ConnectionSlot, denied: AccessDenied, extension: Agreement | None) -> None:
        super().__init__(app[SETTINGS].max_frame_bytes, app[REQUEST_GUARD].connection_lost, extension)
        self._slot = slot
        self._denied = denied
        self._frames_left = MAX_FRAMES_AFTER_REJECTION

    def start(self, transport: Transport, response: bytes, early: bytes) -> None:
        super().start(transport, response, b"")
        self.close(self._denied.close_code, str(self._denied))
        if early:
            self.data_received(early)

    def check_rate(self, size: int, frames: int) -> bool:
        self._frames_left -= frames
        return self._frames_left >= 0

    def on_message(self, message: Message) -> None:
        """Messages of a rejected client are ignored."""

    def on_connection_lost(self) -> None:
        self._slot.release()
