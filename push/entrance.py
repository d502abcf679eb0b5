"""How a session comes in: who it is, what it follows, and from where its client stood to live with no gap between the two."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from push.access import ANALYTICS, Authority, Grant, Owners, Refused, Role, order_ids
from push.batch import Batch, in_chunks
from push.errors import StoreError
from push.events import Cursor, Event
from push.frames import Auth, Authenticated, Close, Command, Resumed, Subscribe, Subscribed, Unsubscribe
from push.history import GapError, History, Replay
from push.hub import Hub
from push.metrics import Metrics
from push.relay import Relay
from push.session import Session

__all__ = ["Entrance", "PositionFrame", "Wish"]

log = logging.getLogger("orderwire.resume")

# Events that are sent together while replaying, and the most that may be left for the moment of going live.
CHUNK_EVENTS = 500
LAST_EVENTS = 50
# A client that takes nothing for so long while it is being replayed to is a slow consumer.
STALL_SECONDS = 30.0


PositionFrame = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a client asks for as it comes in.

    ``topics``: None for what its role gets unasked. ``position_frame`` makes a frame of the cursor from which the session goes
    live without having been told an event's, for a transport that can carry it.
    """

    cursor: str | None = None
    topics: frozenset[str] | None = None
    position_frame: PositionFrame | None = None


