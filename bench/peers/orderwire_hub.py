"""Orderwire itself, on the trigger: the server as it is, on a real database, whose hub gets prepared events besides.

What is left out is the reading of the journal, as the peers in the fan-out scenarios have no database either. Everything from
``Hub.publish`` on is what `python server.py serve` does.
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

import serving
from bench.peers.feed import listen_for_trigger
from bench.peers.orders import messages
from push.delivery.hub import Hub
from push.journal.events import Event, Snapshot
from settings import Settings

hubs: list[Hub] = []


class TriggeredHub(Hub):
    """The hub, known to the trigger."""

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        hubs.append(self)


def _event(frame: str) -> Event:
    return Event(1, 1, 1, None, Snapshot(1, 1), datetime.now(UTC), 0, Decimal(0), 0, frame.encode())


@cache
def _events(size: int) -> Iterator[Event]:
    return map(_event, messages(size))


def _publish(frames: int, size: int) -> None:
    hubs[0].publish(list(islice(_events(size), frames)), hubs[0].totals)


async def main() -> None:
    # The composition root has no seam for this, and shall have none.
    serving.Hub = TriggeredHub  # type: ignore[attr-defined]
    trigger = await listen_for_trigger(_publish)
    try:
        await serving.serve(Settings.from_environment(os.environ))
    finally:
        trigger.close()


if __name__ == "__main__":
    asyncio.run(main())
