"""Admission: from a grant and the client's parameters to a live session, and the commands of that session.

The same for all transports. Knows no HTTP: tokens are verified and orders are looked up through Protocols.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from push.delivery.batch import Batch, in_chunks
from push.delivery.hub import Hub
from push.delivery.session import Session
from push.errors import StoreError
from push.journal.events import Cursor, Event
from push.journal.relay import Relay
from push.journal.replay import GapError, Replay, ReplayPlanner
from push.metrics import Metrics
from push.protocol.access import (
    ANALYTICS_TOPIC,
    AccessDenied,
    Authenticator,
    Grant,
    Role,
    TopicLookup,
    order_keys,
    order_topic,
    stream_names,
)
from push.protocol.messages import Auth, Authenticated, CloseCode, Command, Resumed, Subscribe, Subscribed, Unsubscribe

__all__ = ["ConnectParams", "CursorEncoder", "SessionManager"]

log = logging.getLogger("orderwire.admission")

# Events of a replay that are sent before the client's back-pressure is awaited.
CHUNK_EVENTS = 500
# A session goes live once at most so many events are left to replay: these are queued at once.
MAX_FINAL_EVENTS = 50
# Seconds. A client whose send queue stays congested for that long during a replay is a slow consumer.
REPLAY_STALL_SECONDS = 30.0

# Makes what the transport sends for a cursor that comes without an event.
CursorEncoder = Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class ConnectParams:
    """What a client asks for when it connects.

    ``cursor``: resume from there. ``topics``: None for the default of the role. ``encode_cursor``: set by a transport that
    can carry a cursor without an event (SSE); it gets the one from which the session goes live, so that the client can resume
    even before its first event.
    """

    cursor: str | None = None
    topics: frozenset[str] | None = None
    encode_cursor: CursorEncoder | None = None


class SessionManager:
    """Opens sessions and carries out their commands. One per process; each session calls it from its own task.

    The order of calls for a client: ``authorize``; then ``open``, before the client is answered; then ``resume``. For a client
    that will send its token as a message it is ``add_unauthenticated`` instead, and ``handle_command`` does the rest.
    """

    def __init__(
        self,
        hub: Hub,
        relay: Relay,
        replay_planner: ReplayPlanner,
        authenticator: Authenticator,
        topic_lookup: TopicLookup,
        *,
        max_topics: int = 100,
        metrics: Metrics | None = None,
    ) -> None:
        self._hub = hub
        self._totals_batch = hub.totals_batch  # bound once: every session keeps a reference to it
        self._relay = relay
        self._replay_planner = replay_planner
        self._authenticator = authenticator
        self._topic_lookup = topic_lookup
        self._max_topics = max_topics
        # One lookup at a time for all clients, so that one who subscribes without end delays other subscribers only.
        self._lookup_slot = asyncio.Semaphore(1)
        self._metrics = metrics or Metrics()

    # ---------------------------------------------------------------- opening a session

    async def authorize(self, grant: Grant, params: ConnectParams) -> frozenset[str]:
        """Return the topics that the session will have. Raises AccessDenied or StoreError.

        Then waits for a fresh read of the journal (``ReadBarrier.wait_for_fresh_read``, up to READ_WAIT_TIMEOUT). So it must be
        called before the client is answered: a client that writes to the database and then connects expects the totals and a
        replay to include its change. The token may be revoked during that wait, so this is checked at the end.
        """
        topics = grant.default_topics() if params.topics is None else params.topics
        if len(topics) > self._max_topics and params.topics is not None:
            raise AccessDenied(CloseCode.BAD_REQUEST, f"more than {self._max_topics} topics")
        if rejected := topics - await self._permitted_topics(grant, topics):
            raise AccessDenied(CloseCode.NOT_PERMITTED, f"not permitted: {min(rejected)}")
        if unknown := await self._unknown_streams(topics):
            raise AccessDenied(CloseCode.BAD_REQUEST, f"topics: no such topic: {min(unknown)}")
        await self._relay.read_barrier.wait_for_fresh_read()
        self._reject_revoked(grant)
        return topics

    def add_unauthenticated(self, session: Session, timeout_seconds: float) -> None:
        """Add a session that gets nothing until its client has sent a token, for which it has ``timeout_seconds``."""
        self._hub.add(session)
        session.start_auth_timeout(timeout_seconds)

    def open(self, session: Session, grant: Grant, topics: frozenset[str], params: ConnectParams) -> None:
        """Queue the first messages, and go live unless there is a cursor to resume from.

        Must be called before the client learns that it is connected: everything that is committed from then on reaches it.
        """
        self._hub.add(session)
        session.apply_grant(grant, topics)
        session.send_initial_message(self._totals_batch)
        if not self._hub.feed_status.live:
            session.send_message(self._hub.feed_status)
        if self._authenticator.login_required:
            session.send_message(Authenticated(grant.role, grant.expires_at))
        if params.cursor is None:
            self._go_live(session, params)

    async def resume(self, session: Session, params: ConnectParams) -> None:
        """Replay to an open session what its cursor misses, or tell the client to fetch anew; then go live.

        Does nothing without a cursor. Takes as long as the client takes to read the replay.
        """
        if params.cursor is None:
            return
        try:
            if await self._replay(session, params.cursor):
                return
        except StoreError as error:
            log.warning("a client has to reconnect to resume: %s", error)
            session.close(CloseCode.RESUME_AGAIN)
            return
        self._go_live(session, params)
        session.schedule_totals()  # those of ``open`` may have changed while the replay was planned

    # ---------------------------------------------------------------- commands

    async def handle_command(self, session: Session, command: Command, params: ConnectParams) -> None:
        """Carry out a command, and answer it. Closes the session if a token is rejected or the database cannot answer.

        The commands of one session must come one after the other.
        """
        try:
            match command:
                case Auth(token):
                    await self._authenticate(session, token, params)
                case Subscribe(topics):
                    await self._subscribe(session, topics)
                case Unsubscribe(topics):
                    self._set_topics(session, session.topics - topics)
        except AccessDenied as denied:
            self._metrics.rejections.labels(denied.close_code.name.lower()).inc()
            session.close(denied.close_code, flush=False)
        except StoreError as error:
            log.warning("a client has to reconnect, its command cannot be carried out: %s", error)
            session.close(CloseCode.UNAVAILABLE)

    async def _authenticate(self, session: Session, token: str, params: ConnectParams) -> None:
        grant = await self._authenticator.verify(token)
        if session.grant is None:
            topics = await self.authorize(grant, params)
            if session.close_code is None:
                self.open(session, grant, topics, params)
            return
        # The session goes on with those of its topics that the new grant permits.
        permitted = await self._permitted_topics(grant, session.topics)
        self._reject_revoked(grant)
        topics_lost = permitted != session.topics
        session.apply_grant(grant, permitted)
        self._hub.topics_changed(session)
        session.send_message(Authenticated(grant.role, grant.expires_at))
        if topics_lost:
            session.send_message(Subscribed(session.topics))

    async def _subscribe(self, session: Session, topics: frozenset[str]) -> None:
        grant = session.grant
        assert grant is not None
        current = session.topics
        if len(current | topics) > self._max_topics:
            session.send_error("too_many_topics", f"at most {self._max_topics}")
            return
        permitted = await self._permitted_topics(grant, topics)
        if rejected := topics - permitted:
            self._metrics.rejections.labels("not_permitted").inc()
            session.send_error("not_permitted", f"not permitted: {min(rejected)}")
            return
        if unknown := await self._unknown_streams(topics - current):
            session.send_error("bad_topic", f"no such topic: {min(unknown)}")
            return
        totals_are_new = ANALYTICS_TOPIC in topics - current
        self._set_topics(session, session.topics | topics)
        if totals_are_new:
            session.schedule_totals()

    def _set_topics(self, session: Session, topics: frozenset[str]) -> None:
        session.set_topics(topics)
        self._hub.topics_changed(session)
        session.send_message(Subscribed(topics))

    async def _permitted_topics(self, grant: Grant, topics: frozenset[str]) -> frozenset[str]:
        """Return those of the topics that the grant permits. Raises StoreError."""
        allowed = {topic for topic in topics if grant.may_subscribe(topic)}
        if grant.role is Role.CUSTOMER:
            unknown = order_keys(allowed) - grant.order_keys
            owned: set[str] = set()
            if unknown and grant.subject is not None:
                async with self._lookup_slot:
                    owned = await self._topic_lookup.owned_keys(grant.subject, unknown)
            allowed -= set(map(order_topic, unknown - owned))
        return frozenset(allowed)

    async def _unknown_streams(self, topics: frozenset[str]) -> set[str]:
        """Return the names of streams among the permitted topics that are not attached. Raises StoreError."""
        names = stream_names(topics)
        if not names:
            return names
        async with self._lookup_slot:
            return names - await self._topic_lookup.known_streams(names)

    def _reject_revoked(self, grant: Grant) -> None:
        """Check once more after an ``await``: ``Hub.revoke_invalid`` closes only the sessions that have their grant already."""
        if not self._authenticator.is_valid(grant):
            raise AccessDenied(CloseCode.INVALID_TOKEN, "the token has been revoked")

    # ---------------------------------------------------------------- from the cursor to going live

    def _go_live(self, session: Session, params: ConnectParams) -> None:
        # No await here: nothing can be published between taking this position and going live.
        if params.encode_cursor is not None and self._relay.epoch is not None:
            watermark = self._relay.watermark
            cursor = Cursor(self._relay.epoch, watermark.snapshot, witness=watermark.newest_event)
            session.send(Batch([params.encode_cursor(str(cursor))]))
        self._hub.go_live(session)

    async def _replay(self, session: Session, cursor_text: str) -> bool:
        """True: the session is live or closed. False: the client has been told to fetch anew, and the session can go live."""
        try:
            replay = await self._replay_planner.plan(cursor_text, _reader(session))
            subscription = session.subscription
            # Then it gets exactly the events of orders, and these have been counted.
            gets_orders = subscription.receives_all_orders and (
                not subscription.selected or replay.order_event_count == replay.count
            )
            visible = None if gets_orders else await self._visible_events(session, replay)
        except GapError:
            self._metrics.resumes.labels("fetch_anew").inc()
            session.send_message(Resumed(recovered=False))
            return False
        # Not the count of all events, which would tell a customer how many orders others have.
        count = replay.order_event_count if visible is None else len(visible)
        self._metrics.resumes.labels("recovered").inc()
        session.send_message(Resumed(recovered=True, replayed=count))
        try:
            if visible is None:
                await self._send_replay(session, replay)
            else:
                for start in range(0, len(visible), CHUNK_EVENTS):
                    await self._send_events(session, visible[start : start + CHUNK_EVENTS])
            await self._send_published_since(session, replay.next_seq)
        except GapError:
            session.close(CloseCode.RESUME_AGAIN)
        except TimeoutError:
            session.close_as_slow_consumer()
        return True

    async def _visible_events(self, session: Session, replay: Replay) -> list[Event]:
        """Read a replay, and return those of its events that the session subscribes to and may see."""
        visible: list[Event] = []
        async for events in self._replay_planner.read_events(replay, _reader(session)):
            visible += session.visible(events)
        return visible

    async def _send_replay(self, session: Session, replay: Replay) -> None:
        async for events in self._replay_planner.read_events(replay, _reader(session)):
            await self._send_events(session, events)
            if session.close_code is not None:
                return

    async def _send_published_since(self, session: Session, seq: int) -> None:
        """Send what has been published since the replay was planned, and go live once little is left."""
        while session.close_code is None:
            rest = self._relay.recent_events.since(seq)
            if rest is None:
                raise GapError("events have been dropped from memory meanwhile")
            if len(rest) <= MAX_FINAL_EVENTS:
                session.send(*in_chunks([event.payload for event in session.visible(rest)]))
                self._hub.go_live(session)
                session.schedule_totals()  # after the last event, so that they are as of that event
                return
            await self._send_events(session, rest[:CHUNK_EVENTS])
            seq += min(len(rest), CHUNK_EVENTS)

    async def _send_events(self, session: Session, events: Sequence[Event]) -> None:
        visible = session.visible(events)
        session.send(*in_chunks([event.payload for event in visible]))
        self._metrics.replayed_events.inc(len(visible))
        async with asyncio.timeout(REPLAY_STALL_SECONDS):
            await session.wait_writable()


def _reader(session: Session) -> Hashable:
    """Who reads the journal for a session: all sessions of one subject together, and each of the others for itself."""
    grant = session.grant
    return session if grant is None or grant.subject is None else grant.subject
