"""Limits on TCP connections: how many in all and per address, how many new ones per second, and what rejected ones may cost."""

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
from gateway.net.error_body import error_body
from gateway.net.rejections import report_rejection
from gateway.net.transports import Transport
from push.delivery.rate_limit import TokenBucket, TokenBucketRate
from push.metrics import Metrics
from settings import Network, Settings

__all__ = [
    "MAX_REJECTED_PENDING",
    "TOO_MANY_REQUESTS",
    "TOO_MANY_REQUESTS_RESPONSE",
    "Connection",
    "ConnectionCounter",
    "ConnectionLimiter",
]

# Connections beyond the limit that are still read, so that each gets its own answer. As many again may wait for their first
# bytes to get a prepared 429; further ones are aborted.
MAX_REJECTED_PENDING = 256
# What a session that was closed for flooding or for a protocol violation costs, in handshakes. Without it, a client that
# reconnects at once could do that HANDSHAKES_PER_SECOND times a second.
ABUSE_PENALTY = 10.0
# Addresses with a token bucket.
MAX_BUCKETS = 10_000

TOO_MANY_REQUESTS = "too many connections or requests: come back in a second"
_TOO_MANY_REQUESTS_BODY = error_body("too_many_requests", TOO_MANY_REQUESTS)
TOO_MANY_REQUESTS_RESPONSE = (
    b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: 1\r\nConnection: close\r\nContent-Type: application/json\r\n"
    + b"Content-Length: %d\r\n\r\n" % len(_TOO_MANY_REQUESTS_BODY)
    + _TOO_MANY_REQUESTS_BODY
)


class ConnectionCounter:
    """Counts connections, in total and per rate-limit key, against two limits."""

    def __init__(self, max_total: int, max_per_address: int) -> None:
        self._max_total = max_total
        self._max_per_address = max_per_address
        self._by_key: Counter[str] = Counter()
        self.total = 0

    def add(self, key: str) -> bool:
        """Count one more; False if that exceeds a limit. It counts in any case, until ``remove``."""
        self.total += 1
        self._by_key[key] += 1
        return self.total <= self._max_total and self._by_key[key] <= self._max_per_address

    def remove(self, key: str) -> None:
        self.total -= 1
        self._by_key[key] -= 1
        if not self._by_key[key]:
            del self._by_key[key]


class Connection:
    """The limits' record of one TCP connection, for the requests that come on it."""

    __slots__ = ("has_request", "id", "rate_limit_key", "within_limits", "within_rate")

    def __init__(self, rate_limit_key: str, *, within_limits: bool, within_rate: bool) -> None:
        self.id = f"{_ID_PREFIX}-{next(_SEQUENCE)}"
        # The key under which its address is counted.
        self.rate_limit_key = rate_limit_key
        # Its next request has already been charged to the rate limit, successfully.
        self.within_rate = within_rate
        self.within_limits = within_limits
        # The head of its first request has arrived.
        self.has_request = False


_ID_PREFIX = secrets.token_hex(3)
_SEQUENCE = itertools.count(1)


