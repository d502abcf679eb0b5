"""The files for operators, docs/ops, are valid and name metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from push.metrics import Metrics
from tests.support import ROOT

# Prometheus's own checker, where it is installed.
PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
def test_the_alert_rules_are_valid() -> None:
    assert PROMTOOL is not None
    done = subprocess.run(
        [PROMTOOL, "check", "rules", "docs/ops/alerts.yml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "alerts.yml"])
def test_every_metric_that_is_named_exists(name: str) -> None:
    text = (ROOT / "docs" / "ops" / name).read_text(encoding="utf-8")
    named = set(re.findall(r"\borderwire_[a-z_]+\b", text))
    exist = set()
    for family in Metrics().registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""]}[family.type]
        exist |= {family.name + suffix for suffix in suffixes}
    assert named
    assert named <= exist
