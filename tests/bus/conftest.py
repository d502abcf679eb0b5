"""Fixtures of the tests with a real broker."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bus.local.nodes import BrokerNodes


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[BrokerNodes]:
    """A single node of NATS, of the test's own."""
    nodes = BrokerNodes(tmp_path, count=1)
    await nodes.start()
    yield nodes
    await nodes.stop()


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[BrokerNodes]:
    """A cluster of three."""
    three = BrokerNodes(tmp_path, count=3)
    await three.start()
    yield three
    await three.stop()
