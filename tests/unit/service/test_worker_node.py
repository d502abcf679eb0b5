"""What a worker passes on when it becomes the relay. All else is in tests/faults/test_workers.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Never

from bus.worker_bus import WorkerBus
from db.database import Database
from db.identity import DatabaseIdentity, FollowedDatabase
from push.delivery.hub import Hub
from push.journal.relay import Relay
from push.metrics import Metrics
from service.database_state import DatabaseState, DatabaseWatch
from service.fact_feed import OwnReading
from service.worker_node import WorkerNode

URL = "postgresql://127.0.0.1:1/none"
FOUND = DatabaseIdentity(1, 2, 3)


def state_of(revoked: Mapping[str, float]) -> str:
    return json.dumps([FOUND, DatabaseState(revoked, 0.0, None, 0.0).to_json()])


async def never() -> Never:
    raise AssertionError


async def test_a_new_relay_tells_the_newest_state_that_it_knows() -> None:
    """Not what it read itself when it was the relay before: revoked tokens would be accepted again."""
    revocations: list[Mapping[str, float]] = []
    relay, metrics, followed = Relay(Hub()), Metrics(), FollowedDatabase(URL)
    database = Database(URL, 1.0, followed)
    bus = WorkerBus(lambda _kind, content=None, data=b"": True)
    watch = DatabaseWatch(database, relay, metrics, revocations.append)
    node = WorkerNode(
        bus,
        relay,
        database.journal,
        followed,
        metrics,
        watch,
        OwnReading(listen=never, tasks=dict, on_lost=never),
        lambda _events: True,
    )
    bus.handle("relay", True, b"")
    node.share_state(DatabaseState({}, 0.0, None, 0.0).to_json())
    bus.handle("relay", False, b"")
    node._on_state(state_of({"anna": 5.0}))
    bus.handle("relay", True, b"")
    followed.follow(FOUND)
    assert revocations == [{"anna": 5.0}]
    assert node._publisher._state == state_of({"anna": 5.0})
