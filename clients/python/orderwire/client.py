"""The client: one task connects, receives and comes back; the program iterates over what it has received."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
from yarl import URL

from orderwire.cursor import CursorStore
from orderwire.messages import (
    Authenticated,
    Connected,
    Disconnected,
    FeedStatus,
    Gap,
    Message,
    OrderEvent,
    Ping,
    Resumed,
    StreamEvent,
    Subscribed,
    Totals,
    parse_message,
)
from orderwire.policy import (
    ABNORMAL_CLOSURE,
    NO_PONG,
    TOKEN_EXPIRED,
    ReceivedEvents,
    backoff_delay,
    is_terminal,
    token_refresh_delay,
)

__all__ = ["Client", "ClientClosed", "ConnectionEnded", "OutboxFull", "Token"]

log = logging.getLogger("orderwire.client")

Token = str | Callable[[], str | Awaitable[str | None] | None]

# From opening a connection to its first message, in seconds. Some proxies never answer an upgrade request.
FIRST_MESSAGE_TIMEOUT = 10.0
CLOSE_TIMEOUT = 2.0
# The server uses the same number.
MAX_MISSED_HEARTBEATS = 2
# Commands that wait for a connection.
MAX_OUTBOX = 100
# How often a cursor is saved, in seconds: a program that is killed gets again what it has handled since.
SAVE_INTERVAL = 1.0


class ConnectionEnded(Exception):
    """The client has given up. ``terminal``: the server said not to come back; otherwise every attempt failed."""

    def __init__(self, code: int, reason: str, *, terminal: bool) -> None:
        super().__init__(f"{code}: {reason}" if reason else str(code))
        self.code = code
        self.reason = reason
        self.terminal = terminal


class ClientClosed(Exception):
    """The client is used outside of its ``async with`` block."""


class OutboxFull(Exception):
    """Too many commands wait for a connection."""


class _Closed(NamedTuple):
    """How a connection ended, or failed to open: a close code, or the HTTP status of the handshake."""

    code: int
    reason: str
    was_online: bool = False


class _Item(NamedTuple):
    """What the program gets next, and the cursor that is its once it has handled that."""

    message: Message
    cursor: str | None


class Client:
    """A connection to an Orderwire server, for one program.

    Use it as ``async with Client(…) as client``, and iterate over it with ``async for message in client``. The iteration ends
    with ConnectionEnded when the client gives up. At most ``queue_size`` messages are kept for a program that is slow; then the
    client stops reading, and the server may close the connection with 3008. The client resumes, so the program misses nothing.
    """

    def __init__(
        self,
        url: str,
        *,
        token: Token | None = None,
        topics: Iterable[str] | None = None,
        cursor: str | CursorStore | None = None,
        max_attempts: int | None = None,
        base_delay: float = 3.0,
        max_delay: float = 30.0,
        heartbeat: float = 30.0,
        queue_size: int = 1000,
    ) -> None:
        """``url``: the address of the server, or of its /api/ws. ``token``: a token, or a function that returns one, which is
        called before each attempt and before a token expires. ``topics``: by default those of the role. ``cursor``: where to
        resume from, the ``id`` of an event or a ``position`` of /api/orders; or a store, in which the cursor of the last event
        is kept that the program has handled. ``max_attempts``: consecutive retries before the client gives up, None for ever.
        Times are seconds. Raises ValueError if ``url`` is no address.
        """
        self._url = _endpoint(url)
        self._token = token
        self._topics = None if topics is None else sorted(topics)
        self._store: CursorStore | None = None if cursor is None or isinstance(cursor, str) else cursor
        # The cursors: of the event that the program handles now, of the last one that it has handled, and in the store.
        self._handling: str | None = None
        self._handled = cursor if isinstance(cursor, str) else None
        self._saved: str | None = None
        self._saved_at = -SAVE_INTERVAL
        self._received = ReceivedEvents(self._handled)
        self._max_attempts = max_attempts
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._heartbeat = heartbeat
        self._queue: asyncio.Queue[_Item | ConnectionEnded] = asyncio.Queue(queue_size)
        self._outbox: deque[dict[str, Any]] = deque()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._task: asyncio.Task[None] | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._ended: ConnectionEnded | None = None
        # The connection that is being opened starts after events that were not received.
        self._gap_pending = False
        self._was_online = False

        self.online = False
        """Whether the server's first message has come on the present connection."""
        self.live = False
        """Whether it is online and events flow."""
        self.totals: Totals | None = None
        """The totals received last."""

    # ---------------------------------------------------------------- what a program calls

    async def __aenter__(self) -> Self:
        if self._store is not None:
            self._saved = self._handled = await self._store.load()
            self._received = ReceivedEvents(self._saved)
        self._task = asyncio.create_task(self._run(), name="orderwire client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        self._task = None
        if kind is None:
            self._handled = self._handling or self._handled
        await self._save()

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        """The next message. The one before counts as handled, and its cursor is saved, at most once a second."""
        self._handled = self._handling or self._handled
        self._handling = None
        if self._ended is not None:
            raise self._ended
        if self._task is None:
            raise ClientClosed("use it within its async with block")
        item = await self._next_item()
        if isinstance(item, ConnectionEnded):
            self._ended = item
            await self._save()
            raise item
        self._handling = item.cursor
        return item.message

    async def subscribe(self, *topics: str) -> None:
        """Subscribe to these topics too. Returns when the command is sent or, while offline, queued. A Subscribed or a
        CommandError follows. Raises OutboxFull and ClientClosed.
        """
        await self._send({"type": "subscribe", "topics": list(topics)})

    async def unsubscribe(self, *topics: str) -> None:
        """Unsubscribe from these topics. As ``subscribe``."""
        await self._send({"type": "unsubscribe", "topics": list(topics)})

    @property
    def last_event_id(self) -> str | None:
        """The cursor of the last event that the program has handled; at first the one to resume from."""
        return self._handled

    # ---------------------------------------------------------------- the cursor

    async def _next_item(self) -> _Item | ConnectionEnded:
        """Wait for the next item. Meanwhile the cursor is saved, when that is due."""
        if self._store is not None and self._handled != self._saved:
            try:
                async with asyncio.timeout(self._saved_at + SAVE_INTERVAL - time.monotonic()):
                    return await self._queue.get()
            except TimeoutError:
                await self._save()
        return await self._queue.get()

    async def _save(self) -> None:
        if self._store is not None and self._handled is not None and self._handled != self._saved:
            await self._store.save(self._handled)
            self._saved, self._saved_at = self._handled, time.monotonic()

    # ---------------------------------------------------------------- the task

    async def _run(self) -> None:
        attempt = 0
        try:
            async with aiohttp.ClientSession() as http:
                while True:
                    closed = await self._connect(http)
                    if closed.was_online:
                        attempt = 0
                        await self._put(Disconnected(closed.code, closed.reason))
                    terminal = is_terminal(closed.code)
                    if terminal or attempt == self._max_attempts:
                        return await self._queue.put(ConnectionEnded(closed.code, closed.reason, terminal=terminal))
                    attempt += 1
                    delay = backoff_delay(attempt, self._base_delay, self._max_delay, random.random())
                    log.info("connection ended (%d %s): attempt %d in %.1f s", closed.code, closed.reason, attempt, delay)
                    await asyncio.sleep(delay)
        except Exception as error:  # a bug: the program must not wait for ever
            log.exception("the client has failed")
            await self._queue.put(ConnectionEnded(ABNORMAL_CLOSURE, repr(error), terminal=True))

    async def _connect(self, http: aiohttp.ClientSession) -> _Closed:
        """Open one connection and receive until it ends."""
        try:
            token = await self._get_token()
        except Exception as error:  # of the program's function: it is asked again
            return _Closed(TOKEN_EXPIRED, f"no token: {error!r}")
        cursor = self._received.cursor
        self._gap_pending = cursor is None and self._was_online
        query = {} if cursor is None else {"last_event_id": cursor}
        if self._topics is not None:
            query["topics"] = ",".join(self._topics)
        try:
            async with asyncio.timeout(FIRST_MESSAGE_TIMEOUT) as opening:
                async with http.ws_connect(
                    self._url.update_query(query),
                    headers={} if token is None else {"Authorization": f"Bearer {token}"},
                    max_msg_size=0,
                    timeout=aiohttp.ClientWSTimeout(ws_close=CLOSE_TIMEOUT),
                ) as socket:
                    return await self._receive(socket, opening)
        except aiohttp.WSServerHandshakeError as error:
            return _Closed(error.status, error.message)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return _Closed(ABNORMAL_CLOSURE, str(error) or "no answer", self.online)
        finally:
            self._socket = None
            self.online = self.live = False
            await self._cancel_refresh()

    async def _get_token(self) -> str | None:
        token = self._token() if callable(self._token) else self._token
        return await token if inspect.isawaitable(token) else token

    async def _receive(self, socket: aiohttp.ClientWebSocketResponse, opening: asyncio.Timeout) -> _Closed:
        missed = 0
        while True:
            try:
                received = await socket.receive(timeout=self._heartbeat)
            except TimeoutError:
                if missed >= MAX_MISSED_HEARTBEATS:
                    return _Closed(NO_PONG, "no sign of life", self.online)
                missed += 1
                await socket.send_str('{"type":"ping"}')
                continue
            missed = 0
            if received.type is not aiohttp.WSMsgType.TEXT:
                code = socket.close_code or ABNORMAL_CLOSURE
                return _Closed(code, str(received.extra or ""), self.online)
            if not self.online:
                opening.reschedule(None)
                await self._go_online(socket)
            await self._handle(socket, received.data)

    async def _go_online(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.online = self.live = self._was_online = True
        await self._put(Connected())
        if self._gap_pending:
            self._gap_pending = False
            await self._put(Gap())
        self._socket = socket
        while self._outbox:
            await socket.send_json(self._outbox[0])
            self._outbox.popleft()

    async def _handle(self, socket: aiohttp.ClientWebSocketResponse, text: str) -> None:
        match parse_message(text):
            case OrderEvent() | StreamEvent() as event:
                if self._received.add(event.id):
                    await self._put(event)
            case Resumed(recovered=False):
                self._received.cursor = None
                await self._put(Gap())
            case Authenticated(expires=expires):
                await self._schedule_refresh(socket, expires)
            case Ping():
                await socket.send_str('{"type":"pong"}')
            case Totals() as totals:
                self.totals = totals
                await self._put(totals)
            case FeedStatus() as status:
                self.live = status.live
                await self._put(status)
            case Subscribed() as subscribed:
                self._topics = sorted(subscribed.topics)
                await self._put(subscribed)
            case None | Resumed():
                pass
            case message:
                await self._put(message)

    async def _put(self, message: Message) -> None:
        cursor = message.id if isinstance(message, OrderEvent | StreamEvent) else None
        await self._queue.put(_Item(message, cursor))

    async def _send(self, command: dict[str, Any]) -> None:
        if self._task is None:
            raise ClientClosed("use it within its async with block")
        if self._socket is not None and not self._outbox:
            try:
                await self._socket.send_str(json.dumps(command))
            except (aiohttp.ClientError, ConnectionError):
                pass  # the connection has just ended: the command goes out on the next one
            else:
                return
        if len(self._outbox) >= MAX_OUTBOX:
            raise OutboxFull(f"{MAX_OUTBOX} commands wait for a connection")
        self._outbox.append(command)

    # ---------------------------------------------------------------- the token

    async def _schedule_refresh(self, socket: aiohttp.ClientWebSocketResponse, expires: datetime | None) -> None:
        await self._cancel_refresh()
        delay = None if expires is None else token_refresh_delay((expires - datetime.now(UTC)).total_seconds())
        if callable(self._token) and delay is not None:
            self._refresher = asyncio.create_task(self._refresh(socket, delay), name="orderwire token")

    async def _refresh(self, socket: aiohttp.ClientWebSocketResponse, delay: float) -> None:
        """If this fails or comes too late, the server closes the session, and the next attempt asks for a token again."""
        await asyncio.sleep(delay)
        try:
            token = await self._get_token()
            if token is not None:
                await socket.send_json({"type": "auth", "token": token})
        except Exception as error:  # of the program's function, or of a connection that has ended
            log.warning("the token was not renewed: %r", error)

    async def _cancel_refresh(self) -> None:
        if self._refresher is not None:
            self._refresher.cancel()
            await asyncio.wait([self._refresher])
            self._refresher = None


def _endpoint(address: str) -> URL:
    url = URL(address)
    if url.scheme not in ("http", "https", "ws", "wss") or not url.host:
        raise ValueError(f"url is {address!r}: expected an address like https://shop.example")
    path = url.path.rstrip("/")
    return url.with_path(path if path.endswith("/api/ws") else f"{path}/api/ws")
