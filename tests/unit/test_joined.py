"""The metrics of several workers as one."""

from __future__ import annotations

import json

from prometheus_client import generate_latest

from push.joined import ACROSS, Families, Samples, Share, as_text, from_text, join, taken
from push.metrics import Metrics


def answer(share: Share, metrics: Metrics) -> None:
    """As over the wire."""
    counts, gauges = (from_text(json.loads(json.dumps(as_text(samples)))) for samples in taken(metrics.registry))
    share.take(counts, gauges)


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def both(one: Share, other: Share) -> Samples:
    return join([one.samples, other.samples])


def test_counters_add_up_and_outlive_their_worker() -> None:
    one, other = Share(), Share()
    first, second = Metrics(), Metrics()
    for metrics, closes in ((first, 3), (second, 4)):
        metrics.watch_ready(lambda: True)
        metrics.closes.labels("3001").inc(closes)
        metrics.connections.labels("sse", "admin").set(10 * closes)
        metrics.fanout.observe(0.3)
    second.closes.labels("3008").inc()
    answer(one, first)
    answer(other, second)
    assert value(both(one, other), "orderwire_closes_total", code="3001") == 7
    assert value(both(one, other), "orderwire_closes_total", code="3008") == 1
    assert value(both(one, other), "orderwire_connections", transport="sse", role="admin") == 70
    assert value(both(one, other), "orderwire_fanout_seconds_bucket", le="0.5") == 2
    assert value(both(one, other), "orderwire_fanout_seconds_bucket", le="0.25") == 0
    assert value(both(one, other), "orderwire_ready") == 1

    for life in range(1, 4):
        other.died()
        assert value(both(one, other), "orderwire_closes_total", code="3001") == 3 + 4 * life
        assert value(both(one, other), "orderwire_connections", transport="sse", role="admin") == 30
        assert value(both(one, other), "orderwire_ready") == 0
        answer(other, second)
    assert value(both(one, other), "orderwire_fanout_seconds_count") == 5


def test_what_is_the_same_for_all_is_not_added_up() -> None:
    shares = [Share(), Share()]
    many = [Metrics(), Metrics()]
    for number, (share, metrics) in enumerate(zip(shares, many, strict=True), start=1):
        metrics.watch_ready(lambda: True)
        metrics.events.inc(100 - number)
        metrics.queue_usage.set(0.1 * number)
        metrics.gate_open.set(number - 1)
        answer(share, metrics)
    joined = both(*shares)
    assert value(joined, "orderwire_events_total") == 99
    assert value(joined, "orderwire_notification_queue_usage") == 0.2
    assert value(joined, "orderwire_gate_open") == 1
    assert value(joined, "orderwire_listener_lag_seconds") == max(
        value(share.samples, "orderwire_listener_lag_seconds") for share in shares
    )
    assert value(joined, "orderwire_events_created") == min(value(s.samples, "orderwire_events_created") for s in shares)


def test_it_has_been_thought_of_every_gauge() -> None:
    """Whether it is added up."""
    gauges = {family.name for family in Metrics().registry.collect() if family.type == "gauge"}
    assert gauges - set(ACROSS) == {"orderwire_connections", "orderwire_sockets"}
    assert set(ACROSS) - gauges == {"orderwire_events_total"}


def test_one_worker_alone_reads_as_the_process_itself() -> None:
    metrics = Metrics()
    metrics.closes.labels("3001").inc()
    metrics.delivery.observe(0.01)
    metrics.watch_ready(lambda: True)
    share = Share()
    answer(share, metrics)
    joined, own = (
        [line for line in generate_latest(one).splitlines() if not line.startswith(b"orderwire_listener_lag")]  # a clock
        for one in (Families(metrics.registry, share.samples), metrics.registry)
    )
    assert joined == own
