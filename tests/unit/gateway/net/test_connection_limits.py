"""gateway.net.connection_limits: counting, rate limits and rejection of TCP connections."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.net.connection_limits import ABUSE_PENALTY, MAX_REJECTED_PENDING, Connection, ConnectionCounter, ConnectionLimiter
from push.metrics import Metrics
from settings import Settings
from tests.helpers.recording_transport import RecordingTransport


class Clock:
    """The time in seconds, as the limiter sees it."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("gateway.net.connection_limits.time", clock)
    return clock


def make_limiter(**settings: str) -> tuple[ConnectionLimiter, Metrics]:
    metrics = Metrics()
    return ConnectionLimiter(Settings.from_environment({"HANDSHAKES_PER_SECOND": "1000", **settings}), metrics), metrics


def connect(limiter: ConnectionLimiter, remote: str | None = "192.0.2.1") -> tuple[RecordingTransport, Connection | None]:
    transport = RecordingTransport()
    return transport, limiter.connection_made(transport, remote)


def rejections(metrics: Metrics, reason: str) -> float:
    return float(metrics.rejections.labels(reason)._value.get())


def open_connections(metrics: Metrics) -> Any:
    return metrics.registry.get_sample_value("orderwire_tcp_connections")


def test_counter_limits_the_total_and_each_key() -> None:
    counter = ConnectionCounter(max_total=3, max_per_address=2)
    assert [counter.add("a"), counter.add("a"), counter.add("a")] == [True, True, False]
    assert counter.total == 3
    assert not counter.add("b")
    for key in ("a", "a", "a", "b"):
        counter.remove(key)
    assert counter.total == 0
    assert counter.add("a")


def test_connection_over_the_limit_of_its_address_is_marked() -> None:
    limiter, _ = make_limiter(MAX_CONNECTIONS_PER_ADDRESS="2")
    transports = [connect(limiter) for _ in range(3)]
    assert [connection and connection.within_limits for _, connection in transports] == [True, True, False]
    _, other = connect(limiter, "192.0.2.2")
    assert other is not None
    assert other.within_limits
    limiter.connection_lost(transports[0][0])
    limiter.connection_lost(transports[2][0])
    _, again = connect(limiter)
    assert again is not None
    assert again.within_limits


def test_connection_far_over_the_limit_is_rejected(clock: Clock) -> None:
    limiter, metrics = make_limiter(MAX_CONNECTIONS="2", MAX_CONNECTIONS_PER_ADDRESS="1")
    for index in range(2 + MAX_REJECTED_PENDING):
        assert connect(limiter, f"198.51.{index // 250}.{index % 250}")[1] is not None
    assert connect(limiter, "192.0.2.1")[1] is None
    assert rejections(metrics, "connections") == 1


def test_handshakes_of_an_address_are_rate_limited(clock: Clock) -> None:
    limiter, metrics = make_limiter(HANDSHAKES_PER_SECOND="2")
    assert [connect(limiter)[1] is not None for _ in range(5)] == [True] * 4 + [False]  # the burst is two seconds' worth
    assert rejections(metrics, "handshakes") == 1
    assert connect(limiter, "192.0.2.2")[1] is not None
    clock.now = 0.5
    assert [connect(limiter)[1] is not None for _ in range(2)] == [True, False]


def test_penalty_costs_as_much_as_several_handshakes(clock: Clock) -> None:
    limiter, _ = make_limiter(HANDSHAKES_PER_SECOND="10")
    _, connection = connect(limiter)
    assert connection is not None
    limiter.penalize(connection.rate_limit_key)
    left = 0
    while limiter.within_rate(connection.rate_limit_key):
        left += 1
    assert left == 20 - 1 - ABUSE_PENALTY
    limiter.penalize("an address without a bucket")


