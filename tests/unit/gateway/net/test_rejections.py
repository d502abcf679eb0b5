"""gateway.net.rejections: what is counted, and what is logged."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from gateway.net.rejections import MAX_NOTICES, RejectionNotices, report_rejection
from push.metrics import Metrics


@pytest.mark.parametrize(("counted", "expected"), [(True, {"origin": 1.0}), (False, {})])
def test_a_rejection_is_counted_under_its_reason_and_logged(
    counted: bool, expected: dict[str, float], caplog: pytest.LogCaptureFixture
) -> None:
    metrics = Metrics()
    with caplog.at_level("DEBUG", "orderwire.rejections"):
        report_rejection(metrics, "origin", "192.0.2.1", counted=counted)
    samples = [sample for family in metrics.registry.collect() for sample in family.samples]
    found = {sample.labels["reason"]: sample.value for sample in samples if sample.name == "orderwire_rejections_total"}
    assert found == expected
    (record,) = caplog.records
    fields: dict[str, Any] = vars(record)
    assert (record.levelname, fields["reason"], fields["address"]) == ("DEBUG", "origin", "192.0.2.1")
    assert record.getMessage() == "rejected"


def test_without_debug_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "orderwire.rejections"):
        report_rejection(Metrics(), "origin", None)
    assert caplog.records == []


def test_a_notice_is_logged_once_and_a_client_cannot_make_many(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr("gateway.net.rejections.time", SimpleNamespace(monotonic=lambda: now))
    notices = RejectionNotices()
    with caplog.at_level("INFO", "orderwire.rejections"):
        for _ in range(3):
            notices.announce("pages of a")
        assert caplog.messages == ["pages of a"]
        for number in range(1000):
            notices.announce(f"pages of {number}")
        assert len(caplog.messages) == 2
        for number in range(1000):
            now += 1
            notices.announce(f"pages of {number} %s")
    assert len(caplog.messages) == 1002
    assert len(notices._announced) == MAX_NOTICES
    assert {record.levelname for record in caplog.records} == {"INFO"}
