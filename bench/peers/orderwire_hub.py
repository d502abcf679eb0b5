"""Orderwire itself, on the trigger: the server as it is, on a real database, whose hub gets prepared events besides.

What is left out is the reading of the journal, as the peers in the fan-out scenarios have no database either. Everything from
``Hub.publish`` on is what `python server.py serve` does.
"""

from __future__ import annotations

import asyncio
import os
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import server
from bench.peers.feed import listen_for_trigger
from push.events import Event, Snapshot
from push.hub import Hub
from settings import Settings

hubs: list[Hub] = []


class FedHub(Hub):
    """The hub, known to the trigger."""

    def __init__(self, *parts: Any, **named: Any) -> None:
        super().__init__(*parts, **named)
        hubs.append(self)


def _event(number: int, size: int) -> Event:
    head = f'{{"type":"order_update","id":"00000000-{number}-{number}","order_id":1,"customer_name":"@@0:0@@'
    frame = head + "x" * (size - len(head) - 2) + '"}'
    return Event(number, number, 1, None, Snapshot(1, 1), datetime.now(UTC), 0, Decimal(0), 0, frame.encode())


@cache
def _events(frames: int, size: int) -> list[Event]:
    return [_event(number, size) for number in range(frames)]


def _publish(frames: int, size: int) -> None:
    hubs[0].publish(_events(frames, size), hubs[0].totals)


async def main() -> None:
    # The composition root has no seam for this, and shall have none.
    server.Hub = FedHub  # type: ignore[attr-defined]
    trigger = await listen_for_trigger(_publish)
    try:
        await server.serve(Settings.from_environment(os.environ))
    finally:
        trigger.close()


if __name__ == "__main__":
    asyncio.run(main())
