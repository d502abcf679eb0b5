"""Sessions over WebSocket (RFC 6455)."""

from __future__ import annotations

from aiohttp import web

from gateway.deflate import BadExtensions, agree, offers
from gateway.door import DOOR, Seat, chosen_protocol
from gateway.errors import error_response
from gateway.fanout import FANOUT
from gateway.framing import BINARY, Breach, Message
from gateway.keys import SETTINGS
from gateway.lines import LINES, Line
from gateway.shell import BREACHES, Shell, refuse_before_start
from gateway.stream import Segment
from gateway.takeover import Answered, accept, answer, take_over
from gateway.wire import WebSocket
from push.access import Refused
from push.batch import CHUNK_BYTES, Batch
from push.frames import Close

__all__ = ["websocket"]

VERSION = "13"
# What a client that was not let in may still send until it has heard of it, its own goodbye included.
MOST_LAST_WORDS = 100


async def websocket(request: web.Request) -> web.StreamResponse:
    """``GET /api/ws``: lets a session in. It goes on by itself, on the connection that is taken over from aiohttp.

    A browser's page learns nothing of an HTTP status, so whoever is not let in is told by a close code, after the handshake.
    """
    version = request.headers.get("Sec-WebSocket-Version", VERSION)
    if version.strip() != VERSION and "Upgrade" in request.headers:
        # RFC 6455 section 4.2.2: the answer names the version that is understood.
        mend = {"Sec-WebSocket-Version": VERSION, "Upgrade": "websocket"}
        return error_response(426, "only version 13 of the WebSocket protocol is spoken here", "bad_version", **mend)
    accepted = accept(request)
    if accepted is None:
        raise web.HTTPBadRequest(text="this is a WebSocket endpoint: connect with Upgrade: websocket")
    extension = _extension(request)
    refuse_before_start(request)
    client = await _let_in(request, compression=extension is not None)
    try:
        transport, early = take_over(request, client)
        line = request.app[LINES].stand(transport, client)
        request.app[DOOR].moved(transport, line)
    except BaseException:
        client.gone()
        raise
    client.begin(line, answer(accepted, chosen_protocol(request), extension), early)
    return Answered()


def _extension(request: web.Request) -> str | None:
    try:
        offered = list(offers(request.headers.getall("Sec-WebSocket-Extensions", ())))
    except BadExtensions:  # RFC 6455 section 9.1: the handshake fails, whether or not it would have been taken
        raise web.HTTPBadRequest(text="Sec-WebSocket-Extensions cannot be understood") from None
    return agree(offered) if request.app[SETTINGS].compression else None


async def _let_in(request: web.Request, *, compression: bool) -> WebSocket:
    door = request.app[DOOR]
    seat = door.seat(request)
    try:
        client = _Client(request, seat, compression=compression)
        await client.shell.let_in(await door.grant(request))
    except Refused as refusal:
        door.count(refusal.close.name.lower())
        return _Refused(request, seat, refusal, compression=compression)
    except BaseException:
        seat.give_back()
        raise
    return client


class _Client(WebSocket):
    """Carries the frames of one session."""

    __slots__ = ("_compression", "_due", "_fanout", "_session", "at", "shell")

    def __init__(self, request: web.Request, seat: Seat, *, compression: bool) -> None:
        super().__init__(request.app[SETTINGS].max_frame_bytes, request.app[DOOR].lost, compression=compression)
        self._fanout = request.app[FANOUT]
        self._due = False
        self._compression = compression
        # See Follower.
        self.at: Segment | None = None
        self.shell = Shell(request, seat, "websocket", self)
        self._session = self.shell.session

    # ---------------------------------------------------------------- to the client

    def begin(self, line: Line, head: bytes, early: bytes) -> None:
        """See WebSocket. What happened since the client was let in has been waiting for this."""
        if batches := self._session.take(CHUNK_BYTES):
            head += self._frames(batches)[0]
        super().begin(line, head, early)
        self.flush()

    def output(self) -> None:
        """See Carrier."""
        if not self._due:
            self._due = True
            self._fanout.due(self)

    def round(self) -> None:
        """See Carrier."""
        self.flush()

    def flush(self) -> None:
        """See Fanout."""
        self._due = False
        if self.closing or self._transport is None:
            return
        session = self._session
        while not self.full and (batches := session.take(CHUNK_BYTES)):
            frames, size = self._frames(batches)
            self._transport.write(frames)
            if size < CHUNK_BYTES:
                break  # that was all
        if self.full:
            self._fanout.stuck(self)
        if session.close is None:
            if not self.full and session.at_rest:
                self._fanout.gather(session, self, compressed=self._compression)
            return
        if session.waiting:
            self.cut_soon()
        else:
            self.shell.count_end()
            self.end(session.close, session.close.reason)

    def _frames(self, batches: list[Batch]) -> tuple[bytes, int]:
        """See Fanout.encoded."""
        follower = self if self._compression and self._session.gets_all else None
        if follower is None and self.at is not None:
            self._fanout.leave(self)
        return self._fanout.encoded(batches, follower)

    def pause_writing(self) -> None:
        """See WebSocket."""
        super().pause_writing()
        self._session.go_apart()

    @property
    def line(self) -> Line | None:
        """See Client."""
        return self._transport

    @property
    def clients(self) -> int:
        """See Follower."""
        return 1

    def cut(self) -> None:
        """End at once."""
        if self._transport is not None:
            self._transport.abort()

    # ---------------------------------------------------------------- from the client

    def allow(self, size: int, frames: int) -> bool:
        """See WebSocket."""
        return self._session.heard(size, frames)

    def received(self, message: Message) -> None:
        """See WebSocket."""
        if message.opcode == BINARY:
            self._session.receive_binary()
            return
        command = self._session.receive_text(message.text)
        if command is not None:
            self.hold()
            self.shell.obey(command, self.go_on)

    def breached(self, breach: Breach) -> None:
        """See WebSocket. What it asked for before is answered."""
        self._session.end(next(close for close in BREACHES if close == breach.code))

    def left(self) -> None:
        """See WebSocket."""
        self._session.end(Close.NORMAL, flush=False)

    def gone(self) -> None:
        """See WebSocket."""
        self._fanout.leave(self)
        self.shell.end()


class _Refused(WebSocket):
    """Is told why it is not let in, and heard until it has understood."""

    __slots__ = ("_refusal", "_seat", "_words")

    def __init__(self, request: web.Request, seat: Seat, refusal: Refused, *, compression: bool) -> None:
        super().__init__(request.app[SETTINGS].max_frame_bytes, request.app[DOOR].lost, compression=compression)
        self._seat = seat
        self._refusal = refusal
        self._words = MOST_LAST_WORDS

    def begin(self, line: Line, head: bytes, early: bytes) -> None:
        """See WebSocket."""
        super().begin(line, head, b"")
        self.end(self._refusal.close, str(self._refusal))
        if early:
            self.data_received(early)

    def allow(self, size: int, frames: int) -> bool:
        """See WebSocket."""
        self._words -= frames
        return self._words >= 0

    def received(self, message: Message) -> None:
        """See WebSocket. Nobody listens."""

    def gone(self) -> None:
        """See WebSocket."""
        self._seat.give_back()
