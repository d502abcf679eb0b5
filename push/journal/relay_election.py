"""Decides which server reads the journal for all, with a broker between them. Pure: the times are the caller's.

The election only saves work. A fact is true whichever process sends it, so two relays at once are waste, and without a relay
each edge reads PostgreSQL. That is why this rule may rest on clocks and time-outs, and needs no fencing.

A candidate reads the journal itself

- while it holds the lease, a row in the database that it renews every second;
- while it has no connection to the broker: it serves its clients as a server without a broker does;
- while the database of the lease cannot be asked, and no other relay has been heard for LEASE_SECONDS and up to a second more,
  which each candidate draws for itself: of two that both begin and hear each other, both stop, and then one begins first.
"""

from __future__ import annotations

import math

__all__ = ["LEASE_SECONDS", "MAX_EXTRA_SILENCE", "RENEW_SECONDS", "RelayElection"]

# After the last renewal the lease ends, by the database's clock. Longer than two renewals that fail.
LEASE_SECONDS = 2.5
RENEW_SECONDS = 1.0
MAX_EXTRA_SILENCE = 1.0


class RelayElection:
    """What one candidate knows, and what follows. All times are seconds of one clock that does not go back."""

    def __init__(self, now: float, extra_silence: float = 0.0) -> None:
        """``extra_silence``: of 0 to MAX_EXTRA_SILENCE seconds, drawn by the caller."""
        self._started_at = now
        self._max_silence = LEASE_SECONDS + extra_silence
        # Until when the lease is ours. Counted from before the request, so it ends here before it ends in the database.
        self._held_until = -math.inf
        # When the database last said who has the lease.
        self._answered_at = -math.inf

    def record_answer(self, asked_at: float, is_held: bool) -> None:
        """The database has answered a request of ``asked_at``: the lease is ours, or another server's."""
        self._answered_at = asked_at
        self._held_until = asked_at + LEASE_SECONDS if is_held else -math.inf
        if is_held:
            self._started_at = -math.inf  # the relay need not listen first whether there is another one

    def wants_lease(self, now: float, broker_lost_at: float | None) -> bool:
        """Whether to ask for the lease, or renew it. Not without a connection to the broker, so that a server that has one
        gets it. ``broker_lost_at``: since when there is none; None while there is.
        """
        return broker_lost_at is None or now - broker_lost_at < LEASE_SECONDS

    def is_relay(self, now: float, broker_lost_at: float | None, heard_at: float | None) -> bool:
        """Whether to read the journal. ``heard_at``: when a message of another relay came last, None if none ever came."""
        if not self.wants_lease(now, broker_lost_at) or now < self._held_until:
            return True
        if now - self._answered_at < LEASE_SECONDS:
            return False  # another server has it
        return now - max(self._started_at, -math.inf if heard_at is None else heard_at) >= self._max_silence
