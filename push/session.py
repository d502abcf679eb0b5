"""One connected client, whatever the transport. Does no I/O: what the client sends goes in, frames to send come out."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from push.access import ANALYTICS, ORDERS, Grant, order_ids
from push.batch import Batch
from push.bucket import UNUSED, Rate
from push.commands import Misunderstood, understood
from push.conflation import Conflation
from push.events import Event
from push.feed import Feed
from push.frames import Close, Command, ErrorFrame, Ping, Pong, ServerFrame, Subscribe, Subscribed, Unsubscribe, encode
from push.sendqueue import SendQueue

if TYPE_CHECKING:
    from push.crowd import Crowd

__all__ = ["MISSED_HEARTBEATS", "PING", "PING_BATCH", "Carrier", "Pace", "Session"]

PING = encode(Ping())
# Made once, for everybody.
PING_BATCH = Batch([PING])
_PONG = Batch([encode(Pong())])

# How many heartbeats a client may leave unanswered before it counts as gone.
MISSED_HEARTBEATS = 2


class Pace:
    """How much a client may send in a second."""

    __slots__ = ("bytes", "frames")

    def __init__(self, frames_per_second: float = 1e12, bytes_per_second: float = 1e12) -> None:
        self.frames = Rate(frames_per_second)
        self.bytes = Rate(bytes_per_second)


class Carrier(Protocol):
    """Carries one session's frames: calls ``take`` until it is empty; then, if ``close`` is set, closes with that code."""

    def output(self) -> None:
        """There is something to do."""

    def round(self) -> None:
        """The same, when it is this session's turn among all that are told of something new: who can write at once does it."""


# One for all: each would be 216 bytes.
_NONE: frozenset[int] = frozenset()


