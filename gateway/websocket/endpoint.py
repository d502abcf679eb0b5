"""Sessions over WebSocket (RFC 6455)."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from gateway.app_keys import SETTINGS
from gateway.http.request_guard import REQUEST_GUARD, ConnectionSlot
from gateway.http.request_head import REQUEST_HEAD, RequestHead, sec_websocket_accept, switching_protocols
from gateway.net.transports import TRANSPORTS, Transport
from gateway.sessions.session_adapter import PROTOCOL_ERRORS, SessionAdapter, require_started
from gateway.websocket.broadcast import BROADCASTER
from gateway.websocket.connection import WebSocketProtocol
from gateway.websocket.frames import OP_BINARY, Message, ProtocolError
from gateway.websocket.permessage_deflate import BadExtensions, negotiate_extension, parse_extension_offers
from gateway.websocket.shared_deflate import Segment
from gateway.websocket.upgrade import DetachedResponse, detach_transport
from push.delivery.batch import CHUNK_BYTES, Batch
from push.delivery.client_messages import receive_binary, receive_text
from push.protocol.access import AccessDenied
from push.protocol.messages import CloseCode

__all__ = ["Handshake", "admit_client", "check_upgrade", "start", "websocket_handler"]

WEBSOCKET_VERSION = "13"
# What a client that was not let in may still send until it has heard of it, its own goodbye included.
MAX_FRAMES_AFTER_REJECTION = 100


@dataclass(frozen=True, slots=True)
class Handshake:
    """What answers the client, when it has been let in."""

    accept_value: str
    subprotocol: str | None
    extension: str | None

    @property
    def response(self) -> bytes:
        """Goes first."""
        return switching_protocols(self.accept_value, self.subprotocol, self.extension)


async def websocket_handler(request: web.Request) -> web.StreamResponse:
    """``GET /api/ws``, as aiohttp has read it: what is no plain opening, or is not the first that came by its connection."""
    app, opening = request.app, request[REQUEST_HEAD]
    handshake = negotiate(app, opening)
    client = await admit_client(app, opening, handshake)
    try:
        transport, early = detach_transport(request, client)
    except BaseException:
        client.on_connection_lost()
        raise
    start(app, transport, client, handshake, early)
    return DetachedResponse()


def check_upgrade(app: web.Application, head: RequestHead) -> Handshake | None:
    """At an opening that was read before aiohttp. None when HTTP has something to say to it, which aiohttp does."""
    if app[REQUEST_GUARD].reject_reason(head) is not None:
        return None
    try:
        return negotiate(app, head)
    except web.HTTPException:
        return None


def negotiate(app: web.Application, head: RequestHead) -> Handshake:
    """Raises web.HTTPException."""
    headers = head.headers
    if headers.get("Sec-WebSocket-Version", WEBSOCKET_VERSION).strip() != WEBSOCKET_VERSION and "Upgrade" in headers:
        # RFC 6455 section 4.2.2: the answer names the version that is understood.
        mend = {"Sec-WebSocket-Version": WEBSOCKET_VERSION, "Upgrade": "websocket"}
        raise web.HTTPUpgradeRequired(text="only version 13 of the WebSocket protocol is spoken here", headers=mend)
    accepted = sec_websocket_accept(head)
    if accepted is None:
        raise web.HTTPBadRequest(text="this is a WebSocket endpoint: connect with Upgrade: websocket")
    lines = headers.getall("Sec-WebSocket-Extensions", ())
    try:
        offered = list(parse_extension_offers(lines)) if lines else []
    except BadExtensions:  # RFC 6455 section 9.1: the handshake fails, whether or not it would have been taken
        raise web.HTTPBadRequest(text="Sec-WebSocket-Extensions cannot be understood") from None
    extension = negotiate_extension(offered) if offered and app[SETTINGS].compression else None
    require_started(app)
    return Handshake(accepted, head.subprotocol, extension)


async def admit_client(app: web.Application, head: RequestHead, handshake: Handshake) -> WebSocketProtocol:
    """A session, or somebody who will be told by a close code why there is none: a browser's page learns nothing of an HTTP
    status. From here on it is kept what happens; ``start`` or ``gone`` has to follow.
    """
    door, compression = app[REQUEST_GUARD], handshake.extension is not None
    seat = door.reserve_slot(head)
    try:
        client = _SessionClient(app, head, seat, compression=compression)
        await client.adapter.admit(await door.authenticate(head))
    except AccessDenied as refusal:
        door.count_rejection(refusal.close_code.name.lower())
        return _RejectedClient(app, seat, refusal, compression=compression)
    except BaseException:
        seat.release()
        raise
    return client


def start(app: web.Application, transport: Transport, client: WebSocketProtocol, handshake: Handshake, early: bytes) -> None:
    """The connection is the client's from here on. ``early``: what has come by it behind the opening."""
    try:
        standing = app[TRANSPORTS].attach(transport, client)
        app[REQUEST_GUARD].upgraded(transport, standing)
    except BaseException:
        client.on_connection_lost()
        raise
    client.start(standing, handshake.response, early)