def test_full_buckets_are_evicted_and_the_others_only_beyond_the_maximum(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.net.connection_limits.MAX_BUCKETS", 3)
    limiter, _ = make_limiter(HANDSHAKES_PER_SECOND="1")
    for key in ("a", "b", "c"):
        assert [limiter.within_rate(key) for _ in range(3)] == [True, True, False]
    assert limiter.within_rate("d")
    assert list(limiter._buckets) == ["b", "c", "d"]  # the least recently used one is forgotten with its debt
    clock.now = 10.0
    limiter.within_rate("e")
    assert list(limiter._buckets) == ["e"]


def test_connections_of_a_trusted_proxy_are_counted_one_by_one_and_not_rate_limited(clock: Clock) -> None:
    limiter, _ = make_limiter(
        TRUSTED_PROXIES="10.0.0.0/8", HANDSHAKES_PER_SECOND="1", MAX_CONNECTIONS="50", MAX_CONNECTIONS_PER_ADDRESS="1"
    )
    connections = [connect(limiter, "10.0.0.1")[1] for _ in range(20)]
    assert len({connection.rate_limit_key for connection in connections if connection is not None}) == 20
    assert all(connection is not None and connection.within_limits for connection in connections)
    # Each of their requests is charged to the client that the proxy names.
    assert not any(connection is not None and connection.within_rate for connection in connections)


def test_rejected_connections_may_wait_for_a_second_and_only_so_many() -> None:
    limiter, metrics = make_limiter(IDLE_SECONDS="0.5")
    transports = [RecordingTransport() for _ in range(MAX_REJECTED_PENDING + 1)]
    assert [limiter.reject(transport) for transport in transports] == [0.5] * MAX_REJECTED_PENDING + [0.0]
    assert open_connections(metrics) == MAX_REJECTED_PENDING
    limiter.connection_lost(transports[0])
    assert limiter.reject(transports[-1]) == 0.5


def test_connection_is_counted_until_it_is_lost_on_whatever_transport() -> None:
    limiter, metrics = make_limiter()
    first, connection = connect(limiter)
    assert limiter.find(first) is connection
    second, third = RecordingTransport(), RecordingTransport()
    limiter.rebind(first, second)
    assert limiter.find(second) is connection
    assert limiter.find(first) is not connection
    limiter.upgraded(second, third)
    assert limiter.find(second) is not connection
    assert open_connections(metrics) == 1
    limiter.connection_lost(second)
    limiter.connection_lost(None)
    assert open_connections(metrics) == 1
    limiter.connection_lost(third)
    assert open_connections(metrics) == 0


def test_request_on_a_foreign_connection_is_counted_until_it_is_answered() -> None:
    limiter, metrics = make_limiter(MAX_CONNECTIONS_PER_ADDRESS="1")
    first, second = RecordingTransport(), RecordingTransport()
    with limiter.count_request(first, "192.0.2.1") as connection:
        assert connection is not None
        assert limiter.find(first) is connection
        with limiter.count_request(second, "192.0.2.1") as other:
            assert other is not None
            assert not other.within_limits
    assert open_connections(metrics) == 0


def test_request_on_a_foreign_connection_that_becomes_a_websocket_is_counted_until_it_is_lost() -> None:
    limiter, metrics = make_limiter()
    transport, upgraded = RecordingTransport(), RecordingTransport()
    with limiter.count_request(transport, "192.0.2.1"):
        limiter.upgraded(transport, upgraded)
    assert open_connections(metrics) == 1
    limiter.connection_lost(upgraded)
    assert open_connections(metrics) == 0


def test_request_on_a_foreign_connection_far_over_the_limit_is_rejected() -> None:
    limiter, _ = make_limiter(MAX_CONNECTIONS="1", MAX_CONNECTIONS_PER_ADDRESS="1")
    for _ in range(1 + MAX_REJECTED_PENDING):
        connect(limiter)
    with limiter.count_request(RecordingTransport(), "192.0.2.1") as connection:
        assert connection is None
    with limiter.count_request(None, "192.0.2.1") as connection:  # the client has disconnected
        assert connection is not None


def test_abort_all_aborts_http_connections_and_websockets() -> None:
    limiter, _ = make_limiter()
    http, _ = connect(limiter)
    old, _ = connect(limiter)
    upgraded = RecordingTransport()
    limiter.upgraded(old, upgraded)
    limiter.abort_all()
    assert (http.calls, upgraded.calls, old.calls) == (["abort"], ["abort"], [])
