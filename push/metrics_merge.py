"""The metrics of several workers as one: what each has counted is added up, through all its lives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.samples import Sample

__all__ = [
    "AGGREGATION",
    "MergedCollector",
    "Samples",
    "WorkerMetrics",
    "collect_samples",
    "from_json_rows",
    "merge",
    "to_json_rows",
]

# By name and labels.
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

# Where a sum over the workers would mean nothing. Sums are: sessions, sockets, frames, bytes, closes, refusals, histograms.
AGGREGATION: Mapping[str, Callable[[Iterable[float]], float]] = {
    "orderwire_ready": min,
    "orderwire_listener_lag_seconds": max,
    "orderwire_notification_queue_usage_ratio": max,
    "orderwire_notify_suppressed": max,
    # Each worker publishes every event: it is the same ones. One that was away has counted less.
    "orderwire_events_total": max,
}
# A worker that does not answer is not ready; what it gauged is not so any more.
_UNAVAILABLE: Samples = {("orderwire_ready", ()): 0.0}
_SUFFIXES = ("", "_total", "_bucket", "_count", "_sum", "_created")


class WorkerMetrics:
    """What one worker brings in. Its counters outlive it, since Prometheus takes a sum that falls for a restart of everything,
    and all that is left of it for new (https://prometheus.io/docs/prometheus/latest/querying/functions/#rate).
    """

    def __init__(self) -> None:
        self._previous_counts: Samples = {}
        self._counts: Samples = {}
        self._gauges = _UNAVAILABLE

    def update(self, counts: Samples, gauges: Samples) -> None:
        """The worker has answered."""
        self._counts, self._gauges = counts, gauges

    def mark_unavailable(self) -> None:
        """The worker does not answer."""
        self._gauges = _UNAVAILABLE

    def retire(self) -> None:
        """The worker is gone, and the next one begins at zero. What it counted after its last answer nobody knows."""
        self._previous_counts = _aggregate((self._previous_counts, self._counts), _default_aggregation)
        self._counts = {}
        self.mark_unavailable()

    @property
    def samples(self) -> Samples:
        """Of all its lives."""
        return {**_aggregate((self._previous_counts, self._counts), _default_aggregation), **self._gauges}


def collect_samples(registry: CollectorRegistry) -> tuple[Samples, Samples]:
    """What this process has counted, and what it gauges now."""
    counts: Samples = {}
    gauges: Samples = {}
    for family in registry.collect():
        kind = gauges if family.type == "gauge" else counts
        kind.update({(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in family.samples})
    return counts, gauges


def merge(parts: Iterable[Samples]) -> Samples:
    """Of all workers."""
    return _aggregate(parts, lambda name: AGGREGATION.get(name, _default_aggregation(name)))


class MergedCollector:
    """The samples under the names and descriptions of a registry: for ``generate_latest``."""

    def __init__(self, registry: CollectorRegistry, samples: Samples) -> None:
        self._registry = registry
        self._samples: dict[str, list[Sample]] = {}
        for (name, labels), value in samples.items():
            self._samples.setdefault(name, []).append(Sample(name, dict(labels), value))

    def collect(self) -> Iterable[Metric]:
        """See prometheus_client.registry.Collector."""
        for family in self._registry.collect():
            joined = Metric(family.name, family.documentation, family.type)
            for suffix in _SUFFIXES:
                joined.samples.extend(self._samples.get(family.name + suffix, []))
            yield joined


def to_json_rows(samples: Samples) -> list[Any]:
    """For JSON."""
    return [[name, dict(labels), value] for (name, labels), value in samples.items()]


def from_json_rows(rows: Iterable[Any]) -> Samples:
    """Back from JSON."""
    return {(name, tuple(labels.items())): value for name, labels, value in rows}


def _default_aggregation(name: str) -> Callable[[Iterable[float]], float]:
    return min if name.endswith("_created") else sum


def _aggregate(parts: Iterable[Samples], aggregation_for: Callable[[str], Callable[[Iterable[float]], float]]) -> Samples:
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
    for part in parts:
        for key, value in part.items():
            found.setdefault(key, []).append(value)
    return {key: aggregation_for(key[0])(values) for key, values in found.items()}
