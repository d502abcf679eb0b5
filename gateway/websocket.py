"""Sessions over WebSocket (RFC 6455)."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from gateway.deflate import BadExtensions, agree, offers
from gateway.door import DOOR, Seat
from gateway.fanout import FANOUT
from gateway.framing import BINARY, Breach, Message
from gateway.keys import SETTINGS
from gateway.lines import LINES, Line
from gateway.opening import OPENING, Opening, accept, answer
from gateway.shell import BREACHES, Shell, refuse_before_start
from gateway.stream import Segment
from gateway.takeover import Answered, take_over
from gateway.wire import WebSocket
from push.access import Refused
from push.batch import CHUNK_BYTES, Batch
from push.frames import Close

__all__ = ["Handshake", "begin", "let_in", "look_at", "websocket"]

VERSION = "13"
# What a client that was not let in may still send until it has heard of it, its own goodbye included.
MOST_LAST_WORDS = 100


@dataclass(frozen=True, slots=True)
class Handshake:
    """What answers the client, when it has been let in."""

    accepted: str
    protocol: str | None
    extension: str | None

    @property
    def answer(self) -> bytes:
        """Goes first."""
        return answer(self.accepted, self.protocol, self.extension)


async def websocket(request: web.Request) -> web.StreamResponse:
    """``GET /api/ws``, as aiohttp has read it: what is no plain opening, or is not the first that came by its connection."""
    app, opening = request.app, request[OPENING]
    handshake = _handshake(app, opening)
    client = await let_in(app, opening, handshake)
    try:
        transport, early = take_over(request, client)
    except BaseException:
        client.gone()
        raise
    begin(app, transport, client, handshake, early)
    return Answered()


def look_at(app: web.Application, opening: Opening) -> Handshake | None:
    """At an opening that was read before aiohttp. None when HTTP has something to say to it, which aiohttp does."""
    if app[DOOR].refusal(opening) is not None:
        return None
    try:
        return _handshake(app, opening)
    except web.HTTPException:
        return None


def _handshake(app: web.Application, opening: Opening) -> Handshake:
    """Raises web.HTTPException."""
    headers = opening.headers
    if headers.get("Sec-WebSocket-Version", VERSION).strip() != VERSION and "Upgrade" in headers:
        # RFC 6455 section 4.2.2: the answer names the version that is understood.
        mend = {"Sec-WebSocket-Version": VERSION, "Upgrade": "websocket"}
        raise web.HTTPUpgradeRequired(text="only version 13 of the WebSocket protocol is spoken here", headers=mend)
    accepted = accept(opening)
    if accepted is None:
        raise web.HTTPBadRequest(text="this is a WebSocket endpoint: connect with Upgrade: websocket")
    lines = headers.getall("Sec-WebSocket-Extensions", ())
    try:
        offered = list(offers(lines)) if lines else []
    except BadExtensions:  # RFC 6455 section 9.1: the handshake fails, whether or not it would have been taken
        raise web.HTTPBadRequest(text="Sec-WebSocket-Extensions cannot be understood") from None
    extension = agree(offered) if offered and app[SETTINGS].compression else None
    refuse_before_start(app)
    return Handshake(accepted, opening.protocol, extension)


async def let_in(app: web.Application, opening: Opening, handshake: Handshake) -> WebSocket:
    """A session, or somebody who will be told by a close code why there is none: a browser's page learns nothing of an HTTP
    status. From here on it is kept what happens; ``begin`` or ``gone`` has to follow.
    """
    door, compression = app[DOOR], handshake.extension is not None
    seat = door.seat(opening)
    try:
        client = _Client(app, opening, seat, compression=compression)
        await client.shell.let_in(await door.grant(opening))
    except Refused as refusal:
        door.count(refusal.close.name.lower())
        return _Refused(app, seat, refusal, compression=compression)
    except BaseException:
        seat.give_back()
        raise
    return client


def begin(app: web.Application, line: Line, client: WebSocket, handshake: Handshake, early: bytes) -> None:
    """The connection is the client's from here on. ``early``: what has come by it behind the opening."""
    try:
        standing = app[LINES].stand(line, client)
        app[DOOR].moved(line, standing)
    except BaseException:
        client.gone()
        raise
    client.begin(standing, handshake.answer, early)


class _Client(WebSocket):
    """Carries the frames of one session."""

    __slots__ = ("_compression", "_due", "_fanout", "_session", "at", "shell")

    def __init__(self, app: web.Application, opening: Opening, seat: Seat, *, compression: bool) -> None:
        super().__init__(app[SETTINGS].max_frame_bytes, app[DOOR].lost, compression=compression)
        self._fanout = app[FANOUT]
        self._due = False
        self._compression = compression
        # See Follower.
        self.at: Segment | None = None
        self.shell = Shell(app, opening, seat, "websocket", self)
        self._session = self.shell.session

    # ---------------------------------------------------------------- to the client

    def begin(self, line: Line, head: bytes, early: bytes) -> None:
        """See WebSocket. What happened since the client was let in has been waiting for this."""
        if batches := self._session.take(CHUNK_BYTES):
            head += self._frames(batches)[0]
        super().begin(line, head, early)
        if not self._due:
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
        self.shell.end()  # (only after it stands apart it is known where it stands in the stream)
        self._fanout.leave(self)


class _Refused(WebSocket):
    """Is told why it is not let in, and heard until it has understood."""

    __slots__ = ("_refusal", "_seat", "_words")

    def __init__(self, app: web.Application, seat: Seat, refusal: Refused, *, compression: bool) -> None:
        super().__init__(app[SETTINGS].max_frame_bytes, app[DOOR].lost, compression=compression)
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
