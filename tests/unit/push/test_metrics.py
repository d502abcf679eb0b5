"""Metrics that are computed when they are read."""

from __future__ import annotations

import pytest

from push.metrics import Metrics


@pytest.mark.parametrize("ready", [False, True])
def test_the_readiness_metric_is_that_of_its_source(ready: bool) -> None:
    """Alerts use the metric, not /readyz."""
    metrics = Metrics()
    metrics.set_ready_source(lambda: ready)
    assert metrics.registry.get_sample_value("orderwire_ready") == ready
