"""Orderwire with a trigger: the unchanged server on a real database; the trigger also publishes prepared events to its hub.

This skips reading the journal, because the peers have no database in the fan-out scenarios either. Everything from
``Hub.publish`` on is what `python server.py serve` runs.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from itertools import islice
from typing import Any

from bench.peers.feed import listen_for_trigger
from bench.peers.orders import messages
from push.delivery.hub import Hub
from push.journal.events import Event, Snapshot
from service import application, serving
from settings import Settings

hubs: list[Hub] = []


class TriggeredHub(Hub):
    """A hub that adds itself to ``hubs``, where the trigger finds it."""

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        hubs.append(self)


def _event(frame: str) -> Event:
    none = Decimal(0)
    return Event(1, 1, None, "1", "1", None, Snapshot(1, 1), datetime.now(UTC), 0, 0, none, none, None, None, frame.encode())


@cache
def _events(size: int) -> Iterator[Event]:
    return map(_event, messages(size))


def _publish(frames: int, size: int) -> None:
    hubs[0].publish(list(islice(_events(size), frames)), hubs[0].totals)


async def main() -> None:
    # The composition root has no parameter for the hub, and needs none otherwise.
    application.Hub = TriggeredHub  # type: ignore[attr-defined]
    trigger = await listen_for_trigger(_publish)
    try:
        await serving.serve(Settings.from_environment(os.environ))
    finally:
        trigger.close()


if __name__ == "__main__":
    asyncio.run(main())
