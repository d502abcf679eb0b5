"""The token bucket: so much a second, and a burst of a few seconds' worth at once."""

from __future__ import annotations

import math

__all__ = ["BURST_SECONDS", "INITIALLY_FULL", "TokenBucket", "TokenBucketRate"]

# A bucket that was left alone holds so many seconds' worth, and one at least: else there would never be enough for anything.
BURST_SECONDS = 2.0
# What the last digit of a clock may be off by, in seconds: a full bucket gives all that it holds.
CLOCK_TOLERANCE = 1e-9
# When a bucket from which nothing has been taken was full.
INITIALLY_FULL = -math.inf


class TokenBucketRate:
    """So much a second. How much a bucket holds is told by a single number: when it will be full again, if nothing is taken.

    ``now`` is any clock that does not go backwards, in seconds.
    """

    __slots__ = ("_burst_seconds", "_per_second")

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._burst_seconds = max(1.0 / per_second, BURST_SECONDS)

    def take(self, full_at: float, amount: float, now: float) -> float | None:
        """When it will be full after so much has been taken; None when there is not so much in it."""
        after = max(full_at, now) + amount / self._per_second
        return after if after - now <= self._burst_seconds + CLOCK_TOLERANCE else None

    def take_with_debt(self, full_at: float, amount: float, now: float) -> float:
        """As ``update``, although it may not be there: the debt is a burst at most."""
        return min(max(full_at, now) + amount / self._per_second, now + 2 * self._burst_seconds)


class TokenBucket:
    """What one client may still do."""

    __slots__ = ("_full_at", "_rate")

    def __init__(self, rate: TokenBucketRate) -> None:
        self._rate = rate
        self._full_at = INITIALLY_FULL

    def take(self, amount: float, now: float) -> bool:
        """Whether so much may be done now; if not, nothing is taken."""
        after = self._rate.take(self._full_at, amount, now)
        if after is None:
            return False
        self._full_at = after
        return True

    def take_with_debt(self, amount: float, now: float) -> None:
        """Take so much although it may not be there: nothing may be done until the debt, a burst at most, is paid off."""
        self._full_at = self._rate.take_with_debt(self._full_at, amount, now)

    def is_full(self, now: float) -> bool:
        """Whether it is full again, so that a new one would be no different."""
        return self._full_at <= now
