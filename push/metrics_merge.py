"""Merges the metrics of several workers into one set of samples. Knows no sockets and no processes."""

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

# Values by sample name and labels; the labels are sorted by name.
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

# The metrics of which a sum over the workers would be wrong. All others are added up.
AGGREGATION: Mapping[str, Callable[[Iterable[float]], float]] = {
    "orderwire_ready": min,
    "orderwire_feed_live": min,
    "orderwire_listener_lag_seconds": max,
    "orderwire_notification_queue_usage_ratio": max,
    "orderwire_notify_suppressed": max,
    "orderwire_open_files_ratio": max,
    "orderwire_broker_silence_seconds": max,
    "orderwire_relay": max,
    # Every worker publishes every event. A worker that was restarted has counted fewer.
    "orderwire_events_total": max,
    "orderwire_placeholder_events_total": max,
}
# The gauges of a worker that does not answer: its last ones do not hold any more, and it is not ready.
_UNAVAILABLE: Samples = {("orderwire_ready", ()): 0.0, ("orderwire_feed_live", ()): 0.0}
_SUFFIXES = ("", "_total", "_bucket", "_count", "_sum", "_created")


class WorkerMetrics:
    """The samples of one worker and of those that it has replaced.

    Counters go on when a worker is replaced. Prometheus takes a sum that falls for a restart of all counters at 0, and would
    count everything that is left of the sum once more (https://prometheus.io/docs/prometheus/latest/querying/functions/#rate).
    """

    def __init__(self) -> None:
        self._previous_counts: Samples = {}
        self._counts: Samples = {}
        self._gauges = _UNAVAILABLE

    def update(self, counts: Samples, gauges: Samples) -> None:
        """Take the worker's answer: what ``collect_samples`` returned there."""
        self._counts, self._gauges = counts, gauges

    def mark_unavailable(self) -> None:
        """Drop the gauges of a worker that does not answer."""
        self._gauges = _UNAVAILABLE

    def retire(self) -> None:
        """The worker has exited: keep its counts. What it counted after its last answer is lost."""
        self._previous_counts = _aggregate((self._previous_counts, self._counts), _default_aggregation)
        self._counts = {}
        self.mark_unavailable()

    @property
    def samples(self) -> Samples:
        """The counts of this worker and its predecessors, and its own gauges."""
        return {**_aggregate((self._previous_counts, self._counts), _default_aggregation), **self._gauges}


def collect_samples(registry: CollectorRegistry) -> tuple[Samples, Samples]:
    """Return the samples of this process: those of counters and histograms, and those of gauges."""
    counts: Samples = {}
    gauges: Samples = {}
    for family in registry.collect():
        samples = gauges if family.type == "gauge" else counts
        samples.update({(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in family.samples})
    return counts, gauges


def merge(parts: Iterable[Samples]) -> Samples:
    """Merge the samples of all workers."""
    return _aggregate(parts, lambda name: AGGREGATION.get(name, _default_aggregation(name)))


class MergedCollector:
    """Samples with the names, types and descriptions of a registry, to be passed to ``prometheus_client.generate_latest``."""

    def __init__(self, registry: CollectorRegistry, samples: Samples) -> None:
        self._registry = registry
        self._samples: dict[str, list[Sample]] = {}
        for (name, labels), value in samples.items():
            self._samples.setdefault(name, []).append(Sample(name, dict(labels), value))

    def collect(self) -> Iterable[Metric]:
        """The method of ``prometheus_client.registry.Collector``."""
        for family in self._registry.collect():
            merged = Metric(family.name, family.documentation, family.type)
            for suffix in _SUFFIXES:
                merged.samples.extend(self._samples.get(family.name + suffix, []))
            yield merged


def to_json_rows(samples: Samples) -> list[Any]:
    """Convert samples to what the json module can encode."""
    return [[name, dict(labels), value] for (name, labels), value in samples.items()]


def from_json_rows(rows: Iterable[Any]) -> Samples:
    """The inverse of ``to_json_rows``."""
    return {(name, tuple(labels.items())): value for name, labels, value in rows}


def _default_aggregation(name: str) -> Callable[[Iterable[float]], float]:
    return min if name.endswith("_created") else sum


def _aggregate(parts: Iterable[Samples], aggregation_for: Callable[[str], Callable[[Iterable[float]], float]]) -> Samples:
    found: dict[tuple[str, tuple[tuple[str, str], ...]], list[float]] = {}
    for part in parts:
        for key, value in part.items():
            found.setdefault(key, []).append(value)
    return {key: aggregation_for(key[0])(values) for key, values in found.items()}