class Entrance:
    """Through here every session comes in, whatever its transport, and here it asks for more."""

    def __init__(
        self,
        hub: Hub,
        relay: Relay,
        history: History,
        authority: Authority,
        owners: Owners,
        *,
        most_topics: int = 100,
        metrics: Metrics | None = None,
    ) -> None:
        self._hub = hub
        self._totals = hub.totals_batch  # one object for all sessions
        self._relay = relay
        self._history = history
        self._authority = authority
        self._owners = owners
        self._most_topics = most_topics
        # One at a time for all customers: whoever asks without end keeps others waiting who ask, and nobody else.
        self._lookup = asyncio.Semaphore(1)
        self._metrics = metrics or Metrics()

    # ---------------------------------------------------------------- coming in

    async def knock(self, grant: Grant, wish: Wish) -> frozenset[str]:
        """The topics that the session will have. Before the client is answered: whoever wrote and then connects expects the
        totals, and a replay, to know of it. Raises Refused or StoreError.
        """
        topics = grant.topics_unasked() if wish.topics is None else wish.topics
        if len(topics) > self._most_topics and wish.topics is not None:
            raise Refused(Close.BAD_REQUEST, f"more than {self._most_topics} topics")
        if refused := topics - await self._permitted(grant, topics):
            raise Refused(Close.NOT_PERMITTED, f"not permitted: {min(refused)}")
        await self._relay.fresh()
        self._refuse_revoked(grant)
        return topics

    def wait_for_token(self, session: Session, seconds: float) -> None:
        """The client will say in a frame who it is; until then it gets nothing, and it has so long to do it."""
        self._hub.enter(session)
        session.expect_token(seconds)

    def enter(self, session: Session, grant: Grant, topics: frozenset[str], wish: Wish) -> None:
        """The totals first; and live at once, unless there is something to resume.

        Called before the client is told that it is connected, so that whatever is committed from then on reaches it.
        """
        self._hub.enter(session)
        session.admit(grant, topics)
        session.open(self._totals)
        if self._authority.login:
            session.tell(Authenticated(grant.role, grant.expires_at))
        if wish.cursor is None:
            self._go_live(session, wish)

    async def resume(self, session: Session, wish: Wish) -> None:
        """Of a session that has entered: replay what the cursor misses, then live; or tell that it cannot be done, then live.
        Without a cursor there is nothing to do.
        """
        if wish.cursor is None:
            return
        try:
            if await self._replay(session, wish.cursor):
                return
        except StoreError as error:
            log.warning("a resume was put off: %s", error)
            session.end(Close.RESUME_AGAIN)
            return
        self._go_live(session, wish)

    # ---------------------------------------------------------------- asking for more

    async def obey(self, session: Session, command: Command, wish: Wish) -> None:
        """Do what the client asks for, one thing after the other, or tell it why not."""
        try:
            match command:
                case Auth(token):
                    await self._authenticate(session, token, wish)
                case Subscribe(topics):
                    await self._subscribe(session, topics)
                case Unsubscribe(topics):
                    self._follow(session, session.topics - topics)
        except Refused as refusal:
            self._metrics.rejects.labels(refusal.close.name.lower()).inc()
            session.end(refusal.close, flush=False)
        except StoreError as error:
            log.warning("a client has to come back: %s", error)
            session.end(Close.UNAVAILABLE)

    async def _authenticate(self, session: Session, token: str, wish: Wish) -> None:
        grant = await self._authority.verify(token)
        if session.grant is None:
            topics = await self.knock(grant, wish)
            if session.close is None:
                self.enter(session, grant, topics, wish)
            return
        # The session lives on with what the new grant still allows.
        permitted = await self._permitted(grant, session.topics)
        self._refuse_revoked(grant)
        lost = permitted != session.topics
        session.admit(grant, permitted)
        self._hub.topics_changed(session)
        session.tell(Authenticated(grant.role, grant.expires_at))
        if lost:
            session.tell(Subscribed(session.topics))

    async def _subscribe(self, session: Session, topics: frozenset[str]) -> None:
        grant = session.grant
        assert grant is not None
        if len(session.topics | topics) > self._most_topics:
            session.error("too_many_topics", f"at most {self._most_topics}")
            return
        permitted = await self._permitted(grant, topics)
        if refused := topics - permitted:
            self._metrics.rejects.labels("not_permitted").inc()
            session.error("not_permitted", f"not permitted: {min(refused)}")
            return
        totals_are_new = ANALYTICS in topics - session.topics
        self._follow(session, session.topics | topics)
        if totals_are_new:
            session.totals_changed()

    def _follow(self, session: Session, topics: frozenset[str]) -> None:
        session.follow(topics)
        self._hub.topics_changed(session)
        session.tell(Subscribed(topics))

    async def _permitted(self, grant: Grant, topics: frozenset[str]) -> frozenset[str]:
        """Those that the grant's bearer may follow."""
        allowed = {topic for topic in topics if grant.may_subscribe(topic)}
        if grant.role is Role.CUSTOMER:
            asked = order_ids(allowed) - grant.orders
            owned: set[int] = set()
            if asked and grant.subject is not None:
                async with self._lookup:
                    owned = await self._owners.owned(grant.subject, asked)
            allowed -= {f"order:{order_id}" for order_id in asked - owned}
        return frozenset(allowed)

    def _refuse_revoked(self, grant: Grant) -> None:
        """While it was waited for something else the grant may have been taken back, and no session has it yet to be ended."""
        if not self._authority.holds(grant):
            raise Refused(Close.INVALID_TOKEN, "the token has been revoked")

    # ---------------------------------------------------------------- from the cursor to live

    def _go_live(self, session: Session, wish: Wish) -> None:
        # No await in here: nothing can be published between this position and going live.
        if wish.position_frame is not None and self._relay.epoch is not None:
            session.send(Batch([wish.position_frame(str(Cursor(self._relay.epoch, self._relay.watermark.snapshot)))]))
        self._hub.go_live(session)

    async def _replay(self, session: Session, cursor_text: str) -> bool:
        """True when the session has been brought live, or ended; False when it has to fetch anew."""
        try:
            replay = await self._history.replay(cursor_text)
            own = None if session.sees_all else await self._own_part(session, replay)
        except GapError:
            self._metrics.resumes.labels("fetch_anew").inc()
            session.tell(Resumed(recovered=False))
            return False
        # How many events others had is nobody's business.
        count = replay.count if own is None else len(own)
        self._metrics.resumes.labels("recovered").inc()
        session.tell(Resumed(recovered=True, replayed=count))
        try:
            if own is None:
                await self._send_replay(session, replay)
            else:
                for start in range(0, len(own), CHUNK_EVENTS):
                    await self._send(session, own[start : start + CHUNK_EVENTS])
            await self._send_rest(session, replay.ring_number)
        except GapError:
            session.end(Close.RESUME_AGAIN)
        except TimeoutError:
            session.end(Close.SLOW_CONSUMER, flush=False)
        return True

    async def _own_part(self, session: Session, replay: Replay) -> list[Event]:
        """Of a replay what this session may see."""
        own: list[Event] = []
        async for events in self._history.events(replay):
            own += session.visible(events)
        return own

    async def _send_replay(self, session: Session, replay: Replay) -> None:
        async for events in self._history.events(replay):
            await self._send(session, events)
            if session.close is not None:
                return

    async def _send_rest(self, session: Session, number: int) -> None:
        """What has been published meanwhile, from the ring; it gets less each time round."""
        while session.close is None:
            rest = self._relay.ring.since(number)
            if rest is None:
                raise GapError("the ring has moved on")
            if len(rest) <= LAST_EVENTS:
                session.send(*in_chunks([event.frame for event in session.visible(rest)]))
                self._hub.go_live(session)
                session.totals_changed()  # as of the last event, now that it has been sent
                return
            await self._send(session, rest[:CHUNK_EVENTS])
            number += min(len(rest), CHUNK_EVENTS)

    async def _send(self, session: Session, events: Sequence[Event]) -> None:
        visible = session.visible(events)
        session.send(*in_chunks([event.frame for event in visible]))
        self._metrics.replayed.inc(len(visible))
        async with asyncio.timeout(STALL_SECONDS):
            await session.room()
