"""The metrics of several workers as one."""

from __future__ import annotations

import json

from prometheus_client import generate_latest

from push.metrics import Metrics
from push.metrics_merge import (
    AGGREGATION,
    MergedCollector,
    Samples,
    WorkerMetrics,
    collect_samples,
    from_json_rows,
    merge,
    to_json_rows,
)


def answer(share: WorkerMetrics, metrics: Metrics) -> None:
    """As over the wire."""
    counts, gauges = (
        from_json_rows(json.loads(json.dumps(to_json_rows(samples)))) for samples in collect_samples(metrics.registry)
    )
    share.update(counts, gauges)


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def both(one: WorkerMetrics, other: WorkerMetrics) -> Samples:
    return merge([one.samples, other.samples])


def test_counters_add_up_and_outlive_their_worker() -> None:
    one, other = WorkerMetrics(), WorkerMetrics()
    first, second = Metrics(), Metrics()
    for metrics, closes in ((first, 3), (second, 4)):
        metrics.set_ready_source(lambda: True)
        metrics.sessions_closed.labels("3001").inc(closes)
        metrics.sessions.labels("sse", "admin").set(10 * closes)
        metrics.fanout.observe(0.3)
    second.sessions_closed.labels("3008").inc()
    answer(one, first)
    answer(other, second)
    assert value(both(one, other), "orderwire_sessions_closed_total", code="3001") == 7
    assert value(both(one, other), "orderwire_sessions_closed_total", code="3008") == 1
    assert value(both(one, other), "orderwire_sessions", transport="sse", role="admin") == 70
    assert value(both(one, other), "orderwire_fanout_seconds_bucket", le="0.5") == 2
    assert value(both(one, other), "orderwire_fanout_seconds_bucket", le="0.25") == 0
    assert value(both(one, other), "orderwire_ready") == 1

    for life in range(1, 4):
        other.retire()
        assert value(both(one, other), "orderwire_sessions_closed_total", code="3001") == 3 + 4 * life
        assert value(both(one, other), "orderwire_sessions", transport="sse", role="admin") == 30
        assert value(both(one, other), "orderwire_ready") == 0
        answer(other, second)
    assert value(both(one, other), "orderwire_fanout_seconds_count") == 5


def test_what_is_the_same_for_all_is_not_added_up() -> None:
    shares = [WorkerMetrics(), WorkerMetrics()]
    many = [Metrics(), Metrics()]
    for number, (share, metrics) in enumerate(zip(shares, many, strict=True), start=1):
        metrics.set_ready_source(lambda: True)
        metrics.events.inc(100 - number)
        metrics.notification_queue_usage.set(0.1 * number)
        metrics.notify_suppressed.set(number - 1)
        answer(share, metrics)
    joined = both(*shares)
    assert value(joined, "orderwire_events_total") == 99
    assert value(joined, "orderwire_notification_queue_usage_ratio") == 0.2
    assert value(joined, "orderwire_notify_suppressed") == 1
    assert value(joined, "orderwire_listener_lag_seconds") == max(
        value(share.samples, "orderwire_listener_lag_seconds") for share in shares
    )
    assert value(joined, "orderwire_events_created") == min(value(s.samples, "orderwire_events_created") for s in shares)


def test_it_has_been_thought_of_every_gauge() -> None:
    """Whether it is added up."""
    gauges = {family.name for family in Metrics().registry.collect() if family.type == "gauge"}
    assert gauges - set(AGGREGATION) == {"orderwire_sessions", "orderwire_tcp_connections"}
    assert set(AGGREGATION) - gauges == {"orderwire_events_total"}


def test_one_worker_alone_reads_as_the_process_itself() -> None:
    metrics = Metrics()
    metrics.sessions_closed.labels("3001").inc()
    metrics.delivery.observe(0.01)
    metrics.set_ready_source(lambda: True)
    share = WorkerMetrics()
    answer(share, metrics)
    joined, own = (
        [line for line in generate_latest(one).splitlines() if not line.startswith(b"orderwire_listener_lag")]  # a clock
        for one in (MergedCollector(metrics.registry, share.samples), metrics.registry)
    )
    assert joined == own
