"""The metrics of several workers are merged into one set."""

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


def answer(worker: WorkerMetrics, metrics: Metrics) -> None:
    """Pass the samples on as a worker does, through JSON."""
    counts, gauges = (
        from_json_rows(json.loads(json.dumps(to_json_rows(samples)))) for samples in collect_samples(metrics.registry)
    )
    worker.update(counts, gauges)


def value(samples: Samples, name: str, **labels: str) -> float:
    return samples[name, tuple(sorted(labels.items()))]


def merged(one: WorkerMetrics, other: WorkerMetrics) -> Samples:
    return merge([one.samples, other.samples])


def test_counters_are_added_up_and_go_on_when_a_worker_is_replaced() -> None:
    one, other = WorkerMetrics(), WorkerMetrics()
    first, second = Metrics(), Metrics()
    for metrics, closed in ((first, 3), (second, 4)):
        metrics.set_ready_source(lambda: True)
        metrics.sessions_closed.labels("3001").inc(closed)
        metrics.sessions.labels("sse", "admin").set(10 * closed)
        metrics.fanout.observe(0.3)
    second.sessions_closed.labels("3008").inc()
    answer(one, first)
    answer(other, second)
    assert value(merged(one, other), "orderwire_sessions_closed_total", code="3001") == 7
    assert value(merged(one, other), "orderwire_sessions_closed_total", code="3008") == 1
    assert value(merged(one, other), "orderwire_sessions", transport="sse", role="admin") == 70
    assert value(merged(one, other), "orderwire_fanout_seconds_bucket", le="0.5") == 2
    assert value(merged(one, other), "orderwire_fanout_seconds_bucket", le="0.25") == 0
    assert value(merged(one, other), "orderwire_ready") == 1

    for replaced in range(1, 4):
        other.retire()
        assert value(merged(one, other), "orderwire_sessions_closed_total", code="3001") == 3 + 4 * replaced
        assert value(merged(one, other), "orderwire_sessions", transport="sse", role="admin") == 30
        assert value(merged(one, other), "orderwire_ready") == 0
        answer(other, second)
    assert value(merged(one, other), "orderwire_fanout_seconds_count") == 5


def test_metrics_that_are_the_same_for_all_workers_are_not_added_up() -> None:
    workers = [WorkerMetrics(), WorkerMetrics()]
    processes = [Metrics(), Metrics()]
    for number, (worker, metrics) in enumerate(zip(workers, processes, strict=True), start=1):
        metrics.set_ready_source(lambda: True)
        metrics.events.inc(100 - number)
        metrics.notification_queue_usage.set(0.1 * number)
        metrics.notify_suppressed.set(number - 1)
        answer(worker, metrics)
    samples = merged(*workers)
    assert value(samples, "orderwire_events_total") == 99
    assert value(samples, "orderwire_notification_queue_usage_ratio") == 0.2
    assert value(samples, "orderwire_notify_suppressed") == 1
    assert value(samples, "orderwire_listener_lag_seconds") == max(
        value(worker.samples, "orderwire_listener_lag_seconds") for worker in workers
    )
    assert value(samples, "orderwire_events_created") == min(
        value(worker.samples, "orderwire_events_created") for worker in workers
    )


def test_aggregation_of_every_gauge_is_decided() -> None:
    """A new gauge must be listed here or in AGGREGATION."""
    gauges = {family.name for family in Metrics().registry.collect() if family.type == "gauge"}
    assert gauges - set(AGGREGATION) == {"orderwire_sessions", "orderwire_tcp_connections"}
    assert set(AGGREGATION) - gauges == {"orderwire_events_total", "orderwire_placeholder_events_total"}


def test_merged_metrics_of_one_worker_equal_its_own() -> None:
    metrics = Metrics()
    metrics.sessions_closed.labels("3001").inc()
    metrics.delivery.observe(0.01)
    metrics.set_ready_source(lambda: True)
    worker = WorkerMetrics()
    answer(worker, metrics)
    # (The lag is of two moments.)
    actual, expected = (
        [line for line in generate_latest(one).splitlines() if not line.startswith(b"orderwire_listener_lag")]
        for one in (MergedCollector(metrics.registry, worker.samples), metrics.registry)
    )
    assert actual == expected
