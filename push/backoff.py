"""Delays between attempts at something that fails."""

from __future__ import annotations

import random

__all__ = ["Backoff"]

# Beyond that many failures the delay is the maximum in any case.
_MAX_COUNTED_FAILURES = 30


class Backoff:
    """Full jitter: after n failures a random delay below min(``max_seconds``, ``initial_seconds`` * 2**n)."""

    def __init__(self, initial_seconds: float, max_seconds: float) -> None:
        self._initial_seconds = initial_seconds
        self._max_seconds = max_seconds
        # Since the last success.
        self.failures = 0

    def next_delay(self) -> float:
        """Count a failure, and return the seconds to wait before the next attempt."""
        limit = min(self._max_seconds, self._initial_seconds * 2**self.failures)
        self.failures = min(self.failures + 1, _MAX_COUNTED_FAILURES)
        return random.uniform(0, limit)

    def reset(self) -> None:
        """It has succeeded, and goes on to."""
        self.failures = 0
