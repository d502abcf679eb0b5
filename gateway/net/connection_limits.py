"""TCP connections: counted, identified, and turned away before they cost anything when there are too many."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import sys
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway.net.client_address import in_networks, parse_address, rate_limit_key
from gateway.net.transports import Transport
from push.delivery.rate_limit import TokenBucket, TokenBucketRate
from push.metrics import Metrics
from settings import Network, Settings

__all__ = ["MAX_REJECTED_PENDING", "TOO_MANY_REQUESTS_RESPONSE", "Connection", "ConnectionCounter", "ConnectionLimiter"]

# Connections beyond the limit that may wait for an answer of their own; the others get a ready-made one. Of these too so many
# may wait to be read first; any more are cut without a word.
MAX_REJECTED_PENDING = 256
# Handshakes that a session counts for which floods us, or breaks the protocol: else whoever comes back at once could do so a
# hundred times a second.
ABUSE_PENALTY = 10.0
# Addresses whose pace is remembered.
MAX_BUCKETS = 10_000

_TOO_MANY_REQUESTS_BODY = (
    b'{"error":{"code":"too_many_requests","message":"too many connections or requests: come back in a second"}}'
)
TOO_MANY_REQUESTS_RESPONSE = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    + b"Content-Length: %d\r\n\r\n" % len(_TOO_MANY_REQUESTS_BODY)
    + _TOO_MANY_REQUESTS_BODY
)


class ConnectionCounter:
    """How many there are, in all and from each address."""

    def __init__(self, max_total: int, max_per_address: int) -> None:
        self._max_total = max_total
        self._max_per_address = max_per_address
        self._by_key: Counter[str] = Counter()
        self.total = 0

    def add(self, key: str) -> bool:
        """One more; False when that is one too many. It counts all the same, until it leaves."""
        self.total += 1
        self._by_key[key] += 1
        return self.total <= self._max_total and self._by_key[key] <= self._max_per_address

    def remove(self, key: str) -> None:
        """One less."""
        self.total -= 1
        self._by_key[key] -= 1
        if not self._by_key[key]:
            del self._by_key[key]


class Connection:
    """What is known of one TCP connection."""

    __slots__ = ("id", "rate_limit_key", "within_limits", "within_rate")

    def __init__(self, rate_limit_key: str, *, within_limits: bool, within_rate: bool) -> None:
        self.id = f"{_ID_PREFIX}-{next(_SEQUENCE)}"
        # Under which its address is counted.
        self.rate_limit_key = rate_limit_key
        # Its next request has been counted already, and was within the pace of whoever sends it.
        self.within_rate = within_rate
        self.within_limits = within_limits


_ID_PREFIX = secrets.token_hex(3)
_SEQUENCE = itertools.count(1)


class ConnectionLimiter:
    """All of this process."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._trusted_proxies: Sequence[Network] = settings.trusted_proxies
        self._handshake_rate = TokenBucketRate(settings.handshakes_per_second)
        self._idle_seconds = settings.idle_seconds
        self._metrics = metrics
        self._counter = ConnectionCounter(settings.max_connections, settings.max_connections_per_address)
        self._hard_limit = settings.max_connections + MAX_REJECTED_PENDING
        # Those that send requests; and those that are past that, each with the name under which it is counted.
        self._http_connections: dict[Transport, Connection] = {}
        self._upgraded_keys: dict[Transport, str] = {}
        # These take no room from others: whoever floods us could fill it with what is refused.
        self._rejected: set[Transport | None] = set()
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        metrics.tcp_connections.set_function(lambda: self._counter.total + len(self._rejected))

    def find(self, transport: asyncio.Transport | None) -> Connection | None:
        """The connection of a request. None when another program accepted it (see ``count_request``), or when it is closed."""
        return None if transport is None else self._http_connections.get(transport)

    @contextmanager
    def count_request(self, transport: asyncio.Transport | None, remote: str | None) -> Iterator[Connection | None]:
        """Count a request on a connection that another program accepted: it counts as a connection until it is answered, and a
        WebSocket (``upgraded``) until ``connection_lost``. Yields None when there are too many even to send a close code to each.
        """
        if transport is None:  # the client has disconnected: the handler is about to be cancelled
            yield Connection("unknown", within_limits=True, within_rate=True)
            return
        if self._counter.total >= self._hard_limit:
            yield None
            return
        key, _ = self._key(remote)
        connection = Connection(key, within_limits=self._counter.add(key), within_rate=False)
        self._http_connections[transport] = connection
        try:
            yield connection
        finally:
            if self._http_connections.get(transport) is connection:
                del self._http_connections[transport]
                self._counter.remove(key)

    def _key(self, remote: str | None) -> tuple[str, bool]:
        """What a connection is counted under, and whether it comes from a trusted proxy.

        Each connection of a proxy has a key of its own: the clients behind it are told apart by what it says of each request.
        """
        address = parse_address(remote)
        if address is not None and in_networks(address, self._trusted_proxies):
            return f"proxy {next(_SEQUENCE)}", True
        return sys.intern(rate_limit_key(address)), False  # the same object for all connections of an address

    def within_rate(self, key: str) -> bool:
        """One more request from this address: whether that is within its pace."""
        now = time.monotonic()
        # Those that have been silent longest are forgotten first: a full bucket is like a new one. Beyond the bound, a burst
        # that is not paid off yet is forgiven.
        while self._buckets and (len(self._buckets) >= MAX_BUCKETS or next(iter(self._buckets.values())).is_full(now)):
            self._buckets.popitem(last=False)
        bucket = self._buckets.setdefault(key, TokenBucket(self._handshake_rate))
        self._buckets.move_to_end(key)
        return bucket.take(1, now)

    def penalize(self, key: str) -> None:
        """From this address a session came that had to be ended for how it behaved: that counts for a few handshakes."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.take_with_debt(ABUSE_PENALTY, time.monotonic())

    def connection_made(self, transport: Transport, remote: str | None) -> Connection | None:
        """A connection has come in, from this address; None when it has to go at once."""
        name, proxy = self._key(remote)
        if not proxy and not self.within_rate(name):
            self._metrics.rejections.labels("handshakes").inc()
            return None
        if self._counter.total >= self._hard_limit:
            self._metrics.rejections.labels("connections").inc()
            return None
        # The first request of a direct connection has been counted with it.
        connection = Connection(name, within_limits=self._counter.add(name), within_rate=not proxy)
        self._http_connections[transport] = connection
        return connection

    def reject(self, transport: Transport) -> float:
        """One that has to go: for how many seconds it may wait to be read and told so. 0: not at all."""
        if len(self._rejected) >= MAX_REJECTED_PENDING:
            return 0.0
        self._rejected.add(transport)
        return min(1.0, self._idle_seconds)

    def abort_all(self) -> None:
        """Whatever is still open, is not any more."""
        for line in (*self._http_connections, *self._upgraded_keys):
            line.abort()

    def rebind(self, old_transport: Transport, new_transport: Transport) -> None:
        """A connection stands on another line from here on."""
        connection = self._http_connections.pop(old_transport, None)
        if connection is not None:
            self._http_connections[new_transport] = connection

    def upgraded(self, old_transport: Transport, new_transport: Transport) -> None:
        """A connection sends no more requests, and stands on this line from here on."""
        connection = self._http_connections.pop(old_transport, None)
        if connection is not None:
            self._upgraded_keys[new_transport] = connection.rate_limit_key

    def connection_lost(self, transport: Transport | None) -> None:
        """A connection has ended."""
        self._rejected.discard(transport)
        if transport is None:
            return
        connection = self._http_connections.pop(transport, None)
        name = connection.rate_limit_key if connection is not None else self._upgraded_keys.pop(transport, None)
        if name is not None:
            self._counter.remove(name)
