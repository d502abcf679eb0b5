"""Clusters for tests of what happens to a whole PostgreSQL."""

from __future__ import annotations

import pytest

from tests.helpers.replication import Cluster


@pytest.fixture(scope="session")
def stopped_cluster(tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """A cluster that does not run, to copy: that is quicker than to create one."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster") / "data")
    cluster.create()
    return cluster
