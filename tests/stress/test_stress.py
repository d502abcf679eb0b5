"""A short stress run. `make stress` runs longer, with more clients and faults."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.replication import Cluster
from tests.stress.faults import FAULT_KINDS
from tests.stress.run import Plan, stress
from tests.stress.tables import TABLES

# The server detects it after 10 s; tests/faults/test_database_outage.py tests that.
SLOW = "database connection half-open"


@pytest.mark.postgres
@pytest.mark.parametrize("table", TABLES)
async def test_nothing_is_lost_under_faults_of_every_kind(tmp_path: Path, table: str) -> None:
    kinds = [kind for kind in FAULT_KINDS if kind != SLOW]
    report = await stress(Plan(seed=1, seconds=7, clients=40, faults=16, kinds=kinds, table=table), tmp_path, print)
    print(report.table())
    assert report.failures == []
    assert set(report.counts) == set(kinds)


@pytest.mark.postgres
async def test_promotion_of_a_synchronous_standby_loses_nothing(tmp_path: Path) -> None:
    if not Cluster(tmp_path / "unused").has_base_backup:
        pytest.skip("this PostgreSQL comes without pg_basebackup")
    plan = Plan(seed=3, seconds=2, clients=12, faults=1, kinds=["standby promoted"], table="uuid")
    report = await stress(plan, tmp_path, print)
    print(report.table())
    assert report.failures == []
    assert dict(report.figures)["fetched anew"].startswith("0 ")


@pytest.mark.postgres
async def test_clients_too_far_behind_fetch_anew(tmp_path: Path) -> None:
    plan = Plan(seed=2, seconds=2, clients=12, faults=1, kinds=["clients fall behind"], table="uuid")
    report = await stress(plan, tmp_path, print)
    print(report.table())
    assert report.failures == []
    assert not dict(report.figures)["fetched anew"].startswith("0 ")


@pytest.mark.postgres
async def test_a_cluster_loses_nothing_with_its_relay_and_its_broker(tmp_path: Path) -> None:
    """`make stress CLUSTER=1` has all kinds of faults."""
    kinds = ["relay kill -9", "all NATS nodes forget", "PostgreSQL kill -9"]
    report = await stress(Plan(seed=4, seconds=3, clients=12, faults=3, kinds=kinds, is_cluster=True), tmp_path, print)
    print(report.table())
    assert report.failures == []
    assert set(report.counts) == set(kinds)
