"""What every transport of a session has in common: tasks that let it in, send and receive, and the end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator

from aiohttp import web

from gateway.door import DOOR, PEER
from gateway.keys import ENTRANCE, HUB, METRICS, RELAY, SETTINGS
from push.access import Grant, Refused, Role, parse_topics
from push.entrance import PositionFrame, Wish
from push.frames import Close, Command
from push.sendqueue import SendQueue
from push.session import Pace, Session

__all__ = ["BREACHES", "CLOSE_SECONDS", "Shell", "refuse_before_start"]

log = logging.getLogger("orderwire.session")

# Taken from the session at a time: what is taken can no longer be dropped from its queue.
CHUNK_BYTES = 64 * 1024
# Of the transport's own rules.
BREACHES = (Close.PROTOCOL_ERROR, Close.UNSUPPORTED, Close.INVALID_TEXT, Close.TOO_BIG)
# How long a client may take to accept the end before the connection is cut.
CLOSE_SECONDS = 5.0


class Shell(ABC):
    """Carries the frames of one session over one connection, decides nothing."""

    transport: str
    position_frame: PositionFrame | None = None

    def __init__(self, request: web.Request) -> None:
        app = request.app
        settings = app[SETTINGS]
        self._request = request
        self._hub = app[HUB]
        self._entrance = app[ENTRANCE]
        self._metrics = app[METRICS]
        self._auth_seconds = settings.auth_seconds
        self._output = asyncio.Event()
        self._cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.session = Session(
            SendQueue(settings.send_queue_frames, settings.send_queue_bytes),
            self._on_output,
            Pace(settings.frames_per_second, settings.bytes_per_second),
        )

    async def run(self, grant: Grant | None, answer: Callable[[], Awaitable[object]]) -> None:
        """From the first frame to the last; returns when the session has ended and its client has been told.

        ``answer`` tells the client that it is connected; by then everything that happens is kept for it, if it has a ``grant``.
        Otherwise that is so once it has shown a token. Raises Refused before ``answer`` is called.
        """
        self._wish = Wish(_cursor_of(self._request), _topics_of(self._request), self.position_frame)
        if grant is None:
            self._entrance.wait_for_token(self.session, self._auth_seconds)
        else:
            topics = await self._entrance.knock(grant, self._wish)
            self._entrance.enter(self.session, grant, topics, self._wish)
        try:
            await answer()
            with _cut_at_the_end(self._request):
                await self._carry()
        finally:
            self._hub.leave(self.session)
            self.session.end(Close.NORMAL, flush=False)  # no effect if it has ended already
            # Here, since aiohttp cancels what serves a connection as soon as that is lost.
            assert self.session.close is not None
            self._count_end(self.session.close)

    async def _carry(self) -> None:
        sender = asyncio.create_task(self._send(), name="session sender")
        receiver = asyncio.create_task(self.receive(), name="session receiver")
        resume = asyncio.create_task(self._resume(), name="session resume")
        try:
            # The sender may be waiting for a client that does not read. It must not be cancelled before the end is told: it
            # would take aiohttp's future for "writable again" with it, and the goodbye waits for the same one.
            await asyncio.wait({receiver, sender, self._cut}, return_when=asyncio.FIRST_COMPLETED)
            failed = any(task.done() and task.exception() and not _is_departure(task) for task in (receiver, sender))
            # No effect if the session has ended already.
            self.session.end(Close.INTERNAL_ERROR if failed else Close.NORMAL, flush=False)
            assert self.session.close is not None
            # aiohttp would close the transport at once if somebody were still receiving; unread data then makes it a reset,
            # which may overtake the goodbye.
            receiver.cancel()
            await asyncio.wait({receiver})
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self.say_goodbye(self.session.close)
        finally:
            tasks = (resume, receiver, sender)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for task in tasks:
                if not task.cancelled() and task.exception() and not _is_departure(task):
                    log.error("a session ended unexpectedly", exc_info=task.exception())

    async def _resume(self) -> None:
        """Once the session is admitted: that is counted, and what its client missed is replayed."""
        await self.session.admitted.wait()
        grant = self.session.grant
        assert grant is not None
        address = self._request[PEER].address
        details = {"transport": self.transport, "role": str(grant.role), "address": str(address)}
        if grant.subject is not None and grant.role is not Role.CUSTOMER:  # a customer's may be a name
            details["subject"] = grant.subject
        log.debug("session begins", extra=details)
        gauge = self._metrics.connections.labels(self.transport, grant.role)
        with gauge.track_inprogress():
            try:
                await self._entrance.resume(self.session, self._wish)
            except Exception:
                self.session.end(Close.INTERNAL_ERROR)
                raise
            await asyncio.get_running_loop().create_future()  # cancelled when the session has ended

    async def obey(self, command: Command | None) -> None:
        """Have done what the client asked for."""
        if command is not None:
            await self._entrance.obey(self.session, command, self._wish)

    def _count_end(self, close: Close) -> None:
        self._metrics.closes.labels(int(close)).inc()
        if close is Close.SLOW_CONSUMER:
            self._metrics.slow_consumers.inc()
        elif close in (Close.TOO_FAST, Close.NOT_AUTHENTICATED, *BREACHES):
            self._metrics.rejects.labels(close.name.lower()).inc()
        if close in (Close.TOO_FAST, *BREACHES):
            self._request.app[DOOR].fine(self._request)
        log.debug("session ends", extra={"code": int(close), "reason": close.reason})

    def _on_output(self) -> None:
        self._output.set()
        if self.session.cut and not self._cut.done():
            self._cut.set_result(None)

    async def _send(self) -> None:
        frames_sent = self._metrics.frames.labels(self.transport)
        bytes_sent = self._metrics.bytes.labels(self.transport)
        while True:
            while frames := self.session.take(CHUNK_BYTES):
                await self.send(frames)
                frames_sent.inc(len(frames))
                bytes_sent.inc(sum(map(len, frames)))
            if self.session.close is not None:
                return
            await self._output.wait()
            self._output.clear()

    @abstractmethod
    async def send(self, frames: list[bytes]) -> None:
        """Write the frames; waits while the client does not take them."""

    @abstractmethod
    async def receive(self) -> None:
        """Hand what comes in to the session; returns when the client has left."""

    @abstractmethod
    async def say_goodbye(self, close: Close) -> None:
        """Tell the client why, if the transport can."""


def _is_departure(task: asyncio.Task[None]) -> bool:
    """Whether it ended since the client has left, which is nobody's fault."""
    return isinstance(task.exception(), ConnectionError)


def _cursor_of(request: web.Request) -> str | None:
    """Where the client stood: a browser's EventSource says it in a header, everybody may in the query."""
    cursor = request.headers.get("Last-Event-ID") or request.query.get("last_event_id")
    return cursor or None


def _topics_of(request: web.Request) -> frozenset[str] | None:
    """What it wants to follow; None when it does not say."""
    text = request.query.get("topics")
    if text is None:
        return None
    try:
        return parse_topics(text.split(",") if text else ())
    except ValueError as error:
        raise Refused(Close.BAD_REQUEST, f"topics: no such topic: {error}") from None


def refuse_before_start(request: web.Request) -> None:
    """Before the first totals have been taken there is nothing to say."""
    relay = request.app[RELAY]
    if relay.epoch is None:
        raise web.HTTPServiceUnavailable(text=relay.trouble, headers={"Retry-After": "1"})


@contextlib.contextmanager
def _cut_at_the_end(request: web.Request) -> Iterator[None]:
    """A client that does not read would keep the transport, and what is buffered in it, alive for ever."""
    transport = request.transport
    try:
        yield
    finally:
        if transport is not None:
            transport.abort()
