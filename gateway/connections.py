"""TCP connections: counted, identified, and turned away before they cost anything when there are too many."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import socket
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import cast

from gateway.lines import Line
from gateway.peers import counted_as, identify, is_among
from push.bucket import Bucket, Rate
from push.metrics import Metrics
from settings import Network, Settings

__all__ = ["PATIENCE", "Connection", "Connections", "Headcount"]

# Connections beyond the limit that may wait for an answer of their own; the others get a ready-made one. Of these too so many
# may wait to be read first; any more are cut without a word.
PATIENCE = 256
# Handshakes that a session counts for which floods us, or breaks the protocol: else whoever comes back at once could do so a
# hundred times a second.
FINE = 10.0
# Addresses whose pace is remembered.
MOST_PACES = 10_000

_BODY = b'{"error":{"code":"too_many_requests","message":"too many connections or requests: come back in a second"}}'
TOO_MANY = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    + b"Content-Length: %d\r\n\r\n" % len(_BODY)
    + _BODY
)


class Headcount:
    """How many there are, in all and from each address."""

    def __init__(self, most: int, most_per_address: int) -> None:
        self._most = most
        self._most_per_address = most_per_address
        self._of: Counter[str] = Counter()
        self.all = 0

    def enter(self, name: str) -> bool:
        """One more; False when that is one too many. It counts all the same, until it leaves."""
        self.all += 1
        self._of[name] += 1
        return self.all <= self._most and self._of[name] <= self._most_per_address

    def leave(self, name: str) -> None:
        """One less."""
        self.all -= 1
        self._of[name] -= 1
        if not self._of[name]:
            del self._of[name]


class Connection:
    """What is known of one TCP connection."""

    __slots__ = ("id", "name", "requests", "within_limits")

    def __init__(self, name: str, *, within_limits: bool) -> None:
        self.id = f"{_PROCESS}-{next(_NUMBERS)}"
        # Under which its address is counted.
        self.name = name
        self.requests = 0
        self.within_limits = within_limits


_PROCESS = secrets.token_hex(3)
_NUMBERS = itertools.count(1)


class Connections:
    """All of this process."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._trusted: Sequence[Network] = settings.trusted_proxies
        self._pace = Rate(settings.handshakes_per_second)
        self._idle_seconds = settings.idle_seconds
        # Kernel time-out for what is sent and never acknowledged, longer than two missed heartbeats.
        self._silence_ms = int(3000 * settings.heartbeat_seconds)
        self._metrics = metrics
        self._headcount = Headcount(settings.max_connections, settings.max_connections_per_address)
        self._most = settings.max_connections + PATIENCE
        # Those that send requests; and those that are past that, each with the name under which it is counted.
        self._known: dict[Line, Connection] = {}
        self._past: dict[Line, str] = {}
        # These take no room from others: whoever floods us could fill it with what is refused.
        self._turned_away: set[Line | None] = set()
        self._paces: OrderedDict[str, Bucket] = OrderedDict()
        metrics.sockets.set_function(lambda: self._headcount.all + len(self._turned_away))

    def guarded(self, make: Callable[[], asyncio.Protocol]) -> Callable[[], asyncio.Protocol]:
        """The same factory of protocols, behind a guard."""
        return lambda: _Guard(self, make)

    def find(self, transport: asyncio.Transport | None) -> Connection:
        """The connection of a request."""
        return (transport and self._known.get(transport)) or Connection("unknown", within_limits=True)  # gone meanwhile

    def in_pace(self, name: str) -> bool:
        """One more request from this address: whether that is within its pace."""
        now = time.monotonic()
        # Those that have been silent longest are forgotten first: a full bucket is like a new one. Beyond the bound, a burst
        # that is not paid off yet is forgiven.
        while self._paces and (len(self._paces) >= MOST_PACES or next(iter(self._paces.values())).idle(now)):
            self._paces.popitem(last=False)
        bucket = self._paces.setdefault(name, Bucket(self._pace))
        self._paces.move_to_end(name)
        return bucket.take(1, now)

    def fine(self, name: str) -> None:
        """From this address a session came that had to be ended for how it behaved: that counts for a few handshakes."""
        bucket = self._paces.get(name)
        if bucket is not None:
            bucket.drain(FINE, time.monotonic())

    def made(self, transport: asyncio.Transport) -> Connection | None:
        """A connection has come in; None when it has to go at once."""
        peername = transport.get_extra_info("peername")
        peer = identify(peername[0] if peername else None, secure=False, host="", headers={}, trusted=())
        # Behind a proxy of ours stand many: they are told apart by what it says of each request.
        proxy = peer.address is not None and is_among(peer.address, self._trusted)
        # (The same object for all from one address.)
        name = sys.intern(f"proxy {id(transport)}" if proxy else counted_as(peer.address))
        if not proxy and not self.in_pace(name):
            self._metrics.rejects.labels("handshakes").inc()
            return None
        if self._headcount.all >= self._most:
            self._metrics.rejects.labels("connections").inc()
            return None
        connection = Connection(name, within_limits=self._headcount.enter(name))
        self._known[transport] = connection
        sock = cast("socket.socket | None", transport.get_extra_info("socket"))
        if sock is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            # The kernel's buffer goes on accepting, megabytes of it, when the client has long gone without a word.
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, self._silence_ms)
        return connection

    def turn_away(self, transport: asyncio.Transport) -> asyncio.TimerHandle | None:
        """One that has to go: for how long it may wait to be read and told so. None: it has been cut."""
        if len(self._turned_away) >= PATIENCE:
            transport.abort()
            return None
        self._turned_away.add(transport)
        return asyncio.get_running_loop().call_later(min(1.0, self._idle_seconds), transport.abort)

    def cut_all(self) -> None:
        """Whatever is still open, is not any more."""
        for line in (*self._known, *self._past):
            line.abort()

    def moved(self, transport: asyncio.Transport, line: Line) -> None:
        """A connection sends no more requests, and stands on this from here on."""
        connection = self._known.pop(transport, None)
        if connection is not None:
            self._past[line] = connection.name

    def lost(self, line: Line | None) -> None:
        """A connection has ended."""
        self._turned_away.discard(line)
        if line is None:
            return
        connection = self._known.pop(line, None)
        name = connection.name if connection is not None else self._past.pop(line, None)
        if name is not None:
            self._headcount.leave(name)


class _Guard(asyncio.Protocol):
    """Stands before the protocol of one connection. One that is turned away never gets a protocol: its request is read, so
    that the answer is not lost in a reset, and answered without being looked at.
    """

    def __init__(self, connections: Connections, make: Callable[[], asyncio.Protocol]) -> None:
        self._connections = connections
        self._make = make
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._connections.made(self._transport) is None:
            self._timer = self._connections.turn_away(self._transport)
            return
        self._inner = self._make()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)
        elif self._transport is not None and not self._transport.is_closing():
            self._transport.write(TOO_MANY)
            self._transport.close()

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def connection_lost(self, error: BaseException | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._connections.lost(self._transport)
        if self._inner is not None:
            self._inner.connection_lost(cast("Exception | None", error))

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()