class ConnectionLimiter:
    """Admits, counts and rejects the TCP connections of one process. Owned by the application."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._trusted_proxies: Sequence[Network] = settings.trusted_proxies
        self._handshake_rate = TokenBucketRate(settings.handshakes_per_second)
        self._idle_seconds = settings.idle_seconds
        self._metrics = metrics
        self._counter = ConnectionCounter(settings.max_connections, settings.max_connections_per_address)
        self._hard_limit = settings.max_connections + MAX_REJECTED_PENDING
        # Connections that send HTTP requests; upgraded ones, with the key under which each is counted.
        self._http_connections: dict[Transport, Connection] = {}
        self._upgraded_keys: dict[Transport, str] = {}
        # Rejected connections are not in the counter: a flood of them must not use up the limit.
        self._rejected: set[Transport | None] = set()
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        metrics.tcp_connections.set_function(lambda: self._counter.total + len(self._rejected))

    def find(self, transport: asyncio.Transport | None) -> Connection | None:
        """The connection of a request; None if another server accepted it (see ``count_request``), or if it is lost."""
        return None if transport is None else self._http_connections.get(transport)

    @contextmanager
    def count_request(self, transport: asyncio.Transport | None, remote: str | None) -> Iterator[Connection | None]:
        """Count a request on a connection that another server accepted, as a connection until the request is answered, and as a
        session (``upgraded``) until ``connection_lost``. Yields None beyond the limit up to which each client gets an answer.
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
        """The rate-limit key of a connection, and whether a trusted proxy made it.

        Each connection of a proxy has a key of its own: the request guard limits the clients behind it by the headers of each
        request.
        """
        address = parse_address(remote)
        if address is not None and in_networks(address, self._trusted_proxies):
            return f"proxy {next(_SEQUENCE)}", True
        return sys.intern(rate_limit_key(address)), False  # the same object for all connections of an address

    def within_rate(self, key: str) -> bool:
        """Charge one handshake or request to the address; whether it is within HANDSHAKES_PER_SECOND."""
        now = time.monotonic()
        # Evict the least recently used buckets: a full one equals a new one. Over MAX_BUCKETS others are evicted too, which
        # forgives their debt.
        while self._buckets and (len(self._buckets) >= MAX_BUCKETS or next(iter(self._buckets.values())).is_full(now)):
            self._buckets.popitem(last=False)
        bucket = self._buckets.setdefault(key, TokenBucket(self._handshake_rate))
        self._buckets.move_to_end(key)
        return bucket.take(1, now)

    def penalize(self, key: str) -> None:
        """Charge ABUSE_PENALTY to the address of a session that was closed for flooding or a protocol violation."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.take_with_debt(ABUSE_PENALTY, time.monotonic())

    def admit(self, transport: Transport, remote: str | None) -> Connection | None:
        """Count a new connection against the limits, and register it. None, after reporting it, if it must be rejected."""
        key, is_proxy = self._key(remote)
        if not is_proxy and not self.within_rate(key):
            report_rejection(self._metrics, "handshakes", remote)
            return None
        if self._counter.total >= self._hard_limit:
            report_rejection(self._metrics, "connections", remote)
            return None
        # The first request of a direct connection is charged together with the connection.
        connection = Connection(key, within_limits=self._counter.add(key), within_rate=not is_proxy)
        self._http_connections[transport] = connection
        return connection

    def track_rejected(self, transport: Transport) -> float:
        """Track a connection that ``admit`` has rejected, until ``connection_lost``.

        Returns for how many seconds the caller may wait for its first bytes, to answer them with a 429. Returns 0, and does not
        track it, if MAX_REJECTED_PENDING are tracked already: the caller must abort it.
        """
        if len(self._rejected) >= MAX_REJECTED_PENDING:
            return 0.0
        self._rejected.add(transport)
        return min(1.0, self._idle_seconds)

    def abort_all(self) -> None:
        for transport in (*self._http_connections, *self._upgraded_keys):
            transport.abort()

    def rebind(self, old_transport: Transport, new_transport: Transport) -> None:
        """An HTTP connection has moved to another transport."""
        connection = self._http_connections.pop(old_transport, None)
        if connection is not None:
            self._http_connections[new_transport] = connection

    def upgraded(self, old_transport: Transport, new_transport: Transport) -> None:
        """A connection has become that of a session, a WebSocket or an event stream, on this transport."""
        connection = self._http_connections.pop(old_transport, None)
        if connection is not None:
            self._upgraded_keys[new_transport] = connection.rate_limit_key

    def connection_lost(self, transport: Transport | None) -> None:
        self._rejected.discard(transport)
        if transport is None:
            return
        connection = self._http_connections.pop(transport, None)
        key = connection.rate_limit_key if connection is not None else self._upgraded_keys.pop(transport, None)
        if key is not None:
            self._counter.remove(key)