class Session:
    """State of one client: what it may see, its send queue, its heartbeat, and how it ends.

    ``on_admitted`` is called once, when the client has been let in.
    """

    __slots__ = (
        *("_bytes_full_at", "_carrier", "_conflation", "_cut", "_feed", "_frames_full_at", "_missed", "_on_admitted", "_pace"),
        *("_place", "_queue", "_room", "_timer", "_totals", "_turn"),
        *("close", "crowd", "expires_at", "gets_all", "grant", "order_ids", "sees_all", "topics"),
    )

    def __init__(
        self,
        queue: SendQueue,
        carrier: Carrier,
        pace: Pace | None = None,
        on_admitted: Callable[[], None] | None = None,
        conflate: int | None = None,
    ) -> None:
        """``pace``: None for as fast as it likes. ``conflate``: if more than so many events wait, the client wants to be told
        just that.
        """
        self.close: Close | None = None
        # None until the client has shown a token, where one is needed.
        self.grant: Grant | None = None
        self.expires_at = math.inf
        self.topics: frozenset[str] = frozenset()
        # Those of the topics that are single orders.
        self.order_ids: frozenset[int] = frozenset()
        # Whether ``visible`` would leave nothing out: then all such sessions share what is sent.
        self.sees_all = False
        # The totals too: then it gets whatever goes to everybody.
        self.gets_all = False
        self._queue = queue
        self._carrier = carrier
        self._on_admitted = on_admitted
        self._pace = pace
        # See Rate: two numbers, where two buckets would be 0.3 KiB.
        self._frames_full_at = self._bytes_full_at = UNUSED
        self._totals: Callable[[], Batch] | None = None
        # What is published to all, from when this session is live; its place in it, and the turn of the totals that it was told
        # last (0: they are due, whatever the feed says).
        self._feed: Feed | None = None
        self._place = 0
        self._turn = 1
        # Those with whom it stands at one place: while there are any, that is kept there.
        self.crowd: Crowd[Any] | None = None
        self._conflation = None if conflate is None else Conflation(conflate)
        self._missed = 0
        self._cut = False
        self._timer: asyncio.TimerHandle | None = None
        self._room: asyncio.Future[None] | None = None

    # ---------------------------------------------------------------- what it may see

    def expect_token(self, seconds: float) -> None:
        """End the session if nobody has admitted it by then."""
        self._end_in(seconds, Close.NOT_AUTHENTICATED)

    def admit(self, grant: Grant, topics: frozenset[str]) -> None:
        """From here on it is this grant that counts, until it expires."""
        self.grant = grant
        self.expires_at = grant.expires_at
        self.follow(topics)
        self._end_in(grant.expires_at - time.time(), Close.TOKEN_EXPIRED)
        if self._on_admitted is not None:
            on_admitted, self._on_admitted = self._on_admitted, None
            on_admitted()

    def follow(self, topics: frozenset[str]) -> None:
        """These are the topics now. What has been published until now still comes by the old ones."""
        feed = self._feed
        slow = not self._go_quiet()
        self.topics = topics
        self.order_ids = order_ids(topics)
        self.sees_all = ORDERS in topics
        self.gets_all = self.sees_all and ANALYTICS in topics
        if feed is not None and not slow:
            self.go_live(feed)

    def visible(self, events: Iterable[Event]) -> list[Event]:
        """What of the events this client follows, and may see: for live, replayed and historical ones alike."""
        grant = self.grant
        if grant is None or grant.expired(time.time()):
            return []
        everything = self.sees_all
        return [event for event in events if (everything or event.order_id in self.order_ids) and grant.may_see(event)]

    def lapsed(self, now: float) -> bool:
        """End it if the grant has run out; a clock that jumped is noticed here, where the timer does not."""
        if now >= self.expires_at:
            self.end(Close.TOKEN_EXPIRED, flush=False)
        return self.close is not None

    def _end_in(self, seconds: float, close: Close) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if seconds < math.inf and self.close is None:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, seconds), lambda: self.end(close, flush=False))

    # ---------------------------------------------------------------- from the client

    def receive_text(self, text: str) -> Command | None:
        """Returns what the client asks for that is not answered here. What is not understood gets an error, and no more."""
        if self.close is not None:
            return None
        try:
            command = understood(text)
        except Misunderstood as error:
            self.error(error.code, str(error))
            return None
        match command:
            case Ping():
                self.send(_PONG)
            case Pong():
                pass
            case Subscribe() | Unsubscribe() if self.grant is None:
                self.error("not_authenticated", 'send {"type":"auth","token":…} first')
            case _:
                return command
        return None

    def receive_binary(self) -> None:
        """There are no binary frames in this protocol."""
        self.end(Close.UNSUPPORTED)

    def alive(self) -> None:
        """The client gave a sign of life."""
        self._missed = 0

    def heard(self, size: int, frames: int = 1) -> bool:
        """The client begins a frame of so many bytes: a sign of life. False when that is too much, and the session ends.

        ``frames`` 0: a frame that has begun has turned out to be so much larger.
        """
        self.alive()
        pace, now = self._pace, time.monotonic()
        if pace is None:
            return True
        frames_full_at = pace.frames.take(self._frames_full_at, frames, now)
        bytes_full_at = pace.bytes.take(self._bytes_full_at, size, now)
        if frames_full_at is None or bytes_full_at is None:
            self.end(Close.TOO_FAST, flush=False)
            return False
        self._frames_full_at, self._bytes_full_at = frames_full_at, bytes_full_at
        return True

    def error(self, code: str, message: str) -> None:
        """What the client asked for was not done."""
        self.tell(ErrorFrame(code, message))

    # ---------------------------------------------------------------- from the hub

    def open(self, totals: Callable[[], Batch]) -> None:
        """The first frame is the totals; later ones come as ``totals_changed`` says, always the newest.

        Whoever does not follow the totals is told instead what it does follow.
        """
        self._totals = totals
        self.send(totals() if ANALYTICS in self.topics else Batch([encode(Subscribed(self.topics))]))

    def send(self, *batches: Batch) -> None:
        """Queue them, all or none. Never waits: a client that does not keep up is ended."""
        if self.close is not None or not batches:
            return
        self.go_apart()
        if self._queue.offer(*batches):
            self._carrier.output()
        else:
            self.end(Close.SLOW_CONSUMER, flush=False)

    def tell(self, frame: ServerFrame) -> None:
        """Queue a frame that is for this client alone."""
        self.send(Batch([encode(frame)]))

    def totals_changed(self) -> None:
        """A slot, not an entry of the queue: whenever it is this client's turn, it gets the totals of that moment."""
        self.go_apart()
        self._turn = 0
        self._carrier.output()

    def go_live(self, feed: Feed) -> None:
        """From here on what is published to all comes to this session too, as far as its topics go."""
        self._feed = feed
        self._place = feed.end
        if self._conflation is not None:
            self._conflation.moved(feed, self._place)
        if self._turn:
            self._turn = feed.totals_turn

    def _go_quiet(self) -> bool:
        """What has been published until now still comes; nothing of what will be. False when the client was too slow for it."""
        self.go_apart()
        feed, self._feed = self._feed, None
        if feed is None:
            return True
        if self._turn != feed.totals_turn:
            self._turn = 0
        if self.sees_all and self._place != feed.end:
            instead = self._conflation and self._conflation.instead(feed, self._place)
            if not instead and self._place < feed.first:
                self.end(Close.SLOW_CONSUMER, flush=False)
                return False
            self._queue.extend(instead or feed.rest(self._place))
        return True

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to take, and what comes next comes to everybody else, too."""
        feed = self._feed
        return (
            feed is not None
            and self.gets_all
            and self._conflation is None
            and self._place == feed.end
            and self._turn == feed.totals_turn
            and not self._queue
        )

    def go_apart(self) -> None:
        """From here on it stands by itself where its crowd stood, if it was in one: it gets something that is its own, or
        cannot be written to.
        """
        if self.crowd is not None:
            crowd, self.crowd = self.crowd, None
            self._place, self._turn = crowd.leave(self)

    @property
    def singles_out(self) -> frozenset[int]:
        """The orders whose events have to be found for it: it does not get all, or would not get all one by one."""
        return _NONE if self.sees_all and self._conflation is None else self.order_ids

    def keep(self, placed: Iterable[tuple[int, Event]]) -> None:
        """Events that have come to the feed, with their places: those of its own orders come one by one in any case."""
        grant, conflation = self.grant, self._conflation
        assert grant is not None
        assert conflation is not None
        if self._queue.too_many(conflation.kept):
            self.end(Close.SLOW_CONSUMER, flush=False)
            return
        conflation.keep(
            (place, event.frame) for place, event in placed if event.order_id in self.order_ids and grant.may_see(event)
        )

    def published(self, now: float) -> None:
        """There is something new in the feed. A client that has not kept up is ended, and so is one whose grant has run out."""
        feed = self._feed
        # (Asked here first: this is done for everybody, at every event.)
        if feed is None or (now >= self.expires_at and self.lapsed(now)):
            return
        if self.sees_all and self._place != feed.end:
            if self._place < feed.first and self._conflation is None:
                self.end(Close.SLOW_CONSUMER, flush=False)
                return
        elif self._turn == feed.totals_turn:
            return
        self._carrier.round()

    def fail(self) -> None:
        """It is not known what its client has got."""
        self.end(Close.INTERNAL_ERROR, flush=False)

    def beat(self) -> None:
        """One heartbeat interval is over."""
        if self.missed_heartbeat():
            self.send(PING_BATCH)

    def missed_heartbeat(self) -> bool:
        """Count one that has not been answered yet: whether it is to be sent, since there have not been too many."""
        if self.grant is None:
            return False  # its time is bounded anyway, and until there is a token it gets nothing
        if self._missed >= MISSED_HEARTBEATS:
            self.end(Close.NO_PONG, flush=False)
            return False
        self._missed += 1
        return True

    def end(self, close: Close, *, flush: bool = True) -> None:
        """The only way into the closed state. ``flush``: what is queued still goes out first."""
        if self.close is not None:
            return
        self.go_apart()
        if flush and not self._go_quiet():
            return
        self.close = close
        self._cut = not flush
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not flush:
            self._queue.clear()
            self._feed = None
            self._turn = 1
        self._let_on()
        self._carrier.output()

    # ---------------------------------------------------------------- to the transport

    def take(self, about_bytes: int) -> list[Batch]:
        """What to send next. The totals come last, when all events that they include have been taken."""
        self.go_apart()
        queue = self._queue
        batches = queue.take(about_bytes) if queue else []
        if self._room is not None and not queue.pressed:
            self._let_on()
        if queue:
            return batches
        feed = self._feed
        if feed is None:
            if self._turn:
                return batches
        else:
            if self.sees_all and self._place != feed.end:
                conflation = self._conflation
                if conflation is not None and (instead := conflation.instead(feed, self._place)):
                    batches += instead
                    self._place = feed.end
                elif self._place < feed.first:
                    self.end(Close.SLOW_CONSUMER, flush=False)
                    return []
                else:
                    batch, self._place = feed.next(self._place, about_bytes)
                    batches.append(batch)
                if conflation is not None:
                    conflation.moved(feed, self._place)
                if self._place != feed.end:
                    return batches
            if self._turn == feed.totals_turn:
                return batches
        self._turn = 1 if feed is None else feed.totals_turn
        if self._totals is not None and ANALYTICS in self.topics:
            batches.append(self._totals())
        return batches

    @property
    def waiting(self) -> bool:
        """Whether there is something to take."""
        if self.crowd is not None:
            return not self.crowd.up_to_date
        feed = self._feed
        if self._queue or not self._turn:
            return True
        return feed is not None and ((self.sees_all and self._place != feed.end) or self._turn != feed.totals_turn)

    async def room(self) -> None:
        """Return once another batch can be sent without too much waiting, or the session has ended. One at a time may ask."""
        while self._queue.pressed and self.close is None:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _let_on(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None

    @property
    def cut(self) -> bool:
        """Whether the session has ended without flushing: what is being sent is not worth waiting for."""
        return self._cut

    @property
    def place(self) -> int:
        """How far it has got in what is published to all, while it stands apart."""
        return self._place

    @property
    def pressed(self) -> bool:
        """Whether so much waits for the transport that another batch could be too much."""
        if self._queue.pressed:
            return True
        feed = self._feed
        return feed is not None and self.sees_all and self._conflation is None and feed.pressed(self._place)
