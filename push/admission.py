"""How a session comes in: who it is, what it follows, and from where its client stood to live with no gap between the two."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from push.delivery.batch import Batch, in_chunks
from push.delivery.hub import Hub
from push.delivery.session import Session
from push.errors import StoreError
from push.journal.events import Cursor, Event
from push.journal.relay import Relay
from push.journal.replay import GapError, Replay, ReplayPlanner
from push.metrics import Metrics
from push.protocol.access import ANALYTICS_TOPIC, AccessDenied, Authenticator, Grant, OrderOwnership, Role, order_ids
from push.protocol.messages import Auth, Authenticated, CloseCode, Command, Resumed, Subscribe, Subscribed, Unsubscribe

__all__ = ["ConnectParams", "PositionEncoder", "SessionManager"]

log = logging.getLogger("orderwire.resume")

# Events that are sent together while replaying, and the most that may be left for the moment of going live.
CHUNK_EVENTS = 500
MAX_FINAL_EVENTS = 50
# A client that takes nothing for so long while it is being replayed to is a slow consumer.
STALL_SECONDS = 30.0


PositionEncoder = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class ConnectParams:
    """What a client asks for as it comes in.

    ``topics``: None for what its role gets unasked. ``encode_position`` makes a frame of the cursor from which the session goes
    live without having been told an event's, for a transport that can carry it.
    """

    cursor: str | None = None
    topics: frozenset[str] | None = None
    encode_position: PositionEncoder | None = None


class SessionManager:
    """Through here every session comes in, whatever its transport, and here it asks for more."""

    def __init__(
        self,
        hub: Hub,
        relay: Relay,
        replay_planner: ReplayPlanner,
        authenticator: Authenticator,
        order_ownership: OrderOwnership,
        *,
        max_topics: int = 100,
        metrics: Metrics | None = None,
    ) -> None:
        self._hub = hub
        self._totals_batch = hub.totals_batch  # one object for all sessions
        self._relay = relay
        self._replay_planner = replay_planner
        self._authenticator = authenticator
        self._order_ownership = order_ownership
        self._max_topics = max_topics
        # One at a time for all customers: whoever asks without end keeps others waiting who ask, and nobody else.
        self._ownership_lookup = asyncio.Semaphore(1)
        self._metrics = metrics or Metrics()

    # ---------------------------------------------------------------- coming in

    async def authorize(self, grant: Grant, params: ConnectParams) -> frozenset[str]:
        """The topics that the session will have. Before the client is answered: whoever wrote and then connects expects the
        totals, and a replay, to know of it. Raises Refused or StoreError.
        """
        topics = grant.default_topics() if params.topics is None else params.topics
        if len(topics) > self._max_topics and params.topics is not None:
            raise AccessDenied(CloseCode.BAD_REQUEST, f"more than {self._max_topics} topics")
        if refused := topics - await self._permitted_topics(grant, topics):
            raise AccessDenied(CloseCode.NOT_PERMITTED, f"not permitted: {min(refused)}")
        await self._relay.wait_for_fresh_read()
        self._reject_revoked(grant)
        return topics

    def await_token(self, session: Session, timeout_seconds: float) -> None:
        """The client will say in a frame who it is; until then it gets nothing, and it has so long to do it."""
        self._hub.add(session)
        session.start_auth_timeout(timeout_seconds)

    def open(self, session: Session, grant: Grant, topics: frozenset[str], params: ConnectParams) -> None:
        """The totals first; and live at once, unless there is something to resume.

        Called before the client is told that it is connected, so that whatever is committed from then on reaches it.
        """
        self._hub.add(session)
        session.apply_grant(grant, topics)
        session.send_initial_message(self._totals_batch)
        if self._authenticator.login_required:
            session.send_message(Authenticated(grant.role, grant.expires_at))
        if params.cursor is None:
            self._go_live(session, params)

    async def resume(self, session: Session, params: ConnectParams) -> None:
        """Of a session that has entered: replay what the cursor misses, then live; or tell that it cannot be done, then live.
        Without a cursor there is nothing to do.
        """
        if params.cursor is None:
            return
        try:
            if await self._replay(session, params.cursor):
                return
        except StoreError as error:
            log.warning("a resume was put off: %s", error)
            session.close(CloseCode.RESUME_AGAIN)
            return
        self._go_live(session, params)

    # ---------------------------------------------------------------- asking for more

    async def handle_command(self, session: Session, command: Command, params: ConnectParams) -> None:
        """Do what the client asks for, one thing after the other, or tell it why not."""
        try:
            match command:
                case Auth(token):
                    await self._authenticate(session, token, params)
                case Subscribe(topics):
                    await self._subscribe(session, topics)
                case Unsubscribe(topics):
                    self._set_topics(session, session.topics - topics)
        except AccessDenied as refusal:
            self._metrics.rejections.labels(refusal.close_code.name.lower()).inc()
            session.close(refusal.close_code, flush=False)
        except StoreError as error:
            log.warning("a client has to come back: %s", error)
            session.close(CloseCode.UNAVAILABLE)

    async def _authenticate(self, session: Session, token: str, params: ConnectParams) -> None:
        grant = await self._authenticator.verify(token)
        if session.grant is None:
            topics = await self.authorize(grant, params)
            if session.close_code is None:
                self.open(session, grant, topics, params)
            return
        # The session lives on with what the new grant still allows.
        permitted = await self._permitted_topics(grant, session.topics)
        self._reject_revoked(grant)
        lost = permitted != session.topics
        session.apply_grant(grant, permitted)
        self._hub.topics_changed(session)
        session.send_message(Authenticated(grant.role, grant.expires_at))
        if lost:
            session.send_message(Subscribed(session.topics))

    async def _subscribe(self, session: Session, topics: frozenset[str]) -> None:
        grant = session.grant
        assert grant is not None
        if len(session.topics | topics) > self._max_topics:
            session.send_error("too_many_topics", f"at most {self._max_topics}")
            return
        permitted = await self._permitted_topics(grant, topics)
        if refused := topics - permitted:
            self._metrics.rejections.labels("not_permitted").inc()
            session.send_error("not_permitted", f"not permitted: {min(refused)}")
            return
        totals_are_new = ANALYTICS_TOPIC in topics - session.topics
        self._set_topics(session, session.topics | topics)
        if totals_are_new:
            session.schedule_totals()

    def _set_topics(self, session: Session, topics: frozenset[str]) -> None:
        session.set_topics(topics)
        self._hub.topics_changed(session)
        session.send_message(Subscribed(topics))

    async def _permitted_topics(self, grant: Grant, topics: frozenset[str]) -> frozenset[str]:
        """Those that the grant's bearer may follow."""
        allowed = {topic for topic in topics if grant.may_subscribe(topic)}
        if grant.role is Role.CUSTOMER:
            asked = order_ids(allowed) - grant.order_ids
            owned: set[int] = set()
            if asked and grant.subject is not None:
                async with self._ownership_lookup:
                    owned = await self._order_ownership.owned_by(grant.subject, asked)
            allowed -= {f"order:{order_id}" for order_id in asked - owned}
        return frozenset(allowed)

    def _reject_revoked(self, grant: Grant) -> None:
        """While it was waited for something else the grant may have been taken back, and no session has it yet to be ended."""
        if not self._authenticator.is_valid(grant):
            raise AccessDenied(CloseCode.INVALID_TOKEN, "the token has been revoked")

    # ---------------------------------------------------------------- from the cursor to live

    def _go_live(self, session: Session, params: ConnectParams) -> None:
        # No await in here: nothing can be published between this position and going live.
        if params.encode_position is not None and self._relay.epoch is not None:
            session.send(Batch([params.encode_position(str(Cursor(self._relay.epoch, self._relay.watermark.snapshot)))]))
        self._hub.go_live(session)

    async def _replay(self, session: Session, cursor_text: str) -> bool:
        """True when the session has been brought live, or ended; False when it has to fetch anew."""
        try:
            replay = await self._replay_planner.plan(cursor_text)
            own = None if session.subscription.sees_all_events else await self._visible_events(session, replay)
        except GapError:
            self._metrics.resumes.labels("fetch_anew").inc()
            session.send_message(Resumed(recovered=False))
            return False
        # How many events others had is nobody's business.
        count = replay.count if own is None else len(own)
        self._metrics.resumes.labels("recovered").inc()
        session.send_message(Resumed(recovered=True, replayed=count))
        try:
            if own is None:
                await self._send_replay(session, replay)
            else:
                for start in range(0, len(own), CHUNK_EVENTS):
                    await self._send_events(session, own[start : start + CHUNK_EVENTS])
            await self._send_published_since(session, replay.next_seq)
        except GapError:
            session.close(CloseCode.RESUME_AGAIN)
        except TimeoutError:
            session.close(CloseCode.SLOW_CONSUMER, flush=False)
        return True

    async def _visible_events(self, session: Session, replay: Replay) -> list[Event]:
        """Of a replay what this session may see."""
        own: list[Event] = []
        async for events in self._replay_planner.read_events(replay):
            own += session.visible(events)
        return own

    async def _send_replay(self, session: Session, replay: Replay) -> None:
        async for events in self._replay_planner.read_events(replay):
            await self._send_events(session, events)
            if session.close_code is not None:
                return

    async def _send_published_since(self, session: Session, seq: int) -> None:
        """What has been published meanwhile, from the ring; it gets less each time round."""
        while session.close_code is None:
            rest = self._relay.recent_events.since(seq)
            if rest is None:
                raise GapError("the ring has moved on")
            if len(rest) <= MAX_FINAL_EVENTS:
                session.send(*in_chunks([event.payload for event in session.visible(rest)]))
                self._hub.go_live(session)
                session.schedule_totals()  # as of the last event, now that it has been sent
                return
            await self._send_events(session, rest[:CHUNK_EVENTS])
            seq += min(len(rest), CHUNK_EVENTS)

    async def _send_events(self, session: Session, events: Sequence[Event]) -> None:
        visible = session.visible(events)
        session.send(*in_chunks([event.payload for event in visible]))
        self._metrics.replayed_events.inc(len(visible))
        async with asyncio.timeout(STALL_SECONDS):
            await session.wait_writable()