class _SessionClient(WebSocketProtocol):
    """Carries the frames of one session."""

    __slots__ = ("_broadcaster", "_compression", "_flush_scheduled", "_session", "adapter", "segment")

    def __init__(self, app: web.Application, head: RequestHead, slot: ConnectionSlot, *, compression: bool) -> None:
        super().__init__(app[SETTINGS].max_frame_bytes, app[REQUEST_GUARD].connection_lost, compression=compression)
        self._broadcaster = app[BROADCASTER]
        self._flush_scheduled = False
        self._compression = compression
        # See Follower.
        self.segment: Segment | None = None
        self.adapter = SessionAdapter(app, head, slot, "websocket", self)
        self._session = self.adapter.session

    # ---------------------------------------------------------------- to the client

    def start(self, transport: Transport, response: bytes, early: bytes) -> None:
        """See WebSocketProtocol. What happened since the client was let in has been waiting for this."""
        if batches := self._session.take(CHUNK_BYTES):
            response += self._encode(batches)[0]
        super().start(transport, response, early)
        if not self._flush_scheduled:
            self.flush()

    def notify_pending(self) -> None:
        """See SessionTransport."""
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._broadcaster.schedule_flush(self)

    def flush_broadcast(self) -> None:
        """See SessionTransport."""
        self.flush()

    def flush(self) -> None:
        """See Broadcaster."""
        self._flush_scheduled = False
        if self.closing or self._transport is None:
            return
        session = self._session
        while not self.write_paused and (batches := session.take(CHUNK_BYTES)):
            frames, size = self._encode(batches)
            self._transport.write(frames)
            if size < CHUNK_BYTES:
                break  # that was all
        if self.write_paused:
            self._broadcaster.on_blocked(self)
        if session.close_code is None:
            if not self.write_paused and session.is_caught_up:
                self._broadcaster.join_cohort(session, self, compressed=self._compression)
            return
        if session.has_pending:
            self._abort_later()
        else:
            self.adapter.record_close()
            self.close(session.close_code, session.close_code.reason)

    def _encode(self, batches: list[Batch]) -> tuple[bytes, int]:
        """See Broadcaster.encode."""
        follower = self if self._compression and self._session.subscription.sees_everything else None
        if follower is None and self.segment is not None:
            self._broadcaster.remove_follower(self)
        return self._broadcaster.encode(batches, follower)

    def pause_writing(self) -> None:
        """See WebSocketProtocol."""
        super().pause_writing()
        self._session.detach()

    @property
    def transport(self) -> Transport | None:
        """See CohortClient."""
        return self._transport

    @property
    def client_count(self) -> int:
        """See Follower."""
        return 1

    def abort(self) -> None:
        """End at once."""
        if self._transport is not None:
            self._transport.abort()

    # ---------------------------------------------------------------- from the client

    def check_rate(self, size: int, frames: int) -> bool:
        """See WebSocketProtocol."""
        return self._session.charge_rate_limit(size, frames)

    def on_message(self, message: Message) -> None:
        """See WebSocketProtocol."""
        if message.opcode == OP_BINARY:
            receive_binary(self._session)
            return
        command = receive_text(self._session, message.text)
        if command is not None:
            self.pause()
            self.adapter.handle_command(command, self.resume)

    def on_protocol_error(self, error: ProtocolError) -> None:
        """See WebSocketProtocol. What it asked for before is answered."""
        self._session.close(next(close for close in PROTOCOL_ERRORS if close == error.code))

    def on_close_received(self) -> None:
        """See WebSocketProtocol."""
        self._session.close(CloseCode.NORMAL, flush=False)

    def on_connection_lost(self) -> None:
        """See WebSocketProtocol."""
        self.adapter.connection_lost()  # (only after it stands apart it is known where it stands in the stream)
        self._broadcaster.remove_follower(self)


class _RejectedClient(WebSocketProtocol):
    """Is told why it is not let in, and heard until it has understood."""

    __slots__ = ("_denied", "_frames_left", "_slot")

    def __init__(self, app: web.Application, slot: ConnectionSlot, denied: AccessDenied, *, compression: bool) -> None:
        super().__init__(app[SETTINGS].max_frame_bytes, app[REQUEST_GUARD].connection_lost, compression=compression)
        self._slot = slot
        self._denied = denied
        self._frames_left = MAX_FRAMES_AFTER_REJECTION

    def start(self, transport: Transport, response: bytes, early: bytes) -> None:
        """See WebSocketProtocol."""
        super().start(transport, response, b"")
        self.close(self._denied.close_code, str(self._denied))
        if early:
            self.data_received(early)

    def check_rate(self, size: int, frames: int) -> bool:
        """See WebSocketProtocol."""
        self._frames_left -= frames
        return self._frames_left >= 0

    def on_message(self, message: Message) -> None:
        """See WebSocketProtocol. Nobody listens."""

    def on_connection_lost(self) -> None:
        """See WebSocketProtocol."""
        self._slot.release()
