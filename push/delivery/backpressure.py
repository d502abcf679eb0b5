"""How long what comes next waits for the sessions to drain what came before."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from push.delivery.session import Session

__all__ = ["wait_while_congested"]

# Twice as long as the faster half needed; and at least as long as the others would if whatever is in between moved so many
# bytes a second, and this.
SLOW_BYTES_PER_SECOND = 25e6
MIN_WAIT_SECONDS = 0.02
# For the faster half as long as it gets on: when hardly any of them has taken anything for so long, it is given up; on a
# machine that is as slow as that, for up to so long.
STALL_SECONDS = 1.0
MAX_STALL_SECONDS = 5.0
# What looking whether they have costs, at most, as a part of the time.
MAX_POLL_OVERHEAD = 0.1


async def wait_while_congested(detached: Collection[Session], live_count: int, published_bytes: int) -> None:
    """Return when none of ``detached`` has much left (``Session.pressed``), or it makes no sense to wait for those who have.

    ``live_count``: how many sessions have been published to, ``detached`` among them; ``published_bytes``: to each, by what came last.
    Who does not get on at all costs the others no more than LEAST_SECONDS, unless it is more than half of them.
    """
    now = asyncio.get_running_loop().time
    start = looked = now()
    until: float | None = None
    stood: dict[Session, int] = {}
    while pressed := [session for session in detached if session.is_congested]:
        begun = now()
        slow = max(MIN_WAIT_SECONDS, published_bytes * len(pressed) / SLOW_BYTES_PER_SECOND)
        moved = sum(session.offset != stood.get(session) for session in pressed)
        if until is None and len(pressed) <= live_count // 2:
            until = start + max(2 * (begun - start), slow)
            note = True
        elif until is None:
            note = begun > looked + min(max(STALL_SECONDS, slow), MAX_STALL_SECONDS)
            if note and moved <= len(pressed) // 2:
                return
        else:
            note = moved > 0
            if begun > until or (not moved and begun > looked + slow):
                return
        if note or not stood:
            looked, stood = begun, {session: session.offset for session in pressed}
        await asyncio.sleep(max(0.001, (now() - begun) / MAX_POLL_OVERHEAD))
