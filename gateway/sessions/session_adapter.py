"""What every transport of a session has in common: how it is let in, what it asks for, and the end."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from functools import cache

from aiohttp import web

import logs
from gateway.app_keys import HUB, METRICS, RELAY, SESSION_MANAGER, SETTINGS
from gateway.http.request_guard import REQUEST_GUARD, ConnectionSlot
from gateway.http.request_head import RequestHead
from gateway.sessions.background_tasks import BACKGROUND_TASKS
from push.admission import ConnectParams, PositionEncoder
from push.delivery.rate_limit import RateLimits
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.delivery.session_transport import SessionTransport
from push.protocol.access import AccessDenied, Grant, Role, parse_topics
from push.protocol.messages import CloseCode, Command

__all__ = ["PROTOCOL_ERRORS", "SessionAdapter", "not_started_reason", "require_started"]

log = logging.getLogger("orderwire.session")

# Most have none.
_DEFAULT_PARAMS = ConnectParams()
# Of the transport's own rules.
PROTOCOL_ERRORS = (CloseCode.PROTOCOL_ERROR, CloseCode.UNSUPPORTED, CloseCode.INVALID_TEXT, CloseCode.TOO_BIG)
# One for all.
_rate_limits = cache(RateLimits)
# What a client may ask for with ``conflate_above``.
MAX_CONFLATE = 10_000


class SessionAdapter:
    """Around one session, over one connection: decides nothing.

    There is a task only while the client is being replayed to, or something that it asked for is being done.
    """

    __slots__ = (
        "_address",
        "_app",
        "_close_recorded",
        "_command_task",
        "_connect_params",
        "_connection_id",
        "_replay_task",
        "_role",
        "_slot",
        "_transport_name",
        "session",
    )

    def __init__(
        self,
        app: web.Application,
        head: RequestHead,
        slot: ConnectionSlot,
        transport_name: str,
        session_transport: SessionTransport,
        encode_position: PositionEncoder | None = None,
    ) -> None:
        """Raises Refused."""
        if not slot.within_limits:
            raise AccessDenied(CloseCode.TOO_MANY_CONNECTIONS, CloseCode.TOO_MANY_CONNECTIONS.reason)
        settings = app[SETTINGS]
        self._app = app
        self._slot = slot
        self._transport_name = transport_name
        self._connection_id = head.connection.id
        self._address = head.peer.address
        wish = ConnectParams(_requested_cursor(head), _requested_topics(head), encode_position)
        self._connect_params = _DEFAULT_PARAMS if wish == _DEFAULT_PARAMS else wish
        self._role: Role | None = None
        self._close_recorded = False
        self._replay_task: asyncio.Task[None] | None = None
        self._command_task: asyncio.Task[None] | None = None
        self.session = Session(
            SendQueue(settings.send_queue_frames, settings.send_queue_bytes),
            session_transport,
            _rate_limits(settings.frames_per_second, settings.bytes_per_second),
            self._on_admitted,
            _requested_conflation(head),
        )

    async def admit(self, grant: Grant | None) -> None:
        """Before the client is told that it is connected: from here on everything that happens is kept for it, if it has a
        ``authenticate``, else once it has shown a token. After this has returned ``end`` has to follow. Raises Refused.
        """
        entrance = self._app[SESSION_MANAGER]
        if grant is None:
            entrance.await_token(self.session, self._app[SETTINGS].auth_seconds)
        else:
            topics = await entrance.authorize(grant, self._connect_params)
            entrance.open(self.session, grant, topics, self._connect_params)

    def _on_admitted(self) -> None:
        """The session has been admitted: that is counted, and what its client missed is replayed."""
        grant = self.session.grant
        assert grant is not None
        self._role = grant.role
        self._app[METRICS].sessions.labels(self._transport_name, self._role).inc()
        if self._connect_params.cursor is None and not log.isEnabledFor(logging.DEBUG):
            return
        details = {"transport": self._transport_name, "role": str(grant.role), "address": str(self._address)}
        if grant.subject is not None and grant.role is not Role.CUSTOMER:  # a customer's may be a name
            details["subject"] = grant.subject
        with logs.bind_connection(self._connection_id):
            log.debug("session begins", extra=details)
            if self._connect_params.cursor is not None:
                self._replay_task = self._app[BACKGROUND_TASKS].spawn(self._replay(), "session resume")

    async def _replay(self) -> None:
        try:
            await self._app[SESSION_MANAGER].resume(self.session, self._connect_params)
        except Exception:
            self.session.close(CloseCode.INTERNAL_ERROR)
            raise

    def handle_command(self, command: Command, on_done: Callable[[], None]) -> None:
        """Have done what the client asked for. One thing at a time: ``on_done`` is called when there may be a next one."""
        with logs.bind_connection(self._connection_id):
            self._command_task = self._app[BACKGROUND_TASKS].spawn(self._run_command(command, on_done), "session errand")

    async def _run_command(self, command: Command, on_done: Callable[[], None]) -> None:
        try:
            await self._app[SESSION_MANAGER].handle_command(self.session, command, self._connect_params)
        except Exception:
            self.session.close(CloseCode.INTERNAL_ERROR, flush=False)
            raise
        finally:
            self._command_task = None
            on_done()

    def connection_lost(self) -> None:
        """The connection is gone."""
        for task in (self._replay_task, self._command_task):
            if task is not None:
                task.cancel()
        self._replay_task = self._command_task = None
        self._app[HUB].remove(self.session)
        self.session.close(CloseCode.NORMAL, flush=False)  # a client that is gone has ended it so
        self.record_close()
        if self._role is not None:
            self._app[METRICS].sessions.labels(self._transport_name, self._role).dec()
            self._role = None
        seat, self._slot = self._slot, ConnectionSlot(False)
        seat.release()

    def record_close(self) -> None:
        """The session has ended: that is counted once, and before the client is told, which may come back at once."""
        close = self.session.close_code
        if close is None or self._close_recorded:
            return
        self._close_recorded = True
        metrics = self._app[METRICS]
        metrics.sessions_closed.labels(int(close)).inc()
        if close is CloseCode.SLOW_CONSUMER:
            metrics.send_queue_overflows.inc()
        elif close in (CloseCode.TOO_FAST, CloseCode.NOT_AUTHENTICATED, *PROTOCOL_ERRORS):
            metrics.rejections.labels(close.name.lower()).inc()
        if close in (CloseCode.TOO_FAST, *PROTOCOL_ERRORS):
            self._app[REQUEST_GUARD].penalize(self._address)
        with logs.bind_connection(self._connection_id):
            log.debug("session ends", extra={"code": int(close), "reason": close.reason})


def _requested_cursor(head: RequestHead) -> str | None:
    """Where the client stood: a browser's EventSource says it in a header, everybody may in the query."""
    cursor = head.headers.get("Last-Event-ID") or head.query.get("last_event_id")
    return cursor or None


def _requested_topics(head: RequestHead) -> frozenset[str] | None:
    """What it wants to follow; None when it does not say."""
    text = head.query.get("topics")
    if text is None:
        return None
    try:
        return parse_topics(text.split(",") if text else ())
    except ValueError as error:
        raise AccessDenied(CloseCode.BAD_REQUEST, f"topics: no such topic: {error}") from None


def _requested_conflation(head: RequestHead) -> int | None:
    """Beyond how many events at once it would rather fetch anew; None when it wants every one."""
    text = head.query.get("conflate")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_CONFLATE:
        raise AccessDenied(CloseCode.BAD_REQUEST, f"conflate: expected a whole number from 1 to {MAX_CONFLATE}")
    return int(text)


def not_started_reason(app: web.Application) -> str | None:
    """Why there is nothing to say yet; None as soon as the first totals have been taken."""
    relay = app[RELAY]
    return relay.not_ready_reason if relay.epoch is None else None


def require_started(app: web.Application) -> None:
    """Raises HTTPServiceUnavailable."""
    if (trouble := not_started_reason(app)) is not None:
        raise web.HTTPServiceUnavailable(text=trouble, headers={"Retry-After": "1"})
