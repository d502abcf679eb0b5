"""Cheap WebSocket and SSE clients that reconnect by themselves and check everything that they receive."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
import zlib
from array import array
from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from typing import Any

HEARTBEAT_SECONDS = 2.0
# The server pings every HEARTBEAT_SECONDS: a connection that is silent for longer than this is dead.
MAX_SILENCE_SECONDS = 3 * HEARTBEAT_SECONDS
MAX_BACKOFF_SECONDS = 0.3


class ReceivedEvents:
    """Every event that any client received, parsed once for all clients, and the failures found."""

    def __init__(self) -> None:
        self.by_frame: dict[bytes, tuple[int, int, str]] = {}
        self.by_id: dict[int, bytes] = {}
        # The orders' keys, and the number of each here.
        self.orders: dict[str, int] = {}
        self.failures: list[str] = []
        self.closes: Counter[int] = Counter()

    def add_failure(self, text: str) -> None:
        if len(self.failures) < 50:
            self.failures.append(text)

    def parse(self, frame: bytes) -> tuple[int, int, str] | None:
        """Parse a message: (event id, number of the order, cursor), or None if it is not an event."""
        fields = json.loads(frame)
        if "id" not in fields:
            return None
        cursor = fields["id"]
        event_id = int(cursor.rsplit("-", 1)[1])
        if event_id in self.by_id:
            self.add_failure(f"event {event_id} came in two forms: {self.by_id[event_id]!r} and {frame!r}")
        event = (event_id, self.orders.setdefault(fields["key"], len(self.orders)), cursor)
        self.by_id[event_id] = frame
        self.by_frame[frame] = event
        return event


@dataclass(slots=True)
class FetchedAnew:
    """A resume that the server refused, at ``at``: the client missed what came after ``cursor``, and fetched the orders.

    ``position`` is the event cursor of the page that it got.
    """

    cursor: str
    at: float
    position: str | None = None


class Client:
    """One client, over all its connections."""

    def __init__(self, number: int, received: ReceivedEvents, ports: list[int], rng: random.Random) -> None:
        kind, self._connection_type = CLIENT_KINDS[number % len(CLIENT_KINDS)]
        self.name = f"client {number} ({kind})"
        self.received = received
        self._ports = ports
        self._rng = rng
        self.connection: Connection | None = None
        self.server = -1
        # While it is not set, the client does not reconnect.
        self.may_connect = asyncio.Event()
        self.may_connect.set()
        self.cursor: str | None = None
        self.totals = b""
        self.received_count = self.unique_count = self.duplicates = self.resume_count = 0
        self.rejected_count = 0
        self.fetched_anew: list[FetchedAnew] = []
        self._fetches: set[asyncio.Task[None]] = set()
        self.newest_id = 0
        self._seen = bytearray(1 << 16)
        self._last_of_order = array("Q", bytes(8 << 14))
        # Arrival times and ids of the events that were the newest (highest id) when they arrived.
        self.newest_times = array("d")
        self.newest_ids = array("Q")

    async def run(self) -> None:
        """Connect, and reconnect after each loss, until this task is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self.may_connect.wait()
            self.server = self._rng.randrange(len(self._ports))
            line = self._connection_type(self, self.cursor)
            try:
                await loop.create_connection(lambda line=line: line, "127.0.0.1", self._ports[self.server])  # type: ignore[misc]
                self.connection = line
                self.resume_count += self.cursor is not None
                await line.closed
            except OSError:
                pass
            finally:
                if line.transport is not None:
                    line.transport.abort()
                self.connection = None
            await asyncio.sleep(self._rng.uniform(0.02, MAX_BACKOFF_SECONDS))

    def handle_message(self, frame: bytes) -> None:
        event = self.received.by_frame.get(frame)
        if event is None:
            event = self._handle_other_message(frame)
            if event is None:
                return
        event_id, order, self.cursor = event
        self.received_count += 1
        if event_id >= len(self._seen):
            self._seen.extend(bytes(event_id))
        if self._seen[event_id]:
            self.duplicates += 1
            return
        self._seen[event_id] = 1
        self.unique_count += 1
        if order >= len(self._last_of_order):
            self._last_of_order.frombytes(bytes(8 * order))
        if self._last_of_order[order] > event_id:
            self.received.add_failure(
                f"{self.name}: event {event_id} came after {self._last_of_order[order]} of the same order"
            )
        self._last_of_order[order] = event_id
        if event_id > self.newest_id:
            self.newest_id = event_id

    def _handle_other_message(self, frame: bytes) -> tuple[int, int, str] | None:
        if frame.startswith(b'{"type":"analytics_update"'):
            self.totals = frame
        elif frame.startswith(b'{"type":"resumed"'):
            if json.loads(frame)["recovered"] is not True:
                self._fetch_anew()
        elif frame.startswith(b'{"type":"feed_status"'):
            pass  # the database was away for longer than FeedMonitor's delay
        elif frame == b'{"type":"ping"}':
            assert self.connection is not None
            self.connection.pong()
        else:
            event = self.received.parse(frame)
            if event is None:
                self.received.add_failure(f"{self.name}: unexpected frame {frame!r}")
            return event
        return None

    def _fetch_anew(self) -> None:
        if self.cursor is None:
            self.received.add_failure(f"{self.name}: told to fetch anew, without a cursor")
            return
        fetched = FetchedAnew(self.cursor, time.time())
        self.fetched_anew.append(fetched)
        task = asyncio.create_task(self._fetch_orders(fetched), name=f"{self.name} fetches the orders")
        self._fetches.add(task)
        task.add_done_callback(self._fetches.discard)

    async def _fetch_orders(self, fetched: FetchedAnew) -> None:
        while fetched.position is None:
            try:
                async with asyncio.timeout(10):
                    reader, writer = await asyncio.open_connection("127.0.0.1", self._rng.choice(self._ports))
                    writer.write(b"GET /api/orders?limit=1 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
                    head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
                    writer.transport.abort()
                if b" 200 " in head.split(b"\r\n", 1)[0]:
                    fetched.position = json.loads(body)["position"]
            except (OSError, TimeoutError, ValueError):  # the server is killed, or closed the connection within the body
                pass
            await asyncio.sleep(self._rng.uniform(0.02, MAX_BACKOFF_SECONDS))

    @property
    def is_fetching(self) -> bool:
        return bool(self._fetches)

    def record_progress(self) -> None:
        if not self.newest_ids or self.newest_id > self.newest_ids[-1]:
            self.newest_times.append(time.time())
            self.newest_ids.append(self.newest_id)

    def has_event(self, event_id: int) -> bool:
        return event_id < len(self._seen) and bool(self._seen[event_id])

    def first_event_at(self, event_id: int, since: float) -> float | None:
        """The time of the first arrival, from ``since`` on, of an event with this id or a higher one."""
        index = max(bisect_left(self.newest_ids, event_id), bisect_left(self.newest_times, since))
        return self.newest_times[index] if index < len(self.newest_times) else None

    def latest_totals(self) -> dict[str, Any]:
        return dict(json.loads(self.totals)) if self.totals else {}

    def record_close(self, code: int) -> None:
        self.received.closes[code] += 1
        if 3500 <= code <= 3999 or code < 3000:
            self.received.add_failure(f"{self.name}: closed with {code}")


class Connection(asyncio.Protocol):
    """One connection of a client."""

    status = b""

    def __init__(self, client: Client, cursor: str | None) -> None:
        self.client = client
        self.cursor = cursor
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.last_received_at = time.monotonic()
        self.reading_paused = False
        self._unparsed = b""
        self._accepted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self.request().encode())

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.last_received_at = time.monotonic()
        if self._unparsed:
            data = self._unparsed + data
        if not self._accepted:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._unparsed = head
                return
            if self.status not in head.split(b"\r\n", 1)[0]:
                self.client.rejected_count += 1
                self.abort()
                return
            self._accepted = True
        self._unparsed = self.parse(data)
        self.client.record_progress()

    def abort(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    @property
    def port(self) -> int:
        assert self.transport is not None
        return int(self.transport.get_extra_info("sockname")[1])

    def set_reading(self, enabled: bool) -> None:
        """Stop reading, or read again."""
        self.reading_paused = not enabled
        self.last_received_at = time.monotonic()
        if self.transport is not None and not self.transport.is_closing():
            (self.transport.resume_reading if enabled else self.transport.pause_reading)()

    def request(self) -> str:
        raise NotImplementedError

    def parse(self, data: bytes) -> bytes:
        """Handle all complete frames; return the rest."""
        raise NotImplementedError

    def pong(self) -> None:
        """Answer a ping, if the transport can."""


def client_frame(opcode: int, body: bytes, *, mask: bytes = b"\0\0\0\0", first_byte: int = 0x80) -> bytes:
    """A client's frame, masked (RFC 6455 section 5.3); a mask of zeros leaves the payload unchanged."""
    size = len(body)
    if size < 126:
        length = bytes([0x80 | size])
    elif size < 65536:
        length = bytes([0x80 | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([0x80 | 127]) + size.to_bytes(8, "big")
    return bytes([first_byte | opcode]) + length + mask + body


def upgrade_request(cursor: str | None, extensions: str = "") -> str:
    key = base64.b64encode(random.randbytes(16)).decode()
    query = f"?last_event_id={cursor}" if cursor is not None else ""
    return (
        f"GET /api/ws{query} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{extensions}\r\n"
    )


class WebSocketConnection(Connection):
    status = b" 101 "

    def request(self) -> str:
        return upgrade_request(self.cursor)

    def parse(self, data: bytes) -> bytes:
        at, size = 0, len(data)
        take = self.client.handle_message
        while size - at >= 4:
            length, body = data[at + 1], at + 2
            if length == 126:
                length, body = data[at + 2] << 8 | data[at + 3], at + 4
            elif length == 127:
                raise AssertionError("a frame of 64 KiB or more")
            end = body + length
            if end > size:
                break
            if data[at] == 0x81:
                take(data[body:end])
            elif data[at] == 0xC1:
                take(self.inflate(data[body:end]))
            elif data[at] == 0x88:
                self.client.record_close(int.from_bytes(data[body : body + 2], "big"))
                self.abort()
            at = end
        # A ping without a body has two bytes only.
        if size - at == 2 and data[at] == 0x89:
            return b""
        return data[at:]

    def inflate(self, body: bytes) -> bytes:
        raise AssertionError("a compressed frame without negotiation")

    def pong(self) -> None:
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(client_frame(1, b'{"type":"pong"}'))


class CompressedWebSocketConnection(WebSocketConnection):
    """With permessage-deflate (RFC 7692), with context takeover."""

    def __init__(self, client: Client, cursor: str | None) -> None:
        super().__init__(client, cursor)
        self._inflate = zlib.decompressobj(-15)

    def request(self) -> str:
        return upgrade_request(self.cursor, "Sec-WebSocket-Extensions: permessage-deflate\r\n")

    def inflate(self, body: bytes) -> bytes:
        return self._inflate.decompress(body + b"\x00\x00\xff\xff")


class SseConnection(Connection):
    status = b" 200 "

    def request(self) -> str:
        # HTTP/1.0: the body is not chunked.
        resume = f"Last-Event-ID: {self.cursor}\r\n" if self.cursor is not None else ""
        return f"GET /api/sse HTTP/1.0\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n{resume}\r\n"

    def parse(self, data: bytes) -> bytes:
        *blocks, rest = data.split(b"\n\n")
        client = self.client
        for block in blocks:
            at = block.find(b"\ndata: ")
            if at >= 0:
                before = client.received_count
                client.handle_message(block[at + 7 :])
                if client.received_count > before and block.find(f"\nid: {client.cursor}\n".encode(), 0, at + 1) < 0:
                    client.received.add_failure(f"{client.name}: the id line is another one: {block!r}")
            elif block.startswith(b"id: "):
                client.cursor = block[4:].decode()
        return rest


CLIENT_KINDS: tuple[tuple[str, type[Connection]], ...] = (
    ("sse", SseConnection),
    ("ws", WebSocketConnection),
    ("ws, compressed", CompressedWebSocketConnection),
)


async def abort_silent_connections(clients: list[Client]) -> None:
    """Abort connections that are silent for too long, like a dashboard: half-open ones report no error."""
    while True:
        await asyncio.sleep(0.5)
        limit = time.monotonic() - MAX_SILENCE_SECONDS
        for client in clients:
            line = client.connection
            if line is not None and not line.reading_paused and line.last_received_at < limit:
                line.abort()
