"""The files for operators, docs/ops, are valid and name metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from push.metrics import Metrics
from settings import Settings
from tests.support import ROOT

# Prometheus's own checker, where it is installed.
PROMTOOL = shutil.which("promtool")


@pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "docs/ops/alerts.yml"), ("test", "rules", "tests/docs/alerts_test.yml")]
)
def test_the_alert_rules_are_valid_and_fire(arguments: tuple[str, ...]) -> None:
    assert PROMTOOL is not None
    done = subprocess.run([PROMTOOL, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def read(name: str) -> str:
    return (ROOT / "docs" / "ops" / name).read_text(encoding="utf-8")


def alerts() -> dict[str, str]:
    """The text of each rule of alerts.yml, by its name."""
    _, *rules = re.split(r"^ +- alert: ", read("alerts.yml"), flags=re.M)
    found = {text.splitlines()[0]: text for text in rules}
    assert len(found) == len(rules), "two alerts have one name"
    return found


def test_each_alert_has_a_runbook_and_each_runbook_an_alert() -> None:
    for name, text in alerts().items():
        assert re.findall(r"^ +runbook_url: (.*)$", text, re.M) == [f'"docs/ops/runbooks.md#{name.lower()}"'], name
        assert len(re.findall(r"^ +(?:summary|description): ", text, re.M)) == 2, name
    assert re.findall(r"^## (\w+)$", read("runbooks.md"), re.M) != []
    assert set(re.findall(r"^## (.+)$", read("runbooks.md"), re.M)) == set(alerts())


def test_each_alert_asks_for_metrics_that_exist_or_for_the_scrape_itself() -> None:
    for name, text in alerts().items():
        (expr,) = re.findall(r"^ +expr: (.*)$", text, re.M)
        assert re.search(r"\borderwire_[a-z_]+|\bup\{", expr), name


def test_there_are_alerts_for_a_server_that_is_down_and_for_what_it_cannot_say_itself() -> None:
    expressions = " ".join(re.findall(r"expr: (.*)", read("alerts.yml")))
    for part in (
        'up{job="orderwire"} == 0',
        'absent(up{job="orderwire"})',
        "orderwire_open_files_ratio",
        "orderwire_feed_live",
    ):
        assert part in expressions, part


@pytest.mark.parametrize("name", ["grafana-dashboard.json", "alerts.yml", "runbooks.md"])
def test_every_metric_that_is_named_exists(name: str) -> None:
    named = set(re.findall(r"\borderwire_[a-z_]+\b", read(name)))
    exist = set()
    for family in Metrics().registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""]}[family.type]
        exist |= {family.name + suffix for suffix in suffixes}
    assert named
    assert named <= exist


IDLE_TIMEOUTS = {
    "nginx.conf": r"proxy_(?:read|send)_timeout (\d+)s",
    "haproxy.cfg": r"timeout (?:client|server|tunnel) +(\d+)s",
    "apache.conf": r"timeout=(\d+)",
}


@pytest.mark.parametrize("name", IDLE_TIMEOUTS)
def test_a_proxy_waits_longer_than_two_heartbeats_for_an_idle_session(name: str) -> None:
    timeouts = [int(seconds) for seconds in re.findall(IDLE_TIMEOUTS[name], read(name))]
    assert timeouts
    assert min(timeouts) > 2 * Settings().heartbeat_seconds


@pytest.mark.parametrize(("name", "pattern"), [("Caddyfile", r"keepalive (\d+)s"), ("apache.conf", r"ttl=(\d+)")])
def test_a_proxy_closes_idle_connections_before_the_server_does(name: str, pattern: str) -> None:
    (seconds,) = re.findall(pattern, read(name))
    assert int(seconds) < Settings().keep_alive_seconds
