"""How long what comes next waits for the sessions to drain what came before."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from push.session import Session

__all__ = ["drained"]

# Twice as long as half of them needed; and at least as long as all of them would if whatever is in between moved so many bytes
# a second, and this.
SLOW_BYTES_PER_SECOND = 50e6
LEAST_SECONDS = 0.02
# For the first half as long as they get on: when hardly any of them has taken anything for so long, it is given up.
STUCK_SECONDS = 1.0
# What looking whether they have costs, at most, as a part of the time.
LOOKING = 0.1


async def drained(apart: Collection[Session], live: int, published_bytes: int) -> None:
    """Return when none of ``apart`` has much left (``Session.pressed``), or it makes no sense to wait for those who have.

    ``live``: how many sessions have been published to, ``apart`` among them; ``published_bytes``: to each, by what came last.
    """
    now = asyncio.get_running_loop().time
    start = looked = now()
    least = max(LEAST_SECONDS, published_bytes * live / SLOW_BYTES_PER_SECOND)
    until: float | None = None
    stood: dict[Session, int] = {}
    while pressed := [session for session in apart if session.pressed]:
        begun = now()
        if until is None and len(pressed) <= live // 2:
            until = start + max(2 * (begun - start), least)
        if until is not None and begun > until:
            return
        if until is None and begun > looked + max(STUCK_SECONDS, least):
            if sum(session.place != stood.get(session) for session in pressed) <= len(pressed) // 2:
                return
            looked = begun
        if looked == begun or not stood:
            stood = {session: session.place for session in pressed}
        await asyncio.sleep(max(0.001, (now() - begun) / LOOKING))
