"""The metrics of one process: what the methods record, and how metrics are named."""

from __future__ import annotations

import re

import pytest
from prometheus_client import generate_latest

from push.metrics import Metrics
from push.metrics_merge import MergedCollector, Samples


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_pass_of_the_fan_out_counts_events_and_their_delays(metrics: Metrics) -> None:
    metrics.observe_fanout([0.0003, 0.3, 0.3], 0.002)
    assert value(metrics, "orderwire_events_total") == 3
    assert value(metrics, "orderwire_fanout_seconds_count") == 1
    assert value(metrics, "orderwire_fanout_seconds_bucket", le="0.001") == 0
    assert value(metrics, "orderwire_fanout_seconds_bucket", le="0.0025") == 1
    assert value(metrics, "orderwire_delivery_seconds_count") == 3
    assert value(metrics, "orderwire_delivery_seconds_bucket", le="0.0005") == 1
    assert value(metrics, "orderwire_delivery_seconds_sum") == pytest.approx(0.6003)


def test_pass_without_events_counts_as_a_pass(metrics: Metrics) -> None:
    metrics.observe_fanout([], 0.001)
    assert value(metrics, "orderwire_events_total") == 0
    assert value(metrics, "orderwire_fanout_seconds_count") == 1
    assert value(metrics, "orderwire_delivery_seconds_count") == 0


def test_ready_is_asked_for_at_each_collection(metrics: Metrics) -> None:
    ready = False
    metrics.set_ready_source(lambda: ready)
    assert value(metrics, "orderwire_ready") == 0
    ready = True
    assert value(metrics, "orderwire_ready") == 1


def test_lag_is_the_time_since_the_journal_was_read_to_its_end(metrics: Metrics, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("push.metrics.time.monotonic", lambda: now)
    metrics.mark_caught_up()
    now += 7
    assert value(metrics, "orderwire_listener_lag_seconds") == 7
    metrics.mark_caught_up()
    assert value(metrics, "orderwire_listener_lag_seconds") == 0


async def test_single_process_returns_its_own_registry(metrics: Metrics) -> None:
    assert await metrics.merged_collector() is metrics.registry


async def test_worker_returns_the_samples_of_all_workers(metrics: Metrics) -> None:
    async def fetch() -> Samples:
        return {("orderwire_events_total", ()): 42.0}

    metrics.fetch_merged_samples = fetch
    collector = await metrics.merged_collector()
    assert isinstance(collector, MergedCollector)
    assert b"orderwire_events_total 42.0" in generate_latest(collector)


def test_names_follow_the_conventions_of_prometheus(metrics: Metrics) -> None:
    """https://prometheus.io/docs/practices/naming/: counters end in _total, durations in _seconds."""
    for family in metrics.registry.collect():
        assert re.fullmatch(r"orderwire_[a-z_]+", family.name)
        assert family.documentation
        assert not family.documentation.endswith("."), family.name
        if family.type == "histogram":
            assert family.name.endswith(("_seconds", "_events"))


def test_attributes_have_the_names_of_their_metrics(metrics: Metrics) -> None:
    for attribute, metric in vars(metrics).items():
        if hasattr(metric, "_name"):
            name = metric._name.removeprefix("orderwire_")
            assert re.sub(r"_(seconds|ratio)$", "", name) == attribute.removeprefix("_")
