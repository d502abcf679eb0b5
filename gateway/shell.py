"""What every transport of a session has in common: how it is let in, what it asks for, and the end."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from functools import cache

from aiohttp import web

import logs
from gateway.door import DOOR, Seat
from gateway.errands import ERRANDS
from gateway.keys import ENTRANCE, HUB, METRICS, RELAY, SETTINGS
from gateway.opening import Opening
from push.access import Grant, Refused, Role, parse_topics
from push.entrance import PositionFrame, Wish
from push.frames import Close, Command
from push.sendqueue import SendQueue
from push.session import Carrier, Pace, Session

__all__ = ["BREACHES", "Shell", "before_start", "refuse_before_start"]

log = logging.getLogger("orderwire.session")

# Most have none.
_NO_WISH = Wish()
# Of the transport's own rules.
BREACHES = (Close.PROTOCOL_ERROR, Close.UNSUPPORTED, Close.INVALID_TEXT, Close.TOO_BIG)
# One for all.
_pace = cache(Pace)
# What a client may ask for with ``conflate``.
MOST_CONFLATE = 10_000


class Shell:
    """Around one session, over one connection: decides nothing.

    There is a task only while the client is being replayed to, or something that it asked for is being done.
    """

    __slots__ = (
        "_address",
        "_app",
        "_connection",
        "_counted",
        "_errand",
        "_resume",
        "_role",
        "_seat",
        "_transport",
        "_wish",
        "session",
    )

    def __init__(
        self,
        app: web.Application,
        opening: Opening,
        seat: Seat,
        transport: str,
        carrier: Carrier,
        position_frame: PositionFrame | None = None,
    ) -> None:
        """Raises Refused."""
        if not seat.within_limits:
            raise Refused(Close.TOO_MANY_CONNECTIONS, Close.TOO_MANY_CONNECTIONS.reason)
        settings = app[SETTINGS]
        self._app = app
        self._seat = seat
        self._transport = transport
        self._connection = opening.connection.id
        self._address = opening.peer.address
        wish = Wish(_cursor_of(opening), _topics_of(opening), position_frame)
        self._wish = _NO_WISH if wish == _NO_WISH else wish
        self._role: Role | None = None
        self._counted = False
        self._resume: asyncio.Task[None] | None = None
        self._errand: asyncio.Task[None] | None = None
        self.session = Session(
            SendQueue(settings.send_queue_frames, settings.send_queue_bytes),
            carrier,
            _pace(settings.frames_per_second, settings.bytes_per_second),
            self._begin,
            _conflation_of(opening),
        )

    async def let_in(self, grant: Grant | None) -> None:
        """Before the client is told that it is connected: from here on everything that happens is kept for it, if it has a
        ``grant``, else once it has shown a token. After this has returned ``end`` has to follow. Raises Refused.
        """
        entrance = self._app[ENTRANCE]
        if grant is None:
            entrance.wait_for_token(self.session, self._app[SETTINGS].auth_seconds)
        else:
            topics = await entrance.knock(grant, self._wish)
            entrance.enter(self.session, grant, topics, self._wish)

    def _begin(self) -> None:
        """The session has been admitted: that is counted, and what its client missed is replayed."""
        grant = self.session.grant
        assert grant is not None
        self._role = grant.role
        self._app[METRICS].connections.labels(self._transport, self._role).inc()
        if self._wish.cursor is None and not log.isEnabledFor(logging.DEBUG):
            return
        details = {"transport": self._transport, "role": str(grant.role), "address": str(self._address)}
        if grant.subject is not None and grant.role is not Role.CUSTOMER:  # a customer's may be a name
            details["subject"] = grant.subject
        with logs.about(self._connection):
            log.debug("session begins", extra=details)
            if self._wish.cursor is not None:
                self._resume = self._app[ERRANDS].start(self._replay(), "session resume")

    async def _replay(self) -> None:
        try:
            await self._app[ENTRANCE].resume(self.session, self._wish)
        except Exception:
            self.session.end(Close.INTERNAL_ERROR)
            raise

    def obey(self, command: Command, done: Callable[[], None]) -> None:
        """Have done what the client asked for. One thing at a time: ``done`` is called when there may be a next one."""
        with logs.about(self._connection):
            self._errand = self._app[ERRANDS].start(self._obey(command, done), "session errand")

    async def _obey(self, command: Command, done: Callable[[], None]) -> None:
        try:
            await self._app[ENTRANCE].obey(self.session, command, self._wish)
        except Exception:
            self.session.end(Close.INTERNAL_ERROR, flush=False)
            raise
        finally:
            self._errand = None
            done()

    def end(self) -> None:
        """The connection is gone."""
        for task in (self._resume, self._errand):
            if task is not None:
                task.cancel()
        self._resume = self._errand = None
        self._app[HUB].leave(self.session)
        self.session.end(Close.NORMAL, flush=False)  # a client that is gone has ended it so
        self.count_end()
        if self._role is not None:
            self._app[METRICS].connections.labels(self._transport, self._role).dec()
            self._role = None
        seat, self._seat = self._seat, Seat(False)
        seat.give_back()

    def count_end(self) -> None:
        """The session has ended: that is counted once, and before the client is told, which may come back at once."""
        close = self.session.close
        if close is None or self._counted:
            return
        self._counted = True
        metrics = self._app[METRICS]
        metrics.closes.labels(int(close)).inc()
        if close is Close.SLOW_CONSUMER:
            metrics.slow_consumers.inc()
        elif close in (Close.TOO_FAST, Close.NOT_AUTHENTICATED, *BREACHES):
            metrics.rejects.labels(close.name.lower()).inc()
        if close in (Close.TOO_FAST, *BREACHES):
            self._app[DOOR].fine(self._address)
        with logs.about(self._connection):
            log.debug("session ends", extra={"code": int(close), "reason": close.reason})


def _cursor_of(opening: Opening) -> str | None:
    """Where the client stood: a browser's EventSource says it in a header, everybody may in the query."""
    cursor = opening.headers.get("Last-Event-ID") or opening.query.get("last_event_id")
    return cursor or None


def _topics_of(opening: Opening) -> frozenset[str] | None:
    """What it wants to follow; None when it does not say."""
    text = opening.query.get("topics")
    if text is None:
        return None
    try:
        return parse_topics(text.split(",") if text else ())
    except ValueError as error:
        raise Refused(Close.BAD_REQUEST, f"topics: no such topic: {error}") from None


def _conflation_of(opening: Opening) -> int | None:
    """Beyond how many events at once it would rather fetch anew; None when it wants every one."""
    text = opening.query.get("conflate")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MOST_CONFLATE:
        raise Refused(Close.BAD_REQUEST, f"conflate: expected a whole number from 1 to {MOST_CONFLATE}")
    return int(text)


def before_start(app: web.Application) -> str | None:
    """Why there is nothing to say yet; None as soon as the first totals have been taken."""
    relay = app[RELAY]
    return relay.trouble if relay.epoch is None else None


def refuse_before_start(app: web.Application) -> None:
    """Raises HTTPServiceUnavailable."""
    if (trouble := before_start(app)) is not None:
        raise web.HTTPServiceUnavailable(text=trouble, headers={"Retry-After": "1"})
