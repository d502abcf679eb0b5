"""gateway.net.rejections: what is counted, and what is logged."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.net.rejections import report_rejection
from push.metrics import Metrics


@pytest.mark.parametrize(("label", "counted"), [("origin", {"origin": 1.0}), (None, {})])
def test_a_rejection_is_counted_under_its_label_and_logged(
    label: str | None, counted: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    with caplog.at_level("DEBUG", "orderwire.rejections"):
        report_rejection(metrics, label, "pages of a\nb may not connect", "192.0.2.1")
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    found = {sample.labels["reason"]: sample.value for sample in samples if sample.name == "orderwire_rejections_total"}
    assert found == counted
    (record,) = caplog.records
    fields: dict[str, Any] = vars(record)
    assert (record.levelname, fields["label"], fields["address"]) == ("DEBUG", label, "192.0.2.1")
    assert record.getMessage() == r"rejected: 'pages of a\nb may not connect'"


def test_without_debug_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "orderwire.rejections"):
        report_rejection(Metrics(), "origin", "pages of another origin", None)
    assert caplog.records == []
