"""What WebSocket and SSE sessions share: admission, commands, replay and the bookkeeping when they close.

It translates between a transport (a connection with a request head) and push/, which knows neither.
"""

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
from push.admission import ConnectParams, CursorEncoder
from push.delivery.rate_limit import RateLimits
from push.delivery.send_queue import SendQueue
from push.delivery.session import Session
from push.delivery.session_transport import SessionTransport
from push.protocol.access import AccessDenied, Grant, Role, parse_topics
from push.protocol.messages import CloseCode, Command

__all__ = ["PROTOCOL_ERRORS", "SessionAdapter", "not_started_reason", "require_started"]

log = logging.getLogger("orderwire.session")

# Shared by the many sessions without parameters: saves an object for each.
_DEFAULT_PARAMS = ConnectParams()
# Close codes for violations of the WebSocket protocol; their clients are charged (``RequestGuard.penalize``).
PROTOCOL_ERRORS = (CloseCode.PROTOCOL_ERROR, CloseCode.UNSUPPORTED, CloseCode.INVALID_TEXT, CloseCode.TOO_BIG)
# One object for all sessions with the same limits.
_rate_limits = cache(RateLimits)
# Upper limit of ``?conflate=``, in events.
MAX_CONFLATE = 10_000


class SessionAdapter:
    """One session and its connection. Owned by the transport, which must call ``connection_lost`` once ``admit`` has returned.

    It has a task only during a replay or while a command runs.
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
        encode_cursor: CursorEncoder | None = None,
    ) -> None:
        """Raises AccessDenied: over the connection limits, or bad query parameters."""
        if not slot.within_limits:
            raise AccessDenied(CloseCode.TOO_MANY_CONNECTIONS, CloseCode.TOO_MANY_CONNECTIONS.reason)
        settings = app[SETTINGS]
        self._app = app
        self._slot = slot
        self._transport_name = transport_name
        self._connection_id = head.connection.id
        self._address = head.peer.address
        params = ConnectParams(_requested_cursor(head), _requested_topics(head), encode_cursor)
        self._connect_params = _DEFAULT_PARAMS if params == _DEFAULT_PARAMS else params
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
        """Open the session, before the client gets the response: events are queued for it from here on.

        Without a grant the session waits for a token first, which the client sends as a command. Raises AccessDenied.
        """
        manager = self._app[SESSION_MANAGER]
        if grant is None:
            manager.add_unauthenticated(self.session, self._app[SETTINGS].auth_seconds)
        else:
            topics = await manager.authorize(grant, self._connect_params)
            manager.open(self.session, grant, topics, self._connect_params)

    def _on_admitted(self) -> None:
        """Called by the session when it has a grant: count it, and start the replay if the client sent a cursor."""
        grant = self.session.grant
        assert grant is not None
        self._role = grant.role
        self._app[METRICS].sessions.labels(self._transport_name, self._role).inc()
        if self._connect_params.cursor is None and not log.isEnabledFor(logging.DEBUG):
            return
        details = {"transport": self._transport_name, "role": str(grant.role), "address": str(self._address)}
        if grant.subject is not None and grant.role is not Role.CUSTOMER:  # a customer's subject may be a person's name
            details["subject"] = grant.subject
        with logs.bind_connection(self._connection_id):
            log.debug("session opened", extra=details)
            if self._connect_params.cursor is not None:
                self._replay_task = self._app[BACKGROUND_TASKS].spawn(self._replay(), "session replay")

    async def _replay(self) -> None:
        try:
            await self._app[SESSION_MANAGER].resume(self.session, self._connect_params)
        except Exception:
            self.session.close(CloseCode.INTERNAL_ERROR)
            raise

    def handle_command(self, command: Command, on_done: Callable[[], None]) -> None:
        """Run a client's command in a task. ``on_done`` is called at its end; the caller must not pass the next one before."""
        with logs.bind_connection(self._connection_id):
            self._command_task = self._app[BACKGROUND_TASKS].spawn(self._run_command(command, on_done), "session command")

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
        """Remove the session: cancel its tasks, close it, count the close and release its slot. Called once."""
        for task in (self._replay_task, self._command_task):
            if task is not None:
                task.cancel()
        self._replay_task = self._command_task = None
        self._app[HUB].remove(self.session)
        self.session.close(CloseCode.NORMAL, flush=False)  # no effect if it was closed with another code before
        self.record_close()
        if self._role is not None:
            self._app[METRICS].sessions.labels(self._transport_name, self._role).dec()
            self._role = None
        slot, self._slot = self._slot, ConnectionSlot(False)
        slot.release()

    def record_close(self) -> None:
        """Count and log the close, once. Called before the close code is sent: the client may reconnect at once."""
        close_code = self.session.close_code
        if close_code is None or self._close_recorded:
            return
        self._close_recorded = True
        metrics = self._app[METRICS]
        metrics.sessions_closed.labels(int(close_code)).inc()
        if close_code is CloseCode.SLOW_CONSUMER:
            metrics.send_queue_overflows.inc()
        elif close_code in (CloseCode.TOO_FAST, CloseCode.NOT_AUTHENTICATED, *PROTOCOL_ERRORS):
            metrics.rejections.labels(close_code.name.lower()).inc()
        if close_code in (CloseCode.TOO_FAST, *PROTOCOL_ERRORS):
            self._app[REQUEST_GUARD].penalize(self._address)
        with logs.bind_connection(self._connection_id):
            log.debug("session closed", extra={"close_code": int(close_code), "close_reason": close_code.reason})


def _requested_cursor(head: RequestHead) -> str | None:
    """The cursor that the client resumes from: an EventSource sends it in a header, other clients in the query."""
    cursor = head.headers.get("Last-Event-ID") or head.query.get("last_event_id")
    return cursor or None


def _requested_topics(head: RequestHead) -> frozenset[str] | None:
    """The topics in ``?topics=``; None if the parameter is absent. Raises AccessDenied."""
    text = head.query.get("topics")
    if text is None:
        return None
    try:
        return parse_topics(text.split(",") if text else ())
    except ValueError as error:
        raise AccessDenied(CloseCode.BAD_REQUEST, f"topics: no such topic: {error}") from None


def _requested_conflation(head: RequestHead) -> int | None:
    """``?conflate=N``: how many events may wait before they are conflated; None if absent. Raises AccessDenied."""
    text = head.query.get("conflate")
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_CONFLATE:
        raise AccessDenied(CloseCode.BAD_REQUEST, f"conflate: expected a whole number from 1 to {MAX_CONFLATE}")
    return int(text)


def not_started_reason(app: web.Application) -> str | None:
    """Why there are no totals yet; None once the first were read, also if the database is lost later."""
    relay = app[RELAY]
    return relay.not_ready_reason if relay.epoch is None else None


def require_started(app: web.Application) -> None:
    """Raises HTTPServiceUnavailable until the first totals were read."""
    if (reason := not_started_reason(app)) is not None:
        raise web.HTTPServiceUnavailable(text=reason, headers={"Retry-After": "1"})
