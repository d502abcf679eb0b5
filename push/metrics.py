"""All Prometheus metrics of the server, served as `/metrics`. No label takes a value that a client can choose."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from push.metrics_merge import MergedCollector, Samples

__all__ = ["Metrics"]

# From 0.2 ms, which an idle read of the journal takes, to a minute.
_SECONDS_BUCKETS = (0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
_EVENT_COUNT_BUCKETS = (0, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000)


class Metrics:
    """The metrics of one process, in a registry of their own. An attribute has the metric's name without prefix and unit."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        # With several workers: returns the samples of all of them. Raises TimeoutError.
        self.fetch_merged_samples: Callable[[], Awaitable[Samples]] | None = None

        # ------------------------------------------------------------ clients
        # The role is that of the session's first grant.
        self.sessions = Gauge("orderwire_sessions", "Sessions that are open now", ["transport", "role"], registry=registry)
        self.tcp_connections = Gauge(
            "orderwire_tcp_connections", "TCP connections that are open now, sessions included", registry=registry
        )
        self.open_files = Gauge(
            "orderwire_open_files_ratio", "Open files as a part of the limit of the process, 0 to 1", registry=registry
        )
        self.sessions_closed = Counter(
            "orderwire_sessions_closed_total", "Sessions that were closed, by close code", ["code"], registry=registry
        )
        self.rejections = Counter(
            "orderwire_rejections_total",
            "Connections, requests, sessions, tokens and commands that were rejected",
            ["reason"],
            registry=registry,
        )
        self.send_queue_overflows = Counter(
            "orderwire_send_queue_overflows_total", "Sessions closed as slow consumers", registry=registry
        )
        self.resumes = Counter(
            "orderwire_resumes_total",
            "Resumes, by outcome: recovered, or the client had to fetch anew",
            ["outcome"],
            registry=registry,
        )
        self.replayed_events = Counter(
            "orderwire_replayed_events_total", "Events that were sent again to resuming clients", registry=registry
        )

        # ------------------------------------------------------------ events
        self.events = Counter("orderwire_events_total", "Events read from the journal and published", registry=registry)
        self.placeholder_events = Counter(
            "orderwire_placeholder_events_total",
            "Events that could not be read, of which clients have got type, id and key",
            registry=registry,
        )
        self.sent_messages = Counter(
            "orderwire_sent_messages_total", "Messages written to clients", ["transport"], registry=registry
        )
        self.sent_bytes = Counter(
            "orderwire_sent_bytes_total",
            "Bytes of messages written to clients, before compression",
            ["transport"],
            registry=registry,
        )
        self.fanout = Histogram(
            "orderwire_fanout_seconds",
            "Seconds that one pass over all cohorts and detached sessions took",
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )
        # Compares the database's clock with this machine's: only as exact as the two agree.
        self.delivery = Histogram(
            "orderwire_delivery_seconds",
            "Seconds from the writer's statement, commit included, until the event was handed to all sessions",
            buckets=_SECONDS_BUCKETS,
            registry=registry,
        )

        # ------------------------------------------------------------ the database
        self.listener_reconnects = Counter(
            "orderwire_listener_reconnects_total", "How often the LISTEN connection was replaced", registry=registry
        )
        self.catch_up_events = Histogram(
            "orderwire_catch_up_events",
            "Events found by the first read of a new LISTEN connection",
            buckets=_EVENT_COUNT_BUCKETS,
            registry=registry,
        )
        self._last_read = time.monotonic()
        lag = Gauge("orderwire_listener_lag_seconds", "Seconds since the journal was last read to its end", registry=registry)
        lag.set_function(lambda: time.monotonic() - self._last_read)
        self.notification_queue_usage = Gauge(
            "orderwire_notification_queue_usage_ratio",
            "Part of the cluster's notification queue in use, 0 to 1",
            registry=registry,
        )
        self.notify_suppressed = Gauge(
            "orderwire_notify_suppressed",
            "1 while writers may commit without NOTIFY and the journal is polled",
            registry=registry,
        )
        self.totals_corrections = Counter(
            "orderwire_totals_corrections_total", "How often the audit corrected the totals", registry=registry
        )
        # ------------------------------------------------------------ several servers
        self.facts_used = Counter("orderwire_facts_used_total", "Facts from the relay that were published", registry=registry)
        self.facts_old = Counter(
            "orderwire_facts_old_total",
            "Facts that said nothing new: heartbeats, and what was doubled, late, or of a second relay",
            registry=registry,
        )
        self.facts_joined = Counter(
            "orderwire_facts_joined_total", "Facts that were published together with the one before", registry=registry
        )
        self.fact_gaps = Counter(
            "orderwire_fact_gaps_total",
            "Times that facts were missing, by what they were read from instead: the broker's stream, or the journal",
            ["healed_by"],
            registry=registry,
        )
        self.relay = Gauge("orderwire_relay", "1 while this server reads the journal itself", registry=registry)
        self.broker_silence = Gauge(
            "orderwire_broker_silence_seconds",
            "Seconds since the last message of another relay; on a relay, since it lost its connection to the broker",
            registry=registry,
        )
        self.feed_live = Gauge("orderwire_feed_live", "1 while clients are told that events flow", registry=registry)
        self._ready = Gauge("orderwire_ready", "1 while events flow", registry=registry)

    async def merged_collector(self) -> CollectorRegistry | MergedCollector:
        """Return the metrics of all workers, for ``prometheus_client.generate_latest``. Raises TimeoutError."""
        return (
            self.registry
            if self.fetch_merged_samples is None
            else MergedCollector(self.registry, await self.fetch_merged_samples())
        )

    def set_ready_source(self, is_ready: Callable[[], bool]) -> None:
        """Set what computes ``orderwire_ready`` whenever the metrics are collected."""
        self._ready.set_function(lambda: float(is_ready()))

    def observe_fanout(self, delays: Sequence[float], seconds: float) -> None:
        """Record one pass of the fan-out.

        ``delays`` has one entry per event: seconds from the writer's statement until the event was handed to all sessions.
        ``seconds`` is the time that the pass took.
        """
        self.events.inc(len(delays))
        self.fanout.observe(seconds)
        for delay in delays:
            self.delivery.observe(delay)

    def mark_read_to_end(self) -> None:
        """Record that the journal has been read to its end."""
        self._last_read = time.monotonic()
