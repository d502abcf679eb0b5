"""When the relay reads the journal again. Pure: a bounded share of the processor, and as soon as that allows.

All times are in seconds. The duration of a read includes the fan-out of its events.
"""

from __future__ import annotations

__all__ = ["FALLBACK_POLL_INTERVAL", "MAX_POLL_INTERVAL", "ReadPace"]

# While writers notify: read at least this often. Covers what no notification announces: two-phase commit, sessions that
# switched NOTIFY off, and a dead connection.
FALLBACK_POLL_INTERVAL = 1.0
# While writers may skip NOTIFY: from the beginning of one read to that of the next. The shortest one after a read that found
# events; each that finds none doubles it.
MIN_POLL_INTERVAL = 0.003
MAX_POLL_INTERVAL = 0.02
# A pause after every read of the database. One read then serves the notifications and the clients that arrive during it. It is
# as long as the read was, up to COALESCE_DELAY; while polling, a share of its time: the relay then works for at most 77 % of
# the time.
COALESCE_DELAY = 0.003
BUSY_PAUSE_RATIO = 0.3
# Between two reads while no client is connected. One that connects does not wait for it.
UNWATCHED_INTERVAL = 0.2


class ReadPace:
    """Adapts the interval of polling to what is found. One per relay."""

    def __init__(self) -> None:
        self._poll_interval = MAX_POLL_INTERVAL

    def pause(self, read_seconds: float, *, polls: bool) -> float:
        """How long nothing starts the next read, after one of that duration."""
        return BUSY_PAUSE_RATIO * read_seconds if polls else min(read_seconds, COALESCE_DELAY)

    def poll_interval(self, event_count: int) -> float:
        """From the beginning of a read that found so many events to that of the next one, while writers may skip NOTIFY."""
        self._poll_interval = MIN_POLL_INTERVAL if event_count else min(2 * self._poll_interval, MAX_POLL_INTERVAL)
        return self._poll_interval
