"""TCP connections: counted, identified, and turned away before they cost anything when there are too many."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Sequence

from gateway.lines import Line
from gateway.peers import address_of, counted_as, is_among
from push.bucket import Bucket, Rate
from push.metrics import Metrics
from settings import Network, Settings

__all__ = ["PATIENCE", "TOO_MANY", "Connection", "Connections", "Headcount"]

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

    __slots__ = ("id", "in_pace", "name", "within_limits")

    def __init__(self, name: str, *, within_limits: bool, in_pace: bool) -> None:
        self.id = f"{_PROCESS}-{next(_NUMBERS)}"
        # Under which its address is counted.
        self.name = name
        # Its next request has been counted already, and was within the pace of whoever sends it.
        self.in_pace = in_pace
        self.within_limits = within_limits


_PROCESS = secrets.token_hex(3)
_NUMBERS = itertools.count(1)


def _nobody() -> Connection:
    """For a request whose connection has gone meanwhile."""
    return Connection("unknown", within_limits=True, in_pace=True)


class Connections:
    """All of this process."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._trusted: Sequence[Network] = settings.trusted_proxies
        self._pace = Rate(settings.handshakes_per_second)
        self._idle_seconds = settings.idle_seconds
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

    def find(self, transport: asyncio.Transport | None) -> Connection:
        """The connection of a request."""
        return (transport and self._known.get(transport)) or _nobody()

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

    def made(self, line: Line, remote: str | None) -> Connection | None:
        """A connection has come in, from this address; None when it has to go at once."""
        address = address_of(remote)
        # Behind a proxy of ours stand many: they are told apart by what it says of each request.
        proxy = address is not None and is_among(address, self._trusted)
        # (The same object for all from one address.)
        name = f"proxy {next(_NUMBERS)}" if proxy else sys.intern(counted_as(address))
        if not proxy and not self.in_pace(name):
            self._metrics.rejects.labels("handshakes").inc()
            return None
        if self._headcount.all >= self._most:
            self._metrics.rejects.labels("connections").inc()
            return None
        # The first request of a direct connection has been counted with it.
        connection = Connection(name, within_limits=self._headcount.enter(name), in_pace=not proxy)
        self._known[line] = connection
        return connection

    def turn_away(self, line: Line) -> float:
        """One that has to go: for how many seconds it may wait to be read and told so. 0: not at all."""
        if len(self._turned_away) >= PATIENCE:
            return 0.0
        self._turned_away.add(line)
        return min(1.0, self._idle_seconds)

    def cut_all(self) -> None:
        """Whatever is still open, is not any more."""
        for line in (*self._known, *self._past):
            line.abort()

    def changed(self, before: Line, line: Line) -> None:
        """A connection stands on another line from here on."""
        connection = self._known.pop(before, None)
        if connection is not None:
            self._known[line] = connection

    def moved(self, before: Line, line: Line) -> None:
        """A connection sends no more requests, and stands on this line from here on."""
        connection = self._known.pop(before, None)
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
