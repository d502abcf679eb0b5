"""Back-pressure: how long the relay waits for sessions to take what was published before it publishes more."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from push.delivery.session import Session

__all__ = ["wait_while_congested"]

# Deadline for the slower half of the sessions, from the start: twice the time that the faster half needed, but not less than
# MIN_WAIT_SECONDS, nor than the time in which a slow machine moves what they have waiting.
SLOW_BYTES_PER_SECOND = 25e6
MIN_WAIT_SECONDS = 0.02
# While more than half of the sessions are congested there is no deadline, but at most this long without half of those making
# progress. On a machine that needs longer to move what they have waiting: that time, up to MAX_STALL_SECONDS.
STALL_SECONDS = 1.0
MAX_STALL_SECONDS = 5.0
# Upper limit of the share of time spent on checking the sessions.
MAX_POLL_OVERHEAD = 0.1


async def wait_while_congested(
    detached: Collection[Session], live_count: int, published_bytes: int, addressed: Collection[Session] = ()
) -> None:
    """Return when no session of ``detached`` is congested, or when waiting longer would hold up the others for a slow minority.

    ``addressed``: further sessions, to which the publication went one by one. ``live_count``: number of all live sessions.
    ``published_bytes``: size of the newest publication, which each of ``detached`` has to take. As long as at most half of the
    sessions make no progress at all, they delay the others by MIN_WAIT_SECONDS, or by the time in which a slow machine moves
    their bytes.
    """
    now = asyncio.get_running_loop().time
    start = checked_at = now()
    deadline: float | None = None
    # Offsets of the congested sessions at ``checked_at``; a session whose offset has changed since has made progress.
    offsets: dict[Session, int] = {}
    while congested := [session for session in (*detached, *addressed) if session.is_congested]:
        checked = now()
        slow_half_seconds = max(MIN_WAIT_SECONDS, published_bytes * len(congested) / SLOW_BYTES_PER_SECOND)
        progressed = sum(session.offset != offsets.get(session) for session in congested)
        if deadline is None and len(congested) <= live_count // 2:
            deadline = start + max(2 * (checked - start), slow_half_seconds)
            take_snapshot = True
        elif deadline is None:
            take_snapshot = checked > checked_at + min(max(STALL_SECONDS, slow_half_seconds), MAX_STALL_SECONDS)
            if take_snapshot and progressed <= len(congested) // 2:
                return
        else:
            take_snapshot = progressed > 0
            if checked > deadline or (not progressed and checked > checked_at + slow_half_seconds):
                return
        if take_snapshot or not offsets:
            checked_at, offsets = checked, {session: session.offset for session in congested}
        await asyncio.sleep(max(0.001, (now() - checked) / MAX_POLL_OVERHEAD))
